//! Applies the result of a policy write to the grants: to their ledgers, and to what is known about their additions.

use k8s_openapi::jiff::Timestamp;

use super::plan::{Change, Plan};
use super::report::{PolicyView, policy_seen};
use super::work::GrantWork;
use super::{GrantObject, GrantState, PassRoleDecision, RejectedAdditions, WriteHistory, confirm_entries};
use crate::api::{EntryState, LedgerEntry};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::policy::Document;

/// Applies an answered write: the ledgers become the planned ones, and no write of this reconcile is outstanding.
/// From now on an added statement is recognized semantically, even if OSS formats it differently.
pub fn apply_confirmed(
    batch: &mut [GrantWork],
    plan: &Plan,
    writes: &mut WriteHistory,
    rejected: &mut RejectedAdditions,
    now: Timestamp,
) {
    writes.confirmed(plan, now);
    rejected.written();
    let text = match &plan.change {
        Change::Put(text) => Some(text.as_bytes()),
        Change::Delete | Change::Keep => None,
    };
    let document = text.and_then(|text| Document::parse(text).ok());
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        if planned.added > 0 {
            rejected.accepted(&work.grant.uid);
        }
        work.added += planned.added;
        work.removed += planned.removed;
        if planned.changes_policy() {
            work.last_write = Some(now);
            work.written_policy = Some(policy_seen(work, PolicyView::of_plan(plan, document.as_ref())));
        }
        let earlier = std::mem::take(&mut work.input.ledger);
        let mut ledger = planned.ledger.clone();
        let open = |e: &LedgerEntry| e.state == EntryState::Intended;
        let recorded = ledger.iter().filter(|e| open(e)).cloned().collect::<Vec<_>>();
        confirm_entries(&mut ledger, &earlier, document.as_ref(), now);
        // An edit can come before the confirmed ledger is stored, so that the stored one keeps the intended write.
        let left = |e: &&LedgerEntry| {
            ledger
                .iter()
                .any(|now| open(now) && now.fingerprint == e.fingerprint)
        };
        let confirmed = recorded.iter().filter(|e| !left(e));
        writes.write_sent(&work.grant.uid, confirmed, now);
        work.input.ledger = ledger;
    }
}

/// A policy write that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedWrite<'a> {
    /// The error.
    pub error: &'a CloudError,
    /// Whether it certainly had no effect.
    pub no_effect: bool,
    /// Whether OSS has rejected a public policy, also in an earlier reconcile.
    pub public_refused: bool,
}

/// Whether OSS has rejected a write as public that the operator made so: Block Public Access is read again.
pub fn is_refused_as_public(batch: &[GrantWork], error: &CloudError) -> bool {
    let writes_public = |work: &GrantWork| work.pass_role.is_some_and(PassRoleDecision::is_written);
    error.kind == CloudErrorKind::PublicAccessBlocked && batch.iter().any(writes_public)
}

