//! Runs a plan: the steps of its scenario, each fault at its effect, and a new process for each one that was stopped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::fake_world::{Counts, FakeWorld};
use super::fault::{Call, Fault, LEASE, Plan};
use super::process::{Process, pass_time};
use super::scenario::Scenario;
use super::specs::BUCKET;

/// How long a step is given to come to rest: longer than any back-off, than the drift interval, and than the time in
/// which an unanswered write can still arrive. A fault that strikes in that time adds the same time again.
const REST: Duration = Duration::from_secs(15 * 60);
/// Hours at the end in which nothing may happen.
const QUIET_HOURS: u64 = 10;

/// The outcome of a run.
pub struct Run {
    pub end: String,
    /// Effects of each process.
    pub calls: Vec<Vec<Call>>,
    /// Number of watch events sent by the steps.
    pub marks: usize,
    pub counts: Counts,
    /// How often a foreign change was undone, and whether another writer has changed foreign statements.
    pub lost: usize,
    pub rival_has_edited: bool,
    /// How often statements of ours were reported as missing.
    pub drifts: i32,
    pub broken: Vec<String>,
}

struct Player {
    outside: Arc<Mutex<FakeWorld>>,
    start: (Timestamp, Instant),
    process: Process,
    faults: std::vec::IntoIter<(usize, Fault)>,
    /// Number of the watch event that is dropped.
    hidden: Option<usize>,
    calls: Vec<Vec<Call>>,
    marks: usize,
    /// Whether the process has received any event for the bucket.
    notified: bool,
}

impl Player {
    fn new(faults: Vec<(usize, Fault)>) -> Self {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        let mut faults = faults.into_iter();
        let first = faults.next();
        let hidden = first
            .filter(|(_, fault)| *fault == Fault::Hidden)
            .map(|(at, _)| at);
        Self {
            process: Process::start(&outside, start, first),
            outside,
            start,
            faults,
            hidden,
            calls: Vec::new(),
            marks: 0,
            notified: false,
        }
    }

    /// Starts a new process, which lists everything when its watch begins.
    async fn restart(&mut self) {
        let next = Process::start(&self.outside, self.start, self.faults.next());
        next.mark(BUCKET).await;
        let last = std::mem::replace(&mut self.process, next);
        self.calls.push(last.calls());
        self.notified = true;
        let Some(wakes_after) = last.frozen() else {
            return last.kill().await;
        };
        // The frozen process resumes, sends what it was about to send, and exits a moment later. The lease has expired
        // already.
        tokio::spawn(async move {
            pass_time((wakes_after + Duration::from_millis(100)).saturating_sub(Duration::from_secs(LEASE)))
                .await;
            last.kill().await;
        });
    }

    async fn step(&mut self, step: fn(&mut FakeWorld), time: Duration) {
        let (changed, replace_process) = {
            let mut outside = self.outside.lock().unwrap();
            step(&mut outside);
            (
                std::mem::take(&mut outside.changed),
                std::mem::take(&mut outside.replace_process),
            )
        };
        if replace_process {
            self.restart().await;
        }
        self.process.show_changes(&self.outside).await;
        if changed {
            self.marks += 1;
            if self.hidden != Some(self.marks) {
                self.notified = true;
                self.process.mark(BUCKET).await;
            }
        }
        self.run_for(time).await;
        // A change without any event is found when the watch restarts; all other changes by the drift interval.
        if time == REST && !self.notified {
            self.restart().await;
            self.run_for(time).await;
        }
        if time == REST {
            self.outside.lock().unwrap().check_at_rest();
        }
    }

    async fn run_for(&mut self, time: Duration) {
        loop {
            if self.process.run_for(time).await {
                let lease = Duration::from_secs(LEASE);
                let wakes_after = self.process.frozen();
                if wakes_after.is_some() {
                    pass_time(lease).await;
                }
                self.restart().await;
                // The new process's rest begins when the frozen process has exited.
                let worst = wakes_after
                    .filter(|_| time == REST)
                    .map_or(Duration::ZERO, |time| time.saturating_sub(lease));
                if self.process.run_for(worst).await {
                    self.restart().await;
                }
            } else if let Some(fault) = self.process.was_struck().filter(|_| time == REST) {
                // Events that the stale list did not include, and those of an edit, arrive after it.
                if matches!(fault, Fault::Behind(_) | Fault::Edited) {
                    self.process.mark(BUCKET).await;
                }
            } else {
                return;
            }
        }
    }

    /// Checks I9 and I10: for ten hours nothing is written and no event is published; the policy is only read.
    async fn stay_quiet(&mut self) {
        self.process.spare();
        // Removals of a statement are remembered for an hour; forgetting them is one more write.
        let backing_off = |o: &FakeWorld| o.grants.values().any(|g| g.status.repeated_drift.is_some());
        if backing_off(&self.outside.lock().unwrap()) {
            self.run_for(Duration::from_secs(2 * 3600)).await;
        }
        let before = self.outside.lock().unwrap().counts;
        self.run_for(Duration::from_secs(QUIET_HOURS * 3600)).await;
        let mut outside = self.outside.lock().unwrap();
        let after = outside.counts;
        let identities: std::collections::BTreeSet<_> =
            outside.grants.values().map(|g| g.identity.clone()).collect();
        let written = (
            after.policy_writes - before.policy_writes,
            after.status_writes - before.status_writes,
            after.events - before.events,
        );
        // Missing credentials are read every 30 s; nothing is done more often at rest.
        let (reconciles, most) = (after.lists - before.lists, QUIET_HOURS * 3600 / 25);
        if u64::try_from(reconciles).unwrap() > most {
            outside
                .broken
                .push(format!("I9: {reconciles} reconciles at rest"));
        }
        // The drift interval is ten minutes, with ±10 % jitter.
        let most_reads = identities.len() * usize::try_from(QUIET_HOURS * 3600 / 540 + 1).unwrap();
        if written != (0, 0, 0) || after.reads - before.reads > most_reads {
            outside.broken.push(format!(
                "I9: at rest {written:?} writes and events, {} reads",
                after.reads - before.reads
            ));
        }
        outside.check_at_rest();
    }
}

/// Runs a plan; `quiet` adds ten hours at rest at the end.
pub async fn play(plan: &Plan, quiet: bool) -> Run {
    play_scenario(plan.scenario(), plan.faults.clone(), quiet).await
}

/// Runs a scenario, which need not be one of those that are run with every fault.
pub async fn play_scenario(scenario: &Scenario, faults: Vec<(usize, Fault)>, quiet: bool) -> Run {
    let mut player = Player::new(faults);
    for (index, step) in scenario.steps.iter().enumerate() {
        let last = index + 1 == scenario.steps.len();
        let time = scenario.haste.filter(|_| !last).unwrap_or(REST);
        player.step(*step, time).await;
    }
    player.calls.push(player.process.calls());
    if quiet {
        player.stay_quiet().await;
    }
    player.process.kill().await;
    let mut outside = player.outside.lock().unwrap();
    let broken = std::mem::take(&mut outside.broken);
    Run {
        end: outside.end(),
        calls: player.calls,
        marks: player.marks,
        counts: outside.counts,
        lost: outside.lost,
        drifts: outside
            .grants
            .values()
            .filter_map(|g| g.status.last_drift.as_ref())
            .map(|d| d.count)
            .sum(),
        rival_has_edited: outside.rival_has_edited,
        broken,
    }
}
