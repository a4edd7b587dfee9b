//! The probe of the limits: roles, regions, and the rate of the calls about the project.

use imm_emulator::{Fault, FaultAnswer, FaultEffect};
use serde_json::Value;

use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check};

/// The job with credentials that are a session.
fn manifest() -> String {
    let own = "credentials: {source: Secret, secretRef: {name: imm-caller}}";
    let role = "credentials: {source: Secret, secretRef: {name: imm-caller}, assumeRole: {roleARN: \"acs:ram::1234567890123456:role/scorer\"}}";
    assert!(JOB.contains(own));
    format!("{GRANT}---{}", JOB.replacen(own, role, 1))
}

async fn limits(world: &World, manifest: &str, flags: &[&str]) -> Run {
    let own = [
        "--probe-bucket",
        PROBE_BUCKET,
        "--probe-object",
        "a.jpg",
        "--i-own",
        PROBE_BUCKET,
        "--probe",
        "limits",
        "--yes",
        "-o",
        "json",
    ];
    let flags = [own.as_slice(), flags].concat();
    let run = Run::of(&world.command(manifest, &flags, KEYS).output().await.unwrap());
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    run
}

fn seen(report: &Value, name: &str) -> String {
    check(report, name)["seen"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_roles_and_regions_are_distinguished() {
    let world = World::new("", ", queriesPerSecond: 20").await;
    let flags = ["--limits-region-bucket", "beijing-bucket", "--max-billed", "40"];
    let report = limits(&world, &manifest(), &flags).await.json();
    for (name, what) in [
        (
            "limits-missing-role",
            "a role that does not exist: 403 AccessDenied",
        ),
        (
            "limits-narrow-session",
            "a session whose policy allows no scoring: 403 NoPermission",
        ),
        (
            "limits-other-region",
            "an image in a bucket of another region: 400 InvalidArgument",
        ),
    ] {
        let check = check(&report, name);
        assert_eq!(
            (&check["level"], &check["seen"]),
            (&"ok".into(), &what.into()),
            "{report:#}"
        );
    }
    // Nothing but the answer of the project decides about another region.
    let calls = world.emulator.calls();
    let of_other = |call: &&imm_emulator::Call| call.bucket.as_deref() == Some("beijing-bucket");
    for call in calls.iter().filter(of_other) {
        assert!(!call.action.starts_with("Put"), "{}", call.action);
    }
    for (bucket, part) in [
        ("test-bucket-2024", "is in the region of the project"),
        ("no-such-bucket", "GetBucketInfo failed"),
    ] {
        let run = limits(&world, &manifest(), &["--limits-region-bucket", bucket]).await;
        assert!(run.code == 2 && run.stderr.contains(part), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_about_the_project_are_counted_and_judged() {
    let world = World::new("", ", queriesPerSecond: 20").await;
    let manifest = format!("{GRANT}---{JOB}");
    let report = limits(&world, &manifest, &["--max-billed", "100"]).await.json();
    let check = check(&report, "limits-project-rate");
    assert_eq!(check["level"], "warning");
    let needed = check["change"].as_str().unwrap();
    let needed = needed.split("--max-billed ").nth(1).unwrap();
    let needed: u32 = needed.split(' ').next().unwrap().parse().unwrap();
    // A case can be tried again.
    let needed = &(needed + 30).to_string();
    world.emulator.clear_calls();
    let report = limits(&world, &manifest, &["--max-billed", needed]).await.json();
    let text = seen(&report, "limits-project-rate");
    assert!(text.contains("of 450 calls of GetProject in 3 s"), "{text}");
    let calls = world.emulator.calls();
    let asked = calls.iter().filter(|call| call.action == "GetProject").count();
    // One of them is that of every run.
    assert_eq!(asked, 451);

    world.emulator.add_fault(Fault {
        skip: 1,
        ..Fault::on_action(
            "GetProject",
            1000,
            FaultEffect::Answer(FaultAnswer {
                status: 400,
                code: "FlowExceeded".to_owned(),
                ..FaultAnswer::default()
            }),
        )
    });
    let report = limits(&world, &manifest, &["--max-billed", needed]).await.json();
    let text = seen(&report, "limits-project-rate");
    assert!(
        text.starts_with("450 of 450 calls of GetProject in 3 s failed (400 FlowExceeded)"),
        "{text}"
    );
}
