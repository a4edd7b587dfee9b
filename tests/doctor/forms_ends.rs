//! After a probe of unusual policies the policy is the one from before, or another client's: after a failure of any
//! write, a stop, a signal and a kill.

use imm_emulator::{FaultEffect, FaultMatch};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::RestoreOutcome;
use tokio_util::sync::CancellationToken;

use super::forms::{ALL, PROBE, SINGLE, answer, error, forms, locked};
use super::probe_setup::{FOREIGN, TestClock, target};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_failure_of_any_write() {
    for number in 0..ALL {
        for (effect, expected) in [
            (FaultEffect::DropAfter, RestoreOutcome::Uncertain),
            (error(503, "ServiceUnavailable"), RestoreOutcome::Uncertain),
            (error(403, "AccessDenied"), RestoreOutcome::Restored),
        ] {
            let world = World::new("", "").await;
            let shown = format!("{number} {effect:?}");
            answer(&world, number, 1, effect);
            let clock = TestClock::new(&world.emulator, 0);
            let mut probe = forms();
            let target = target(&world, false);
            let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
            assert_eq!(outcome.unwrap(), expected, "{shown}");
            assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_stop_before_any_write() {
    for number in 0..SINGLE {
        let world = World::new("", "").await;
        answer(&world, number, 1, locked());
        let stop = CancellationToken::new();
        let clock = TestClock::new(&world.emulator, 0).on_pause(|_| stop.cancel());
        let mut probe = forms();
        let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop).await;
        assert_eq!(outcome.unwrap(), RestoreOutcome::Restored, "{number}");
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "{number}");
        assert_eq!(probe.findings().stopped.as_deref(), Some("interrupted"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_two_writes_are_read_leaves_no_answer_to_them() {
    let world = World::new("", "").await;
    let stop = CancellationToken::new();
    // Only the reads after two writes pause.
    let clock = TestClock::new(&world.emulator, 0).on_pause(|_| stop.cancel());
    let mut probe = forms();
    let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    let found = probe.findings();
    assert_eq!((found.answers.len(), found.pairs.len()), (12, 0));
    assert_eq!(found.stopped.as_deref(), Some("interrupted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_writes_between_two_forms_is_left_alone() {
    for number in 0..SINGLE {
        let world = World::new("", "").await;
        answer(&world, number, 1, locked());
        let clock = TestClock::new(&world.emulator, 0).on_pause(|pauses| {
            if pauses == 1 {
                world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
            }
        });
        let mut probe = forms();
        let target = target(&world, false);
        let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
        let live = Some(FOREIGN.to_owned());
        assert_eq!(world.emulator.policy(PROBE_BUCKET), live, "{number}");
        assert_eq!(outcome.unwrap(), RestoreOutcome::Foreign { live }, "{number}");
        let stopped = probe.findings().stopped.clone().unwrap();
        assert!(stopped.contains("another client"), "{stopped}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_oss_returns_in_other_bytes_is_put_back() {
    // The policy of the form before is live while the next write waits for the lock.
    for number in [1, 3, SINGLE - 1] {
        let world = World::new("", "").await;
        answer(&world, number, 1, locked());
        let clock = TestClock::new(&world.emulator, 0).on_pause(|pauses| {
            if pauses == 1 {
                let live = world.emulator.policy(PROBE_BUCKET).unwrap();
                let live: serde_json::Value = serde_json::from_str(&live).unwrap();
                let other = serde_json::to_string_pretty(&live).unwrap();
                world.emulator.set_policy(PROBE_BUCKET, Some(&other));
            }
        });
        let stop = CancellationToken::new();
        let mut probe = forms();
        let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop).await;
        assert_eq!(outcome.unwrap(), RestoreOutcome::Restored, "{number}");
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "{number}");
        assert_eq!(probe.findings().stopped, None, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_or_a_kill_between_two_forms_leaves_nothing_behind() {
    for name in ["-INT", "-KILL"] {
        let world = World::new("", "").await;
        let reading = FaultMatch {
            action: Some("GetBucketPolicy".to_owned()),
            bucket: Some(PROBE_BUCKET.to_owned()),
            ..FaultMatch::default()
        };
        // After the second accepted write.
        let hold = world.emulator.hold(reading, 6, None);
        let manifest = format!("{GRANT}---{JOB}");
        let flags = [PROBE, &["--yes"]].concat();
        let mut command = world.command(&manifest, &flags, KEYS);
        let child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while hold.held() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(world.emulator.policy(PROBE_BUCKET).is_some());
        let process = child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([name, &process]).status();
        assert!(sent.unwrap().success());
        drop(hold);
        let output = child.wait_with_output().await.unwrap();
        if name == "-INT" {
            let report = Run::of(&output).json();
            assert_eq!(check(&report, "probe-ended-early")["seen"], "interrupted");
            assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
        } else {
            let file = format!("imm-operator-doctor-{PROBE_BUCKET}.json");
            let back = ["-o", "json", "--restore", &file];
            let output = world.command("", &back, &restoring()).output().await.unwrap();
            let run = Run::of(&output);
            assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        }
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "{name}");
    }
}

/// Credentials of the owner, for a command without a grant.
fn restoring() -> [(&'static str, &'static str); 2] {
    [
        ("IMM_OPERATOR_GRANT_ACCESS_KEY_ID", "LTAI5tPolicy"),
        ("IMM_OPERATOR_GRANT_ACCESS_KEY_SECRET", "canary-policy"),
    ]
}
