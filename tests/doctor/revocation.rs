//! How soon access ends: the conclusion is right in worlds in which it ends at once, later, and not within two minutes.

use imm_emulator::{Fault, FaultAnswer, FaultEffect};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::{
    FurtherQuestions, Probe, ProbeFindings, ProbeSequence, RestoreOutcome, RevocationLag,
};
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, concluded, grantee, seen, target};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check};

fn sequence(most_billed: u32) -> ProbeSequence {
    let access = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), most_billed);
    let questions = FurtherQuestions {
        pass_role: false,
        revocation: true,
        deny: false,
    };
    ProbeSequence::new(access, questions, most_billed)
}

/// Measures in a world in which grants and removals have their own lag.
async fn measure(world: &World, lags: (u64, u64), most_billed: u32) -> ProbeFindings {
    let _ = std::fs::remove_file(world.path("before.json"));
    world.emulator.clear_calls();
    let before = world.emulator.policy(PROBE_BUCKET);
    let clock = TestClock::new(&world.emulator, lags.0).removal_lag(lags.1);
    let mut probe = sequence(most_billed);
    let target = target(world, before.is_some());
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), before);
    let found = probe.findings();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.billed <= most_billed);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_access_is_measured_apart_from_its_beginning() {
    for before in [None, Some(FOREIGN)] {
        for (lags, millis, lag, value) in [
            ((0, 0), 0, RevocationLag::Millis(0), "0 s"),
            ((20, 4), 20_000, RevocationLag::Millis(4000), "4 s"),
            ((4, 90), 4000, RevocationLag::Millis(90_000), "90 s"),
            (
                (0, 3600),
                0,
                RevocationLag::LongerThan(240_000),
                "more than 240 s",
            ),
        ] {
            let world = World::new("", "").await;
            world.emulator.set_policy(PROBE_BUCKET, before);
            let found = measure(&world, lags, 100).await;
            assert_eq!(
                (found.lag_millis, found.revocation),
                (Some(millis), Some(lag)),
                "{found:?}"
            );
            assert_eq!(concluded(&found, "revocation"), (value.to_owned(), true));
            let said = seen(&found, "probe-revocation-lag");
            let still = matches!(lag, RevocationLag::LongerThan(_));
            assert_eq!(said.starts_with("the image was still scored"), still, "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_access_is_not_waited_for_with_more_calls_than_allowed() {
    let world = World::new("", "").await;
    let found = measure(&world, (0, 90), 5).await;
    assert_eq!(found.billed, 5);
    assert_eq!(found.stopped.as_deref(), Some("--max-billed is reached"));
    assert!(
        matches!(found.revocation, Some(RevocationLag::LongerThan(_))),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_failure_of_the_removal() {
    let denied = FaultEffect::Answer(FaultAnswer {
        status: 403,
        code: "AccessDenied".to_owned(),
        ..FaultAnswer::default()
    });
    for effect in [FaultEffect::DropAfter, FaultEffect::DropBefore, denied] {
        let world = World::new("", "").await;
        let shown = format!("{effect:?}");
        world
            .emulator
            .add_fault(Fault::on_action("DeleteBucketPolicy", 1, effect));
        let found = measure(&world, (0, 0), 60).await;
        assert!(found.stopped.unwrap().contains("could not be removed"), "{shown}");
    }
    // What another client writes meanwhile stays.
    let world = World::new("", "").await;
    let mut probe = sequence(60);
    let clock = TestClock::new(&world.emulator, 2).on_pause(|_| {
        world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    });
    let outcome = run_probe(
        &target(&world, false),
        &mut probe,
        &clock,
        &CancellationToken::new(),
    )
    .await;
    assert_eq!(
        outcome.unwrap(),
        RestoreOutcome::Foreign {
            live: Some(FOREIGN.to_owned())
        }
    );
    assert_eq!(world.emulator.policy(PROBE_BUCKET).as_deref(), Some(FOREIGN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_measures_both_lags() {
    let world = World::new("", "").await;
    let manifest = format!("{GRANT}---{JOB}");
    let flags = [
        "--probe",
        "lag",
        "--probe-bucket",
        PROBE_BUCKET,
        "--probe-object",
        "a.jpg",
        "--i-own",
        PROBE_BUCKET,
        "--yes",
        "-o",
        "json",
    ];
    let output = world.command(&manifest, &flags, KEYS).output().await.unwrap();
    let report = Run::of(&output).json();
    for name in ["probe-lag", "probe-revocation-lag", "probe-policy-restored"] {
        assert_eq!(check(&report, name)["level"], "ok", "{report:#}");
    }
    assert_eq!(
        (world.emulator.billed(), world.emulator.policy(PROBE_BUCKET)),
        (3, None)
    );
}
