//! The probe of unusual policies: each answer is in the report, no call is billed, nothing gives access to anybody,
//! and the policy is the one from before, whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use imm_operator::cli::doctor::probe::{DoctorError, KeySource, RenewedKeys, run_probe};
use imm_operator::cloud::answer_head;
use imm_operator::core::doctor::{
    Check, DoctorReport, Facts, FormPlace, FormsFacts, FormsFindings, FormsProbe, Level, RestoreOutcome,
};
use imm_operator::ports::AccessKeys;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::follow::keys;
use super::probe_setup::{FOREIGN, TestClock, run_plan, target};
use super::setup::{ACCOUNT_A, ACCOUNT_B, GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check};

const PREFIX: &str = "imm-operator-doctor-0123456789abcdef/";
/// Policies that are written one after the other, and all of them.
pub(super) const SINGLE: u32 = 13;
pub(super) const ALL: u32 = 19;
pub(super) const PROBE: &[&str] = &[
    "--probe-bucket",
    PROBE_BUCKET,
    "--probe",
    "forms",
    "--i-own",
    PROBE_BUCKET,
    "-o",
    "json",
];

pub(super) fn forms() -> FormsProbe {
    let place = FormPlace {
        bucket: PROBE_BUCKET.to_owned(),
        owner_uid: ACCOUNT_B.to_owned(),
        prefix: PREFIX.to_owned(),
    };
    FormsProbe::new(place, ACCOUNT_A, true)
}

fn report(findings: &FormsFindings) -> DoctorReport {
    let facts = Facts {
        forms: Some(FormsFacts {
            bucket: PROBE_BUCKET.to_owned(),
            findings: findings.clone(),
            outcome: RestoreOutcome::Restored,
            file: String::new(),
        }),
        ..Facts::default()
    };
    DoctorReport::of(&facts, Timestamp::now())
}

fn check_of(findings: &FormsFindings, name: &str) -> Check {
    let mut checks = report(findings).checks.into_iter();
    checks.find(|check| check.name == name).unwrap()
}

/// Answers the policy write of this number, from 0, and the following ones.
pub(super) fn answer(world: &World, number: u32, times: u32, effect: FaultEffect) {
    world.emulator.add_fault(Fault {
        matching: FaultMatch {
            action: Some("PutBucketPolicy".to_owned()),
            ..FaultMatch::default()
        },
        skip: number,
        times: Some(times),
        effect,
    });
}

pub(super) fn error(status: u16, code: &str) -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status,
        code: code.to_owned(),
        ..FaultAnswer::default()
    })
}

