//! A map for what may be forgotten at any time: it forgets all when it is full, so that nobody can fill the memory
//! with names.

use std::collections::BTreeMap;

/// A map of at most `MOST` keys.
pub struct BoundedMap<K, V, const MOST: usize = 10_000> {
    known: BTreeMap<K, V>,
}

impl<K: Ord, V, const MOST: usize> Default for BoundedMap<K, V, MOST> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
        }
    }
}

impl<K: Ord, V, const MOST: usize> BoundedMap<K, V, MOST> {
    /// Returns the value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    /// Removes a key. Returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.known.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_forgets_all() {
        let mut map: BoundedMap<u8, char, 2> = BoundedMap::default();
        map.insert(1, 'a');
        map.insert(2, 'b');
        assert_eq!((map.get(&1), map.get(&2)), (Some(&'a'), Some(&'b')));
        map.insert(3, 'c');
        assert_eq!((map.get(&1), map.get(&3)), (None, Some(&'c')));
        assert_eq!((map.remove(&3), map.remove(&3)), (Some('c'), None));
    }
}
