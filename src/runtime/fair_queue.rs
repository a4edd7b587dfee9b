//! Who is next at a project: namespaces take turns, and within a namespace whoever came first. A job stands in line once,
//! so that jobs of a namespace take turns as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

/// A place in line: lower comes first. Whoever leaves without its turn may come back to its place.
pub type QueueTicket = (u64, u64);

/// Those who wait.
#[derive(Default)]
pub(crate) struct FairQueue {
    waiting: BTreeMap<QueueTicket, Arc<Notify>>,
    /// The round in which each namespace has its last turn so far.
    rounds: HashMap<String, u64>,
    /// The round of the last turn that was taken.
    round: u64,
    arrivals: u64,
}

impl FairQueue {
    /// A new place: a namespace that waits already comes a round later for each of its waiting turns.
    pub(crate) fn issue_ticket(&mut self, namespace: &str) -> QueueTicket {
        let last = self.rounds.entry(namespace.to_owned()).or_default();
        *last = (*last + 1).max(self.round);
        self.arrivals += 1;
        (*last, self.arrivals)
    }

    /// Stands in line; the bell rings when this one is first.
    pub(crate) fn enqueue(&mut self, ticket: QueueTicket) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        self.waiting.insert(ticket, Arc::clone(&bell));
        bell
    }

    /// Whether it is this one's turn.
    pub(crate) fn is_first(&self, ticket: QueueTicket) -> bool {
        self.waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket)
    }

    /// Leaves the line, with the turn taken or not.
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

    /// Wakes whoever is first.
    pub(crate) fn wake_first(&self) {
        if let Some((_, bell)) = self.waiting.first_key_value() {
            bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves `turns` turns; whoever is served joins again at once.
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
    fn whoever_comes_late_neither_waits_for_the_past_nor_is_repaid_for_it() {
        let mut queue = FairQueue::default();
        served(&mut queue, &["a"], 1_000);
        let counts = served(&mut queue, &["b", "c"], 100);
        assert!(counts["b"] >= 30 && counts["c"] >= 30, "{counts:?}");
    }
}
