//! The probe of other ways to access: the role chain of the job, and the statement with conditions.

use imm_emulator::{Fault, FaultAnswer, FaultEffect};
use imm_operator::api::{ImageScoreJob, RoleChain};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::{
    Check, DoctorReport, Facts, Level, RestoreOutcome, WaysFacts, WaysFindings, WaysProbe,
};
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, grantee, run_plan, target};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check, setting};

/// The switch of a project whose requests have an address and a VPC.
pub(super) const IN_VPC: &str = ", readsFrom: 100.64.0.7";

/// The job with a role chain, whose roles have this type.
pub(super) fn job_by_chain(role_type: &str) -> String {
    let chain = format!(
        r#"  access: {{mode: RoleChain, roleChain: {{serviceRole: first, chain: [{{role: reader, roleType: {role_type}, assumeRoleFor: "6543210987654321"}}]}}}}"#
    );
    JOB.replace("  grantRef: {name: photos}", &chain)
}

fn chain(role_type: &str) -> RoleChain {
    let job: ImageScoreJob = serde_saphyr::from_str(&job_by_chain(role_type)).unwrap();
    job.spec.access.role_chain.unwrap()
}

async fn ask(world: &World, chain: Option<&RoleChain>) -> WaysFindings {
    let mut probe = WaysProbe::new(&grantee(), Some("AliyunIMMDefaultRole"), chain, 60);
    let planned = probe.planned_calls();
    run_plan(world, &mut probe, &[], 0).await;
    let found = probe.findings().clone();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.billed <= planned, "{found:?}");
    found
}

fn report(found: &WaysFindings) -> DoctorReport {
    let facts = Facts {
        ways: Some(WaysFacts {
            bucket: PROBE_BUCKET.to_owned(),
            key: "a.jpg".to_owned(),
            findings: found.clone(),
            outcome: RestoreOutcome::Restored,
            file: String::new(),
        }),
        ..Facts::default()
    };
    DoctorReport::of(&facts, Timestamp::now())
}

