//! Grants that were deleted while they owned statements and had no finalizer. Their last object is kept in memory and
//! reconciled like a grant that is being deleted, until its statements are removed. A restart loses it.

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::queue_key::QueueKey;
use crate::api::GrantStatus;
use crate::core::bounded_map::BoundedMap;
use crate::core::grant::{
    Deletion, GrantObject, ObjectKey, deletion_of, kept_of, kept_until, records_nothing_new,
};
use crate::runtime::kept_objects::KeptObjects;
use crate::runtime::metric_labels::DeletionOutcome;
use crate::runtime::metrics::Metrics;

/// Bytes of the deleted grants that are kept, of one namespace and in all: some hundred grants, or dozens of the largest.
const NAMESPACE_BYTES: usize = 1024 * 1024;
const ALL_BYTES: usize = 8 * 1024 * 1024;

/// A deleted grant, and until when it is kept; `None` until its bucket is reconciled for the first time.
struct LeavingGrant {
    grant: GrantObject,
    until: Option<Timestamp>,
}

/// The deleted grants that still own statements.
pub struct LeavingGrants {
    /// By uid.
    leaving: Mutex<KeptObjects<String, LeavingGrant>>,
    /// Uids of the grants that the operator itself has released: their deletion needs nothing. The deletion of some
    /// was not seen, because the watch was interrupted. Forgetting one costs a read.
    released: Mutex<BoundedMap<String, ()>>,
}

impl Default for LeavingGrants {
    fn default() -> Self {
        Self {
            leaving: Mutex::new(KeptObjects::new(NAMESPACE_BYTES, ALL_BYTES)),
            released: Mutex::default(),
        }
    }
}

impl LeavingGrants {
    /// Records that the operator is about to remove the finalizer of a grant.
    pub(super) fn releasing(&self, grant: &GrantObject) {
        self.released.lock().insert(grant.uid.clone(), ());
    }

    /// Records that the API server kept the finalizer.
    pub(super) fn not_released(&self, grant: &GrantObject) {
        self.released.lock().remove(&grant.uid);
    }

    /// Takes the last object of a deleted grant.
    pub fn deleted(&self, grant: GrantObject) -> Deletion {
        let released = self.released.lock().remove(&grant.uid).is_some();
        let deletion = deletion_of(&grant, released);
        if deletion != Deletion::Kept {
            return deletion;
        }
        let (grant, bytes) = kept_of(grant);
        let (uid, namespace) = (grant.uid.clone(), grant.key.namespace.clone());
        let grant = LeavingGrant { grant, until: None };
        match self.leaving.lock().put(uid, &namespace, bytes, grant) {
            Ok(()) => Deletion::Kept,
            Err(_) => Deletion::Dropped,
        }
    }

    /// Forgets a deleted grant that exists again, because the API server was restored from a backup: its ledger is stored
    /// there. `false` if the grant is not one of them.
    pub fn exists_again(&self, uid: &String) -> bool {
        self.leaving.lock().remove(uid)
    }

    /// Returns the deleted grants of a bucket, and those that were kept too long, which are dropped.
    pub(super) fn of_bucket(&self, bucket: &str, now: Timestamp) -> (Vec<GrantObject>, Vec<GrantObject>) {
        let mut all = self.leaving.lock();
        let (mut kept, mut expired) = (Vec::new(), Vec::new());
        for leaving in all.values_mut() {
            let place = leaving.grant.bucket.as_ref();
            if place.is_some_and(|place| place.name == bucket) {
                let until = *leaving.until.get_or_insert_with(|| kept_until(now));
                let list = if until <= now { &mut expired } else { &mut kept };
                list.push(leaving.grant.clone());
            }
        }
        for grant in &expired {
            all.remove(&grant.uid);
        }
        (kept, expired)
    }

    /// Keeps the status of a deleted grant in memory. `false` if the grant is not one of them, or if the status records a
    /// new statement.
    pub(super) fn store_status(&self, uid: &String, status: &GrantStatus) -> bool {
        let mut all = self.leaving.lock();
        let Some(leaving) = all.get_mut(uid) else {
            return false;
        };
        let stores = records_nothing_new(&leaving.grant.status, status);
        if stores {
            leaving.grant.status.clone_from(status);
        }
        stores
    }

    /// Forgets a deleted grant that owns nothing any more. `false` if the grant is not one of them.
    pub(super) fn finished(&self, uid: &String) -> bool {
        self.leaving.lock().remove(uid)
    }
}