pub(super) fn locked() -> FaultEffect {
    error(409, "ConcurrentUpdateBucketFailed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_each_form_is_in_the_report_and_none_gives_access() {
    let world = World::new("", "").await;
    let mut probe = forms();
    run_plan(&world, &mut probe, &[], 0).await;
    let found = probe.findings();
    for (name, seen) in [
        ("forms-usual", "a policy of the usual form: accepted"),
        ("forms-sid", "a statement with a Sid: accepted"),
        (
            "forms-unknown-member",
            "a statement with an unknown member: accepted",
        ),
        (
            "forms-empty-statement",
            "Statement: {} in place of a list: refused with 400 InvalidPolicyDocument, EC 0030-00000005",
        ),
        (
            "forms-object",
            "one statement in place of a list of one: refused with 400 InvalidPolicyDocument, EC 0030-00000005",
        ),
        (
            "forms-effect-case",
            "Effect: allow: refused with 400 InvalidPolicyDocument, EC 0030-00000005",
        ),
        ("forms-largest", "a policy of 16384 bytes: accepted"),
        (
            "forms-too-large",
            "a policy of 16385 bytes: refused with 400 InvalidPolicyDocument, EC 0030-00000001",
        ),
        (
            "forms-long-field",
            "a field of 4096 bytes: refused with 400 InvalidPolicyDocument, EC 0030-00000003",
        ),
        (
            "forms-long-statement",
            "a statement of 4096 bytes with shorter fields: accepted",
        ),
        (
            "forms-asterisks",
            "** in a resource: refused with 400 InvalidPolicyDocument, EC 0030-00000007",
        ),
        (
            "forms-source-ip",
            "a condition on acs:SourceIp without one on acs:SourceVpc: refused with 400 InvalidPolicyDocument",
        ),
        (
            "forms-other-account",
            "a policy from the account of the job: refused with 403 AccessDenied, EC 0003-00000001",
        ),
    ] {
        let check = check_of(found, name);
        assert_eq!((check.level, check.seen.as_str()), (Level::Ok, seen));
    }
    assert!(report(found).wrong_assumptions.is_empty());
    assert_eq!(world.emulator.billed(), 0);
    let calls = world.emulator.calls();
    let mut written = 0;
    for call in calls.iter().filter(|call| call.action == "PutBucketPolicy") {
        written += 1;
        let policy: Value = serde_json::from_str(call.body.as_ref().unwrap()).unwrap();
        let given = &policy["Statement"];
        let one = std::slice::from_ref(given);
        let statements = given.as_array().map_or(one, Vec::as_slice);
        for statement in statements {
            if statement.as_object().unwrap().is_empty() {
                continue;
            }
            assert_eq!(statement["Principal"], serde_json::json!([ACCOUNT_B]));
            assert_ne!(statement["Effect"], "Allow");
            for resource in statement["Resource"].as_array().unwrap() {
                assert!(
                    resource
                        .as_str()
                        .unwrap()
                        .contains(&format!("{PROBE_BUCKET}/{PREFIX}"))
                );
            }
        }
    }
    assert_eq!(written, ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writes_at_once_are_judged_by_both_answers_and_the_live_policy() {
    let world = World::new("", "").await;
    let mut probe = forms();
    run_plan(&world, &mut probe, &[], 0).await;
    let check = check_of(probe.findings(), "forms-two-writes");
    assert!(
        check.level == Level::Ok && check.seen.starts_with("both accepted in each of 3 attempts"),
        "{check:?}"
    );
    for (effect, code, level) in [
        (locked(), "409 ConcurrentUpdateBucketFailed", Level::Ok),
        (
            error(400, "InvalidArgument"),
            "400 InvalidArgument",
            Level::Warning,
        ),
    ] {
        let world = World::new("", "").await;
        answer(&world, SINGLE, 1, effect);
        let mut probe = forms();
        run_plan(&world, &mut probe, &[], 0).await;
        let found = probe.findings();
        let check = check_of(found, "forms-two-writes");
        assert!(check.level == level && check.seen.contains(code), "{check:?}");
        let [pair] = found.pairs.as_slice() else {
            panic!("{found:?}")
        };
        let live = pair.live.unwrap();
        assert!(pair.answers[live].is_accepted && !pair.answers[1 - live].is_accepted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_differs_from_the_documentation_is_named() {
    let world = World::new("", "").await;
    // The form of 16,384 bytes is refused.
    answer(&world, 7, 1, error(400, "InvalidPolicyDocument"));
    let mut probe = forms();
    run_plan(&world, &mut probe, &[], 0).await;
    let found = probe.findings();
    let check = check_of(found, "forms-largest");
    assert_eq!(check.level, Level::Warning);
    let change = check.change.as_ref().unwrap();
    assert!(
        change.contains("takes policies of this size for allowed"),
        "{check:?}"
    );
    let wrong = report(found).wrong_assumptions;
    let [wrong] = wrong.as_slice() else {
        panic!("{wrong:?}")
    };
    assert_eq!(wrong.assumption, "a policy may have 16 KB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_other_account_that_is_accepted_is_undone_and_fails_the_report() {
    let world = World::new("", "").await;
    let mut target = target(&world, false);
    // Credentials that may write stand for an account that may.
    target.other_keys = Some(RenewedKeys::new(keys("LTAI5tPolicy", "canary-policy")));
    let clock = TestClock::new(&world.emulator, 0);
    let mut probe = forms();
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    let check = check_of(probe.findings(), "forms-other-account");
    assert_eq!(check.level, Level::Failed);
    assert_eq!(report(probe.findings()).exit_code(), 2);
    let calls = world.emulator.calls();
    let puts = calls.iter().filter(|call| call.action == "PutBucketPolicy");
    assert_eq!(puts.count(), 2, "nothing else is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_about_the_form_ends_the_probe_without_a_conclusion() {
    for (code, form) in [("AccessDenied", 7), ("InvalidAccessKeyId", 3)] {
        let world = World::new("", "").await;
        answer(&world, form, 1, error(403, code));
        let mut probe = forms();
        run_plan(&world, &mut probe, &[], 0).await;
        let found = probe.findings();
        let answered = found.answers.len() + usize::from(found.other_account.is_some());
        assert_eq!(answered, usize::try_from(form).unwrap());
        assert!(report(found).wrong_assumptions.is_empty(), "{found:?}");
        let ended = check_of(found, "probe-ended-early");
        assert!(
            ended.seen.starts_with("OSS did not say whether it accepts") && ended.seen.contains(code),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_to_a_write_that_means_success_is_one() {
    let world = World::new("", "").await;
    let target = target(&world, false);
    let keys = keys("LTAI5tPolicy", "canary-policy");
    for (status, is_accepted) in [(201, true), (204, true), (302, false)] {
        answer(&world, 0, 1, error(status, "Code"));
        let sent =
            answer_head::answer_to_policy(&target.cloud, &target.bucket, "{}", &keys, Timestamp::now());
        let head = sent.await.unwrap();
        assert_eq!((head.status, head.error.is_none()), (status, is_accepted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_credentials_of_the_other_account_are_no_refusal_and_not_used_again() {
    let world = World::new("", "").await;
    answer(&world, 1, 1, error(403, "InvalidAccessKeyId"));
    let reads = Arc::new(AtomicU32::new(0));
    let mut target = target(&world, false);
    target.other_keys = Some(RenewedKeys::new(CountedSource(Arc::clone(&reads))));
    let clock = TestClock::new(&world.emulator, 0);
    let mut probe = forms();
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    let check = check_of(probe.findings(), "forms-other-account");
    assert_eq!(check.level, Level::Warning);
    assert!(
        check.seen.contains("not known whether OSS would refuse"),
        "{check:?}"
    );
    assert_eq!(probe.findings().pairs.len(), 3, "the other questions are asked");
    let other = target.other_keys.as_ref().unwrap();
    other.get(Timestamp::now()).await.unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), 2, "they are obtained again");
}

/// Counts how often credentials are obtained.
struct CountedSource(Arc<AtomicU32>);

impl KeySource for CountedSource {
    fn obtain(&self) -> BoxFuture<'_, Result<AccessKeys, DoctorError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        async { Ok(keys("LTAI5tScorer", "canary-scorer")) }.boxed()
    }
}

async fn run(world: &World, environment: &[(&str, &str)], flags: &[&str]) -> Run {
    let manifest = format!("{GRANT}---{JOB}");
    let flags = [PROBE, flags].concat();
    let output = world.command(&manifest, &flags, environment).output().await;
    Run::of(&output.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_asks_and_bills_nothing() {
    let world = World::new("", "").await;
    let writes = || {
        let calls = world.emulator.calls();
        let writes = calls
            .iter()
            .filter(|call| call.action.starts_with("Put") || call.action.starts_with("Delete"));
        writes.count()
    };
    // The same account has no write that must be refused.
    let mut own = KEYS.to_vec();
    own.extend([
        ("IMM_OPERATOR_JOB_ACCESS_KEY_ID", "LTAI5tPolicy"),
        ("IMM_OPERATOR_JOB_ACCESS_KEY_SECRET", "canary-policy"),
    ]);
    for (environment, flags, part) in [
        (
            KEYS,
            &[][..],
            "up to 19 policies of unusual form, one of them with the credentials of the job, to bucket probe-bucket, none of which gives access to anybody, make no scoring call and put the policy back",
        ),
        (
            own.as_slice(),
            &[],
            "up to 18 policies of unusual form to bucket probe-bucket",
        ),
        (
            KEYS,
            &["--yes", "--with-policy"],
            "--with-policy is not for --probe forms",
        ),
        (KEYS, &["--yes", "--allow-public"], "--allow-public is for"),
    ] {
        let run = run(&world, environment, flags).await;
        assert!(
            run.code == 2 && run.stderr.contains(part),
            "{part}: {}",
            run.stderr
        );
        assert!(!run.stderr.contains("may count the first of these policies"));
        assert_eq!(writes(), 0);
    }
    world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    let refused = run(&world, KEYS, &["--yes"]).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("this probe would replace it"),
        "{}",
        refused.stderr
    );
    assert_eq!(writes(), 0);
    world.emulator.set_policy(PROBE_BUCKET, None);
    let run = run(&world, KEYS, &["--yes"]).await;
    let report = run.json();
    for name in ["forms-usual", "forms-other-account", "probe-policy-restored"] {
        assert_eq!(check(&report, name)["level"], "ok", "{report:#}");
    }
    assert_eq!(
        (world.emulator.policy(PROBE_BUCKET), world.emulator.billed()),
        (None, 0)
    );
    // No value follows from these answers.
    let settings = report["conclusion"].as_array().unwrap().iter();
    let seen = |setting: &Value| setting["why"].as_str().unwrap().contains("probe");
    assert!(
        !settings
            .into_iter()
            .any(|setting| setting["confirmed"] == true && seen(setting))
    );
}
