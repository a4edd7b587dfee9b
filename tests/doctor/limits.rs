//! The probe of the limits: in each world the answers of IMM are judged as the operator does, never for more calls
//! than allowed, and the policy is the one from before.

use std::process::Stdio;

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::{
    Check, DoctorReport, Facts, LimitsFacts, LimitsFindings, LimitsProbe, RestoreOutcome,
};
use k8s_openapi::jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, grantee, run_plan, target};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check};

/// Calls that exceed a limit of 20 requests per second for two seconds.
const BURST: u32 = 48;

fn report(findings: &LimitsFindings) -> DoctorReport {
    let facts = Facts {
        limits: Some(LimitsFacts {
            bucket: PROBE_BUCKET.to_owned(),
            keys: vec!["a.jpg".to_owned()],
            findings: findings.clone(),
            outcome: RestoreOutcome::Restored,
            file: String::new(),
        }),
        ..Facts::default()
    };
    DoctorReport::of(&facts, Timestamp::now())
}

fn check_of<'a>(report: &'a DoctorReport, name: &str) -> &'a Check {
    report.checks.iter().find(|check| check.name == name).unwrap()
}

fn concluded(report: &DoctorReport, name: &str) -> Option<(String, bool)> {
    let found = report.conclusion.iter().find(|setting| setting.setting == name)?;
    Some((found.value.clone(), found.confirmed))
}

/// Asks a world in which the project reports 20 requests per second.
async fn ask(world: &World, objects: &[&str], most_billed: u32) -> LimitsFindings {
    let objects: Vec<String> = objects.iter().map(|key| (*key).to_owned()).collect();
    let mut probe = LimitsProbe::new(&grantee(), 20, &objects, most_billed);
    run_plan(world, &mut probe, &objects, 4).await;
    let found = probe.findings().clone();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.billed <= most_billed, "{found:?}");
    found
}

