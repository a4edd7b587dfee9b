//! Plays a history: each step at its time, a new process for each one that ends, and a rest at the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::controller::{Controllers, QueueKey};
use imm_operator::ports::Ports;
use imm_operator::runtime::queue::Trigger;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::fault::LEASE;
use super::super::process::pass_time;
use super::gate::Gate;
use super::step::{Act, History, Pause};
use super::watch::{Event, Watch};
use super::world::World;

/// Longer than any back-off, and than the time in which an unanswered write can arrive with a drift interval after it.
const REST: Duration = Duration::from_secs(18 * 60);
/// Longer by this when the operator's clock has jumped: a check that is overdue by then runs within the next hour.
const HOUR: Duration = Duration::from_secs(75 * 60);
/// How long a step waits for effects.
const IDLE: Duration = Duration::from_secs(30);

/// The outcome of a history: violations, and how often each kind of step did something.
pub struct Outcome {
    pub broken: Vec<String>,
    pub did: [usize; Act::KINDS.len()],
}

/// A running process.
struct Process {
    gate: Arc<Gate>,
    tasks: [JoinHandle<()>; 2],
}

impl Process {
    fn start(world: &Arc<Mutex<World>>) -> Self {
        let (watch, mut events) = unbounded_channel();
        let number = {
            let mut world = world.lock().unwrap();
            world.processes += 1;
            world.started_version = world.version;
            world.watch = Watch::start(watch);
            world.show_all();
            world.processes
        };
        let gate = Arc::new(Gate::new(world, number));
        let ports: Arc<dyn Ports> = Arc::<Gate>::clone(&gate);
        let memory = Arc::clone(&gate.memory);
        let engine = Controllers::with_memory(ports, Arc::default(), CancellationToken::new(), memory);
        let context = Arc::clone(&engine.context);
        let feed = async move {
            while let Some(event) = events.recv().await {
                let (namespace, key) = match event {
                    Event::Due(namespace, key) => (namespace, key),
                    Event::Outdated(grant) => {
                        context.grant_reads.changed(&grant);
                        continue;
                    }
                    Event::Exists(uid) => {
                        context.leaving.exists_again(&uid);
                        continue;
                    }
                    Event::Deleted(grant) => {
                        context.leaving.deleted(*grant);
                        continue;
                    }
                    Event::Unprotected(grant) => {
                        let key = grant.key.clone();
                        context.missing_finalizers.insert(*grant);
                        (key.namespace.clone(), QueueKey::Finalizer(key))
                    }
                };
                let (queue, debounce) = match &key {
                    QueueKey::Bucket(_) | QueueKey::Probe(_) => (&context.buckets, Duration::from_secs(1)),
                    QueueKey::Job(job) => {
                        context.notifier.notify(job);
                        (&context.jobs, Duration::ZERO)
                    }
                    QueueKey::Finalizer(_) => (&context.finalizers, Duration::ZERO),
                };
                let flow = namespace.as_str().into();
                if queue.send(Trigger { key, debounce, flow }).await.is_err() {
                    return;
                }
            }
        };
        Self {
            gate,
            tasks: [tokio::spawn(engine.run()), tokio::spawn(feed)],
        }
    }

    fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Player {
    world: Arc<Mutex<World>>,
    process: Process,
}

impl Player {
    async fn restart(&mut self) {
        let frozen = self.process.gate.frozen();
        if frozen.is_some() {
            // The next process starts when the lease has expired.
            pass_time(Duration::from_secs(LEASE)).await;
        }
        self.world.lock().unwrap().audit.process_ended();
        let next = Process::start(&self.world);
        let last = std::mem::replace(&mut self.process, next);
        last.gate.note_end();
        let Some(seconds) = frozen else {
            return last.kill();
        };
        // The frozen process resumes, sends what it was about to send, and exits a moment later.
        let left = Duration::from_secs(seconds.saturating_sub(LEASE)) + Duration::from_millis(100);
        self.world.lock().unwrap().audit.late_writes += 1;
        let world = Arc::clone(&self.world);
        tokio::spawn(async move {
            pass_time(left).await;
            last.kill();
            world.lock().unwrap().audit.late_writes -= 1;
        });
    }

