//! Prepares grants: validates them without cloud calls, reads bucket owner, region and Block Public Access, and adds
//! the finalizer before the first write.

use futures::future::OptionFuture;

use super::grant_set::{GrantSet, GrantWork};
use super::permission::denial;
use crate::api::{BucketRef, FINALIZER, GrantSpec, Mode, ObservedBucket, PassRoleStatement};
use crate::controller::bucket::cache::GrantSetCache;
use crate::core::credential_use::must_be_removed;
use crate::core::error::CloudError;
use crate::core::grant::{
    Desired, Disposition, GrantInput, GrantObject, GrantOutcome, GrantState, OnDrift, PassRoleDecision,
    PublicAccessBlock, RejectedAdditions, Removal, decide_pass_role, drift, parse_spec,
};
use crate::ports::AccessKeys;

/// Facts about the bucket, read before the grants are prepared.
#[derive(Clone, Default)]
pub(super) struct PreparationFacts {
    pub(super) block: Option<PublicAccessBlock>,
    /// Whether OSS has just rejected a public policy.
    pub(super) public_refused: bool,
    pub(super) bucket: Option<ObservedBucket>,
}

/// Validates a grant without a cloud call; `outcome` of the result is the state of a grant that cannot proceed.
pub(super) async fn validate(set: &GrantSet<'_>, grant: GrantObject) -> GrantWork {
    let disposition = if grant.deleting {
        Disposition::Removing(Removal::Delete)
    } else {
        Disposition::Carried
    };
    let mut input = GrantInput::of(&grant, disposition);
    input.unproven = set.writes.unproven_intents(&grant, set.context.ports.now());
    if grant.deleting && set.identity.is_operator() {
        // The operator's own identity looks for no statement that the operator has not written.
        let unproven = &input.unproven;
        input
            .ledger
            .retain(|e| e.pre_existing || must_be_removed(e, unproven));
    }
    let repeated_drift = grant.status.repeated_drift.clone();
    let mut work = GrantWork {
        grant,
        input,
        outcome: None,
        pass_role: None,
        held_back: false,
        preview: None,
        bucket: None,
        added: 0,
        removed: 0,
        missing: 0,
        late_write_seen: false,
        unreported_drift: 0,
        earlier_drift: repeated_drift.clone(),
        repeated_drift,
        last_write: None,
        written_policy: None,
        public: None,
        backup: None,
        roll_back: false,
    };
    work.outcome = known_state(set, &work).await;
    // What may not be removed with this identity stays, and stays owned.
    if work.outcome.is_some() {
        work.input.disposition = Disposition::Carried;
    }
    work
}

/// Returns the state of a grant that is suspended, invalid or denied; `None` when the grant can proceed. A grant
/// that is being deleted can only be denied.
async fn known_state(set: &GrantSet<'_>, work: &GrantWork) -> Option<GrantState> {
    let grant = &work.grant;
    if grant.deleting {
        return denial(set, grant, &work.input).await;
    }
    let spec = match &grant.spec {
        Ok(spec) if spec.suspend => return Some(GrantState::Suspended),
        Ok(spec) => spec,
        Err(message) => return Some(GrantState::Invalid(message.clone())),
    };
    if let Err(error) = parse_spec(spec, PassRoleDecision::Omitted) {
        return Some(GrantState::Invalid(error.to_string()));
    }
    denial(set, grant, &work.input).await
}

/// Reads the facts about the bucket that the grants need. Each fact costs a call: it is read once per generation,
/// and again only while the bucket does not match the spec or after OSS rejected a public policy.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn read_bucket_facts(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) -> Result<PreparationFacts, CloudError> {
    let active = || batch.iter().filter(|p| p.outcome.is_none() && !p.grant.deleting);
    let mut facts = PreparationFacts::default();
    let unseen = |g: &GrantObject| {
        let new = g.status.observed_generation != Some(g.generation);
        g.status
            .bucket
            .as_ref()
            .is_none_or(|observed| new || bucket_mismatch(set, g, observed).is_some())
    };
    let requested = |g: &GrantObject| g.spec.as_ref().ok().map(|s| s.access.pass_role_statement);
    let open = |g: &GrantObject| {
        let spec = g.spec.as_ref().ok();
        spec.is_some_and(|s| decide_pass_role(s, g.generation, &g.status, None).is_none())
    };
    let retry =
        cache.public_refused && active().any(|p| requested(&p.grant) != Some(PassRoleStatement::Omit));
    cache.public_refused = retry;
    facts.public_refused = retry;
    // The operator's own identity removes statements only from a bucket whose owner it has verified just now.
    let removing = |p: &GrantWork| p.outcome.is_none() && p.grant.deleting;
    let verify = set.identity.is_operator() && batch.iter().any(removing);
    let (ask_bucket, ask_block) = (
        verify || active().any(|p| unseen(&p.grant)),
        retry || active().any(|p| open(&p.grant)),
    );
    // Both calls are made concurrently: a new grant waits for the answers.
    let ports = &set.context.ports;
    let operator = set.identity.is_operator();
    facts.bucket = cache.take_probed_bucket().filter(|_| ask_bucket || operator);
    let ask_bucket = ask_bucket && facts.bucket.is_none();
    let (bucket, block) = futures::join!(
        OptionFuture::from(ask_bucket.then(|| ports.bucket_info(place, keys))),
        OptionFuture::from(ask_block.then(|| ports.read_public_access_block(place, keys))),
    );
    if let Some(observed) = bucket {
        facts.bucket = Some(observed?);
    }
    if let Some(state) = block {
        // OSS has just rejected a public policy: Block Public Access is on, even if it reads as off or cannot be
        // read.
        facts.block = Some(match (state?, retry) {
            (PublicAccessBlock::Off | PublicAccessBlock::Unreadable, true) => PublicAccessBlock::RefusedByOss,
            (state, _) => state,
        });
        cache.public_refused = false;
    }
    Ok(facts)
}

