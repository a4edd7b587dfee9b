//! The facts about a bucket that its grants need before anything is planned: who owns it, where it is, and whether Block
//! Public Access is on. Each costs a call.

use k8s_openapi::jiff::Timestamp;

use super::work::{GrantWork, undecided};
use super::{
    Desired, Disposition, GrantObject, GrantState, OnDrift, PassRoleDecision, PublicAccessBlock,
    RejectedAdditions, decide_pass_role, drift, parse_spec,
};
use crate::api::{GrantSpec, Mode, ObservedBucket, PassRoleStatement};

/// Facts about the bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreparationFacts {
    /// Owner and region, if they were read in this reconcile.
    pub bucket: Option<ObservedBucket>,
    /// Block Public Access, if it was read in this reconcile.
    pub block: Option<PublicAccessBlock>,
    /// Whether OSS has just rejected a public policy.
    pub public_refused: bool,
}

/// The facts that have to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeededFacts {
    /// Owner and region.
    pub bucket: bool,
    /// Block Public Access.
    pub block: bool,
    /// Whether a grant may still want what OSS has just rejected as public.
    pub public_refused: bool,
}

/// Returns the facts that the grants need: each is read once per generation, and again only while the bucket does not
/// match the spec or after OSS rejected a public policy (`public_refused`).
pub fn needed_facts(batch: &[GrantWork], is_operator: bool, public_refused: bool) -> NeededFacts {
    let open = || undecided(batch);
    let active = || open().filter(|work| !work.grant.deleting).map(|work| &work.grant);
    let unseen = |grant: &GrantObject| {
        let new = grant.status.observed_generation != Some(grant.generation);
        let observed = grant.status.bucket.as_ref();
        observed.is_none_or(|observed| new || bucket_mismatch(grant, observed, is_operator).is_some())
    };
    let needs_block = |grant: &GrantObject| {
        let spec = grant.spec.as_ref().ok();
        spec.is_some_and(|spec| decide_pass_role(spec, grant.generation, &grant.status, None).is_none())
    };
    let omits = |spec: &GrantSpec| spec.access.pass_role_statement == PassRoleStatement::Omit;
    let public_refused = public_refused && active().any(|grant| !grant.spec.as_ref().is_ok_and(omits));
    // The operator's own identity removes statements only from a bucket whose owner it has verified just now.
    let verify = is_operator && open().any(|work| work.grant.deleting);
    NeededFacts {
        bucket: verify || active().any(unseen),
        block: public_refused || active().any(needs_block),
        public_refused,
    }
}

/// Returns Block Public Access as it counts. After OSS has rejected a public policy, it is on, even if it reads as off or
/// cannot be read.
pub fn effective_block(read: PublicAccessBlock, public_refused: bool) -> PublicAccessBlock {
    match (read, public_refused) {
        (PublicAccessBlock::Off | PublicAccessBlock::Unreadable, true) => PublicAccessBlock::RefusedByOss,
        (read, _) => read,
    }
}

/// Whether the owner and the region of the bucket have to be read for a grant, together with its first read of the
/// policy.
pub fn needs_bucket_read(work: &GrantWork) -> bool {
    let grant = &work.grant;
    let new = grant.status.observed_generation != Some(grant.generation);
    work.decided.is_none() && !grant.deleting && (new || grant.status.bucket.is_none())
}

/// Returns the mismatch between the bucket and the spec: owner, region, or an owner that cannot be verified. `None` when
/// the bucket matches.
fn bucket_mismatch(grant: &GrantObject, observed: &ObservedBucket, is_operator: bool) -> Option<GrantState> {
    let bucket = grant.bucket.as_ref()?;
    match (&observed.owner_uid, &observed.region) {
        (Some(owner), _) if *owner != bucket.owner_uid => Some(GrantState::WrongOwner(owner.clone())),
        (_, Some(region)) if *region != bucket.region => Some(GrantState::WrongRegion(region.clone())),
        (None, _) if is_operator => Some(GrantState::OwnerUnverified),
        _ => None,
    }
}

/// Records the owner that was read right before a write. Returns `false` when a grant names another one, so that a
/// new plan is needed.
pub fn verify_bucket(batch: &mut [GrantWork], observed: &ObservedBucket, is_operator: bool) -> bool {
    let mut verified = true;
    for work in batch.iter_mut().filter(|work| work.decided.is_none()) {
        work.bucket = Some(observed.clone());
        if let Some(mismatch) = bucket_mismatch(&work.grant, observed, is_operator) {
            work.carry(mismatch);
            verified = false;
        }
    }
    verified
}

