//! The keyed queue: one worker a key, a bounded number of workers, and a wheel of delays. A key is marked once however
//! many objects concern it, so a thousand grants of one bucket are one entry.

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

/// When a key is to be worked on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// After this long, unless something changes before.
    Requeue(Duration),
    /// Only when something changes.
    AwaitChange,
}

/// Something has changed that concerns `key`.
#[derive(Clone, Debug)]
pub struct Trigger<K> {
    /// The key.
    pub key: K,
    /// How long to wait for further changes; each one prolongs the wait, up to five times this long in all.
    pub debounce: Duration,
}

struct Scheduled {
    slot: delay_queue::Key,
    due: Instant,
    /// When the wait for further changes must end.
    latest: Option<Instant>,
}

struct KeyedQueue<K> {
    delays: DelayQueue<K>,
    waiting: HashMap<K, Scheduled>,
    ready: VecDeque<K>,
    /// The same keys as `ready`, for looking up.
    queued: HashSet<K>,
    /// Keys being worked on, and whether they were marked meanwhile.
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
            // Waiting for further changes already: wait a little longer, but not for ever.
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
            (Some(settle), _) => self.trigger(Trigger {
                key,
                debounce: settle,
            }),
            (None, Action::Requeue(delay)) => self.schedule(key, Instant::now() + delay, None),
            (None, Action::AwaitChange) => {}
        }
    }
}

/// Works on keys until `stop`, at most `workers` at once, then waits for those under way. `depth` is told how many keys
/// wait or are worked on.
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
                // In a debug build a pass may panic: its key stays busy, so that it cannot loop. A release build aborts.
                match done {
                    Ok((key, action)) => queue.finished(key, action),
                    Err(error) => tracing::error!(%error, "a pass ended abnormally"),
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
    async fn endless_changes_do_not_put_a_pass_off_for_ever() {
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
