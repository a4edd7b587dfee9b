//! Runs a plan of a job: its steps, each fault at its effect, and a new process for each one that ended.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::super::fake_world::FakeWorld;
use super::super::fault::{Call, Fault, LEASE, Plan};
use super::super::process::{Process, pass_time};
use super::super::specs::BUCKET;
use super::world::key;

/// Longer than any wait of a job.
const REST: Duration = Duration::from_secs(15 * 60);
const QUIET: Duration = Duration::from_secs(10 * 3600);

/// The outcome of a run.
pub struct Run {
    pub end: String,
    /// Effects of each process.
    pub calls: Vec<Vec<Call>>,
    /// Number of watch events of the job.
    pub marks: usize,
    pub broken: Vec<String>,
}

struct Player {
    outside: Arc<Mutex<FakeWorld>>,
    start: (Timestamp, Instant),
    process: Process,
    faults: std::vec::IntoIter<(usize, Fault)>,
    calls: Vec<Vec<Call>>,
    /// Whether the grants of the bucket are reconciled too.
    bucket: bool,
}

impl Player {
    async fn restart(&mut self) {
        let next = Process::start(&self.outside, self.start, self.faults.next());
        next.mark_job(key()).await;
        if self.bucket {
            next.mark(BUCKET).await;
        }
        let last = std::mem::replace(&mut self.process, next);
        self.calls.push(last.calls());
        let Some(wakes_after) = last.frozen() else {
            return last.kill().await;
        };
        // The frozen process resumes, does what it was about to do, and exits a moment later.
        let left = wakes_after.saturating_sub(Duration::from_secs(LEASE));
        tokio::spawn(async move {
            pass_time(left + Duration::from_millis(100)).await;
            last.kill().await;
        });
    }

    async fn run_for(&mut self, time: Duration) {
        while self.process.run_for(time).await {
            if self.process.frozen().is_some() {
                pass_time(Duration::from_secs(LEASE)).await;
            }
            self.restart().await;
        }
    }
}

/// Runs a plan; `quiet` adds ten hours at rest at the end.
pub async fn play(plan: &Plan, quiet: bool) -> Run {
    let outside = Arc::new(Mutex::new(FakeWorld::default()));
    let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
    let mut faults = plan.faults.clone().into_iter();
    let first = faults.next();
    let hidden = first
        .filter(|(_, fault)| *fault == Fault::Hidden)
        .map(|(at, _)| at);
    let mut player = Player {
        process: Process::start(&outside, start, first),
        outside: Arc::clone(&outside),
        start,
        faults,
        calls: Vec::new(),
        bucket: false,
    };
    let scenario = plan.scenario();
    let mut marks = 0;
    for (index, step) in scenario.steps.iter().enumerate() {
        let (job, bucket) = {
            let mut outside = outside.lock().unwrap();
            step(&mut outside);
            (
                std::mem::take(&mut outside.jobs.changed),
                std::mem::take(&mut outside.changed),
            )
        };
        marks += usize::from(job);
        if job && hidden != Some(marks) {
            player.process.mark_job(key()).await;
        }
        if bucket {
            player.bucket = true;
            player.process.mark(BUCKET).await;
        }
        let last = index + 1 == scenario.steps.len();
        player
            .run_for(scenario.haste.filter(|_| !last).unwrap_or(REST))
            .await;
    }
    // A change that a stale read did not show arrives as a watch event after it.
    if let Some(Fault::Behind(_)) = player.process.was_struck() {
        player.process.mark_job(key()).await;
        player.run_for(REST).await;
    }
    if hidden.is_some() {
        // A change that no reconcile discovers is found when the watch restarts and lists everything.
        player.restart().await;
        player.run_for(REST).await;
    }
    player.calls.push(player.process.calls());
    let as_expected = !plan.faults.iter().any(|(_, fault)| super::plans::decides(*fault));
    outside.lock().unwrap().jobs.check_at_rest(as_expected);
    if quiet {
        player.process.spare();
        let seen = |o: &FakeWorld| (o.jobs.writes, o.jobs.ledger.len(), o.counts.events);
        let before = seen(&outside.lock().unwrap());
        player.process.mark_job(key()).await;
        player.run_for(QUIET).await;
        let mut outside = outside.lock().unwrap();
        let after = seen(&outside);
        if before != after {
            let what = format!("at rest {before:?} writes, calls and events become {after:?}");
            outside.jobs.broken.push(what);
        }
    }
    player.process.kill().await;
    let mut outside = outside.lock().unwrap();
    if plan.faults.is_empty() {
        outside.jobs.check_counts();
    }
    let end = outside.jobs.end();
    let mut broken = std::mem::take(&mut outside.jobs.broken);
    broken.append(&mut outside.broken);
    Run {
        end,
        calls: player.calls,
        marks,
        broken,
    }
}
