//! The events of a grant.

use super::conditions::residual_access;
use super::work::GrantWork;
use super::{GrantObject, GrantOutcome, public_statement};
use crate::api::{BackupRef, Condition, EventReason, GrantCondition, GrantStatus};
use crate::core::condition_builder::newly_stalled;
use crate::core::event_content::EventContent;
use crate::core::text::counted;

/// Returns the event of a status that was stored: a warning when the reason of Ready has changed to one that requires
/// action.
pub fn state_change(grant: &GrantObject, before: &GrantStatus) -> Option<EventContent> {
    // A deletion that is blocked is news, also for a grant that was stalled before.
    let deleted_since = grant.deleting && before.observed_generation != Some(grant.generation);
    let before: &[Condition] = if deleted_since { &[] } else { &before.conditions };
    let (reason, message) = newly_stalled::<GrantCondition>(before, &grant.status.conditions)?;
    let reason = if grant.deleting {
        EventReason::DeletionBlocked.as_str()
    } else {
        reason
    };
    Some(EventContent::stalled(reason, message))
}

/// Returns the events of the changes of a policy that this reconcile has made for a grant.
pub fn policy_changes(work: &GrantWork, outcome: &GrantOutcome) -> Vec<EventContent> {
    let mut events = Vec::new();
    if work.added > 0 && *outcome == GrantOutcome::Applied {
        let statements = counted(work.added, "statement");
        events.push(if work.missing > 0 {
            EventContent::new(
                EventReason::DriftCorrected,
                format!("Restored {statements} in the policy"),
            )
        } else {
            let public = public_statement(work.pass_role).map(|note| format!("; {note}"));
            let public = public.unwrap_or_default();
            EventContent::new(
                EventReason::StatementAdded,
                format!("Added {statements} to the policy{public}"),
            )
        });
    }
    // Equal events become one with a count, and its note is that of the first: it names what all of them have in common.
    let backup = work.backup.as_ref().filter(|_| work.was_written());
    events.extend(backup.map(|copy| {
        let note = format!(
            "Stored the policy from before each write in ConfigMap {}; status.policy.backupRef names the latest copy",
            copy.name
        );
        EventContent::new(EventReason::PolicyBackedUp, note)
    }));
    if work.removed > 0 {
        let note = format!("Removed {} from the policy", counted(work.removed, "statement"));
        events.push(EventContent::new(EventReason::StatementRemoved, note));
    }
    events
}

/// Returns the event of statements that another writer has removed.
pub fn drift_detected(missing: usize, backup: Option<&BackupRef>) -> EventContent {
    let copy = backup.map(|b| {
        format!(
            "; the last copy of the policy is {} in ConfigMap {}",
            b.entry, b.name
        )
    });
    let note = format!(
        "Found {} of this grant missing from the policy{}",
        counted(missing, "statement"),
        copy.unwrap_or_default()
    );
    EventContent::new(EventReason::DriftDetected, note)
}

/// Returns the event of statements of others that name the same service role.
pub fn foreign_overlap(statements: i32) -> EventContent {
    let count = counted(statements, "unmanaged statement");
    let note = format!("Found {count} in the policy for the same service role; not changed");
    EventContent::new(EventReason::ForeignOverlap, note)
}

/// Returns the event of a released grant whose statements stay in the policy.
pub fn statements_retained(grant: &GrantObject) -> EventContent {
    let reason = if grant.abandon {
        EventReason::Abandoned
    } else {
        EventReason::Retained
    };
    let count = grant.status.owned.len();
    let note = format!("Released the grant; up to {count} of its statements remain in the policy");
    EventContent::new(reason, note)
}

/// Returns the events of access that remains when a grant is released.
pub fn access_remains(residual: usize, unverified: usize) -> Vec<EventContent> {
    let mut notes = Vec::new();
    if residual > 0 {
        notes.push(residual_access(residual));
    }
    if unverified > 0 {
        notes.push(format!(
            "Entries of status.owned that this version cannot verify: {unverified}; their statements stay in the policy: remove at OSS what is not intended"
        ));
    }
    let event = |note| EventContent::new(EventReason::ResidualAccess, note);
    notes.into_iter().map(event).collect()
}

