//! What a round of a reconcile does with a plan: nothing is left to do, the plan is made again because a grant has to
//! wait, or the plan is carried out.

use k8s_openapi::jiff::Timestamp;

use super::plan::{Change, GrantOutcome, Plan};
use super::work::GrantWork;
use super::{Disposition, GrantObject, GrantState, OnDrift, RejectedAdditions, drift};

/// What follows from the plan of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// The policy is as desired.
    Settled,
    /// The disposition of a grant has changed: a new plan is needed.
    PlanAgain,
    /// The change of the plan is made.
    Write,
}

/// Decides what follows from a plan. `wrote` says whether this reconcile has written the policy.
pub fn next_step(
    batch: &mut [GrantWork],
    plan: &Plan,
    rejected: &mut RejectedAdditions,
    wrote: bool,
    now: Timestamp,
) -> RoundStep {
    if note_drift(batch, plan, now) {
        return RoundStep::PlanAgain;
    }
    if plan.change == Change::Keep {
        let applied = batch.iter().zip(&plan.grants);
        for (work, _) in applied.filter(|(_, planned)| planned.outcome == GrantOutcome::Applied) {
            rejected.accepted(&work.grant.uid);
        }
        return RoundStep::Settled;
    }
    let held_back = batch.iter().any(|work| work.held_back);
    if !held_back && !wrote && hold_back(batch, plan, rejected) {
        return RoundStep::PlanAgain;
    }
    RoundStep::Write
}

/// Records statements that are missing from the policy. Returns `true` when the drift backoff starts or continues: the
/// statements are not restored now.
fn note_drift(batch: &mut [GrantWork], plan: &Plan, now: Timestamp) -> bool {
    let mut waits = false;
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        if planned.missing == 0 || work.missing > 0 {
            continue;
        }
        work.missing = planned.missing;
        work.unreported_drift = planned.missing;
        if let Disposition::Enforced(desired) = &mut work.input.disposition
            && desired.on_drift == OnDrift::Restore
        {
            let repeated_drift = drift::on_removed(work.repeated_drift.as_ref(), now);
            if drift::backoff_left(Some(&repeated_drift), now).is_some() {
                desired.on_drift = OnDrift::Report;
                waits = true;
            }
            work.repeated_drift = Some(repeated_drift);
        }
    }
    waits
}

/// Carries the grants whose additions have to wait, because OSS has rejected a write with them. Returns `true` if
/// there are any.
fn hold_back(batch: &mut [GrantWork], plan: &Plan, rejected: &mut RejectedAdditions) -> bool {
    let grants: Vec<&GrantObject> = batch.iter().map(|work| &work.grant).collect();
    let held = rejected.held_back(&grants, plan);
    let held_works = batch.iter_mut().zip(&plan.grants).zip(&held);
    for ((work, planned), _) in held_works.filter(|(_, held)| **held) {
        work.input.disposition = Disposition::Carried;
        work.held_back = true;
        let known = rejected.own_error_of(&work.grant).cloned();
        let too_large = planned
            .is_too_large()
            .then(|| GrantState::Planned(planned.outcome.clone()));
        work.decided = known.map(GrantState::CloudFailed).or(too_large);
        // What is missing is found again by the reconcile that may restore it.
        work.repeated_drift.clone_from(&work.earlier_drift);
        (work.missing, work.unreported_drift) = (0, 0);
    }
    held.contains(&true)
}