/// A fault that answers scoring calls with a code that the operator does not know.
fn unknown_answers(project: Option<&str>, skip: u32, times: u32) -> Fault {
    Fault {
        matching: FaultMatch {
            action: Some("DetectImageScore".to_owned()),
            project: project.map(str::to_owned),
            ..FaultMatch::default()
        },
        skip,
        times: Some(times),
        effect: FaultEffect::Answer(FaultAnswer {
            status: 400,
            code: "FlowExceeded".to_owned(),
            ..FaultAnswer::default()
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_the_operator_knows_lead_to_no_setting_but_the_limit() {
    let world = World::new("", ", queriesPerSecond: 20").await;
    world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    world
        .emulator
        .put_object(PROBE_BUCKET, "b.jpg", "pixels", Some("0.5"));
    let found = ask(&world, &["b.jpg"], 100).await;
    let report = report(&found);
    for name in [
        "limits-missing-project",
        "limits-missing-bucket",
        "limits-missing-role",
        "limits-no-statement",
        "limits-image",
        "limits-missing-object",
        "limits-object",
        "limits-rate",
    ] {
        assert_eq!(check_of(&report, name).change, None, "{name}: {found:?}");
    }
    let burst = found.burst.as_ref().unwrap();
    assert_eq!((burst.sent, burst.failed), (BURST, 0));
    assert!(burst.throttled > 0 && check_of(&report, "limits-rate").seen.starts_with("yes:"));
    assert_eq!(burst.throttled_with.as_deref(), Some("400 Throttling.User"));
    assert_eq!(
        concluded(&report, "rate limit"),
        Some(("20 requests per second".to_owned(), true))
    );
    assert_eq!(concluded(&report, "failureRules"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_the_operator_does_not_know_are_named_with_what_to_do() {
    let world = World::new("", ", queriesPerSecond: 1000").await;
    world.emulator.put_object(PROBE_BUCKET, "notes.txt", "text", None);
    world
        .emulator
        .add_fault(unknown_answers(Some("no-such-project"), 0, 1));
    let found = ask(&world, &["notes.txt"], 100).await;
    let report = report(&found);
    let missing = check_of(&report, "limits-missing-project");
    assert!(
        missing.change.is_some() && missing.seen.contains("400 FlowExceeded"),
        "{missing:?}"
    );
    assert_eq!(
        concluded(&report, "failureRules"),
        Some(("FailItem for InvalidArgument".to_owned(), true))
    );
    let rate = check_of(&report, "limits-rate");
    assert!(rate.seen.starts_with("no: none of 48 calls"), "{rate:?}");
    assert_eq!(
        concluded(&report, "rate limit"),
        Some(("20 requests per second".to_owned(), false))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_with_an_unknown_code_is_not_taken_for_a_limit() {
    let world = World::new("", ", queriesPerSecond: 1000").await;
    world
        .emulator
        .add_fault(unknown_answers(Some("immtest"), 20, 1000));
    let found = ask(&world, &[], 100).await;
    let report = report(&found);
    let rate = check_of(&report, "limits-rate");
    assert!(
        rate.change.is_some() && rate.seen.contains("400 FlowExceeded"),
        "{rate:?}"
    );
    assert_eq!(
        concluded(&report, "rate limit").map(|(_, seen)| seen),
        Some(false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_burst_is_left_out_if_it_would_exceed_the_allowed_calls() {
    let world = World::new("", ", queriesPerSecond: 1000").await;
    let found = ask(&world, &[], 50).await;
    let needed = found.burst_needs.unwrap();
    assert!(found.burst.is_none() && needed > 50, "{found:?}");
    let change = check_of(&report(&found), "limits-rate").change.clone();
    assert!(change.unwrap().contains(&format!("--max-billed {needed}")));
    assert!(ask(&world, &[], needed).await.burst.is_some());
    let short = ask(&world, &[], 2).await;
    assert_eq!(short.stopped.as_deref(), Some("--max-billed is reached"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_failure_and_a_stop() {
    let fault = |action: &str, skip, effect| Fault {
        skip,
        ..Fault::on_action(action, 1, effect)
    };
    let denied = FaultEffect::Answer(FaultAnswer {
        status: 400,
        code: "ResourceNotFound.Project".to_owned(),
        ..FaultAnswer::default()
    });
    for (fault, expected) in [
        (
            fault("PutBucketPolicy", 0, FaultEffect::DropAfter),
            RestoreOutcome::Uncertain,
        ),
        (fault("DetectImageScore", 4, denied), RestoreOutcome::Restored),
        (
            fault("DetectImageScore", 4, FaultEffect::DropAfter),
            RestoreOutcome::Restored,
        ),
    ] {
        let world = World::new("", ", queriesPerSecond: 1000").await;
        world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
        let shown = format!("{fault:?}");
        world.emulator.add_fault(fault);
        let mut probe = LimitsProbe::new(&grantee(), 20, &[], 100);
        let clock = TestClock::new(&world.emulator, 0);
        let target = target(&world, true);
        let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
        assert_eq!(outcome.unwrap(), expected, "{shown}");
        assert_eq!(
            world.emulator.policy(PROBE_BUCKET).as_deref(),
            Some(FOREIGN),
            "{shown}"
        );
    }
    let world = World::new("", ", queriesPerSecond: 1000").await;
    let stop = CancellationToken::new();
    // The first pause comes after the write, the later ones are in the burst.
    let clock = TestClock::new(&world.emulator, 1).on_pause(|pauses| {
        if pauses == 10 {
            stop.cancel();
        }
    });
    let mut probe = LimitsProbe::new(&grantee(), 20, &[], 100);
    let outcome = run_probe(&target(&world, false), &mut probe, &clock, &stop).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    let found = probe.findings();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.burst.as_ref().unwrap().sent < BURST, "{found:?}");
}

/// Runs the program with a line on standard input.
async fn answer(world: &World, flags: &[&str], line: &str) -> Run {
    let manifest = format!("{GRANT}---{JOB}");
    let own = [
        "--probe-bucket",
        PROBE_BUCKET,
        "--probe-object",
        "a.jpg",
        "--i-own",
        PROBE_BUCKET,
        "-o",
        "json",
    ];
    let flags = [own.as_slice(), flags].concat();
    let mut command = world.command(&manifest, &flags, KEYS);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(line.as_bytes()).await.unwrap();
    drop(input);
    Run::of(&child.wait_with_output().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_says_how_many_calls_may_be_billed_and_asks() {
    let world = World::new("", ", queriesPerSecond: 20").await;
    let limits = ["--probe", "limits", "--max-billed", "55"];
    for line in ["", "no\n", "y\n"] {
        let run = answer(&world, &limits, line).await;
        assert_eq!(run.code, 2, "{line:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("up to 55 calls of IMM of the 542")
                && run
                    .stderr
                    .contains("may count the first of these policies as public access")
                && run.stderr.contains("add --yes"),
            "{}",
            run.stderr
        );
        assert_eq!(world.emulator.billed(), 0);
        assert!(
            world
                .emulator
                .calls()
                .iter()
                .all(|call| !call.action.starts_with("Put"))
        );
    }
    let run = answer(&world, &limits, "yes\n").await;
    let report = run.json();
    let billed = world.emulator.billed();
    assert!((1..=55).contains(&billed), "{billed}");
    assert_eq!(check(&report, "limits-image")["seen"], "the image: a score");
    assert!(
        check(&report, "limits-rate")["seen"]
            .as_str()
            .unwrap()
            .starts_with("yes:")
    );
    assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    // Whether the * for sessions is public is not asked.
    assert_eq!(run.code, 1, "{report:#}");
}
