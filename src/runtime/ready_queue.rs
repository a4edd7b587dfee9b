//! Keys that are ready for a worker. Shares are served in turns, and the keys of a share first come, first served, so
//! that one namespace with many keys delays another by one key at most.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

/// A share of the workers: the namespace that triggered a key.
pub type Share = Arc<str>;

/// Shares of one key; a bucket can have grants in any number of namespaces.
const MAX_SHARES: usize = 64;

/// Adds a share to those of a key.
pub(super) fn add_share(shares: &mut BTreeSet<Share>, share: Share) {
    if shares.len() < MAX_SHARES {
        shares.insert(share);
    }
}

/// The ready keys. A key can have several shares: it is served when the turn of the first of them comes.
pub(super) struct ReadyQueue<K> {
    /// The shares with keys, in the order of their turns.
    turns: VecDeque<Share>,
    /// The keys of each share; a key that was served in the turn of another share is skipped.
    keys: HashMap<Share, VecDeque<K>>,
    ready: HashMap<K, BTreeSet<Share>>,
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

    /// Adds a key, or further shares of a key that is ready already.
    pub(super) fn push(&mut self, key: &K, shares: impl IntoIterator<Item = Share>) {
        let known = self.ready.entry(key.clone()).or_default();
        for share in shares {
            if known.len() >= MAX_SHARES || !known.insert(Arc::clone(&share)) {
                continue;
            }
            let keys = self.keys.entry(Arc::clone(&share)).or_default();
            if keys.is_empty() {
                self.turns.push_back(share);
            }
            keys.push_back(key.clone());
        }
    }

    /// Takes the next key of a share that `may_run` accepts, with the share whose turn it was and all shares of the key.
    pub(super) fn pop(&mut self, may_run: impl Fn(&Share) -> bool) -> Option<(K, Share, BTreeSet<Share>)> {
        for _ in 0..self.turns.len() {
            let share = self.turns.pop_front()?;
            if !may_run(&share) {
                self.turns.push_back(share);
                continue;
            }
            let keys = self.keys.get_mut(&share)?;
            let mut found = None;
            while let Some(key) = keys.pop_front() {
                let current = self.ready.get(&key).is_some_and(|shares| shares.contains(&share));
                if current && let Some(shares) = self.ready.remove(&key) {
                    found = Some((key, shares));
                    break;
                }
            }
            if keys.is_empty() {
                self.keys.remove(&share);
            } else {
                self.turns.push_back(Arc::clone(&share));
            }
            if let Some((key, shares)) = found {
                return Some((key, share, shares));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str) -> Share {
        name.into()
    }

    #[test]
    fn shares_are_served_in_turns() {
        let mut queue = ReadyQueue::new();
        for key in 0..100 {
            queue.push(&key, [share("many")]);
        }
        queue.push(&100, [share("one")]);
        let served: Vec<i32> = (0..2).map(|_| queue.pop(|_| true).unwrap().0).collect();
        assert_eq!(served, [0, 100]);
        assert_eq!(queue.len(), 99);
    }

    #[test]
    fn a_key_of_two_shares_is_served_once_in_the_earlier_turn() {
        let mut queue = ReadyQueue::new();
        for key in 0..10 {
            queue.push(&key, [share("many")]);
        }
        queue.push(&10, [share("many")]);
        queue.push(&10, [share("one")]);
        assert_eq!(queue.pop(|_| true).unwrap().0, 0);
        assert_eq!(queue.pop(|_| true).unwrap().0, 10);
        let rest: Vec<i32> = std::iter::from_fn(|| queue.pop(|_| true).map(|(key, ..)| key)).collect();
        assert_eq!(rest, (1..10).collect::<Vec<i32>>());
    }

    #[test]
    fn a_share_that_may_not_run_waits_and_delays_no_other() {
        let mut queue = ReadyQueue::new();
        queue.push(&1, [share("full")]);
        queue.push(&2, [share("free")]);
        let not_full = |share: &Share| **share != *"full";
        assert_eq!(queue.pop(not_full).unwrap().0, 2);
        assert!(queue.pop(not_full).is_none());
        assert_eq!(queue.pop(|_| true).unwrap().0, 1);
    }
}
