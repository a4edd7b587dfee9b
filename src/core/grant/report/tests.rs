//! The policy as a grant sees it, and its statuses before and without a plan.

use super::*;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{Change, entry_of, policy_of, work_of};

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn view(document: Option<&Document>) -> PolicyView<'_> {
    let plan = Plan {
        change: Change::Keep,
        grants: Vec::new(),
    };
    PolicyView {
        scheduled_check: true,
        absence_trusted: true,
        ..PolicyView::of_plan(&plan, document)
    }
}

#[test]
fn the_state_follows_from_the_plan_unless_it_was_decided_before() {
    let twice = drift::on_removed(None, NOW);
    let thrice = drift::on_removed(Some(&drift::on_removed(Some(&twice), NOW)), NOW);
    let blocked = PassRoleDecision::Blocked(crate::core::grant::PublicAccessBlock::OnForBucket);
    let mut work = work_of("a", None);
    assert_eq!(
        grant_state(&work, &GrantOutcome::Missing),
        GrantState::DriftReported
    );
    work.repeated_drift = Some(thrice);
    assert_eq!(
        grant_state(&work, &GrantOutcome::Missing),
        GrantState::RepeatedDrift
    );
    work.pass_role = Some(blocked);
    assert_eq!(
        grant_state(&work, &GrantOutcome::Applied),
        GrantState::PassRoleBlocked
    );
    let writing = GrantState::Planned(GrantOutcome::Writing);
    assert_eq!(grant_state(&work, &GrantOutcome::Writing), writing);
    work.carry(GrantState::Suspended);
    assert_eq!(grant_state(&work, &GrantOutcome::Applied), GrantState::Suspended);
    assert_eq!(work.input.disposition, Disposition::Carried);
}

#[test]
fn the_status_before_a_write_keeps_each_entry_and_the_conditions_of_a_stalled_grant() {
    let mut work = work_of("a", Some(EntryState::Applied));
    let kept = work.input.ledger.clone();
    let planned = |ledger| GrantPlan {
        ledger,
        outcome: GrantOutcome::Writing,
        added: 1,
        removed: 0,
        missing: 0,
    };
    let before = |work: &GrantWork, ledger| status_before_write(work, &planned(ledger), view(None), NOW);
    assert_eq!(before(&work, kept.clone()), None, "it is stored");
    assert_eq!(
        before(&work, Vec::new()),
        None,
        "no entry leaves before the write"
    );
    let added = || vec![entry_of("new", EntryState::Intended)];
    work.grant.reconcile_at = Some("now".to_owned());
    let status = before(&work, added()).unwrap();
    assert_eq!(status.owned, [added(), kept].concat());
    assert_eq!(status.last_handled_reconcile_at, None, "acknowledged at the end");
    let denied = CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied");
    let stalled = status_without_plan(&work, &GrantState::CloudFailed(denied), NOW);
    work.grant.status = stalled.clone();
    assert_eq!(before(&work, added()).unwrap().conditions, stalled.conditions);
    work.unreported_drift = 1;
    assert_ne!(before(&work, added()).unwrap().conditions, stalled.conditions);
}

#[test]
fn a_decided_state_goes_first_except_a_preview_whose_policy_cannot_be_read() {
    let mut work = work_of("a", None);
    let ready = |work: &GrantWork, state: &GrantState| {
        let status = status_without_plan(work, state, NOW);
        let ready = status
            .conditions
            .into_iter()
            .find(|c| c.is(GrantCondition::Ready));
        ready.unwrap().reason
    };
    let failed = |kind| GrantState::CloudFailed(CloudError::new(kind, "Code"));
    let (denied, busy) = (
        failed(CloudErrorKind::AccessDenied),
        failed(CloudErrorKind::Throttled),
    );
    assert_eq!(ready(&work, &denied), "AccessDenied");
    work.decided = Some(GrantState::Suspended);
    assert_eq!(ready(&work, &denied), "Suspended");
    work.decided = Some(GrantState::Preview);
    assert_eq!(ready(&work, &denied), "AccessDenied");
    assert_eq!(ready(&work, &busy), "Preview");
}

#[test]
fn the_numbers_of_the_policy_are_updated_by_a_check_or_a_write() {
    let mut work = work_of("a", Some(EntryState::Applied));
    let document = policy_of(&[&work, &work_of("foreign", None)]);
    let seen = view(Some(&document));
    let unscheduled = PolicyView {
        scheduled_check: false,
        ..seen
    };
    let first = observe(&work, Some(unscheduled)).policy.unwrap();
    assert_eq!((first.statements, first.foreign_statements), (2, 2));
    work.grant.status.policy = Some(first);
    assert_eq!(observe(&work, Some(unscheduled)).policy, None);
    assert!(observe(&work, Some(seen)).policy.is_some());
    work.removed = 1;
    work.last_write = Some(NOW);
    let written = observe(&work, Some(unscheduled)).policy.unwrap();
    assert_eq!(written.last_write_reason, Some(WriteReason::StatementUnwanted));
    work.added = 1;
    let written = observe(&work, Some(unscheduled)).policy.unwrap();
    assert_eq!(written.last_write_reason, Some(WriteReason::StatementMissing));
    assert_eq!(overlaps(&work, Some(&document)), Some(1));
}

#[test]
fn a_missing_statement_counts_only_in_a_read_that_is_not_stale() {
    let work = work_of("a", Some(EntryState::Applied));
    let document = policy_of(&[&work]);
    let untrusted = |document| PolicyView {
        absence_trusted: false,
        ..view(document)
    };
    assert_eq!(all_present(&work, untrusted(Some(&document))), Some(true));
    assert_eq!(all_present(&work, untrusted(None)), None);
    assert_eq!(all_present(&work, view(None)), Some(false));
    assert!(work.desired_for_preview(true).is_some());
    assert_eq!(work.desired_for_preview(false), None);
}

#[test]
fn a_statement_counts_as_ours_if_a_ledger_says_so_and_it_is_in_the_policy() {
    let [ours, foreign, missing] = ["ours", "foreign", "missing"].map(|name| work_of(name, None));
    let document = policy_of(&[&ours, &foreign]);
    let fingerprint = |at: usize| document.statements()[at].fingerprint.clone().unwrap();
    let of_missing = policy_of(&[&missing]).statements()[0].fingerprint.clone();
    let found = crate::api::LedgerEntry {
        pre_existing: true,
        ..entry_of(&fingerprint(1), EntryState::Applied)
    };
    let planned = GrantPlan {
        ledger: vec![
            entry_of(&fingerprint(0), EntryState::Applied),
            entry_of(&of_missing.unwrap(), EntryState::Intended),
            found,
        ],
        outcome: GrantOutcome::Applied,
        added: 0,
        removed: 0,
        missing: 0,
    };
    let plan = Plan {
        change: Change::Keep,
        grants: vec![planned],
    };
    assert_eq!(PolicyView::of_plan(&plan, Some(&document)).ours, 1);
    assert_eq!(PolicyView::of_plan(&plan, None).ours, 0);
}
