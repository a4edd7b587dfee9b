//! Objects that are kept in memory, with a limit of their bytes.

use std::collections::BTreeMap;

use super::kept_bytes::KeptBytes;

/// The objects by key.
pub struct KeptObjects<K, T> {
    objects: BTreeMap<K, KeptObject<T>>,
    room: KeptBytes,
}

struct KeptObject<T> {
    object: T,
    namespace: String,
    bytes: usize,
}

impl<K: Ord, T> KeptObjects<K, T> {
    /// No objects, with these limits of a namespace and of all.
    pub fn new(per_namespace: usize, in_all: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            room: KeptBytes::new(per_namespace, in_all),
        }
    }

    /// Keeps an object of a namespace, in place of the one with its key.
    ///
    /// # Errors
    /// Returns the object if there is no room for its bytes.
    pub fn put(&mut self, key: K, namespace: &str, bytes: usize, object: T) -> Result<(), T> {
        self.remove(&key);
        if !self.room.take(namespace, bytes) {
            return Err(object);
        }
        let namespace = namespace.to_owned();
        let kept = KeptObject {
            object,
            namespace,
            bytes,
        };
        self.objects.insert(key, kept);
        Ok(())
    }

    /// Forgets an object. `false` if it is not kept.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(kept) = self.objects.remove(key) else {
            return false;
        };
        self.room.give_back(&kept.namespace, kept.bytes);
        true
    }

    /// Returns an object.
    pub fn get(&self, key: &K) -> Option<&T> {
        self.objects.get(key).map(|kept| &kept.object)
    }

    /// Returns an object whose bytes stay as they are.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        self.objects.get_mut(key).map(|kept| &mut kept.object)
    }

    /// Returns all objects.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.objects.values_mut().map(|kept| &mut kept.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_while_there_is_room_and_replaces_itself() {
        let mut kept = KeptObjects::new(10, 15);
        assert_eq!(kept.put(1, "a", 10, "one"), Ok(()));
        assert_eq!(
            kept.put(2, "a", 1, "two"),
            Err("two"),
            "the namespace has used its room"
        );
        assert_eq!(kept.put(1, "a", 9, "first"), Ok(()));
        assert_eq!(kept.put(2, "a", 1, "two"), Ok(()));
        assert_eq!((kept.get(&1), kept.get(&3)), (Some(&"first"), None));
        assert_eq!(kept.values_mut().count(), 2);
        assert_eq!(kept.put(1, "a", 11, "large"), Err("large"));
        assert_eq!(kept.get_mut(&1), None, "the former one is gone");
        assert!(kept.remove(&2) && !kept.remove(&2));
        assert_eq!(kept.put(3, "a", 10, "three"), Ok(()), "the room is returned");
    }
}