/// Forgets the rejections of grants that want nothing now, and keep no error of a rejection.
pub fn accept_unwanted(batch: &[GrantWork], rejected: &mut RejectedAdditions) {
    for work in batch {
        let keeps_error = matches!(work.decided, Some(GrantState::CloudFailed(_)));
        if !keeps_error && !matches!(work.input.disposition, Disposition::Enforced(_)) {
            rejected.accepted(&work.grant.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EntryState;
    use crate::core::error::{CloudError, CloudErrorKind};
    use crate::core::grant::{GrantInput, PlanInput, plan, policy_of, work_of};

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn plan_of(batch: &[GrantWork], policy: &[&GrantWork]) -> Plan {
        let members: Vec<GrantInput> = batch.iter().map(|work| work.input.clone()).collect();
        let document = (!policy.is_empty()).then(|| policy_of(policy));
        let input = PlanInput {
            document: document.as_ref(),
            now: NOW,
            ..PlanInput::default()
        };
        plan(input, &members)
    }

    fn rejection() -> CloudError {
        CloudError::new(CloudErrorKind::PolicyRejected, "MalformedPolicy")
    }

    #[test]
    fn a_policy_with_all_statements_is_settled_and_a_missing_one_is_written() {
        let mut rejected = RejectedAdditions::default();
        let mut batch = [work_of("a", Some(EntryState::Applied))];
        let there = work_of("a", None);
        rejected.record(&[&batch[0].grant], &[], &rejection());
        let plan = plan_of(&batch, &[&there]);
        assert_eq!(
            next_step(&mut batch, &plan, &mut rejected, false, NOW),
            RoundStep::Settled
        );
        assert_eq!(rejected.error_of(&batch[0].grant), None, "it is in the policy");
        let plan = plan_of(&batch, &[]);
        assert_eq!(
            next_step(&mut batch, &plan, &mut rejected, false, NOW),
            RoundStep::Write
        );
        assert_eq!((batch[0].missing, batch[0].unreported_drift), (1, 1));
        batch[0].unreported_drift = 0;
        let plan = plan_of(&batch, &[]);
        assert_eq!(
            next_step(&mut batch, &plan, &mut rejected, false, NOW),
            RoundStep::Write
        );
        assert_eq!(batch[0].unreported_drift, 0, "it counts once in a reconcile");
    }

    #[test]
    fn the_third_removal_is_planned_again_without_a_restoration() {
        let mut batch = [work_of("a", Some(EntryState::Applied))];
        let twice = (0..2).fold(None, |before, _| Some(drift::on_removed(before.as_ref(), NOW)));
        batch[0].repeated_drift = twice;
        let plan = plan_of(&batch, &[]);
        let mut rejected = RejectedAdditions::default();
        assert_eq!(
            next_step(&mut batch, &plan, &mut rejected, false, NOW),
            RoundStep::PlanAgain
        );
        let plan = plan_of(&batch, &[]);
        assert_eq!(
            next_step(&mut batch, &plan, &mut rejected, false, NOW),
            RoundStep::Settled
        );
    }

    #[test]
    fn what_oss_has_rejected_waits_unless_this_reconcile_has_written() {
        let new = || [work_of("good", None), work_of("bad", None)];
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&work_of("bad", None).grant], &[], &rejection());
        for (wrote, step) in [(true, RoundStep::Write), (false, RoundStep::PlanAgain)] {
            let mut batch = new();
            let plan = plan_of(&batch, &[]);
            assert_eq!(next_step(&mut batch, &plan, &mut rejected, wrote, NOW), step);
            assert_eq!(batch[0].held_back, !wrote, "one at a time");
            if !wrote {
                assert_eq!(batch[0].input.disposition, Disposition::Carried);
                let plan = plan_of(&batch, &[]);
                assert_eq!(
                    next_step(&mut batch, &plan, &mut rejected, wrote, NOW),
                    RoundStep::Write
                );
            }
        }
    }

    #[test]
    fn a_rejection_is_forgotten_when_the_grant_wants_nothing_now() {
        let mut rejected = RejectedAdditions::default();
        let mut batch = [work_of("a", None), work_of("b", None), work_of("c", None)];
        for work in &batch {
            rejected.record(&[&work.grant], &[], &rejection());
        }
        batch[1].carry(GrantState::Suspended);
        batch[2].carry(GrantState::CloudFailed(rejection()));
        accept_unwanted(&batch, &mut rejected);
        let known = batch.map(|work| rejected.error_of(&work.grant).is_some());
        assert_eq!(known, [true, false, true]);
    }
}
