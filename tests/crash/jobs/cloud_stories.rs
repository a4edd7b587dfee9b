//! A cloud that is slow: it enforces a grant late, or needs longer for an image than a call may take.

use std::time::Duration;

use imm_operator::cloud::IMM_DEADLINE;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::fake_world::FakeWorld;
use super::super::specs::BUCKET;
use super::scenario::{live_grant, with_grant};
use super::stories::{Change, MINUTE, TimedStep, play, ready, spec};

const SECOND: Duration = Duration::from_secs(1);

/// Adds a grant that was written when the test begins, and lets IMM deny every image.
fn unenforced(o: &mut FakeWorld) {
    live_grant(o);
    let policy = json!({"bytes": 1, "limitBytes": 1, "statements": 1, "foreignStatements": 0,
        "lastWriteTime": Timestamp::from_second(1_790_000_000).unwrap()});
    let grant = o.grants.values_mut().next().unwrap();
    grant.status.policy = Some(serde_json::from_value(policy).unwrap());
    o.jobs.denies = true;
    o.jobs.enforces_late = true;
}

/// Checks how many calls were made, and which repeat is announced.
fn waits_after(o: &FakeWorld, calls: usize) {
    let [reason, message] = ready(o);
    assert_eq!(o.jobs.ledger.len(), calls, "{reason}: {message}");
    assert_eq!(reason, "WaitingForGrant", "{message}");
    assert!(message.contains(&format!("({calls} of 3)")), "{message}");
}

/// A job and the steps up to its last repeat: each step begins with a reconcile, which makes no call of its own.
fn until_the_last_repeat(last: Change) -> FakeWorld {
    let job = with_grant(spec(&json!({"grantWait": {"settleSeconds": 0}})));
    let steps: &[TimedStep] = &[
        (unenforced, 28 * SECOND),
        (|o| waits_after(o, 1), 4 * SECOND),
        (|o| waits_after(o, 2), 56 * SECOND),
        (|o| waits_after(o, 2), 4 * SECOND),
        (|o| waits_after(o, 3), 116 * SECOND),
        (last, 10 * MINUTE),
    ];
    play(job, steps)
}

// C8
#[test]
fn the_first_call_is_repeated_after_half_a_minute_a_minute_and_two_minutes() {
    let world = until_the_last_repeat(|o| {
        waits_after(o, 3);
        o.jobs.denies = false;
    });
    assert_eq!(ready(&world)[0], "Completed", "{}", ready(&world)[1]);
    assert_eq!(world.jobs.ledger.len(), 4);
    assert_eq!(world.jobs.broken, Vec::<String>::new());
}

// C8
#[test]
fn a_grant_that_is_never_enforced_costs_four_calls() {
    let world = until_the_last_repeat(|o| waits_after(o, 3));
    assert_eq!(ready(&world)[0], "PermissionDenied", "{}", ready(&world)[1]);
    assert_eq!(world.jobs.ledger.len(), 4);
    assert_eq!(world.jobs.broken, Vec::<String>::new());
}

// C16
#[test]
fn an_image_that_is_given_up_is_called_three_times_and_slows_the_job() {
    let uris: Vec<String> = (0..1_000).map(|n| format!("oss://{BUCKET}/{n:03}.jpg")).collect();
    let slow = format!("oss://{BUCKET}/100.jpg");
    let fill: Change = |o| o.jobs.slow = Some(format!("oss://{BUCKET}/100.jpg"));
    let world = play(
        spec(&json!({"source": {"uris": uris}, "backoffLimitPerItem": 2, "maxFailedItems": 1})),
        &[(fill, 10 * MINUTE)],
    );
    let calls = &world.jobs.ledger;
    let given_up: Vec<Timestamp> = calls
        .iter()
        .filter(|sent| sent.uri == slow)
        .map(|sent| sent.answered.unwrap())
        .collect();
    assert_eq!((given_up.len(), calls.len()), (3, 1_002));
    // Each call ends before the next one starts.
    for pair in given_up.windows(2) {
        assert!(pair[1] > pair[0] + IMM_DEADLINE, "{given_up:?}");
    }
    // Ten seconds before and after the first time-out.
    let ten = SignedDuration::from_secs(10);
    let answered = |from: Timestamp| {
        let times = calls.iter().filter_map(|sent| sent.answered);
        times.filter(|time| *time >= from && *time < from + ten).count()
    };
    let (before, after) = (answered(given_up[0] - ten), answered(given_up[0]));
    assert!(after * 10 < before * 9, "{before} calls before and {after} after");
    let [reason, message] = ready(&world);
    assert_eq!(reason, "Completed", "{message}");
    let failures = &world.jobs.job.as_ref().unwrap().status.failures;
    assert_eq!((failures[0].code.as_str(), failures[0].count), ("Timeout", 1));
    assert_eq!(world.jobs.broken, Vec::<String>::new());
}
