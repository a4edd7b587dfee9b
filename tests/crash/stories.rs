//! Scenarios that are run once and without a fault, because a crash in the middle would remove what they test.

use std::time::Duration;

use imm_operator::api::GrantSpec;
use imm_operator::core::grant::PublicAccessBlock;
use imm_operator::ports::{CloudErrorKind, CredentialsError};

use super::fake_world::{FakeWorld, key};
use super::fault::{Call, Fault};
use super::play::play_scenario;
use super::runner::on_paused_time;
use super::scenario::{Scenario, Step};
use super::specs::{BUCKET, grant, on, through_a_role, with_keys};

const A: &str = "1234567890";
const CLOSED: Option<CredentialsError> = Some(CredentialsError::SecretAccessDenied { account: None });

fn run_once(writes: usize, haste: Option<Duration>, steps: &'static [Step]) {
    let scenario = Scenario {
        name: "a scenario without faults",
        steps,
        haste,
        writes,
    };
    let run = on_paused_time(play_scenario(&scenario, Vec::new(), false));
    assert!(run.broken.is_empty(), "{:#?}\n{}", run.broken, run.end);
    assert_eq!(run.counts.policy_writes, writes, "{}", run.end);
}

fn must_be_live(outside: &mut FakeWorld, part: &str) {
    if !outside.texts(BUCKET).iter().any(|text| text.contains(part)) {
        outside.broken.push(format!("{part} is missing"));
    }
}

/// Checks that an object is deleted: an object without its finalizer is deleted immediately.
fn must_be_deleted(outside: &mut FakeWorld, name: &str) {
    if let Some(grant) = outside.grants.get(&key(name)) {
        outside
            .broken
            .push(format!("{name} still exists: {:?}", grant.status.conditions));
    }
}

#[test]
fn a_grant_without_credentials_keeps_a_statement_shared_with_a_deleted_grant() {
    run_once(
        2,
        None,
        &[
            |o| {
                o.apply("a", on(grant(A), &["p/"]));
                o.apply("b", on(grant(A), &["q/"]));
            },
            |o| {
                o.no_secret = CLOSED;
                o.expected
                    .extend([("a", "CredentialsUnavailable"), ("b", "CredentialsUnavailable")]);
            },
            |o| o.delete("b"),
            |o| {
                must_be_deleted(o, "b");
                must_be_live(o, "ram:PassRole");
            },
        ],
    );
}

#[test]
fn a_grant_without_a_finalizer_keeps_a_statement_shared_with_a_deleted_grant() {
    run_once(
        2,
        None,
        &[
            |o| {
                o.apply("a", on(grant(A), &["p/"]));
                o.apply("b", on(grant(A), &["q/"]));
            },
            |o| {
                o.grants.get_mut(&key("a")).unwrap().finalizers.clear();
                o.no_finalizer = true;
                o.expected.insert("a", "Reconciling");
                o.delete("b");
            },
            |o| {
                must_be_deleted(o, "b");
                must_be_live(o, "ram:PassRole");
                o.no_finalizer = false;
                o.expected.clear();
            },
        ],
    );
}

#[test]
fn a_statement_of_two_identities_is_removed_by_the_last_of_them() {
    run_once(
        4,
        None,
        &[
            |o| o.apply("a", with_keys(on(grant(A), &["p/"]), "second")),
            |o| o.apply("b", with_keys(on(grant(A), &["p/"]), "first")),
            // "b" finds the statement missing and restores it, so both own it.
            |o| {
                o.by_hand(None);
                for grant in o.grants.values_mut() {
                    grant.reconcile_at = Some("now".to_owned());
                }
                o.changed = true;
            },
            |o| {
                let owned = |name| o.grants[&key(name)].status.owned.iter().all(|e| !e.pre_existing);
                assert!(owned("a") && owned("b"));
                o.apply("a", with_keys(on(grant(A), &["q/"]), "second"));
                o.apply("b", with_keys(on(grant(A), &["q/"]), "first"));
            },
        ],
    );
}