/// Returns the mismatch between the bucket and the spec: owner, region, or an owner that cannot be verified.
/// `None` when the bucket matches.
fn bucket_mismatch(set: &GrantSet<'_>, grant: &GrantObject, observed: &ObservedBucket) -> Option<GrantState> {
    let bucket = grant.bucket.as_ref()?;
    match (&observed.owner_uid, &observed.region) {
        (Some(owner), _) if *owner != bucket.owner_uid => Some(GrantState::WrongOwner(owner.clone())),
        (_, Some(region)) if *region != bucket.region => Some(GrantState::WrongRegion(region.clone())),
        (None, _) if set.identity.is_operator() => Some(GrantState::OwnerUnverified),
        _ => None,
    }
}

/// Verifies the owner of the bucket before a write of the operator's own identity, if it was not read in this reconcile:
/// what a status says about the bucket could be forged. Returns `false` when a grant names another owner, so that a
/// new plan is needed.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn verify_owner(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    place: &BucketRef,
    keys: &AccessKeys,
) -> Result<bool, CloudError> {
    if !set.identity.is_operator() || set.owner_read {
        return Ok(true);
    }
    let observed = set.context.ports.bucket_info(place, keys).await;
    let observed = observed?;
    set.owner_read = true;
    let mut verified = true;
    for work in batch.iter_mut().filter(|work| work.outcome.is_none()) {
        work.bucket = Some(observed.clone());
        work.outcome = bucket_mismatch(set, &work.grant, &observed);
        if work.outcome.is_some() {
            work.input.disposition = Disposition::Carried;
            verified = false;
        }
    }
    Ok(verified)
}

/// Decides the disposition of a grant, and adds the finalizer to a grant that is enforced. `false` when the
/// finalizer could not be added: the grant is carried, and the group retries. A grant whose additions OSS has rejected
/// is carried and keeps the error.
pub(super) async fn prepare(
    set: &GrantSet<'_>,
    work: &mut GrantWork,
    facts: &PreparationFacts,
    rejected: &RejectedAdditions,
) -> bool {
    if work.outcome.is_some() {
        return true;
    }
    if work.grant.deleting {
        if set.identity.is_operator() {
            let observed = facts.bucket.clone().unwrap_or_default();
            work.outcome = bucket_mismatch(set, &work.grant, &observed);
            if work.outcome.is_some() {
                work.input.disposition = Disposition::Carried;
            }
        }
        return true;
    }
    let grant = &work.grant;
    let observed = facts.bucket.clone().or_else(|| grant.status.bucket.clone());
    work.outcome = observed
        .as_ref()
        .and_then(|observed| bucket_mismatch(set, grant, observed));
    work.bucket.clone_from(&facts.bucket);
    if work.outcome.is_some() {
        return true;
    }
    // A grant with an invalid spec has an outcome already and does not get here.
    let Some((spec, (desired, choice))) = grant
        .spec
        .as_ref()
        .ok()
        .and_then(|spec| Some((spec, desired_statements(set, spec, grant, facts)?)))
    else {
        return false;
    };
    work.pass_role = Some(choice);
    if spec.mode == Mode::Preview {
        work.outcome = Some(GrantState::Preview);
        work.preview = Some(desired);
        return true;
    }
    if !grant.has_finalizer() {
        match set.context.ports.add_finalizer(grant).await {
            Ok(version) => {
                work.grant.resource_version = version;
                work.grant.finalizers.push(FINALIZER.to_owned());
            }
            Err(error) => {
                tracing::warn!(grant = %grant.key, %error, "failed to add finalizer; retrying");
                work.outcome = Some(GrantState::Planned(GrantOutcome::Carried));
                return false;
            }
        }
    }
    if let Some(error) = rejected.error_of(&work.grant) {
        work.outcome = Some(GrantState::CloudFailed(error.clone()));
        return true;
    }
    work.input.disposition = Disposition::Enforced(desired);
    true
}

/// Returns the statements that a grant wants, and the decision about `ram:PassRole`; `None` when the spec is
/// invalid.
fn desired_statements(
    set: &GrantSet<'_>,
    spec: &GrantSpec,
    grant: &GrantObject,
    facts: &PreparationFacts,
) -> Option<(Desired, PassRoleDecision)> {
    let decide = |block| decide_pass_role(spec, grant.generation, &grant.status, block);
    // A setting that was read for another grant does not change what was decided for this one.
    let decided = decide(None).filter(|_| !facts.public_refused);
    let choice = decided
        .or_else(|| decide(facts.block))
        .unwrap_or(PassRoleDecision::OmittedBecause(PublicAccessBlock::Unreadable));
    let mut desired = parse_spec(spec, choice).ok()?;
    if drift::backoff_left(grant.status.repeated_drift.as_ref(), set.context.ports.now()).is_some() {
        desired.on_drift = OnDrift::Report;
    }
    Some((desired, choice))
}