/// Takes the last object of a deleted grant. Returns the bucket to reconcile if the grant left statements behind.
pub(super) fn on_deleted(leaving: &LeavingGrants, metrics: &Metrics, grant: GrantObject) -> Option<QueueKey> {
    let (key, statements) = (grant.key.clone(), grant.status.owned.len());
    let unverified = grant.only_stored.unverified;
    let bucket = grant.bucket.as_ref().map(|place| place.name.as_str().into());
    match leaving.deleted(grant) {
        Deletion::Regular => None,
        Deletion::Kept => {
            metrics.unprotected_deletion(DeletionOutcome::Started);
            tracing::warn!(
                grant = %key,
                statements,
                "grant was deleted without its finalizer; removing its statements"
            );
            bucket.map(QueueKey::Bucket)
        }
        Deletion::Unverified => {
            metrics.unprotected_deletion(DeletionOutcome::Dropped);
            tracing::error!(
                grant = %key,
                entries = unverified,
                "failed to remove what a grant owned that was deleted without its finalizer: this version cannot verify its entries"
            );
            None
        }
        Deletion::Dropped => {
            metrics.unprotected_deletion(DeletionOutcome::Dropped);
            tracing::error!(
                grant = %key,
                statements,
                "failed to keep a grant that was deleted without its finalizer; its statements remain in the policy"
            );
            None
        }
    }
}

/// Forgets a deleted grant that exists again.
pub(super) fn on_exists(leaving: &LeavingGrants, metrics: &Metrics, grant: &ObjectKey, uid: &String) {
    if leaving.exists_again(uid) {
        metrics.unprotected_deletion(DeletionOutcome::Restored);
        tracing::warn!(%grant, "grant exists again that was deleted without its finalizer");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

    use super::*;
    use crate::api::{BucketRef, EntryState, LedgerEntry, StatementRole};

    fn grant(namespace: &str, uid: &str) -> GrantObject {
        let entry = LedgerEntry {
            fingerprint: "sha256:1".to_owned(),
            role: StatementRole::Access,
            state: EntryState::Applied,
            pre_existing: false,
            statement: "{}".to_owned(),
            copies: None,
            unsettled_until: None,
            identity: None,
            other: std::collections::BTreeMap::new(),
        };
        GrantObject {
            bucket: Some(BucketRef {
                name: "pics".to_owned(),
                region: "cn-hangzhou".to_owned(),
                owner_uid: "1".to_owned(),
            }),
            status: GrantStatus {
                owned: vec![entry],
                ..GrantStatus::default()
            },
            ..GrantObject::bare(namespace, uid)
        }
    }

    #[test]
    fn a_release_is_remembered_until_the_deletion_or_until_the_api_server_kept_the_finalizer() {
        let leaving = LeavingGrants::default();
        let released = grant("a", "released");
        leaving.releasing(&released);
        assert_eq!(leaving.deleted(released), Deletion::Regular);
        let refused = grant("a", "refused");
        leaving.releasing(&refused);
        leaving.not_released(&refused);
        assert_eq!(leaving.deleted(refused), Deletion::Kept);
    }

    #[test]
    fn a_status_is_kept_only_of_a_deleted_grant_and_without_a_new_statement() {
        let leaving = LeavingGrants::default();
        let kept = grant("a", "kept");
        let mut status = kept.status.clone();
        leaving.deleted(kept);
        assert!(!leaving.store_status(&"another".to_owned(), &status));
        status.owned[0].state = EntryState::Removing;
        assert!(leaving.store_status(&"kept".to_owned(), &status));
        status.owned[0].fingerprint = "sha256:2".to_owned();
        assert!(!leaving.store_status(&"kept".to_owned(), &status));
    }

    #[test]
    fn a_grant_that_is_restored_is_no_longer_kept_in_memory() {
        let (leaving, metrics) = (LeavingGrants::default(), Metrics::default());
        let (restored, uid) = (grant("a", "restored"), "restored".to_owned());
        on_deleted(&leaving, &metrics, restored.clone());
        // Each later change of the grant is seen too, and counts no more.
        for _ in 0..2 {
            on_exists(&leaving, &metrics, &restored.key, &uid);
        }
        assert!(!leaving.finished(&uid));
        let series = metrics.render();
        for outcome in ["started", "restored"] {
            let line = format!("immops_unprotected_deletions_total{{outcome=\"{outcome}\"}} 1\n");
            assert!(series.contains(&line), "{outcome}: {series}");
        }
    }

    #[test]
    fn a_deleted_grant_is_kept_for_a_day_and_one_namespace_does_not_use_all_room() {
        let leaving = LeavingGrants::default();
        let mut kept = 0;
        for number in 0..1_000 {
            let mut large = grant("many", &number.to_string());
            large.status.owned[0].statement = "x".repeat(16 * 1024);
            kept += usize::from(leaving.deleted(large) == Deletion::Kept);
        }
        assert!((16..NAMESPACE_BYTES / (16 * 1024)).contains(&kept), "{kept}");
        assert_eq!(leaving.deleted(grant("other", "one")), Deletion::Kept);
        let kept = kept + 1;
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let count = |hours: i64| {
            let (kept, expired) = leaving.of_bucket("pics", start + SignedDuration::from_hours(hours));
            (kept.len(), expired.len())
        };
        assert_eq!(count(0), (kept, 0));
        assert_eq!(count(23), (kept, 0));
        assert_eq!(count(24), (0, kept));
        assert_eq!(count(24), (0, 0));
        assert_eq!(
            leaving.deleted(grant("many", "next")),
            Deletion::Kept,
            "the room is returned"
        );
    }
}