#[test]
fn a_grant_that_is_stuck_in_its_deletion_is_abandoned_immediately() {
    run_once(
        1,
        Some(Duration::from_secs(20)),
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.refuses = Some(CloudErrorKind::AccessDenied);
                o.delete("a");
            },
            |o| {
                o.grants.get_mut(&key("a")).unwrap().abandon = true;
                o.changed = true;
            },
            |o| {
                must_be_deleted(o, "a");
                o.by_hand(None);
            },
        ],
    );
}

/// Checks that the grant was reconciled and written at most once since the numbers were recorded.
fn must_be_written_once(outside: &mut FakeWorld) {
    let (now, then) = (outside.counts, outside.recorded);
    let (reconciles, writes) = (now.lists - then.lists, now.status_writes - then.status_writes);
    if reconciles < 4 || writes > 1 {
        outside
            .broken
            .push(format!("{writes} status writes in {reconciles} reconciles"));
    }
}

#[test]
fn a_grant_that_fails_for_an_hour_is_written_once() {
    run_once(
        1,
        None,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.recorded = o.counts;
                o.refuses = Some(CloudErrorKind::Unavailable);
                o.expected.insert("a", "CloudUnavailable");
            },
            |_| {},
            |_| {},
            |_| {},
            must_be_written_once,
            |o| {
                o.recorded = o.counts;
                o.refuses = Some(CloudErrorKind::RequestRejected);
                o.expected.insert("a", "RequestRejected");
            },
            |_| {},
            |_| {},
            |_| {},
            must_be_written_once,
        ],
    );
}

/// Another writer removes all statements, and the removal is found at once.
fn remove_all(outside: &mut FakeWorld) {
    outside.by_hand(None);
    let token = outside.foreign_edits.to_string();
    outside.grants.get_mut(&key("a")).unwrap().reconcile_at = Some(token);
    outside.changed = true;
}

fn must_have_level(outside: &mut FakeWorld, level: i32) {
    let repeated = outside.grants[&key("a")].status.repeated_drift.clone();
    if repeated.as_ref().map(|repeated| repeated.level) != Some(level) {
        outside.broken.push(format!("not level {level}: {repeated:?}"));
    }
}

#[test]
fn the_wait_before_a_restore_doubles_although_the_statements_were_back_in_between() {
    run_once(
        5,
        None,
        &[
            |o| o.apply("a", grant(A)),
            remove_all,
            remove_all,
            // Restored after 10 minutes, so that the grant is Applied at rest.
            remove_all,
            |o| {
                must_have_level(o, 1);
                o.expected.insert("a", "RepeatedDrift");
                remove_all(o);
            },
            |o| {
                must_have_level(o, 2);
                o.expected.clear();
            },
        ],
    );
}

#[test]
fn a_grant_that_owns_nothing_is_released_although_every_call_is_denied() {
    run_once(
        0,
        None,
        &[
            |o| {
                o.poison = Some("ram:PassRole");
                o.expected.insert("a", "ForeignStatementRejected");
                o.apply("a", grant(A));
            },
            |o| {
                o.refuses = Some(CloudErrorKind::AccessDenied);
                o.delete("a");
            },
            |o| must_be_deleted(o, "a"),
        ],
    );
}

#[test]
fn a_session_is_not_used_after_its_reference_was_closed_except_to_remove_statements() {
    run_once(
        2,
        None,
        &[
            |o| o.apply("a", through_a_role(on(grant(A), &["p/"]))),
            // The session is valid for an hour; the reference is closed for the time of a drift check.
            |o| {
                o.no_secret = CLOSED;
                o.expected.insert("a", "CredentialsUnavailable");
            },
            |o| {
                o.recorded = o.counts;
                o.changed = true;
            },
            |o| {
                let reads = o.counts.reads - o.recorded.reads;
                if reads > 0 {
                    o.broken.push(format!("{reads} reads with a closed reference"));
                }
                o.delete("a");
            },
            |o| must_be_deleted(o, "a"),
        ],
    );
}