fn check_of(found: &WaysFindings, name: &str) -> Check {
    let mut checks = report(found).checks.into_iter();
    checks.find(|check| check.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_chain_is_asked_with_each_type_before_a_policy_is_written() {
    for (block, given, level) in [
        ("", "user", Level::Ok),
        (", blockPublicAccess: false", "user", Level::Ok),
        ("", "service", Level::Warning),
    ] {
        let world = World::new(block, IN_VPC).await;
        let found = ask(&world, Some(&chain(given))).await;
        let check = check_of(&found, "ways-role-chain");
        assert_eq!(check.level, level, "{check:?}");
        assert!(
            check.seen.contains("roleType user: a score")
                && check.seen.contains("roleType service: 403 AccessDenied"),
            "{check:?}"
        );
        assert_eq!(found.chains[0].is_scored, given == "user");
        let calls = world.emulator.calls();
        let write = calls
            .iter()
            .position(|call| call.action == "PutBucketPolicy")
            .unwrap();
        let before = calls[..write]
            .iter()
            .filter(|call| call.action == "DetectImageScore");
        assert_eq!(before.count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_with_conditions_is_judged_by_oss_and_by_a_score() {
    let name = "ways-conditions";
    let world = World::new(", principals: { sessionWildcardIsPublic: true }", IN_VPC).await;
    let found = ask(&world, None).await;
    let check = check_of(&found, name);
    assert_eq!(
        (check.level, check.seen.as_str()),
        (
            Level::Ok,
            "the statement with conditions on acs:SourceIp and acs:SourceVpc: OSS does not count it as public; an image was scored with it: a grant that Block Public Access accepts is possible, which the operator does not write"
        )
    );
    assert_eq!(found.billed, 2);
    assert!(check_of(&found, "ways-role-chain").seen.starts_with("not asked"));
    // Requests without these facts do not meet the conditions.
    let world = World::new("", "").await;
    let found = ask(&world, None).await;
    let check = check_of(&found, name);
    assert!(
        check.seen.ends_with("access was denied for four minutes"),
        "{check:?}"
    );
    assert_eq!(found.billed, 8);
    // OSS counts it as public.
    let world = World::new("", "").await;
    let rejected = FaultAnswer {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: Some("Put public bucket policy is not allowed".to_owned()),
        ..FaultAnswer::default()
    };
    world.emulator.add_fault(Fault::on_action(
        "PutBucketPolicy",
        1,
        FaultEffect::Answer(rejected),
    ));
    let found = ask(&world, None).await;
    let check = check_of(&found, name);
    assert!(
        check.seen.contains("counts it as public, and rejected it"),
        "{check:?}"
    );
    assert_eq!((check.level, found.billed), (Level::Ok, 1));
    assert_eq!(report(&found).wrong_assumptions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_failure_and_a_stop_of_other_ways() {
    let error = |code: &str| {
        FaultEffect::Answer(FaultAnswer {
            status: 400,
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
            "DetectImageScore",
            4,
            error("ResourceNotFound.Project"),
            RestoreOutcome::Restored,
        ),
        (
            "DetectImageScore",
            3,
            FaultEffect::DropAfter,
            RestoreOutcome::Restored,
        ),
        (
            "DeleteBucketPolicy",
            0,
            FaultEffect::DropAfter,
            RestoreOutcome::Restored,
        ),
    ] {
        let world = World::new("", "").await;
        let shown = format!("{action} {skip} {effect:?}");
        world.emulator.add_fault(Fault {
            skip,
            ..Fault::on_action(action, 1, effect)
        });
        let mut probe = WaysProbe::new(&grantee(), None, Some(&chain("user")), 60);
        let clock = TestClock::new(&world.emulator, 0);
        let target = target(&world, false);
        let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
        assert_eq!(outcome.unwrap(), expected, "{shown}");
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None, "{shown}");
    }
    let world = World::new("", "").await;
    let stop = CancellationToken::new();
    let clock = TestClock::new(&world.emulator, 3600).on_pause(|_| stop.cancel());
    let mut probe = WaysProbe::new(&grantee(), None, None, 60);
    let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    assert_eq!(probe.findings().stopped.as_deref(), Some("interrupted"));
}

async fn run(world: &World, job: &str, flags: &[&str]) -> Run {
    let own = [
        "--probe-bucket",
        PROBE_BUCKET,
        "--probe-object",
        "a.jpg",
        "--probe",
        "ways",
        "--i-own",
        PROBE_BUCKET,
        "-o",
        "json",
    ];
    let flags = [own.as_slice(), flags].concat();
    let manifest = format!("{GRANT}---{job}");
    Run::of(&world.command(&manifest, &flags, KEYS).output().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conclusion_says_whether_the_role_chain_of_the_job_gives_access() {
    let world = World::new("", IN_VPC).await;
    let asked = run(&world, &job_by_chain("user"), &[]).await;
    assert!(
        asked.code == 2
            && asked
                .stderr
                .contains("1 policy to bucket probe-bucket, make up to 16 calls of IMM, each of which may be billed, and put"),
        "{}",
        asked.stderr
    );
    assert_eq!(world.emulator.billed(), 0);
    for (given, types) in [
        ("user", None),
        ("service", Some(("roleType user".to_owned(), true))),
    ] {
        let run = run(&world, &job_by_chain(given), &["--yes"]).await;
        let report = run.json();
        assert_eq!(setting(&report, "access.roleChain.chain"), types, "{report:#}");
        assert_eq!(
            setting(&report, "access.mode"),
            Some(("RoleChain".to_owned(), true))
        );
        let settings = report["conclusion"].as_array().unwrap();
        assert!(
            settings[0]["why"]
                .as_str()
                .unwrap()
                .contains("scored an image through the role chain")
        );
        assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    }
    assert_eq!(world.emulator.billed(), 8);
    // The last role may not read: the value is not seen to be right.
    let other = job_by_chain("user").replace("role: reader", "role: editor");
    let report = run(&world, &other, &["--yes"]).await.json();
    assert_eq!(
        setting(&report, "access.mode"),
        Some(("RoleChain".to_owned(), false))
    );
    assert_eq!(check(&report, "ways-role-chain")["level"], "warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_with_a_policy_is_refused_before_any_call() {
    let world = World::new("", IN_VPC).await;
    world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    for (flags, part) in [
        (
            &["--yes"][..],
            "it could decide what this probe asks: name a bucket without one",
        ),
        (
            &["--yes", "--with-policy"],
            "--with-policy is not for --probe ways",
        ),
    ] {
        let run = run(&world, &job_by_chain("user"), flags).await;
        assert!(
            run.code == 2 && run.stderr.contains(part),
            "{part}: {}",
            run.stderr
        );
    }
    assert_eq!(world.emulator.policy(PROBE_BUCKET).as_deref(), Some(FOREIGN));
    assert_eq!(world.emulator.billed(), 0);
}
