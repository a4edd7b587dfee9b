//! The grants from which another writer removed the finalizer.

use parking_lot::Mutex;

use crate::core::grant::{GrantObject, ObjectKey, needed_by_patch};
use crate::runtime::kept_objects::KeptObjects;

/// Bytes of the grants that are kept, of one namespace and in all.
const NAMESPACE_BYTES: usize = 2 * 1024 * 1024;
const ALL_BYTES: usize = 8 * 1024 * 1024;

/// A grant without its finalizer.
struct MissingFinalizer {
    /// What the patch needs, as the watch showed it last; `None` if there was no room, so that it is read.
    grant: Option<GrantObject>,
    failures: u32,
}

/// The grants without their finalizer, with the number of failed attempts.
pub struct MissingFinalizers {
    grants: Mutex<KeptObjects<ObjectKey, MissingFinalizer>>,
}

impl Default for MissingFinalizers {
    fn default() -> Self {
        Self {
            grants: Mutex::new(KeptObjects::new(NAMESPACE_BYTES, ALL_BYTES)),
        }
    }
}

impl MissingFinalizers {
    /// Records a grant without its finalizer.
    pub fn insert(&self, grant: GrantObject) {
        self.put(grant, 0);
    }

    /// Removes a grant that has its finalizer again or was deleted.
    pub(super) fn remove(&self, key: &ObjectKey) {
        self.grants.lock().remove(key);
    }

    pub(super) fn put(&self, grant: GrantObject, failures: u32) {
        let key = grant.key.clone();
        let (grant, bytes) = needed_by_patch(grant);
        let grant = Some(grant);
        let mut grants = self.grants.lock();
        let missing = MissingFinalizer { grant, failures };
        if let Err(missing) = grants.put(key.clone(), &key.namespace, bytes, missing) {
            let unread = MissingFinalizer {
                grant: None,
                ..missing
            };
            // What has no bytes has room.
            let _ = grants.put(key.clone(), &key.namespace, 0, unread);
        }
    }

    /// Returns a grant, which stays recorded until [`Self::settled`]: a panic must not lose it. The grant is `None` if it
    /// has to be read.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<(Option<GrantObject>, u32)> {
        let grants = self.grants.lock();
        let missing = grants.get(key)?;
        Some((missing.grant.clone(), missing.failures))
    }

    /// Removes a grant that needs no further attempt, unless the watch has shown a newer version of it.
    pub(super) fn settled(&self, grant: &GrantObject) {
        let mut grants = self.grants.lock();
        let recorded = grants.get(&grant.key);
        let recorded = recorded.and_then(|missing| missing.grant.as_ref());
        if recorded.is_none_or(|known| known.resource_version == grant.resource_version) {
            grants.remove(&grant.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(namespace: &str, name: &str) -> GrantObject {
        GrantObject {
            spec: serde_json::from_value(json!({
                "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
                "grantee": {"accountUID": "12345"},
                "credentials": {"source": "Operator"},
            }))
            .map_err(|error| error.to_string()),
            ..GrantObject::bare(namespace, name)
        }
    }

    #[test]
    fn only_what_the_patch_needs_is_kept_and_not_of_every_grant() {
        let missing = MissingFinalizers::default();
        for number in 0..20_000 {
            missing.insert(grant("many", &number.to_string()));
        }
        missing.insert(grant("other", "one"));
        let get = |namespace: &str, name: &str| missing.get(&grant(namespace, name).key).unwrap().0;
        assert!(get("many", "0").is_some_and(|kept| kept.spec.is_err()));
        assert_eq!(get("many", "19999"), None, "it is read");
        assert!(get("other", "one").is_some(), "another namespace has room");
        for number in 0..20_000 {
            missing.settled(&grant("many", &number.to_string()));
        }
        assert_eq!(missing.grants.lock().values_mut().count(), 1);
        missing.insert(grant("many", "19999"));
        assert!(get("many", "19999").is_some(), "the room is returned");
    }
}
