//! The keyed queue: at most one worker per key, a bounded number of workers, and a timer queue for delayed keys.
//! Triggers of a key coalesce: 1,000 grants of one bucket are one entry.
//!
//! Written by hand because kube's applier keys by object, while the key here is a bucket, and because the total wait of
//! kube's debounced scheduler has no upper limit: steady changes would postpone a reconcile forever.

use std::collections::{BTreeSet, HashMap};
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

use super::deadline;
pub use super::ready_queue::Flow;
use super::ready_queue::{ReadyQueue, add_flow};
pub use crate::core::requeue::Action;

/// Request to reconcile a key because something changed.
#[derive(Clone, Debug)]
pub struct Trigger<K> {
    /// The key to reconcile.
    pub key: K,
    /// Debounce delay: each further trigger restarts it, up to five times this delay in total.
    pub debounce: Duration,
    /// The namespace that caused the change: namespaces are served in turns.
    pub flow: Flow,
}

impl<K> Trigger<K> {
    /// Returns a trigger without a debounce delay.
    pub fn now(key: K, flow: impl Into<Flow>) -> Self {
        Self {
            key,
            debounce: Duration::ZERO,
            flow: flow.into(),
        }
    }
}

/// Limits of concurrent reconciles.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// In all.
    pub total: usize,
    /// Of one flow, so that one namespace cannot occupy all workers.
    pub per_flow: usize,
}

impl Workers {
    /// Returns the limits in all and of one flow.
    pub const fn new(total: usize, per_flow: usize) -> Self {
        Self { total, per_flow }
    }
}

struct Scheduled {
    slot: delay_queue::Key,
    due: Instant,
    /// End of the debounce window, which no trigger postpones; `None` for a requeue without a trigger.
    latest: Option<Instant>,
    /// The flow of all triggers in the debounce window; `None` without a trigger, or with triggers of several flows.
    only: Option<Flow>,
    flows: BTreeSet<Flow>,
}

/// A key being reconciled.
struct InProgress {
    /// The flow that the worker counts for.
    flow: Flow,
    /// The flows of the key.
    flows: BTreeSet<Flow>,
    /// Debounce delay of a trigger that arrived meanwhile.
    again: Option<Duration>,
    /// The flow of all triggers that arrived meanwhile; `None` with several.
    only: Option<Flow>,
}

struct KeyedQueue<K> {
    delays: DelayQueue<K>,
    waiting: HashMap<K, Scheduled>,
    ready: ReadyQueue<K>,
    in_progress: HashMap<K, InProgress>,
    /// Number of workers that each flow occupies.
    running: HashMap<Flow, usize>,
}

impl<K: Clone + Eq + Hash> KeyedQueue<K> {
    fn trigger(&mut self, trigger: Trigger<K>) {
        if let Some(running) = self.in_progress.get_mut(&trigger.key) {
            let first = running.again.is_none();
            let same = running.only.as_ref() == Some(&trigger.flow);
            running.only = (first || same).then(|| Flow::clone(&trigger.flow));
            // A trigger without a delay is not postponed by a later one.
            running.again = running.again.into_iter().chain([trigger.debounce]).min();
            add_flow(&mut running.flows, trigger.flow);
            return;
        }
        if self.ready.contains(&trigger.key) {
            self.ready.push(&trigger.key, [trigger.flow]);
            return;
        }
        let now = Instant::now();
        let debounced = deadline::after(now, trigger.debounce);
        let latest = deadline::after(now, trigger.debounce.saturating_mul(5));
        match self.waiting.get_mut(&trigger.key) {
            // Already debouncing: restart the delay, at most until `latest`.
            Some(Scheduled {
                slot,
                due,
                latest: Some(latest),
                only,
                flows,
            }) => {
                // A trigger of another flow does not postpone the key: it would delay this flow.
                if only.as_ref() == Some(&trigger.flow) {
                    *due = debounced.min(*latest);
                } else {
                    *only = None;
                    *due = debounced.min(*due);
                }
                add_flow(flows, trigger.flow);
                self.delays.reset_at(slot, *due);
            }
            Some(waiting) => {
                waiting.latest = Some(latest);
                waiting.only = Some(Flow::clone(&trigger.flow));
                add_flow(&mut waiting.flows, trigger.flow);
                if debounced < waiting.due {
                    waiting.due = debounced;
                    self.delays.reset_at(&waiting.slot, debounced);
                }
            }
            None => {
                let flows = BTreeSet::from([Flow::clone(&trigger.flow)]);
                self.schedule(trigger.key, debounced, (Some(latest), Some(trigger.flow)), flows);
            }
        }
    }

    /// Schedules a key. `window` is the end of its debounce window and the flow of its triggers.
    fn schedule(
        &mut self,
        key: K,
        due: Instant,
        (latest, only): (Option<Instant>, Option<Flow>),
        flows: BTreeSet<Flow>,
    ) {
        let slot = self.delays.insert_at(key.clone(), due);
        let scheduled = Scheduled {
            slot,
            due,
            latest,
            only,
            flows,
        };
        self.waiting.insert(key, scheduled);
    }

    /// Takes the next key for a worker.
    fn start(&mut self, workers: Workers, busy: usize) -> Option<K> {
        if busy >= workers.total {
            return None;
        }
        let running = &self.running;
        let free = |flow: &Flow| running.get(flow).is_none_or(|count| *count < workers.per_flow);
        let (key, flow, flows) = self.ready.pop(free)?;
        *self.running.entry(flow.clone()).or_default() += 1;
        let progress = InProgress {
            flow,
            flows,
            again: None,
            only: None,
        };
        self.in_progress.insert(key.clone(), progress);
        Some(key)
    }

    fn finished(&mut self, key: K, action: Action) {
        let Some(done) = self.in_progress.remove(&key) else {
            return;
        };
        if let Some(count) = self.running.get_mut(&done.flow) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&done.flow);
            }
        }
        let now = Instant::now();
        match (done.again, action) {
            (Some(debounce), _) => {
                let latest = Some(deadline::after(now, debounce.saturating_mul(5)));
                let due = deadline::after(now, debounce);
                self.schedule(key, due, (latest, done.only), done.flows);
            }
            (None, Action::Requeue(delay)) => {
                self.schedule(key, deadline::after(now, delay), (None, None), done.flows);
            }
            (None, Action::AwaitChange) => {}
        }
    }
}

/// Reconciles keys until `stop` is cancelled, then waits for the reconciles under way. Flows are served in turns. Calls
/// `depth` with the number of keys that are ready for a worker or being reconciled.
pub async fn run<K, W, F>(
    mut triggers: mpsc::Receiver<Trigger<K>>,
    workers: Workers,
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
        ready: ReadyQueue::new(),
        in_progress: HashMap::new(),
        running: HashMap::new(),
    };
    let mut running: JoinSet<(K, Action)> = JoinSet::new();
    loop {
        while let Some(key) = queue.start(workers, running.len()) {
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
                if let Some(waiting) = queue.waiting.remove(&key) {
                    queue.ready.push(&key, waiting.flows);
                }
            }
            Some(done) = running.join_next() => {
                // `work` contains its panics, see `panics`; a task ends without a result only if it is aborted.
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
mod tests;
