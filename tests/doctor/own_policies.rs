//! What a probe says about policies of its own: whether they are read back as they were written, and whether a Deny
//! matches whose action is spelled in another way.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use imm_operator::core::doctor::{FurtherQuestions, Probe, ProbeFindings, ProbeSequence};

use super::probe_setup::{FOREIGN, grantee, report, run_plan, seen};
use super::setup::{PROBE_BUCKET, World};

const CASE: &str = "the action of a Deny is compared without its case";
const WILDCARD: &str = "a ? in the action of a Deny stands for any character";

/// Runs a probe of both questions.
async fn probe(world: &World, lag: u64, most_billed: u32) -> ProbeFindings {
    let access = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), most_billed);
    let questions = FurtherQuestions {
        deny: true,
        ..FurtherQuestions::default()
    };
    let mut probe = ProbeSequence::new(access, questions, most_billed);
    run_plan(world, &mut probe, &[], lag).await;
    let found = probe.findings();
    assert!(found.billed <= most_billed, "{found:?}");
    found
}

/// Answers calls of an action after the first ones.
fn answer(world: &World, action: &str, skip: u32, times: u32, answer: FaultAnswer) {
    world.emulator.add_fault(Fault {
        matching: FaultMatch {
            action: Some(action.to_owned()),
            ..FaultMatch::default()
        },
        skip,
        times: Some(times),
        effect: FaultEffect::Answer(answer),
    });
}

fn body(text: &str) -> FaultAnswer {
    FaultAnswer {
        status: 200,
        body: Some(text.to_owned()),
        content_type: Some("application/json".to_owned()),
        ..FaultAnswer::default()
    }
}

fn assumptions(found: &ProbeFindings) -> Vec<String> {
    let wrong = report(found).wrong_assumptions.into_iter();
    wrong.map(|wrong| wrong.assumption).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deny_in_another_spelling_is_compared_with_the_documented_one() {
    for (before, lag) in [(None, 0), (Some(FOREIGN), 20)] {
        let world = World::new("", "").await;
        world.emulator.set_policy(PROBE_BUCKET, before);
        let found = probe(&world, lag, 60).await;
        assert!(found.works.is_some() && found.stopped.is_none(), "{found:?}");
        assert_eq!(
            seen(&found, "probe-deny").trim(),
            "a Deny of oss:getobject and of oss:Get?bject denies access"
        );
        assert_eq!(u64::from(found.billed), world.emulator.billed());
        let wrong = assumptions(&found);
        assert!(
            !wrong.contains(&CASE.to_owned()) && !wrong.contains(&WILDCARD.to_owned()),
            "{wrong:?}"
        );
    }
    // The first call is denied, the second one scores. Then three follow beside a Deny, and one after each of the
    // first two.
    let world = World::new("", "").await;
    let found = probe(&world, 0, 60).await;
    assert_eq!(found.billed, 7);
    for (allowed, said) in [
        (
            2,
            "not known about a Deny of oss:GetObject and of oss:getobject and of oss:Get?bject",
        ),
        (
            5,
            "a Deny of oss:getobject denies access; not known about a Deny of oss:Get?bject",
        ),
    ] {
        let found = probe(&world, 0, allowed).await;
        assert_eq!(
            (found.billed, found.stopped.as_deref()),
            (allowed, Some("--max-billed is reached"))
        );
        let seen = seen(&found, "probe-deny");
        assert!(seen.starts_with(said), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deny_that_has_no_effect_is_listed_as_a_wrong_assumption() {
    let world = World::new("", "").await;
    let scored = || body(r#"{"RequestId":"R-1","ImageScore":{"OverallQualityScore":0.5}}"#);
    answer(&world, "DetectImageScore", 4, 2, scored());
    let found = probe(&world, 0, 60).await;
    assert_eq!(
        seen(&found, "probe-deny").trim(),
        "a Deny of oss:Get?bject denies access; a Deny of oss:getobject had no effect within four minutes"
    );
    let wrong = assumptions(&found);
    assert!(
        wrong.contains(&CASE.to_owned()) && !wrong.contains(&WILDCARD.to_owned()),
        "{wrong:?}"
    );
    // A Deny that OSS rejects says nothing.
    let world = World::new("", "").await;
    let rejected = FaultAnswer {
        status: 400,
        code: "InvalidPolicyDocument".to_owned(),
        ..FaultAnswer::default()
    };
    answer(&world, "PutBucketPolicy", 5, 1, rejected);
    let found = probe(&world, 0, 60).await;
    assert_eq!(
        seen(&found, "probe-deny").trim(),
        "a Deny of oss:getobject denies access; not known about a Deny of oss:Get?bject (InvalidPolicyDocument)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_of_a_probe_is_read_back_byte_for_byte() {
    let world = World::new("", "").await;
    let found = probe(&world, 0, 60).await;
    assert_eq!(
        seen(&found, "probe-read-back").trim(),
        "5 of 5 reads showed the policy byte for byte as it was written"
    );
    // Before these reads, the policy was read at the start, before the write and after it.
    answer(&world, "GetBucketPolicy", 3, 2, body("{ \"Version\": \"1\" }"));
    let found = probe(&world, 0, 60).await;
    let said = seen(&found, "probe-read-back");
    assert!(
        said.starts_with(
            "5 of 7 reads showed the policy byte for byte as it was written; 2 showed another text see whether"
        ),
        "{said}"
    );
}
