//! The keyed queue: at most one worker per key, a bounded number of workers, and a timer queue for delayed keys. Triggers of
//! a key coalesce: 1,000 grants of one bucket are one entry.
//!
//! Written by hand because kube's applier keys by object, while the key here is a bucket, and because the total wait of
//! kube's debounced scheduler has no upper limit: steady changes would postpone a reconcile forever.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue;

/// When to reconcile a key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// After this delay, or earlier when a trigger arrives.
    Requeue(Duration),
    /// Only when a trigger arrives.
    AwaitChange,
}

impl Action {
    /// Returns this action, or a requeue after `limit` if that is earlier.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        match self {
            Self::Requeue(delay) => Self::Requeue(delay.min(limit)),
            Self::AwaitChange => Self::Requeue(limit),
        }
    }
}

/// Request to reconcile a key because something changed.
#[derive(Clone, Debug)]
pub struct Trigger<K> {
    /// The key to reconcile.
    pub key: K,
    /// Debounce delay: each further trigger restarts it, up to five times this delay in total.
    pub debounce: Duration,
}

struct Scheduled {
    slot: delay_queue::Key,
    due: Instant,
    /// End of the debounce window, which no trigger postpones; `None` for a requeue without a trigger.
    latest: Option<Instant>,
}

struct KeyedQueue<K> {
    delays: DelayQueue<K>,
    waiting: HashMap<K, Scheduled>,
    ready: VecDeque<K>,
    /// The keys in `ready`, as a set for look-ups.
    queued: HashSet<K>,
    /// Keys being reconciled, with the debounce delay of a trigger that arrived meanwhile.
    in_progress: HashMap<K, Option<Duration>>,
}

impl<K: Clone + Eq + Hash> KeyedQueue<K> {
    fn trigger(&mut self, trigger: Trigger<K>) {
        if let Some(again) = self.in_progress.get_mut(&trigger.key) {
            *again = Some(trigger.debounce);
            return;
        }
        if self.queued.contains(&trigger.key) {
            return;
        }
        let now = Instant::now();
        let debounced = now + trigger.debounce;
        match self.waiting.get_mut(&trigger.key) {
            // Already debouncing: restart the delay, at most until `latest`.
            Some(Scheduled {
                slot,
                due,
                latest: Some(latest),
            }) => {
                *due = debounced.min(*latest);
                self.delays.reset_at(slot, *due);
            }
            Some(waiting) => {
                waiting.latest = Some(now + trigger.debounce * 5);
                if debounced < waiting.due {
                    waiting.due = debounced;
                    self.delays.reset_at(&waiting.slot, debounced);
                }
            }
            None => self.schedule(trigger.key, debounced, Some(now + trigger.debounce * 5)),
        }
    }

    fn schedule(&mut self, key: K, due: Instant, latest: Option<Instant>) {
        let slot = self.delays.insert_at(key.clone(), due);
        self.waiting.insert(key, Scheduled { slot, due, latest });
    }

    fn finished(&mut self, key: K, action: Action) {
        match (self.in_progress.remove(&key).flatten(), action) {
            (Some(debounce), _) => self.trigger(Trigger { key, debounce }),
            (None, Action::Requeue(delay)) => self.schedule(key, Instant::now() + delay, None),
            (None, Action::AwaitChange) => {}
        }
    }
}

/// Reconciles keys until `stop` is cancelled, at most `workers` at a time, then waits for the reconciles under way. Calls
/// `depth` with the number of keys that are ready for a worker or being reconciled.
pub async fn run<K, W, F>(
    mut triggers: mpsc::Receiver<Trigger<K>>,
    workers: usize,
    stop: CancellationToken,
    depth: impl Fn(usize),
    work: W,
) where
    K: Clone + Eq + Hash + Send + 'static,
    W: Fn(K) -> F,
    F: Future<Output = Action> + Send + 'static,
{
    let mut queue: KeyedQueue<K> = KeyedQueue {
        delays: DelayQueue::new(),
        waiting: HashMap::new(),
        ready: VecDeque::new(),
        queued: HashSet::new(),
        in_progress: HashMap::new(),
    };
    let mut running: JoinSet<(K, Action)> = JoinSet::new();
    loop {
        while running.len() < workers
            && let Some(key) = queue.ready.pop_front()
        {
            queue.queued.remove(&key);
            queue.in_progress.insert(key.clone(), None);
            let pass = work(key.clone());
            running.spawn(async move { (key, pass.await) });
        }
        depth(queue.ready.len() + queue.in_progress.len());
        tokio::select! {
            () = stop.cancelled() => break,
            trigger = triggers.recv() => match trigger {
                Some(trigger) => queue.trigger(trigger),
                None => break,
            },
            Some(expired) = queue.delays.next() => {
                let key = expired.into_inner();
                queue.waiting.remove(&key);
                queue.queued.insert(key.clone());
                queue.ready.push_back(key);
            }
            Some(done) = running.join_next() => {
                // In a debug build a reconcile can panic: its key then stays in progress, so that it cannot loop. A release
                // build aborts.
                match done {
                    Ok((key, action)) => queue.finished(key, action),
                    Err(error) => tracing::error!(%error, "failed to finish reconcile"),
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    async fn observed(triggers: Vec<(u64, &'static str)>, stop_after: u64) -> Vec<(u64, &'static str)> {
        let (sender, receiver) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let seen = Arc::clone(&log);
        let queue = run(
            receiver,
            2,
            stop.clone(),
            |_| (),
            move |key: &'static str| {
                let seen = Arc::clone(&seen);
                async move {
                    let at = u64::try_from(start.elapsed().as_millis()).unwrap();
                    seen.lock().unwrap().push((at, key));
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    Action::Requeue(Duration::from_secs(60))
                }
            },
        );
        let feed = async move {
            for (at, key) in triggers {
                tokio::time::sleep_until(start + Duration::from_millis(at)).await;
                sender
                    .send(Trigger {
                        key,
                        debounce: Duration::from_secs(1),
                    })
                    .await
                    .unwrap();
            }
            tokio::time::sleep_until(start + Duration::from_millis(stop_after)).await;
            stop.cancel();
        };
        futures::join!(queue, feed);
        Arc::try_unwrap(log).unwrap().into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_and_a_busy_key_runs_again_afterwards() {
        let seen = observed(vec![(0, "a"), (600, "a"), (1_200, "a"), (2_300, "a")], 5_000).await;
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!((2_200..2_300).contains(&seen[0].0), "{seen:?}");
        assert!((3_600..3_900).contains(&seen[1].0), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn steady_triggers_do_not_postpone_a_reconcile_beyond_the_debounce_window() {
        let triggers = (0..20).map(|n| (n * 500, "a")).collect();
        let seen = observed(triggers, 5_400).await;
        assert!(seen[0].0 <= 5_100, "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_the_given_number_of_workers_run_and_a_delay_brings_a_key_back() {
        let seen = observed(vec![(0, "a"), (0, "b"), (0, "c")], 70_000).await;
        let firsts: Vec<u64> = seen.iter().take(3).map(|(at, _)| *at).collect();
        assert!(firsts[2] >= firsts[0] + 500, "{seen:?}");
        assert_eq!(seen.iter().filter(|(_, key)| *key == "a").count(), 2, "{seen:?}");
    }
}
