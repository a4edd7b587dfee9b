//! Grants from which another writer removed the finalizer: what the patch that adds it again needs of them, and what
//! follows from a patch that failed.

use std::time::Duration;

use super::{GrantObject, ObjectKey, OnlyStored};
use crate::api::GrantStatus;
use crate::core::error::KubeError;
use crate::core::requeue;

/// Bytes of a grant beside its names.
const GRANT_BYTES: usize = 512;
/// First delay between two attempts.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Longest delay between two attempts.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Returns a grant without its spec and its status, which the patch does not need, and its bytes.
pub fn needed_by_patch(grant: GrantObject) -> (GrantObject, usize) {
    let names = grant
        .finalizers
        .iter()
        .map(|name| name.len() + size_of::<String>());
    let key = grant.key.name.len() + grant.key.namespace.len();
    let bytes = GRANT_BYTES + 2 * key + names.sum::<usize>();
    let grant = GrantObject {
        spec: Err(String::new()),
        status: GrantStatus::default(),
        only_stored: OnlyStored::default(),
        bucket: None,
        identity: None,
        ..grant
    };
    (grant, bytes)
}

/// Whether a grant still needs its finalizer.
pub fn lacks_finalizer(grant: &GrantObject) -> bool {
    !grant.deleting && !grant.has_finalizer()
}

/// What follows from a patch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailedPatch {
    /// The object does not exist any more.
    Forget,
    /// The object has changed since the watch showed it: it is read.
    ReadAgain,
    /// The same patch is tried again.
    Retry,
}

/// Returns what follows from a patch that failed with this error.
pub fn after_failed_patch(error: KubeError) -> AfterFailedPatch {
    match error {
        KubeError::NotFound => AfterFailedPatch::Forget,
        KubeError::Conflict | KubeError::Invalid => AfterFailedPatch::ReadAgain,
        KubeError::Forbidden | KubeError::Unavailable => AfterFailedPatch::Retry,
    }
}

/// Returns the delay before the next attempt.
pub fn retry_patch(failures: u32, key: &ObjectKey) -> Duration {
    requeue::exponential_backoff(failures, FIRST_RETRY, LONGEST_RETRY, &key.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_patch_needs_names_version_and_finalizers_only() {
        let mut grant = GrantObject::bare("a", "g");
        grant.resource_version = "7".to_owned();
        let (bare, without) = needed_by_patch(grant.clone());
        grant.spec = serde_json::from_value(json!({
            "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
            "grantee": {"accountUID": "12345"},
            "credentials": {"source": "Operator"},
        }))
        .map_err(|error| error.to_string());
        let spec = grant.spec.clone().unwrap();
        grant.bucket = Some(spec.bucket.clone());
        grant.status.observed_generation = Some(3);
        grant.only_stored.unverified = 1;
        grant.finalizers = vec!["example.com/a".to_owned()];
        let (kept, with) = needed_by_patch(grant);
        assert!(kept.spec.is_err() && kept.bucket.is_none() && kept.identity.is_none());
        assert_eq!(kept.status, GrantStatus::default());
        assert_eq!(kept.only_stored.unverified, 0);
        assert_eq!(
            (kept.key, kept.uid, kept.resource_version, kept.finalizers.len()),
            (bare.key, bare.uid, "7".to_owned(), 1)
        );
        assert_eq!(with - without, "example.com/a".len() + size_of::<String>());
    }

    #[test]
    fn a_changed_object_is_read_again() {
        for (error, next) in [
            (KubeError::NotFound, AfterFailedPatch::Forget),
            (KubeError::Conflict, AfterFailedPatch::ReadAgain),
            (KubeError::Invalid, AfterFailedPatch::ReadAgain),
            (KubeError::Forbidden, AfterFailedPatch::Retry),
            (KubeError::Unavailable, AfterFailedPatch::Retry),
        ] {
            assert_eq!(after_failed_patch(error), next, "{error}");
        }
    }

    #[test]
    fn retries_become_rare() {
        let key = ObjectKey::default();
        assert!(retry_patch(1, &key) <= FIRST_RETRY);
        assert!((LONGEST_RETRY / 2..=LONGEST_RETRY).contains(&retry_patch(u32::MAX, &key)));
    }
}
