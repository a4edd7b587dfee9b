//! The question of the `ram:PassRole` statement: the conclusion is right in worlds where IMM needs it and where it
//! does not, and where OSS counts it as public and where it does not.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, Lag};
use imm_operator::cli::doctor::probe::run_probe;
use imm_operator::core::doctor::{FurtherQuestions, Probe, ProbeFindings, ProbeSequence, RestoreOutcome};
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, concluded, grantee, run_plan, seen, target};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check, setting};

fn sequence(pass_role: bool, most_billed: u32) -> ProbeSequence {
    let access = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), most_billed);
    ProbeSequence::new(
        access,
        FurtherQuestions {
            pass_role,
            revocation: false,
            deny: false,
        },
        most_billed,
    )
}

async fn ask(world: &World, most_billed: u32) -> ProbeFindings {
    let mut probe = sequence(true, most_billed);
    run_plan(world, &mut probe, &[], 4).await;
    let found = probe.findings();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.billed <= most_billed);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conclusion_says_whether_imm_needs_the_statement() {
    let required = ", passRoleRequired: true";
    for (bucket, project, value, need) in [
        (", blockPublicAccess: false", "", "Omit", "IMM does not need it"),
        (", blockPublicAccess: false", required, "Include", "IMM needs it"),
        ("", "", "Omit", "IMM does not need it"),
    ] {
        let world = World::new(bucket, project).await;
        world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
        let found = ask(&world, 200).await;
        assert_eq!(
            concluded(&found, "access.passRoleStatement"),
            (value.to_owned(), true),
            "{bucket} {project}: {found:?}"
        );
        assert_eq!(
            concluded(&found, "grantee.principal"),
            ("ServiceRole".to_owned(), true)
        );
        let said = seen(&found, "probe-pass-role");
        assert!(
            said.starts_with(need) && said.contains("OSS counts it as public"),
            "{said}"
        );
    }
    // While Block Public Access is on, the statement cannot be written.
    let world = World::new("", required).await;
    let found = ask(&world, 200).await;
    let said = seen(&found, "probe-pass-role");
    assert!(said.starts_with("not known"), "{said}");
    assert!(said.contains("put-bucket-public-access-block"), "{said}");
    assert_eq!(
        concluded(&found, "access.passRoleStatement"),
        ("Omit".to_owned(), false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_the_statement_counts_as_public_is_what_oss_says() {
    let world = World::new(", blockPublicAccess: false", "").await;
    let status = "<PolicyStatus><IsPublic>false</IsPublic></PolicyStatus>";
    let answer = FaultAnswer {
        status: 200,
        body: Some(status.to_owned()),
        content_type: Some("application/xml".to_owned()),
        ..FaultAnswer::default()
    };
    world.emulator.add_fault(Fault::on_action(
        "GetBucketPolicyStatus",
        1000,
        FaultEffect::Answer(answer),
    ));
    let found = ask(&world, 60).await;
    assert_eq!(found.pass_role.as_ref().unwrap().is_public, Some(false));
    let said = seen(&found, "probe-pass-role");
    assert!(said.contains("OSS does not count it as public"), "{said}");
    let rejected = FaultAnswer {
        status: 400,
        code: "MalformedPolicyDocument".to_owned(),
        ..FaultAnswer::default()
    };
    world.emulator.add_fault(Fault {
        skip: 1,
        ..Fault::on_action("PutBucketPolicy", 1, FaultEffect::Answer(rejected))
    });
    let said = seen(&ask(&world, 60).await, "probe-pass-role");
    assert!(
        said.contains("OSS rejected it (MalformedPolicyDocument)"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_comes_back_after_a_failure_of_the_public_write() {
    for (effect, expected) in [
        (FaultEffect::DropAfter, RestoreOutcome::Uncertain),
        (FaultEffect::DropBefore, RestoreOutcome::Uncertain),
        (
            FaultEffect::Answer(FaultAnswer {
                status: 403,
                code: "AccessDenied".to_owned(),
                ..FaultAnswer::default()
            }),
            RestoreOutcome::Restored,
        ),
    ] {
        let world = World::new(", blockPublicAccess: false", "").await;
        world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
        let shown = format!("{effect:?}");
        world.emulator.add_fault(Fault {
            skip: 1,
            ..Fault::on_action("PutBucketPolicy", 1, effect)
        });
        let mut probe = sequence(true, 60);
        let clock = TestClock::new(&world.emulator, 0);
        let outcome = run_probe(
            &target(&world, true),
            &mut probe,
            &clock,
            &CancellationToken::new(),
        )
        .await;
        assert_eq!(outcome.unwrap(), expected, "{shown}");
        assert_eq!(
            world.emulator.policy(PROBE_BUCKET).as_deref(),
            Some(FOREIGN),
            "{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_writes_the_public_statement_with_the_flag_only() {
    let manifest = format!("{GRANT}---{JOB}");
    for (flag, written) in [(None, 0), (Some("--allow-public"), 1)] {
        let world = World::new(", blockPublicAccess: false", "").await;
        world.emulator.set_lag(Lag::default());
        let mut flags = vec![
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
        flags.extend(flag);
        let output = world.command(&manifest, &flags, KEYS).output().await.unwrap();
        let report = Run::of(&output).json();
        let calls = world.emulator.calls();
        let public = calls.iter().filter(|call| {
            call.body
                .as_ref()
                .is_some_and(|body| body.contains("ram:PassRole"))
        });
        assert_eq!(public.count(), written);
        assert!(
            calls
                .iter()
                .all(|call| !call.action.contains("PublicAccessBlock") || call.action.starts_with("Get"))
        );
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
        assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
        assert_eq!(
            setting(&report, "access.passRoleStatement"),
            Some(("Omit".to_owned(), true))
        );
    }
}
