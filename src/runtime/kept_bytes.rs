//! Bytes of what is kept in memory for objects: limited in all, and for each namespace, so that one of them does not use
//! all room.

use std::collections::HashMap;

/// The bytes in use.
pub struct KeptBytes {
    per_namespace: usize,
    in_all: usize,
    used: HashMap<String, usize>,
    total: usize,
}

impl KeptBytes {
    /// Creates an account with these limits.
    pub fn new(per_namespace: usize, in_all: usize) -> Self {
        Self {
            per_namespace,
            in_all,
            used: HashMap::new(),
            total: 0,
        }
    }

    /// Takes room for an object of a namespace. `false` if there is none.
    pub fn take(&mut self, namespace: &str, bytes: usize) -> bool {
        let used = self.used.get(namespace).copied().unwrap_or_default();
        let (used, total) = (used.saturating_add(bytes), self.total.saturating_add(bytes));
        let fits = used <= self.per_namespace && total <= self.in_all;
        if fits {
            self.used.insert(namespace.to_owned(), used);
            self.total = total;
        }
        fits
    }

    /// Returns room that was taken.
    pub fn give_back(&mut self, namespace: &str, bytes: usize) {
        self.total = self.total.saturating_sub(bytes);
        if let Some(used) = self.used.get_mut(namespace) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.used.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_limited_for_a_namespace_and_in_all_and_is_returned() {
        let mut kept = KeptBytes::new(10, 25);
        assert!(kept.take("a", 10));
        assert!(!kept.take("a", 1), "the namespace has used its room");
        assert!(kept.take("b", 10));
        assert!(!kept.take("c", 6), "all room is used");
        assert!(kept.take("c", 5));
        kept.give_back("a", 4);
        assert!(!kept.take("a", 5));
        assert!(kept.take("a", 4));
        assert!(!kept.take("d", usize::MAX));
        for (namespace, bytes) in [("a", 10), ("b", 10), ("c", 5)] {
            kept.give_back(namespace, bytes);
        }
        assert!(kept.used.is_empty() && kept.total == 0);
    }
}
