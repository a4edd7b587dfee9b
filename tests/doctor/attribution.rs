//! What a probe attributes a score to: only to the policy that is in effect, and a rejection or acceptance only to
//! what OSS was seen to count as public.

use std::time::Duration;

use futures::future::BoxFuture;
use imm_emulator::{Fault, FaultAnswer, FaultEffect};
use imm_operator::api::Grantee;
use imm_operator::cli::doctor::probe::{ProbeClock, run_probe};
use imm_operator::core::doctor::{FurtherQuestions, Probe, ProbeSequence, RestoreOutcome};
use imm_operator::core::grant::PublicAccessBlock::OnForBucket;
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::probe_setup::{TestClock, concluded, grantee, probe, report_for, run_plan, seen, setting, target};
use super::setup::{PROBE_BUCKET, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_begins_late_is_not_attributed_to_the_next_spelling() {
    for lag in [130, 239] {
        let world = World::new("", "").await;
        let found = probe(&world, lag, 60).await;
        assert_eq!(found.works, Some(grantee()), "{found:?}");
        assert_eq!(found.lag_millis, Some(240_000));
        assert_eq!(
            concluded(&found, "grantee.roleName"),
            ("AliyunIMMDefaultRole".to_owned(), true)
        );
        assert!(found.denied.is_empty(), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_begins_late_is_not_attributed_to_the_pass_role_statement() {
    let world = World::new(
        ", blockPublicAccess: false",
        ", principalRole: aliyunimmdefaultrole",
    )
    .await;
    let lower = Grantee {
        role_name: "aliyunimmdefaultrole".to_owned(),
        ..grantee()
    };
    let access = Probe::new(&lower, Some("aliyunimmdefaultrole"), 200);
    let questions = FurtherQuestions {
        pass_role: true,
        revocation: false,
        deny: false,
    };
    let mut sequence = ProbeSequence::new(access, questions, 200);
    run_plan(&world, &mut sequence, &[], 130).await;
    let found = sequence.findings();
    assert_eq!(found.works, Some(lower), "{found:?}");
    assert_eq!(found.pass_role.unwrap().is_needed, Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_of_an_earlier_probe_is_not_measured() {
    let world = World::new("", "").await;
    let clock = TestClock::new(&world.emulator, 0).removal_lag(300);
    let mut first = Probe::new(&grantee(), None, 60);
    let target = target(&world, false);
    let outcome = run_probe(&target, &mut first, &clock, &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert!(first.findings().works.is_some());
    std::fs::remove_file(&target.file).unwrap();
    world.emulator.clear_calls();
    // The emulator still enforces what the first probe wrote.
    world.emulator.enforce_without_newest(PROBE_BUCKET, 1);
    let held = HeldClock;
    let mut second = Probe::new(&grantee(), None, 60);
    let outcome = run_probe(&target, &mut second, &held, &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    let found = second.findings();
    assert_eq!((found.works.as_ref(), found.lag_millis), (None, None));
    assert!(
        found.stopped.as_ref().unwrap().contains("before the probe wrote"),
        "{found:?}"
    );
    assert_eq!((found.billed, world.emulator.billed()), (1, 1));
    let calls = world.emulator.calls();
    assert!(
        calls.iter().all(|call| !call.action.starts_with("Put")),
        "{calls:#?}"
    );
}

/// A clock that changes nothing in the emulator.
struct HeldClock;

impl ProbeClock for HeldClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn pause(&self, _length: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counts_as_public_follows_without_the_status_only_if_public_policies_are_rejected() {
    for (bucket, wildcard, confirmed) in [
        ("", Some(false), true),
        (", blockPublicAccess: false", None, false),
        (
            ", blockPublicAccess: false, principals: { sessionWildcardIsPublic: true }",
            None,
            false,
        ),
    ] {
        let world = World::new(bucket, "").await;
        let denied = FaultAnswer {
            status: 403,
            code: "AccessDenied".to_owned(),
            ..FaultAnswer::default()
        };
        world.emulator.add_fault(Fault::on_action(
            "GetBucketPolicyStatus",
            1000,
            FaultEffect::Answer(denied),
        ));
        let found = probe(&world, 0, 60).await;
        assert_eq!(found.session_wildcard_is_public, wildcard, "{bucket}: {found:?}");
        if wildcard.is_some() {
            let said = seen(&found, "probe-session-wildcard");
            assert!(said.contains("as OSS accepted the statement"), "{said}");
        }
        let report = report_for(&found, Some(OnForBucket));
        assert_eq!(
            setting(&report, "grantee.principal"),
            ("ServiceRole".to_owned(), confirmed),
            "{bucket}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_without_access_names_the_statement_that_it_did_not_write() {
    let world = World::new(", blockPublicAccess: false", ", passRoleRequired: true").await;
    let found = probe(&world, 0, 60).await;
    assert!(found.works.is_none() && found.stopped.is_none(), "{found:?}");
    assert!(found.billed <= 60, "{}", found.billed);
    assert!(seen(&found, "probe-access").contains("--allow-public"));
    let report = report_for(&found, None);
    for name in ["grantee.principal", "access.passRoleStatement"] {
        let setting = report.conclusion.iter().find(|setting| setting.setting == name);
        let setting = setting.unwrap();
        assert!(
            !setting.confirmed && setting.why.contains("--allow-public"),
            "{setting:?}"
        );
    }
    // Where OSS rejects the statement, only the role chain is left.
    let report = report_for(&found, Some(OnForBucket));
    let check = report.checks.iter().find(|check| check.name == "probe-access");
    assert!(!check.unwrap().change.as_ref().unwrap().contains("--allow-public"));
}
