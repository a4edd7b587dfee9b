//! Keys that are ready for a worker. Flows are served in turns, and the keys of a flow first come, first served, so
//! that one namespace with many keys delays another by one key at most.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

/// The namespace that triggered a key: what the keys of one namespace are for the queue, as in API Priority and Fairness.
pub type Flow = Arc<str>;

/// Flows of one key; a bucket can have grants in any number of namespaces.
const MAX_FLOWS: usize = 64;

/// Adds a flow to those of a key.
pub(super) fn add_flow(flows: &mut BTreeSet<Flow>, flow: Flow) {
    if flows.len() < MAX_FLOWS {
        flows.insert(flow);
    }
}

/// The ready keys. A key can have several flows: it is served when the turn of the first of them comes.
pub(super) struct ReadyQueue<K> {
    /// The flows with keys, in the order of their turns.
    turns: VecDeque<Flow>,
    /// The keys of each flow; a key that was served in the turn of another flow is skipped.
    keys: HashMap<Flow, VecDeque<K>>,
    ready: HashMap<K, BTreeSet<Flow>>,
}

impl<K: Clone + Eq + Hash> ReadyQueue<K> {
    pub(super) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            keys: HashMap::new(),
            ready: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.ready.contains_key(key)
    }

    /// Adds a key, or further flows of a key that is ready already.
    pub(super) fn push(&mut self, key: &K, flows: impl IntoIterator<Item = Flow>) {
        let known = self.ready.entry(key.clone()).or_default();
        for flow in flows {
            if known.len() >= MAX_FLOWS || !known.insert(Arc::clone(&flow)) {
                continue;
            }
            let keys = self.keys.entry(Arc::clone(&flow)).or_default();
            if keys.is_empty() {
                self.turns.push_back(flow);
            }
            keys.push_back(key.clone());
        }
    }

    /// Takes the next key of a flow that `may_run` accepts, with the flow whose turn it was and all flows of the key.
    pub(super) fn pop(&mut self, may_run: impl Fn(&Flow) -> bool) -> Option<(K, Flow, BTreeSet<Flow>)> {
        for _ in 0..self.turns.len() {
            let flow = self.turns.pop_front()?;
            if !may_run(&flow) {
                self.turns.push_back(flow);
                continue;
            }
            let keys = self.keys.get_mut(&flow)?;
            let mut found = None;
            while let Some(key) = keys.pop_front() {
                let current = self.ready.get(&key).is_some_and(|flows| flows.contains(&flow));
                if current && let Some(flows) = self.ready.remove(&key) {
                    found = Some((key, flows));
                    break;
                }
            }
            if keys.is_empty() {
                self.keys.remove(&flow);
            } else {
                self.turns.push_back(Arc::clone(&flow));
            }
            if let Some((key, flows)) = found {
                return Some((key, flow, flows));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(name: &str) -> Flow {
        name.into()
    }

    #[test]
    fn shares_are_served_in_turns() {
        let mut queue = ReadyQueue::new();
        for key in 0..100 {
            queue.push(&key, [flow("many")]);
        }
        queue.push(&100, [flow("one")]);
        let served: Vec<i32> = (0..2).map(|_| queue.pop(|_| true).unwrap().0).collect();
        assert_eq!(served, [0, 100]);
        assert_eq!(queue.len(), 99);
    }

    #[test]
    fn a_key_of_two_shares_is_served_once_in_the_earlier_turn() {
        let mut queue = ReadyQueue::new();
        for key in 0..10 {
            queue.push(&key, [flow("many")]);
        }
        queue.push(&10, [flow("many")]);
        queue.push(&10, [flow("one")]);
        assert_eq!(queue.pop(|_| true).unwrap().0, 0);
        assert_eq!(queue.pop(|_| true).unwrap().0, 10);
        let rest: Vec<i32> = std::iter::from_fn(|| queue.pop(|_| true).map(|(key, ..)| key)).collect();
        assert_eq!(rest, (1..10).collect::<Vec<i32>>());
    }

    #[test]
    fn a_share_that_may_not_run_waits_and_delays_no_other() {
        let mut queue = ReadyQueue::new();
        queue.push(&1, [flow("full")]);
        queue.push(&2, [flow("free")]);
        let not_full = |flow: &Flow| **flow != *"full";
        assert_eq!(queue.pop(not_full).unwrap().0, 2);
        assert!(queue.pop(not_full).is_none());
        assert_eq!(queue.pop(|_| true).unwrap().0, 1);
    }
}