/// Decides with the facts what a grant wants. Returns the statements of a grant that is to be enforced; the others get
/// their state, or are being deleted.
pub fn decide_desired(
    work: &mut GrantWork,
    facts: &PreparationFacts,
    is_operator: bool,
    now: Timestamp,
) -> Option<Desired> {
    if work.decided.is_some() {
        return None;
    }
    if work.grant.deleting {
        let observed = facts.bucket.clone().unwrap_or_default();
        if let Some(mismatch) = bucket_mismatch(&work.grant, &observed, true).filter(|_| is_operator) {
            work.carry(mismatch);
        }
        return None;
    }
    let observed = facts.bucket.as_ref().or(work.grant.status.bucket.as_ref());
    work.decided = observed.and_then(|observed| bucket_mismatch(&work.grant, observed, is_operator));
    work.bucket.clone_from(&facts.bucket);
    if work.decided.is_some() {
        return None;
    }
    let spec = work.grant.spec.as_ref().ok()?;
    let (mode, choice) = (spec.mode, choose_pass_role(spec, &work.grant, facts));
    let mut desired = parse_spec(spec, choice).ok()?;
    if drift::backoff_left(work.grant.status.repeated_drift.as_ref(), now).is_some() {
        desired.on_drift = OnDrift::Report;
    }
    work.pass_role = Some(choice);
    if mode == Mode::Preview {
        work.decided = Some(GrantState::Preview);
        work.preview = Some(desired);
        return None;
    }
    Some(desired)
}

/// Enforces the statements of a grant, unless OSS has rejected them: it then keeps the error.
pub fn want(work: &mut GrantWork, desired: Desired, rejected: &RejectedAdditions) {
    match rejected.error_of(&work.grant) {
        Some(error) => work.decided = Some(GrantState::CloudFailed(error.clone())),
        None => work.input.disposition = Disposition::Enforced(desired),
    }
}

fn choose_pass_role(spec: &GrantSpec, grant: &GrantObject, facts: &PreparationFacts) -> PassRoleDecision {
    let decide = |block| decide_pass_role(spec, grant.generation, &grant.status, block);
    // A setting that was read for another grant does not change what was decided for this one.
    let decided = decide(None).filter(|_| !facts.public_refused);
    let decided = decided.or_else(|| decide(facts.block));
    decided.unwrap_or(PassRoleDecision::OmittedBecause(PublicAccessBlock::Unreadable))
}

