//! A bucket with far more grants than its policy has room for.

use imm_operator::core::grant::{Change, Verdict, plan};
use imm_operator::core::policy::POLICY_LIMIT;
use k8s_openapi::jiff::SignedDuration;

use super::build::*;

/// The oldest that fit are written, and each of the others is told so. One round for each of a thousand would take minutes.
#[test]
fn of_a_thousand_grants_the_oldest_are_written_that_fit() {
    let crowd: Vec<_> = (0..1_000)
        .map(|n| {
            let statement = access(&format!("{n:016}"), &[&format!("folder-{n}/")]);
            let mut grant = active(&format!("grant-{n:04}"), &[statement]);
            grant.created = Some(now() + SignedDuration::from_secs(n));
            grant
        })
        .collect();
    let plan = plan(scene(None), &crowd);
    let Change::Put(text) = &plan.change else {
        panic!("one write expected")
    };
    let written = plan.verdicts.iter().filter(|v| **v == Verdict::Writing).count();
    let one = text.len() / written;
    assert!(
        text.len() <= POLICY_LIMIT && text.len() + one + one / 2 > POLICY_LIMIT,
        "{}",
        text.len()
    );
    for (n, verdict) in plan.verdicts.iter().enumerate() {
        let told = matches!(verdict, Verdict::TooLarge { .. });
        assert!(told != (n < written), "{n} of {written}: {verdict:?}");
    }
}
