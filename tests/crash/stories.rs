//! Scenarios that are played once, without a fault: what they are about would not survive a crash in their middle.

use std::time::Duration;

use imm_operator::ports::FailureKind;

use super::outside::{Outside, key};
use super::play::play_scenario;
use super::runner::on_paused_time;
use super::scenario::{Scenario, Step, grant};

const A: &str = "1234567890";

fn tell(writes: usize, haste: Option<Duration>, steps: &'static [Step]) {
    let scenario = Scenario {
        name: "a story",
        steps,
        haste,
        writes,
    };
    let run = on_paused_time(play_scenario(&scenario, Vec::new(), false));
    assert!(run.broken.is_empty(), "{:#?}\n{}", run.broken, run.end);
    assert_eq!(run.counts.policy_writes, writes, "{}", run.end);
}

/// Without its finalizer an object is gone at once.
fn must_be_gone(outside: &mut Outside, name: &str) {
    if let Some(grant) = outside.grants.get(&key(name)) {
        outside
            .broken
            .push(format!("{name} is still there: {:?}", grant.status.conditions));
    }
}

#[test]
fn a_grant_that_owns_nothing_goes_although_no_call_is_admitted() {
    tell(
        0,
        None,
        &[
            |o| {
                o.poison = Some("ram:PassRole");
                o.expected.insert("a", "ForeignStatementRejected");
                o.apply("a", grant(A));
            },
            |o| {
                o.refuses = Some(FailureKind::Denied);
                o.delete("a");
            },
            |o| must_be_gone(o, "a"),
        ],
    );
}
