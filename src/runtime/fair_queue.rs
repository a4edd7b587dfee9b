//! Fair queue for what namespaces share: the requests of an IMM project, those to the API server, and memory.
//! Namespaces are served round-robin, and first come, first served within a namespace. A job holds at most one ticket
//! of a project, so the jobs of a namespace are served round-robin as well.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Position in the queue: (round, arrival), lowest first. A caller that leaves unserved can reuse its ticket.
pub type QueueTicket = (u64, u64);

/// The waiting tickets.
#[derive(Default)]
pub(crate) struct FairQueue {
    waiting: BTreeMap<QueueTicket, Arc<Notify>>,
    /// The latest round for which each namespace holds a ticket.
    rounds: HashMap<String, u64>,
    /// The highest round that has been served.
    round: u64,
    arrivals: u64,
}

impl FairQueue {
    /// Returns a ticket for the namespace's next round, at the earliest for the round last served. The ticket is not yet
    /// in the queue.
    pub(crate) fn issue_ticket(&mut self, namespace: &str) -> QueueTicket {
        let last = self.rounds.entry(namespace.to_owned()).or_default();
        *last = (*last + 1).max(self.round);
        self.arrivals += 1;
        (*last, self.arrivals)
    }

    /// Enqueues a ticket. The returned `Notify` is notified when the ticket becomes the first.
    pub(crate) fn enqueue(&mut self, ticket: QueueTicket) -> Arc<Notify> {
        let wakeup = Arc::new(Notify::new());
        self.waiting.insert(ticket, Arc::clone(&wakeup));
        wakeup
    }

    /// Returns `true` if nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns `true` if the ticket is the first in the queue.
    pub(crate) fn is_first(&self, ticket: QueueTicket) -> bool {
        self.waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket)
    }

    /// Removes a ticket from the queue; `taken` says whether the ticket was served. Wakes the next one.
    pub(crate) fn dequeue(&mut self, ticket: QueueTicket, taken: bool) {
        self.waiting.remove(&ticket);
        if taken {
            self.round = self.round.max(ticket.0);
            if self.waiting.is_empty() {
                let round = self.round;
                self.rounds.retain(|_, last| *last > round);
            }
        }
        self.wake_first();
    }

    /// Wakes the waiter of the first ticket, if any.
    pub(crate) fn wake_first(&self) {
        if let Some((_, wakeup)) = self.waiting.first_key_value() {
            wakeup.notify_one();
        }
    }
}

/// A place in the queue that is a part of a shared state; dropping it leaves the queue.
pub(crate) struct QueuePlace<'a, S> {
    state: &'a Mutex<S>,
    queue_of: fn(&mut S) -> &mut FairQueue,
    ticket: QueueTicket,
    wakeup: Arc<Notify>,
    taken: bool,
}

impl<'a, S> QueuePlace<'a, S> {
    /// Enters the queue with a ticket.
    pub(crate) fn enter(
        state: &'a Mutex<S>,
        queue_of: fn(&mut S) -> &mut FairQueue,
        ticket: impl FnOnce(&mut FairQueue) -> QueueTicket,
    ) -> Self {
        let (ticket, wakeup) = {
            let mut locked = state.lock();
            let queue = queue_of(&mut locked);
            let ticket = ticket(queue);
            (ticket, queue.enqueue(ticket))
        };
        let taken = false;
        Self {
            state,
            queue_of,
            ticket,
            wakeup,
            taken,
        }
    }

    /// Waits until `take` succeeds; it is told whether this place is the first. After a failure it is called again at the
    /// time that it returns, or without one when the first place changes.
    pub(crate) async fn wait(mut self, mut take: impl FnMut(&mut S, bool) -> Result<(), Option<Instant>>) {
        loop {
            let due = {
                let mut state = self.state.lock();
                let first = (self.queue_of)(&mut state).is_first(self.ticket);
                match take(&mut state, first) {
                    Ok(()) => {
                        self.taken = true;
                        break;
                    }
                    Err(due) => due,
                }
            };
            match due {
                // Another namespace can become the first meanwhile, so the loop checks again.
                Some(due) => sleep_until(due).await,
                None => self.wakeup.notified().await,
            }
        }
    }
}

impl<S> Drop for QueuePlace<'_, S> {
    fn drop(&mut self) {
        (self.queue_of)(&mut self.state.lock()).dequeue(self.ticket, self.taken);
    }
}

/// Takes a turn in a task of its own: a caller that does not poll this future, because it handles another event or
/// waits for a later turn, must not keep the first place of a queue for ever. `None` if the task ended without a
/// turn.
pub(crate) async fn in_own_task<T: Send + 'static>(
    turn: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    AbortOnDropHandle::new(tokio::spawn(turn)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves `turns` tickets; a served namespace queues again immediately.
    fn served(queue: &mut FairQueue, jobs: &[&'static str], turns: usize) -> HashMap<&'static str, usize> {
        let join = |queue: &mut FairQueue, namespace: &'static str| {
            let ticket = queue.issue_ticket(namespace);
            queue.enqueue(ticket);
            (ticket, namespace)
        };
        let mut tickets: Vec<(QueueTicket, &'static str)> = jobs.iter().map(|n| join(queue, n)).collect();
        let mut counts = HashMap::new();
        for _ in 0..turns {
            let at = tickets.iter().position(|(t, _)| queue.is_first(*t)).unwrap();
            let (ticket, namespace) = tickets[at];
            queue.dequeue(ticket, true);
            *counts.entry(namespace).or_default() += 1;
            tickets[at] = join(queue, namespace);
        }
        for (ticket, _) in tickets {
            queue.dequeue(ticket, false);
        }
        counts
    }

    #[test]
    fn namespaces_share_equally_however_many_jobs_they_have() {
        let mut queue = FairQueue::default();
        let jobs = ["a", "a", "a", "a", "a", "a", "a", "a", "a", "b"];
        let counts = served(&mut queue, &jobs, 1_000);
        assert!((450..=550).contains(&counts["b"]), "{counts:?}");
    }

    #[test]
    fn a_late_namespace_neither_waits_for_past_rounds_nor_gets_credit_for_them() {
        let mut queue = FairQueue::default();
        served(&mut queue, &["a"], 1_000);
        let counts = served(&mut queue, &["b", "c"], 100);
        assert!(counts["b"] >= 30 && counts["c"] >= 30, "{counts:?}");
    }
}