    async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if timeout(left, self.process.gate.dead.notified()).await.is_err() {
                return;
            }
            self.restart().await;
        }
    }

    async fn pause(&mut self, pause: Pause) {
        let effects = match pause {
            Pause::Seconds(seconds) => {
                self.run_for(Duration::from_secs(seconds.into())).await;
                let mut world = self.world.lock().unwrap();
                world.audit.disturbed &= seconds < 400 || world.watch.missed || !world.faults.is_empty();
                return;
            }
            Pause::Effects(effects) => usize::from(effects),
        };
        let wake = {
            let mut world = self.world.lock().unwrap();
            if effects == 0 {
                return;
            }
            world.wake_at = Some(world.effects + effects);
            Arc::clone(&world.wake)
        };
        let end = Instant::now() + IDLE;
        loop {
            let dead = Arc::clone(&self.process.gate.dead);
            let (died, woken) = tokio::select! {
                biased;
                () = wake.notified() => (false, true),
                () = dead.notified() => (true, false),
                () = tokio::time::sleep_until(end) => (false, true),
            };
            if died {
                self.restart().await;
            }
            if woken {
                self.world.lock().unwrap().wake_at = None;
                return;
            }
        }
    }

    fn is_broken(&self) -> bool {
        !self.world.lock().unwrap().audit.broken.is_empty()
    }

    /// Ends all disturbances, and waits until the operator must be at rest.
    async fn come_to_rest(&mut self) {
        let restart = {
            let mut world = self.world.lock().unwrap();
            world.faults.clear();
            world.behind = 0;
            let now = world.true_time();
            world.cloud.set_lag(0, now);
            if world.watch.missed || world.watch.hide {
                world.show_all();
            }
            world.jump.is_negative()
        };
        // After a jump to the past, a process waits for times that it has set before.
        if restart || self.process.gate.is_dying() {
            self.restart().await;
        }
        while self.world.lock().unwrap().audit.late_writes > 0 {
            self.run_for(Duration::from_secs(60)).await;
        }
        let time = {
            let world = self.world.lock().unwrap();
            // An applied entry keeps the expiry that was recorded before the clock was set back.
            let set_back = world.audit.set_back.min(24 * 3600);
            if world.audit.jumped {
                REST + HOUR + Duration::from_secs(set_back)
            } else {
                REST
            }
        };
        self.run_for(time).await;
    }

    /// Checks I9: at rest nothing is written and no event is published.
    async fn stay_quiet(&mut self) {
        if !self.world.lock().unwrap().is_settled() {
            return;
        }
        let before = self.world.lock().unwrap().audit.writes;
        self.run_for(QUIET).await;
        let mut world = self.world.lock().unwrap();
        let writes = world.audit.writes - before;
        world
            .audit
            .must(writes == 0, || format!("I9: {writes} writes and events at rest"));
        world.check_at_rest();
    }
}

/// How long nothing may happen at rest.
const QUIET: Duration = Duration::from_secs(3 * 3600);

/// Plays a history; `quiet` adds hours at rest at the end.
pub async fn play(history: &History, quiet: bool, trace: bool) -> Outcome {
    let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
    let world = Arc::new(Mutex::new(World::new(history.size, start)));
    world.lock().unwrap().trace = trace;
    let mut player = Player {
        process: Process::start(&world),
        world: Arc::clone(&world),
    };
    let mut did = [0; Act::KINDS.len()];
    for (pause, act) in &history.steps {
        player.pause(*pause).await;
        if player.is_broken() {
            break;
        }
        let mut world = world.lock().unwrap();
        world.note(|| format!("{act:?}"));
        did[act.kind()] += usize::from(world.act(*act));
    }
    if !player.is_broken() {
        player.come_to_rest().await;
        world.lock().unwrap().check_at_rest();
        if quiet && !player.is_broken() {
            player.stay_quiet().await;
        }
    }
    let mut world = world.lock().unwrap();
    world.collect_broken_jobs();
    Outcome {
        broken: std::mem::take(&mut world.audit.broken),
        did,
    }
}