/// Whether no grant of the batch needs the policy: the operator's own identity reads no policy of a bucket whose owner is
/// not the one that a grant names.
pub fn is_unverified(batch: &[GrantWork], is_operator: bool) -> bool {
    let unverified = |work: &GrantWork| work.decided.is_some() && work.preview.is_none();
    is_operator && batch.iter().all(unverified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::{CloudError, CloudErrorKind};
    use crate::core::grant::{Removal, work_of};

    fn observed(owner: Option<&str>, region: &str) -> ObservedBucket {
        ObservedBucket {
            owner_uid: owner.map(str::to_owned),
            region: Some(region.to_owned()),
        }
    }

    fn right() -> ObservedBucket {
        observed(Some("65432"), "cn-hangzhou")
    }

    /// A grant whose status was written at its generation.
    fn known(name: &str, bucket: ObservedBucket) -> GrantWork {
        let mut work = work_of(name, None);
        work.grant.status.observed_generation = Some(1);
        work.grant.status.bucket = Some(bucket);
        work.input.disposition = Disposition::Carried;
        work
    }

    fn deleted(name: &str) -> GrantWork {
        let mut work = known(name, right());
        work.grant.deleting = true;
        work.input.disposition = Disposition::Removing(Removal::Delete);
        work
    }

    #[test]
    fn the_bucket_is_read_once_per_generation_and_while_it_does_not_match() {
        let needs = |work: GrantWork, is_operator| needed_facts(&[work], is_operator, false).bucket;
        assert!(!needs(known("a", right()), true));
        let mut edited = known("a", right());
        edited.grant.generation = 2;
        assert!(needs_bucket_read(&edited));
        assert!(needs(edited, false));
        assert!(
            needs(known("a", observed(Some("1"), "cn-hangzhou")), false),
            "wrong owner"
        );
        assert!(
            needs(known("a", observed(None, "cn-hangzhou")), true),
            "unknown owner"
        );
        assert!(!needs(known("a", observed(None, "cn-hangzhou")), false));
        let mut suspended = work_of("a", None);
        suspended.decided = Some(GrantState::Suspended);
        assert!(!needs_bucket_read(&suspended));
        assert!(!needs(suspended, false));
        assert!(
            needs(deleted("a"), true),
            "the operator verifies before it removes"
        );
        assert!(!needs(deleted("a"), false));
    }

    #[test]
    fn block_public_access_is_read_for_an_open_decision_and_after_a_rejection() {
        use PublicAccessBlock::{Off, OnForBucket, RefusedByOss, Unreadable};
        let with = |requested| {
            let mut work = known("a", right());
            if let Ok(spec) = &mut work.grant.spec {
                spec.access.pass_role_statement = requested;
            }
            [work]
        };
        let (auto, omitted) = (with(PassRoleStatement::Auto), with(PassRoleStatement::Omit));
        assert!(needed_facts(&auto, false, false).block);
        let refused = needed_facts(&omitted, false, true);
        assert!(
            !refused.block && !refused.public_refused,
            "nobody wants it any more"
        );
        assert!(needed_facts(&auto, false, true).public_refused);
        for (read, refused, counts) in [
            (Off, false, Off),
            (Off, true, RefusedByOss),
            (Unreadable, true, RefusedByOss),
            (OnForBucket, true, OnForBucket),
        ] {
            assert_eq!(effective_block(read, refused), counts, "{read:?}");
        }
    }

    #[test]
    fn a_grant_wants_its_statements_in_the_bucket_that_it_names() {
        let now = Timestamp::UNIX_EPOCH;
        let facts = |bucket| PreparationFacts {
            bucket: Some(bucket),
            ..PreparationFacts::default()
        };
        let mut work = known("a", right());
        let desired = decide_desired(&mut work, &facts(right()), false, now).unwrap();
        assert_eq!(desired.statements.len(), 1);
        assert_eq!(
            (work.decided, work.pass_role),
            (None, Some(PassRoleDecision::Omitted))
        );
        for (bucket, is_operator, state) in [
            (
                observed(Some("1"), "cn-hangzhou"),
                false,
                GrantState::WrongOwner("1".to_owned()),
            ),
            (
                observed(Some("65432"), "cn-beijing"),
                false,
                GrantState::WrongRegion("cn-beijing".to_owned()),
            ),
            (observed(None, "cn-hangzhou"), true, GrantState::OwnerUnverified),
        ] {
            let mut work = known("a", right());
            assert_eq!(decide_desired(&mut work, &facts(bucket), is_operator, now), None);
            assert_eq!(work.decided, Some(state));
            assert!(is_unverified(&[work], is_operator) == is_operator);
        }
        let mut preview = known("a", right());
        if let Ok(spec) = &mut preview.grant.spec {
            spec.mode = Mode::Preview;
        }
        assert_eq!(decide_desired(&mut preview, &facts(right()), true, now), None);
        assert_eq!(preview.decided, Some(GrantState::Preview));
        assert_eq!(preview.preview.as_ref(), Some(&desired));
        assert!(!is_unverified(&[preview], true), "its plan needs the policy");
        let mut decided = known("a", right());
        decided.decided = Some(GrantState::Suspended);
        assert_eq!(decide_desired(&mut decided, &facts(right()), false, now), None);
        assert_eq!(decided.bucket, None);
    }

    #[test]
    fn what_oss_has_rejected_is_not_wanted_again() {
        let error = CloudError::new(CloudErrorKind::PolicyRejected, "MalformedPolicy");
        let mut rejected = RejectedAdditions::default();
        let facts = PreparationFacts::default();
        for outcome in [None, Some(GrantState::CloudFailed(error.clone()))] {
            let mut work = known("a", right());
            let desired = decide_desired(&mut work, &facts, false, Timestamp::UNIX_EPOCH).unwrap();
            want(&mut work, desired, &rejected);
            let enforced = matches!(work.input.disposition, Disposition::Enforced(_));
            assert_eq!((enforced, &work.decided), (outcome.is_none(), &outcome));
            rejected.record(&[&work.grant], &[], &error);
        }
    }

    #[test]
    fn the_operator_removes_only_from_a_bucket_whose_owner_was_read_just_now() {
        let now = Timestamp::UNIX_EPOCH;
        let unread = PreparationFacts::default();
        for (is_operator, state) in [(true, Some(GrantState::OwnerUnverified)), (false, None)] {
            let mut work = deleted("a");
            assert_eq!(decide_desired(&mut work, &unread, is_operator, now), None);
            assert_eq!(work.decided, state);
            let carried = work.input.disposition == Disposition::Carried;
            assert_eq!(carried, is_operator);
        }
        let mut batch = [known("a", right()), known("b", right())];
        batch[1].decided = Some(GrantState::Suspended);
        assert!(verify_bucket(&mut batch, &right(), true));
        assert!(!verify_bucket(
            &mut batch,
            &observed(Some("1"), "cn-hangzhou"),
            true
        ));
        assert_eq!(batch[0].decided, Some(GrantState::WrongOwner("1".to_owned())));
        assert_eq!(batch[1].decided, Some(GrantState::Suspended));
    }

    #[test]
    fn statements_that_were_removed_again_and_again_are_only_reported() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let mut work = known("a", right());
        let removed = (0..3).fold(None, |before, _| Some(drift::on_removed(before.as_ref(), now)));
        work.grant.status.repeated_drift = removed;
        let desired = decide_desired(&mut work, &PreparationFacts::default(), false, now).unwrap();
        assert_eq!(desired.on_drift, OnDrift::Report);
    }
}
