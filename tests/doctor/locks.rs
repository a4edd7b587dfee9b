//! A probe while another client changes settings of the bucket.

use imm_emulator::{Fault, FaultAnswer, FaultEffect};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::{FurtherQuestions, Probe, ProbeFindings, ProbeSequence, RestoreOutcome};
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, grantee, target};
use super::setup::{PROBE_BUCKET, World};

/// A bucket that is locked for so many calls of an action.
fn lock(world: &World, action: &str, times: u32) {
    let locked = FaultAnswer {
        status: 409,
        code: "ConcurrentUpdateBucketFailed".to_owned(),
        ..FaultAnswer::default()
    };
    world
        .emulator
        .add_fault(Fault::on_action(action, times, FaultEffect::Answer(locked)));
}

async fn run(
    world: &World,
    clock: &TestClock<'_>,
    stop: &CancellationToken,
) -> (RestoreOutcome, ProbeFindings) {
    let access = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), 60);
    let questions = FurtherQuestions {
        pass_role: false,
        revocation: true,
        deny: false,
    };
    let mut probe = ProbeSequence::new(access, questions, 60);
    let outcome = run_probe(&target(world, false), &mut probe, clock, stop).await;
    (outcome.unwrap(), probe.findings())
}

fn puts(world: &World) -> usize {
    let calls = world.emulator.calls();
    calls
        .iter()
        .filter(|call| call.action == "PutBucketPolicy")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_meets_the_lock_of_the_bucket_is_repeated() {
    for action in ["PutBucketPolicy", "DeleteBucketPolicy"] {
        let world = World::new("", "").await;
        lock(&world, action, 3);
        let clock = TestClock::new(&world.emulator, 0);
        let (outcome, found) = run(&world, &clock, &CancellationToken::new()).await;
        assert_eq!(
            (outcome, &found.stopped),
            (RestoreOutcome::Restored, &None),
            "{action}"
        );
        assert!(found.works.is_some() && found.revocation.is_some(), "{found:?}");
        // The lag is that of the write that OSS accepted.
        assert_eq!(found.lag_millis, Some(0));
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_stays_ends_the_probe_without_a_trace() {
    let world = World::new("", "").await;
    lock(&world, "PutBucketPolicy", 1000);
    let clock = TestClock::new(&world.emulator, 0);
    let (outcome, found) = run(&world, &clock, &CancellationToken::new()).await;
    assert_eq!(outcome, RestoreOutcome::Restored);
    let stopped = found.stopped.unwrap();
    assert!(stopped.contains("ConcurrentUpdateBucketFailed"), "{stopped}");
    assert!((2..=10).contains(&puts(&world)), "{}", puts(&world));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_write_replaces_nothing_that_the_other_client_wrote() {
    let world = World::new("", "").await;
    lock(&world, "PutBucketPolicy", 1);
    let clock = TestClock::new(&world.emulator, 0).on_pause(|_| {
        world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    });
    let (outcome, found) = run(&world, &clock, &CancellationToken::new()).await;
    let live = Some(FOREIGN.to_owned());
    assert_eq!(outcome, RestoreOutcome::Foreign { live: live.clone() });
    assert!(found.stopped.unwrap().contains("another client"));
    assert_eq!((world.emulator.policy(PROBE_BUCKET), puts(&world)), (live, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_wait_for_the_lock() {
    let world = World::new("", "").await;
    lock(&world, "PutBucketPolicy", 1000);
    let stop = CancellationToken::new();
    let clock = TestClock::new(&world.emulator, 0).on_pause(|_| stop.cancel());
    let (outcome, found) = run(&world, &clock, &stop).await;
    assert_eq!(outcome, RestoreOutcome::Restored);
    assert_eq!((found.stopped.as_deref(), puts(&world)), (Some("interrupted"), 1));
}