/// Returns the event of a deleted grant whose bucket does not exist.
pub fn bucket_gone() -> EventContent {
    EventContent::new(
        EventReason::BucketGone,
        "The bucket no longer exists, so no statement has to be removed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::grant::{GrantState, Observation, PassRoleDecision, grant_status, work_of};

    fn said(events: &[EventContent]) -> Vec<String> {
        let line = |e: &EventContent| format!("{} {} {}", e.warning, e.reason, e.note);
        events.iter().map(line).collect()
    }

    #[test]
    fn each_change_of_a_policy_has_an_event() {
        let backup = BackupRef {
            name: "policy-backup-1".to_owned(),
            entry: "2026".to_owned(),
        };
        let changed = |(added, missing, removed): (usize, usize, usize), public: bool| {
            let mut work = work_of("a", None);
            (work.added, work.missing, work.removed) = (added, missing, removed);
            work.pass_role = public.then_some(PassRoleDecision::Included);
            work
        };
        // A policy that was not written has no copy to report.
        let with_backup = |work: GrantWork| GrantWork {
            backup: Some(backup.clone()),
            ..work
        };
        let none = with_backup(changed((0, 0, 0), false));
        let all = with_backup(changed((2, 0, 1), false));
        for (work, outcome, expected) in [
            (none, GrantOutcome::Applied, vec![]),
            (
                changed((2, 0, 0), false),
                GrantOutcome::Applied,
                vec!["false StatementAdded Added 2 statements to the policy"],
            ),
            (changed((2, 0, 0), false), GrantOutcome::Writing, vec![]),
            (
                changed((2, 0, 0), true),
                GrantOutcome::Applied,
                vec![
                    "false StatementAdded Added 2 statements to the policy; the ram:PassRole statement counts as public, because \
                     its empty Principal means everyone: to leave it out, set access.passRoleStatement to Omit",
                ],
            ),
            (
                changed((2, 1, 0), true),
                GrantOutcome::Applied,
                vec!["false DriftCorrected Restored 2 statements in the policy"],
            ),
            (
                all,
                GrantOutcome::Applied,
                vec![
                    "false StatementAdded Added 2 statements to the policy",
                    "false PolicyBackedUp Stored the policy from before each write in ConfigMap policy-backup-1; \
                     status.policy.backupRef names the latest copy",
                    "false StatementRemoved Removed 1 statement from the policy",
                ],
            ),
        ] {
            assert_eq!(said(&policy_changes(&work, &outcome)), expected);
        }
        assert_eq!(
            said(&[drift_detected(1, None), drift_detected(2, Some(&backup))]),
            [
                "true DriftDetected Found 1 statement of this grant missing from the policy",
                "true DriftDetected Found 2 statements of this grant missing from the policy; the last copy of the policy is \
                 2026 in ConfigMap policy-backup-1",
            ]
        );
    }

    #[test]
    fn access_that_remains_is_a_warning_each() {
        assert_eq!(access_remains(0, 0), []);
        let both = access_remains(1, 2);
        assert!(both.iter().all(|e| e.warning && e.reason == "ResidualAccess"));
        let [residual, unverified] = both.as_slice() else {
            panic!("{both:?}");
        };
        assert!(
            residual
                .note
                .starts_with("Access remains: 1 statement for the same")
        );
        assert!(
            unverified
                .note
                .contains("cannot verify: 2; their statements stay")
        );
    }

    #[test]
    fn a_grant_that_becomes_stalled_has_one_warning_and_a_blocked_deletion_has_its_own() {
        let invalid = GrantState::Invalid("spec.bucket.name is wrong".to_owned());
        let stalled = |deleting, before: &GrantStatus| {
            let mut grant = GrantObject::bare("media", "a");
            (grant.deleting, grant.generation) = (deleting, 2);
            grant.status = before.clone();
            let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
            grant.status = grant_status(&grant, &invalid, Observation::default(), now);
            let event = state_change(&grant, before);
            (grant.status, event.map(|event| (event.warning, event.reason)))
        };
        let mut first = GrantStatus::default();
        let (after, event) = stalled(false, &first);
        assert_eq!(event, Some((true, "InvalidSpec".to_owned())));
        assert_eq!(stalled(false, &after).1, None, "it is known");
        assert_eq!(stalled(true, &after).1, None);
        first.clone_from(&after);
        first.observed_generation = Some(1);
        let blocked = Some((true, "DeletionBlocked".to_owned()));
        assert_eq!(stalled(true, &first).1, blocked, "the deletion is new");
    }
}