#[test]
fn a_grant_made_again_does_not_use_what_worked_for_the_earlier_one() {
    run_once(
        1,
        Some(Duration::from_secs(5)),
        &[
            |o| o.apply("a", through_a_role(grant(A))),
            |_| {},
            // The object, its namespace and the reference are gone; somebody else makes the same objects again.
            |o| {
                o.no_secret = CLOSED;
                o.grants.clear();
                o.recorded = o.counts;
                o.apply("a", through_a_role(grant(A)));
                o.expected.insert("a", "CredentialsUnavailable");
            },
            |_| {},
            |o| {
                let reads = o.counts.reads - o.recorded.reads;
                if reads > 0 {
                    o.broken.push(format!("{reads} reads for another object"));
                }
                o.grants.clear();
                o.by_hand(None);
            },
        ],
    );
}

#[test]
fn public_access_is_read_for_an_edit_once_credentials_are_available() {
    run_once(
        2,
        None,
        &[
            |o| o.apply("a", on(grant(A), &["p/"])),
            |o| {
                o.no_secret = CLOSED;
                o.block = Some(PublicAccessBlock::OnForBucket);
                o.expected.insert("a", "CredentialsUnavailable");
                o.apply("a", on(grant(A), &["q/"]));
            },
            |o| {
                o.no_secret = None;
                o.expected.clear();
            },
        ],
    );
}

#[test]
fn a_setting_that_is_read_for_one_grant_changes_no_decision_of_another() {
    run_once(
        2,
        None,
        &[
            |o| {
                o.block = Some(PublicAccessBlock::OnForBucket);
                o.apply("a", on(grant(A), &["p/"]));
            },
            |o| {
                o.block = None;
                // A grant of before may omit what one of now may write.
                o.public_refused = true;
                o.apply("b", on(grant(A), &["q/"]));
            },
            |o| {
                for (name, written) in [("a", false), ("b", true)] {
                    let report = o.grants[&key(name)].status.pass_role_statement;
                    if report.is_none_or(|report| report.written != written) {
                        o.broken.push(format!("{name}: {report:?}"));
                    }
                }
            },
        ],
    );
}

#[test]
fn an_omitted_statement_is_removed_although_the_first_write_is_rejected() {
    run_once(
        2,
        None,
        &[
            |o| o.apply("a", on(grant(A), &["p/"])),
            |o| {
                o.block = Some(PublicAccessBlock::OnForBucket);
                o.poison = Some("q/");
                o.expected.insert("a", "ForeignStatementRejected");
                o.apply("a", on(grant(A), &["q/"]));
            },
            |o| {
                o.poison = None;
                o.expected.clear();
            },
        ],
    );
}

#[test]
fn what_a_late_write_restores_is_removed_again() {
    let scenario = Scenario {
        name: "a scenario without faults",
        steps: &[
            |o| o.apply("a", seldom(&["p/"])),
            |o| o.apply("a", seldom(&["q/"])),
        ],
        haste: Some(Duration::from_secs(20)),
        writes: 0,
    };
    let run = on_paused_time(play_scenario(&scenario, Vec::new(), false));
    let write = run.calls[0].iter().position(|call| *call == Call::Write).unwrap();
    for late in [100, 200, 280] {
        let faults = vec![(write + 1, Fault::LateOnly(late))];
        let run = on_paused_time(play_scenario(&scenario, faults, false));
        assert!(run.broken.is_empty(), "{late}: {:#?}\n{}", run.broken, run.end);
    }
}

/// A grant that is checked for drift once a day.
fn seldom(prefixes: &[&str]) -> GrantSpec {
    GrantSpec {
        drift_interval_seconds: 86_400,
        ..on(grant(A), prefixes)
    }
}
