//! Tests of the state of a set between reconciles.

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::core::error::CredentialsError;
use crate::core::grant::{GrantState, work_of};
use crate::core::policy::PlanFault;

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);
const MINUTE: Duration = Duration::from_secs(60);

fn later(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn error(kind: CloudErrorKind) -> CloudError {
    CloudError::new(kind, "Code")
}

#[test]
fn a_grant_set_is_reconciled_when_it_is_due_and_at_once_for_a_change() {
    let rules = Arc::new(TenancyRules::default());
    let begin = |cache: &mut GrantSetCache, grants: &[GrantObject], seconds| {
        cache.begin(grants, Arc::clone(&rules), later(seconds))
    };
    let grants = [GrantObject::bare("media", "a")];
    let reconciled = || {
        let mut cache = GrantSetCache::default();
        assert_eq!(begin(&mut cache, &grants, 0), None, "the first one");
        assert_eq!(cache.record().reconciled_at, Some(NOW));
        assert_eq!(cache.end(MINUTE, true, "seed", NOW), MINUTE);
        cache
    };
    let mut cache = reconciled();
    cache.wrote = true;
    assert_eq!(begin(&mut cache, &grants, 59), Some(Duration::from_secs(1)));
    assert!(!cache.wrote, "this reconcile writes nothing");
    assert_eq!(begin(&mut cache, &grants, 60), None, "it is due");
    let mut cleared = reconciled();
    cleared.clear_backoff();
    assert_eq!(begin(&mut cleared, &grants, 1), None);
    let edits: [fn(&mut GrantObject); 5] = [
        |grant| grant.generation = 2,
        |grant| grant.deleting = true,
        |grant| grant.abandon = true,
        |grant| grant.reconcile_at = Some("now".to_owned()),
        |grant| "another".clone_into(&mut grant.uid),
    ];
    for edit in edits {
        let mut changed = grants.clone();
        edit(&mut changed[0]);
        assert_eq!(begin(&mut reconciled(), &changed, 1), None, "{changed:?}");
    }
    let strict: TenancyRules =
        serde_json::from_value(serde_json::json!({"strict": true, "rules": []})).unwrap();
    assert_eq!(reconciled().begin(&grants, Arc::new(strict), later(1)), None);
    let mut left = reconciled();
    left.ended_early(&EarlyEnd::NothingLeft, &[], "seed");
    assert_eq!(begin(&mut left, &grants, 1), None, "nothing is remembered of it");
}

#[test]
fn what_could_not_be_prepared_is_tried_again_soon_and_once() {
    let mut cache = GrantSetCache::default();
    cache.not_prepared("seed");
    cache.settled(&[], "seed");
    let (failures, retry) = retry_preparation(0, "seed");
    assert_eq!(cache.end(MINUTE, true, "seed", NOW), retry);
    assert_eq!(cache.failures, failures, "although the plan was settled");
    cache.begin(&[GrantObject::bare("media", "a")], Arc::default(), later(60));
    assert_eq!(cache.end(MINUTE, true, "seed", NOW), MINUTE);
    let refusal = CredentialRefusal::Failed(CredentialsError::NotFound);
    cache.reference_closed(&refusal, "seed");
    assert_eq!(
        cache.end(MINUTE, true, "seed", NOW),
        retry_after_refusal(&refusal, "seed")
    );
}

#[test]
fn an_early_end_counts_as_a_failure_unless_nobody_is_concerned() {
    let batch = [work_of("a", None)];
    let conflict = EarlyEnd::InvalidPlan(PlanFault::Size);
    let mut cache = GrantSetCache::default();
    assert_eq!(cache.ended_early(&conflict, &[], "seed").facts.failures, 0);
    assert_eq!(cache.ended_early(&conflict, &batch, "seed").facts.failures, 1);
    assert_eq!(
        cache
            .ended_early(&EarlyEnd::StaleRead, &batch, "seed")
            .facts
            .failures,
        1
    );
    assert_eq!(cache.trust, Trust::Unknown, "no call failed");
    let mut throttled = error(CloudErrorKind::Throttled);
    throttled.retry_after = Some(MINUTE);
    assert_eq!(
        cache
            .ended_early(&throttled.into(), &batch, "seed")
            .facts
            .failures,
        2
    );
    assert_eq!((cache.trust, cache.asked), (Trust::Doubtful, Some(MINUTE)));
    let mut fresh = GrantSetCache::default();
    let expired = EarlyEnd::from(error(CloudErrorKind::CredentialsExpired));
    let after = fresh.ended_early(&expired, &batch, "seed");
    assert!(after.state.is_none() && after.facts.failures == 1 && after.forget_credentials);
    assert_eq!(fresh.trust, Trust::Unknown, "the first expiry shows nothing");
    let after = fresh.ended_early(&expired, &batch, "seed");
    assert!(matches!(after.state, Some(GrantState::CloudFailed(_))));
}

#[test]
fn a_denied_write_is_a_reason_for_doubt_until_one_succeeds() {
    let batch = [work_of("a", None)];
    let mut cache = GrantSetCache::default();
    cache.answered(None);
    assert!(!cache.record().doubted);
    cache.write_failed(&batch, &error(CloudErrorKind::AccessDenied));
    cache.write_failed(&batch, &error(CloudErrorKind::Throttled));
    assert!(cache.record().doubted && !cache.wrote);
    cache.written();
    assert!(!cache.record().doubted && cache.wrote);
    cache.answered(Some(&error(CloudErrorKind::Unanswered)));
    assert!(cache.record().doubted);
}

#[test]
fn what_a_probe_has_read_is_used_once() {
    let mut cache = GrantSetCache::default();
    let read = |policy: bool| ProbeRead {
        bucket: Some(ObservedBucket::default()),
        policy: policy.then_some(PolicyRead {
            bytes: None,
            server_time: None,
        }),
        at: NOW,
    };
    let batch = [work_of("a", Some(crate::api::EntryState::Applied))];
    assert!(cache.needed_facts(&batch, false).0.bucket);
    cache.probe_done(read(true));
    assert_eq!(cache.trust, Trust::Proven);
    let (needed, probed) = cache.needed_facts(&batch, false);
    assert!(!needed.bucket && probed.is_some());
    assert!(cache.needed_facts(&batch, false).1.is_none());
    let writes = WriteHistory::default();
    assert!(cache.take_probed_policy(&writes, later(1)).is_some());
    assert!(cache.take_probed_policy(&writes, later(1)).is_none());
    cache.probe_done(read(true));
    assert!(
        cache.take_probed_policy(&writes, later(2)).is_none(),
        "it is too old"
    );
    cache.probe_done(read(true));
    let decided = [{
        let mut work = work_of("a", None);
        work.decided = Some(GrantState::Suspended);
        work
    }];
    assert!(cache.needed_facts(&decided, false).1.is_none(), "nobody needs it");
    cache.probe_done(read(false));
    assert!(
        cache.needed_facts(&decided, true).1.is_some(),
        "the operator verifies the owner"
    );
}

#[test]
fn block_public_access_counts_as_on_until_it_was_read_after_a_rejection() {
    let mut batch = [work_of("a", None)];
    if let Ok(spec) = &mut batch[0].grant.spec {
        spec.access.pass_role_statement = crate::api::PassRoleStatement::Auto;
    }
    batch[0].pass_role = Some(crate::core::grant::PassRoleDecision::Included);
    let mut cache = GrantSetCache::default();
    cache.write_failed(&batch, &error(CloudErrorKind::PublicAccessBlocked));
    let (needed, _) = cache.needed_facts(&batch, false);
    assert!(needed.block && cache.public_refused);
    let facts = cache.facts_read(needed, None, Some(PublicAccessBlock::Off));
    assert_eq!(facts.block, Some(PublicAccessBlock::RefusedByOss));
    assert!(!cache.public_refused);
}
