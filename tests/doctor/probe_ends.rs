//! After a probe the policy is byte for byte the one from before, or another client's.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch, Lag};
use imm_operator::cli::doctor::probe::{read_image, remove_restored, restore, run_probe};
use imm_operator::core::doctor::{DoctorReport, Probe, RestoreOutcome};
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, grantee, probe, target};
use super::setup::{PROBE_BUCKET, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_exists_is_not_replaced() {
    let world = World::new("", "").await;
    std::fs::write(world.path("before.json"), "canary").unwrap();
    let mut probe = Probe::new(&grantee(), None, 60);
    let clock = TestClock::new(&world.emulator, 0);
    let target = target(&world, false);
    let refused = run_probe(&target, &mut probe, &clock, &CancellationToken::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("cannot be stored"), "{refused}");
    assert_eq!(std::fs::read_to_string(&target.file).unwrap(), "canary");
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_wrote_meanwhile_is_left_alone() {
    let world = World::new("", "").await;
    let mut probe = Probe::new(&grantee(), None, 60);
    let clock = TestClock::new(&world.emulator, 3600).on_pause(|pauses| {
        if pauses == 3 {
            world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
        }
    });
    let target = target(&world, false);
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new())
        .await
        .unwrap();
    let live = Some(FOREIGN.to_owned());
    assert_eq!(outcome, RestoreOutcome::Foreign { live: live.clone() });
    assert_eq!(world.emulator.policy(PROBE_BUCKET), live);
    // The second spelling was not written over it.
    let puts = world
        .emulator
        .calls()
        .iter()
        .filter(|call| call.action == "PutBucketPolicy")
        .count();
    assert_eq!(puts, 1);
    assert!(
        probe
            .findings()
            .stopped
            .as_ref()
            .unwrap()
            .contains("another client")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_does_not_show_the_write_yet_is_not_taken_for_the_policy_from_before() {
    let public = ", blockPublicAccess: false, principals: { sessionWildcardIsPublic: true }";
    let world = World::new(public, "").await;
    let lag = |policy_read_ms| Lag {
        policy_read_ms,
        ..Lag::default()
    };
    world.emulator.set_lag(lag(3_600_000));
    let mut probe = Probe::new(&grantee(), None, 60);
    let clock = TestClock::new(&world.emulator, 0).on_pause(|_| {
        // After the first read at the end of the probe, which shows no policy.
        let calls = world.emulator.calls();
        if calls.last().is_some_and(|call| call.action == "GetBucketPolicy") {
            assert!(world.emulator.policy(PROBE_BUCKET).is_some());
            world.emulator.set_lag(lag(0));
        }
    });
    let target = target(&world, false);
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    assert_eq!(outcome, RestoreOutcome::Restored);
    let public = probe.findings().session_wildcard_is_public;
    assert_eq!(public, None, "OSS answered about the policy from before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_write_that_no_read_shows_is_not_reported_as_put_back() {
    let world = World::new("", "").await;
    world.emulator.set_lag(Lag {
        policy_read_ms: 3_600_000,
        ..Lag::default()
    });
    let mut probe = Probe::new(&grantee(), None, 60);
    let clock = TestClock::new(&world.emulator, 0);
    let target = target(&world, false);
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new())
        .await
        .unwrap();
    assert!(world.emulator.policy(PROBE_BUCKET).is_some());
    assert_eq!(outcome, RestoreOutcome::Uncertain);
    let report = DoctorReport::of_restoration(&outcome, "before.json");
    assert_eq!(report.exit_code(), 2);
    remove_restored(&outcome, &target.file);
    // Later the file is enough to restore the policy.
    world.emulator.set_lag(Lag::default());
    let image = read_image(&target.file).unwrap();
    let (cloud, bucket, keys) = (&target.cloud, &target.bucket, &target.owner_keys);
    let outcome = restore(cloud, bucket, keys, &image, true, &clock).await;
    assert_eq!(outcome, RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_still_shows_the_policy_of_the_probe_does_not_lead_to_a_second_write() {
    let world = World::new("", "").await;
    let mut probe = Probe::new(&grantee(), None, 60);
    let written = || world.emulator.calls().into_iter().find_map(|call| call.body);
    let clock = TestClock::new(&world.emulator, 0).on_pause(|pauses| {
        if pauses == 1 {
            assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "it is back");
            world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
            world.emulator.add_fault(Fault {
                matching: FaultMatch {
                    action: Some("GetBucketPolicy".to_owned()),
                    ..FaultMatch::default()
                },
                skip: 0,
                times: Some(5),
                effect: FaultEffect::Answer(FaultAnswer {
                    status: 200,
                    body: written(),
                    ..FaultAnswer::default()
                }),
            });
        }
    });
    let outcome = run_probe(
        &target(&world, false),
        &mut probe,
        &clock,
        &CancellationToken::new(),
    )
    .await
    .unwrap();
    let live = Some(FOREIGN.to_owned());
    assert_eq!(world.emulator.policy(PROBE_BUCKET), live);
    assert_eq!(outcome, RestoreOutcome::Foreign { live });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_any_failure() {
    let answer = |status, code: &str| {
        FaultEffect::Answer(FaultAnswer {
            status,
            code: code.to_owned(),
            ..FaultAnswer::default()
        })
    };
    for (action, skip, effect, expected) in [
        (
            "PutBucketPolicy",
            0,
            FaultEffect::DropAfter,
            RestoreOutcome::Uncertain,
        ),
        (
            "PutBucketPolicy",
            0,
            FaultEffect::DropBefore,
            RestoreOutcome::Uncertain,
        ),
        (
            "PutBucketPolicy",
            0,
            answer(403, "AccessDenied"),
            RestoreOutcome::Restored,
        ),
        (
            "PutBucketPolicy",
            1,
            FaultEffect::DropAfter,
            RestoreOutcome::Uncertain,
        ),
        (
            "DetectImageScore",
            1,
            answer(400, "ResourceNotFound.Project"),
            RestoreOutcome::Restored,
        ),
        (
            "DetectImageScore",
            1,
            FaultEffect::DropAfter,
            RestoreOutcome::Restored,
        ),
        (
            "DeleteBucketPolicy",
            0,
            FaultEffect::DropAfter,
            RestoreOutcome::Restored,
        ),
        (
            "DeleteBucketPolicy",
            0,
            answer(503, "ServiceUnavailable"),
            RestoreOutcome::Restored,
        ),
        (
            "GetBucketPolicy",
            2,
            answer(503, "ServiceUnavailable"),
            RestoreOutcome::Restored,
        ),
    ] {
        let world = World::new("", ", principalRole: aliyunimmdefaultrole").await;
        let mut probe = Probe::new(&grantee(), None, 60);
        let clock = TestClock::new(&world.emulator, 0);
        world.emulator.add_fault(Fault {
            matching: FaultMatch {
                action: Some(action.to_owned()),
                ..FaultMatch::default()
            },
            skip,
            times: Some(1),
            effect: effect.clone(),
        });
        let outcome = run_probe(
            &target(&world, false),
            &mut probe,
            &clock,
            &CancellationToken::new(),
        )
        .await;
        assert_eq!(outcome.unwrap(), expected, "{action} {skip} {effect:?}");
        assert_eq!(
            world.emulator.policy(PROBE_BUCKET),
            None,
            "{action} {skip} {effect:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_stopped_makes_no_further_call_than_to_put_the_policy_back() {
    let world = World::new("", "").await;
    let stop = CancellationToken::new();
    let mut probe = Probe::new(&grantee(), None, 60);
    let clock = TestClock::new(&world.emulator, 3600).on_pause(|_| stop.cancel());
    let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop)
        .await
        .unwrap();
    assert_eq!(outcome, RestoreOutcome::Restored);
    assert_eq!((probe.findings().billed, world.emulator.billed()), (2, 2));
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    assert_eq!(probe.findings().stopped.as_deref(), Some("interrupted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_policy_is_put_back_over_nothing_else_than_the_probe() {
    let world = World::new("", "").await;
    world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    probe(&world, 0, 60).await;
    let image = read_image(&world.path("before.json")).unwrap();
    let ours = image.written.first().unwrap().clone();
    let (target, clock) = (target(&world, true), TestClock::new(&world.emulator, 0));
    for (live, expected, after) in [
        (Some(ours.as_str()), RestoreOutcome::Restored, Some(FOREIGN)),
        (Some(FOREIGN), RestoreOutcome::Restored, Some(FOREIGN)),
        (None, RestoreOutcome::Foreign { live: None }, None),
        (
            Some("{}"),
            RestoreOutcome::Foreign {
                live: Some("{}".to_owned()),
            },
            Some("{}"),
        ),
    ] {
        world.emulator.set_policy(PROBE_BUCKET, live);
        let (cloud, bucket, keys) = (&target.cloud, &target.bucket, &target.owner_keys);
        let outcome = restore(cloud, bucket, keys, &image, false, &clock).await;
        assert_eq!(outcome, expected, "{live:?}");
        assert_eq!(world.emulator.policy(PROBE_BUCKET).as_deref(), after);
    }
}