/// Applies a failed write. A rejected write had no effect, so the ledgers return to their entries from before. Any other
/// failed write may still take effect, so the ledgers keep the recorded entries. If OSS rejects what several grants
/// add or what is written for others too, the error is that of one grant, and the next writes find out of which;
/// those that are not at fault keep the outcome of the plan. Returns whether something has to be planned again
/// without what was rejected.
pub fn apply_failed(
    batch: &mut [GrantWork],
    plan: &Plan,
    failure: FailedWrite<'_>,
    writes: &mut WriteHistory,
    rejected: &mut RejectedAdditions,
    now: Timestamp,
) -> bool {
    let FailedWrite {
        error,
        no_effect,
        public_refused,
    } = failure;
    if no_effect {
        writes.rejected();
    } else {
        writes.unanswered(plan, now);
    }
    let content = no_effect && !public_refused && error.rejects_content();
    let adding = batch
        .iter()
        .zip(&plan.grants)
        .filter(|(_, planned)| planned.added > 0);
    let added: Vec<&GrantObject> = adding.map(|(work, _)| &work.grant).collect();
    let waiting = batch.iter().filter(|work| work.held_back);
    let held: Vec<&GrantObject> = waiting.map(|work| &work.grant).collect();
    if content {
        rejected.record(&added, &held, error);
    }
    let (split, several) = (content && !added.is_empty(), added.len() > 1);
    let mut plan_again = split && !held.is_empty();
    let mut none_at_fault = true;
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        let uid = &work.grant.uid;
        let recorded = if planned.added > 0 {
            planned.ledger.as_slice()
        } else {
            &[]
        };
        if no_effect {
            work.roll_back = true;
            // What was not restored is still missing at the next check, and was removed only once.
            work.repeated_drift.clone_from(&work.earlier_drift);
            writes.write_rejected(uid, recorded, &work.input.ledger, now);
        } else {
            let added = recorded.iter().filter(|e| e.state == EntryState::Intended);
            writes.write_sent(uid, added, now);
            work.input.ledger.clone_from(&work.grant.status.owned);
        }
        let known = rejected.error_of(&work.grant).filter(|_| work.held_back);
        if let (Some(known), None) = (known, &work.decided) {
            work.decided = Some(GrantState::CloudFailed(known.clone()));
        }
        let at_fault = if split {
            planned.added > 0 && !several
        } else {
            planned.changes_policy()
        };
        // What this plan records for a grant that is not at fault is planned again without the rejected additions.
        let again = planned.changes_policy() || planned.is_too_large() || planned.ledger != work.input.ledger;
        plan_again |= split && !at_fault && again;
        none_at_fault &= !at_fault;
        work.unaffected = (!at_fault).then(|| planned.outcome.clone());
    }
    plan_again || public_refused || none_at_fault
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EntryState, WriteReason};
    use crate::core::grant::{GrantInput, GrantOutcome, GrantPlan, PlanInput, plan, work_of};

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    /// Plans the first statements of a bucket, and stores the ledgers of the plan.
    fn planned(batch: &mut [GrantWork]) -> Plan {
        let members: Vec<GrantInput> = batch.iter().map(|work| work.input.clone()).collect();
        let input = PlanInput {
            now: NOW,
            ..PlanInput::default()
        };
        let plan = plan(input, &members);
        for (work, planned) in batch.iter_mut().zip(&plan.grants) {
            work.grant.status.owned.clone_from(&planned.ledger);
        }
        plan
    }

    fn fail(batch: &mut [GrantWork], kind: CloudErrorKind, rejected: &mut RejectedAdditions) -> bool {
        let plan = planned(batch);
        fail_plan(batch, &plan, kind, rejected)
    }

    fn fail_plan(
        batch: &mut [GrantWork],
        plan: &Plan,
        kind: CloudErrorKind,
        rejected: &mut RejectedAdditions,
    ) -> bool {
        let error = CloudError::new(kind, "Code");
        let failure = FailedWrite {
            error: &error,
            no_effect: error.had_no_effect(),
            public_refused: false,
        };
        let mut writes = WriteHistory::default();
        let plan_again = apply_failed(batch, plan, failure, &mut writes, rejected, NOW);
        assert_eq!(writes.unsettled().is_some(), !error.had_no_effect(), "{kind:?}");
        plan_again
    }

    #[test]
    fn an_answered_write_confirms_the_ledger_and_shows_the_policy_that_it_wrote() {
        let mut batch = [work_of("a", None)];
        let plan = planned(&mut batch);
        let (mut writes, mut rejected) = (WriteHistory::default(), RejectedAdditions::default());
        apply_confirmed(&mut batch, &plan, &mut writes, &mut rejected, NOW);
        let [work] = batch;
        assert_eq!((work.added, work.removed, work.last_write), (1, 0, Some(NOW)));
        assert_eq!(work.input.ledger[0].state, EntryState::Applied);
        let seen = work.written_policy.unwrap();
        assert_eq!((seen.statements, seen.foreign_statements), (1, 0));
        assert_eq!(seen.last_write_reason, Some(WriteReason::StatementMissing));
        let mut stored = work.grant;
        stored.status.owned[0].unsettled_until = None;
        assert!(
            writes.unproven_intents(&stored, NOW).is_empty(),
            "the write was sent"
        );
    }

    #[test]
    fn a_rejected_write_is_taken_back_and_an_unanswered_one_stays_recorded() {
        let mut rejected = RejectedAdditions::default();
        let mut batch = [work_of("a", None)];
        assert!(!fail(&mut batch, CloudErrorKind::AccessDenied, &mut rejected));
        assert!(batch[0].roll_back && batch[0].input.ledger.is_empty());
        assert_eq!(batch[0].unaffected, None);
        let mut batch = [work_of("a", None)];
        assert!(!fail(&mut batch, CloudErrorKind::Unanswered, &mut rejected));
        assert!(!batch[0].roll_back);
        assert_eq!(batch[0].input.ledger, batch[0].grant.status.owned);
        assert_eq!(
            rejected.error_of(&batch[0].grant),
            None,
            "OSS has rejected nothing"
        );
    }

    #[test]
    fn one_addition_is_to_blame_for_a_rejected_policy_and_several_are_tried_apart() {
        let mut rejected = RejectedAdditions::default();
        let mut one = [work_of("a", None)];
        assert!(!fail(&mut one, CloudErrorKind::PolicyRejected, &mut rejected));
        assert_eq!(one[0].unaffected, None);
        assert!(rejected.error_of(&one[0].grant).is_some());
        let mut rejected = RejectedAdditions::default();
        let mut two = [work_of("a", None), work_of("b", None)];
        assert!(fail(&mut two, CloudErrorKind::PolicyRejected, &mut rejected));
        for work in &two {
            assert_eq!(work.unaffected, Some(GrantOutcome::Writing));
            assert_eq!(rejected.error_of(&work.grant), None, "it may be the other one");
        }
    }

    #[test]
    fn a_grant_that_waited_keeps_its_own_error_when_another_is_rejected() {
        let mut rejected = RejectedAdditions::default();
        let mut batch = [work_of("new", None), work_of("held", None)];
        let earlier = CloudError::new(CloudErrorKind::PolicyRejected, "Earlier");
        rejected.record(&[&batch[1].grant], &[], &earlier);
        batch[1].held_back = true;
        batch[1].input.disposition = crate::core::grant::Disposition::Carried;
        assert!(fail(&mut batch, CloudErrorKind::PolicyRejected, &mut rejected));
        assert_eq!(batch[1].decided, Some(GrantState::CloudFailed(earlier)));
        assert_eq!(batch[1].unaffected, Some(GrantOutcome::Carried));
        assert_eq!(batch[0].unaffected, None);
    }

    #[test]
    fn an_unanswered_write_counts_as_sent_whatever_its_ledger_says_and_a_rejected_one_does_not() {
        for (kind, unproven) in [
            (CloudErrorKind::Unanswered, 0),
            (CloudErrorKind::PolicyRejected, 1),
        ] {
            let mut batch = [work_of("a", None)];
            let plan = planned(&mut batch);
            let error = CloudError::new(kind, "Code");
            let failure = FailedWrite {
                error: &error,
                no_effect: error.had_no_effect(),
                public_refused: false,
            };
            let (mut writes, mut rejected) = (WriteHistory::default(), RejectedAdditions::default());
            apply_failed(&mut batch, &plan, failure, &mut writes, &mut rejected, NOW);
            let mut stored = batch[0].grant.clone();
            stored.status.owned[0].unsettled_until = None;
            assert_eq!(writes.unproven_intents(&stored, NOW).len(), unproven, "{kind:?}");
        }
    }

    #[test]
    fn a_write_is_planned_again_after_a_refusal_as_public_and_if_no_grant_is_to_blame() {
        let mut batch = [work_of("a", None)];
        let at_fault = planned(&mut batch);
        let mut nobody = at_fault.clone();
        nobody.grants[0].added = 0;
        let error = CloudError::new(CloudErrorKind::AccessDenied, "Code");
        for (plan, public_refused, again) in [
            (&at_fault, false, false),
            (&at_fault, true, true),
            (&nobody, false, true),
        ] {
            let failure = FailedWrite {
                error: &error,
                no_effect: true,
                public_refused,
            };
            let (mut writes, mut rejected) = (WriteHistory::default(), RejectedAdditions::default());
            let found = apply_failed(&mut batch, plan, failure, &mut writes, &mut rejected, NOW);
            assert_eq!(found, again, "{public_refused}");
        }
    }

    #[test]
    fn what_did_not_fit_beside_a_rejected_addition_is_planned_again() {
        for (outcome, expected) in [
            (GrantOutcome::TooLarge { needed: 2, free: 1 }, true),
            (GrantOutcome::Applied, false),
        ] {
            let mut batch = [work_of("new", None), work_of("other", Some(EntryState::Applied))];
            let mut plan = planned(&mut batch);
            plan.grants[1] = GrantPlan {
                ledger: batch[1].input.ledger.clone(),
                outcome: outcome.clone(),
                added: 0,
                removed: 0,
                missing: 0,
            };
            let mut rejected = RejectedAdditions::default();
            let again = fail_plan(&mut batch, &plan, CloudErrorKind::PolicyRejected, &mut rejected);
            assert_eq!(again, expected, "{outcome:?}");
            assert_eq!(batch[1].unaffected, Some(outcome));
        }
    }

    #[test]
    fn only_a_public_statement_of_the_operator_is_a_reason_to_read_the_setting_again() {
        let mut batch = [work_of("a", None)];
        let blocked = CloudError::new(CloudErrorKind::PublicAccessBlocked, "Code");
        assert!(!is_refused_as_public(&batch, &blocked));
        batch[0].pass_role = Some(PassRoleDecision::Included);
        assert!(is_refused_as_public(&batch, &blocked));
        let denied = CloudError::new(CloudErrorKind::AccessDenied, "Code");
        assert!(!is_refused_as_public(&batch, &denied));
    }
}
