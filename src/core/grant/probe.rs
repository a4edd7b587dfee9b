//! The first read of a bucket by an identity that has not proven that it can read the policy, a *probe*: for which
//! grant it uses the identity, and what it may read.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::work::GrantWork;
use crate::api::{BucketRef, GrantSpec, LedgerEntry, ObservedBucket};
use crate::core::credential_use::{Purpose, without_lists, without_texts};
use crate::core::policy::PolicyRead;

/// Deadline of a probe, credentials included.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// What a probe read, and when it began.
#[derive(Clone, Debug)]
pub struct ProbeRead {
    /// Owner and region of the bucket; `None` if they were not needed.
    pub bucket: Option<ObservedBucket>,
    /// The policy; `None` if it was not read, because the owner of the bucket is not the one that the grant names.
    pub policy: Option<PolicyRead>,
    /// When the probe began.
    pub at: Timestamp,
}

/// The grant for which a probe uses the identity; the reconcile that takes the result decides for all grants. Only what
/// decides about the use is kept: there can be as many probes as grants.
#[derive(Clone)]
pub struct ProbingGrant {
    /// Uid of the grant.
    pub uid: String,
    /// `None` if the stored spec cannot be decoded.
    spec: Option<GrantSpec>,
    /// The ledger of a deleted grant, and its intended writes that have not taken effect; `None` if the grant is not
    /// being deleted.
    removes: Option<(Vec<LedgerEntry>, BTreeSet<String>)>,
}

impl ProbingGrant {
    /// Returns what decides about the use of the identity by a grant.
    pub fn of(work: &GrantWork) -> Self {
        let removes = || (without_texts(&work.input.ledger), work.input.unproven.clone());
        Self {
            uid: work.grant.uid.clone(),
            spec: work.grant.spec.as_ref().ok().map(without_lists),
            removes: work.grant.deleting.then(removes),
        }
    }

    /// Returns what the grant uses its identity for; `None` for one whose spec does not decode.
    pub fn purpose(&self) -> Option<Purpose<'_>> {
        let spec = self.spec.as_ref();
        let Some((ledger, unproven)) = &self.removes else {
            return spec.map(Purpose::Grant);
        };
        Some(Purpose::Removal {
            spec,
            ledger,
            unproven,
        })
    }
}

/// Whether the operator's own identity may read the policy of a bucket: its owner must be the one that the grant names.
pub fn is_owner_verified(place: &BucketRef, observed: &ObservedBucket) -> bool {
    observed.owner_uid.as_ref() == Some(&place.owner_uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EntryState;
    use crate::core::grant::work_of;

    #[test]
    fn a_probe_uses_the_identity_as_the_grant_would() {
        let mut work = work_of("a", Some(EntryState::Applied));
        let grant = ProbingGrant::of(&work);
        assert!(matches!(grant.purpose(), Some(Purpose::Grant(spec)) if spec.access.prefixes.is_empty()));
        work.grant.deleting = true;
        let grant = ProbingGrant::of(&work);
        let Some(Purpose::Removal { spec, ledger, .. }) = grant.purpose() else {
            panic!("{:?}", grant.purpose());
        };
        assert!(spec.is_some() && ledger.len() == 1 && ledger[0].statement.is_empty());
        work.grant.spec = Err("spec.mode is unknown".to_owned());
        assert!(
            matches!(
                ProbingGrant::of(&work).purpose(),
                Some(Purpose::Removal { spec: None, .. })
            ),
            "what it wrote is removed"
        );
        work.grant.deleting = false;
        assert!(ProbingGrant::of(&work).purpose().is_none());
    }

    #[test]
    fn the_operator_reads_only_the_policy_of_the_owner_that_is_named() {
        let place = work_of("a", None).grant.bucket.unwrap();
        for (owner, verified) in [(Some("65432"), true), (Some("1"), false), (None, false)] {
            let observed = ObservedBucket {
                owner_uid: owner.map(str::to_owned),
                region: None,
            };
            assert_eq!(is_owner_verified(&place, &observed), verified, "{owner:?}");
        }
    }
}
