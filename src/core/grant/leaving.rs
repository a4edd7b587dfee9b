//! Grants that were deleted while they owned statements and had no finalizer: which of them are kept in memory to remove
//! their statements, what is kept of them, and for how long.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::GrantObject;
use crate::api::{GrantStatus, LedgerEntry};
use crate::core::credential_use::without_lists;
use crate::core::json::serialized_len;

/// How long the operator tries to remove the statements of a deleted grant.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Bytes of a grant beside its spec and its ledger: names, and the status that its reconciles report.
const GRANT_BYTES: usize = 8 * 1024;

/// What the deletion of a grant means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The grant owned nothing, or the operator has released it.
    Regular,
    /// The grant is kept until its statements are removed.
    Kept,
    /// The grant owned nothing that this version can verify: its other entries are never acted on.
    Unverified,
    /// The grant owned statements, and it cannot be kept: it names no bucket, or those that are kept use all room.
    Dropped,
}

/// Returns what the deletion of a grant means if there is room for it. `released` says whether the operator itself has
/// removed its finalizer.
pub fn deletion_of(grant: &GrantObject, released: bool) -> Deletion {
    if released {
        Deletion::Regular
    } else if grant.status.owned.is_empty() {
        match grant.only_stored.unverified {
            0 => Deletion::Regular,
            _ => Deletion::Unverified,
        }
    } else if grant.bucket.is_none() {
        Deletion::Dropped
    } else {
        Deletion::Kept
    }
}

/// Returns what is kept of a deleted grant, which is what the removal of its statements needs, and its bytes.
pub fn kept_of(mut grant: GrantObject) -> (GrantObject, usize) {
    grant.spec = grant.spec.map(|spec| without_lists(&spec));
    grant.deleting = true;
    let spec = grant.spec.as_ref().map_or(0, serialized_len);
    let bytes = GRANT_BYTES + spec + serialized_len(&grant.status);
    (grant, bytes)
}

/// Returns until when a deleted grant is kept whose bucket is reconciled for the first time now.
pub fn kept_until(now: Timestamp) -> Timestamp {
    now.saturating_add(KEPT).unwrap_or(now)
}

/// Returns the grants of a bucket to reconcile: those that are listed, without the ones that are released, and `leaving`,
/// those that were deleted without their finalizer, which a stale list can still have.
pub fn to_reconcile(listed: Vec<GrantObject>, leaving: Vec<GrantObject>) -> Vec<GrantObject> {
    // A grant that is being deleted and no longer has our finalizer is released, unless somebody else has removed it.
    let is_released = |g: &GrantObject| g.deleting && !g.has_finalizer() && g.status.owned.is_empty();
    let is_stale = |g: &GrantObject| leaving.iter().any(|gone| gone.uid == g.uid);
    let mut grants = listed;
    grants.retain(|g| !is_released(g) && !is_stale(g));
    grants.extend(leaving);
    grants
}

/// Whether a status records no statement that the stored one does not: a reconcile that began before the deletion
/// wants to add it, and memory is no ledger for that.
pub fn records_nothing_new(stored: &GrantStatus, new: &GrantStatus) -> bool {
    let is_known = |new: &LedgerEntry| stored.owned.iter().any(|old| old.fingerprint == new.fingerprint);
    new.owned.iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::BucketRef;

    fn grant(owned: usize, unverified: usize, bucket: bool) -> GrantObject {
        let mut grant = GrantObject::bare("a", "uid");
        grant.status = status(&(0..owned).map(|n| n.to_string()).collect::<Vec<_>>());
        grant.only_stored.unverified = unverified;
        grant.bucket = bucket.then(|| BucketRef {
            name: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            owner_uid: "1".to_owned(),
        });
        grant
    }

    fn status(fingerprints: &[String]) -> GrantStatus {
        let entry = |fingerprint: &String| json!({"fingerprint": fingerprint, "role": "Access", "state": "Applied", "statement": "{}"});
        let owned: Vec<_> = fingerprints.iter().map(entry).collect();
        serde_json::from_value(json!({ "owned": owned })).unwrap()
    }

    #[test]
    fn a_grant_is_kept_unless_it_owned_nothing_or_was_released() {
        for (owned, unverified, bucket, released, expected) in [
            (0, 0, true, false, Deletion::Regular),
            (0, 1, true, false, Deletion::Unverified),
            (0, 1, true, true, Deletion::Regular),
            (1, 0, true, true, Deletion::Regular),
            (1, 0, true, false, Deletion::Kept),
            (1, 1, true, false, Deletion::Kept),
            (1, 0, false, false, Deletion::Dropped),
        ] {
            let found = deletion_of(&grant(owned, unverified, bucket), released);
            assert_eq!(found, expected, "{owned} {unverified} {bucket} {released}");
        }
    }

    #[test]
    fn only_what_the_removal_needs_is_kept() {
        let mut deleted = grant(2, 0, true);
        deleted.spec = serde_json::from_value(json!({
            "bucket": {"name": "pics", "region": "cn-hangzhou", "ownerUID": "65432"},
            "grantee": {"accountUID": "12345"},
            "credentials": {"source": "Operator"},
            "allowedConsumers": {"namespaces": vec!["analytics"; 50]},
        }))
        .map_err(|error: serde_json::Error| error.to_string());
        let (small, less) = kept_of(grant(0, 0, true));
        assert!(small.deleting && less > GRANT_BYTES);
        let (kept, bytes) = kept_of(deleted.clone());
        assert_eq!(kept.status, deleted.status);
        let spec = kept.spec.unwrap();
        assert_eq!(spec.bucket, deleted.spec.unwrap().bucket);
        assert_eq!(
            bytes,
            GRANT_BYTES + serialized_len(&spec) + serialized_len(&kept.status)
        );
        assert!(!serde_json::to_string(&spec).unwrap().contains("analytics"));
    }

    #[test]
    fn a_status_in_memory_records_no_new_statement() {
        let of = |names: &[&str]| status(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let stored = of(&["1", "2"]);
        for (new, nothing_new) in [
            (of(&[]), true),
            (of(&["2"]), true),
            (of(&["1", "2"]), true),
            (of(&["1", "3"]), false),
        ] {
            assert_eq!(records_nothing_new(&stored, &new), nothing_new);
        }
    }

    #[test]
    fn released_grants_are_not_reconciled_and_deleted_ones_once() {
        let named = |name: &str, owned: usize| {
            let mut grant = grant(owned, 0, true);
            name.clone_into(&mut grant.uid);
            grant
        };
        let deleting = |mut grant: GrantObject| {
            grant.deleting = true;
            grant
        };
        let mut protected = deleting(named("protected", 0));
        protected.finalizers.push(crate::api::FINALIZER.to_owned());
        let listed = vec![
            named("live", 0),
            deleting(named("released", 0)),
            protected,
            deleting(named("unprotected", 1)),
            named("gone", 1),
        ];
        let grants = to_reconcile(listed, vec![deleting(named("gone", 2))]);
        let found: Vec<_> = grants
            .iter()
            .map(|g| (g.uid.as_str(), g.status.owned.len()))
            .collect();
        let expected = [("live", 0), ("protected", 0), ("unprotected", 1), ("gone", 2)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_grant_is_kept_for_a_day() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert_eq!(kept_until(now).as_second(), 1_790_000_000 + 24 * 3600);
        assert_eq!(kept_until(Timestamp::MAX), Timestamp::MAX);
    }
}
