//! What others do to the operator's own metadata: finalizers that are removed, and grants that are deleted without one.

use std::time::Duration;

use imm_operator::api::DeletionPolicy;
use imm_operator::ports::CredentialsError;

use super::fake_world::{FakeWorld, key};
use super::play::play_scenario;
use super::runner::on_paused_time;
use super::scenario::{Scenario, Step};
use super::specs::{BUCKET, grant, on};

const A: &str = "1234567890";

fn run_once(writes: usize, steps: &'static [Step]) {
    let scenario = Scenario {
        name: "a scenario without faults",
        steps,
        haste: None,
        writes,
    };
    let run = on_paused_time(play_scenario(&scenario, Vec::new(), false));
    assert!(run.broken.is_empty(), "{:#?}\n{}", run.broken, run.end);
    assert_eq!(run.counts.policy_writes, writes, "{}", run.end);
}

fn must_have_no_policy(outside: &mut FakeWorld) {
    assert_eq!(outside.policies.get(BUCKET), None);
}

#[test]
fn a_removed_finalizer_is_added_again_without_a_reconcile() {
    let scenario = Scenario {
        name: "a scenario without faults",
        steps: &[
            |o| {
                // No drift check falls into the test.
                let mut grant = grant(A);
                grant.drift_interval_seconds = 86_400;
                o.apply("a", grant);
            },
            |o| {
                o.recorded = o.counts;
                o.drop_finalizers("a");
            },
            |o| {
                let grant = &o.grants[&key("a")];
                assert!(grant.has_finalizer());
                assert_eq!(
                    (o.counts.lists, o.counts.reads),
                    (o.recorded.lists, o.recorded.reads)
                );
            },
        ],
        haste: Some(Duration::from_secs(120)),
        writes: 1,
    };
    let run = on_paused_time(play_scenario(&scenario, Vec::new(), false));
    assert!(run.broken.is_empty(), "{:#?}\n{}", run.broken, run.end);
}

#[test]
fn the_statements_of_a_grant_that_is_deleted_without_its_finalizer_are_removed() {
    run_once(
        2,
        &[
            |o| o.apply("a", grant(A)),
            |o| o.delete_without_finalizer("a"),
            must_have_no_policy,
        ],
    );
}

#[test]
fn a_statement_that_another_grant_wants_survives_a_deletion_without_finalizer() {
    run_once(
        2,
        &[
            |o| {
                o.apply("a", on(grant(A), &["p/"]));
                o.apply("b", on(grant(A), &["q/"]));
            },
            |o| o.delete_without_finalizer("a"),
            |o| {
                let texts = o.texts(BUCKET);
                assert!(
                    texts.iter().any(|text| text.contains("ram:PassRole")),
                    "{texts:?}"
                );
                assert!(!texts.iter().any(|text| text.contains("p/*")), "{texts:?}");
            },
        ],
    );
}

#[test]
fn a_grant_that_is_recreated_after_a_deletion_without_finalizer_keeps_its_statements() {
    run_once(
        1,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.delete_without_finalizer("a");
                o.apply("a", grant(A));
            },
        ],
    );
}

#[test]
fn a_deletion_without_finalizer_keeps_what_the_deletion_policy_retains() {
    run_once(
        1,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                let grant = o.grants.get_mut(&key("a")).unwrap();
                grant.retain = true;
                grant.spec.as_mut().unwrap().deletion_policy = DeletionPolicy::Retain;
                o.delete_without_finalizer("a");
                let kept = o.texts(BUCKET);
                o.ever_foreign.extend(kept.clone());
                o.foreign = kept;
            },
            |o| assert_eq!(o.texts(BUCKET).len(), 2),
        ],
    );
}

#[test]
fn a_deletion_without_finalizer_waits_for_credentials() {
    run_once(
        2,
        &[
            |o| {
                o.apply("a", grant(A));
                // A sibling keeps the bucket busy.
                o.apply("b", grant("2222222222"));
            },
            |o| {
                o.no_secret = Some(CredentialsError::NotFound);
                o.expected.insert("b", "CredentialsUnavailable");
                o.delete_without_finalizer("a");
            },
            |o| {
                // Until the credentials are back, the statements of the deleted grant stay.
                o.broken.retain(|what| !what.starts_with("I4"));
                o.no_secret = None;
                o.expected.clear();
            },
            |o| {
                let texts = o.texts(BUCKET);
                assert!(!texts.iter().any(|text| text.contains(A)), "{texts:?}");
            },
        ],
    );
}
