//! The documentation that was seen to be wrong: in each world the list has what is wrong there, and nothing else.

use imm_operator::core::doctor::{
    BurstAnswers, Facts, FurtherQuestions, LimitsFacts, LimitsFindings, Probe, ProbeFindings, ProbeSequence,
    RestoreOutcome,
};
use imm_operator::core::doctor::{DoctorReport, RevocationLag};
use k8s_openapi::jiff::Timestamp;

use super::probe_setup::{grantee, report, run_plan};
use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World};

const WILDCARD: &str = "every principal with a * is public";
const PROCEDURE: &str = "Block Public Access accepts the policy of the procedure";
const SPELLING: &str = "the role is spelled in the policy as in RAM";
const PASS_ROLE: &str = "the policy needs a statement with ram:PassRole";
const DELAY: &str = "a policy takes effect at once, as no page names a delay";

fn assumptions(report: &DoctorReport) -> Vec<&str> {
    let wrong = report.wrong_assumptions.iter();
    wrong.map(|wrong| wrong.assumption.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_world_proves_another_assumption_wrong() {
    let lower = ", principalRole: aliyunimmdefaultrole";
    let open = ", blockPublicAccess: false";
    let public = ", principals: { sessionWildcardIsPublic: true }";
    for (bucket, project, lag, wrong) in [
        ("", "", 0, vec![WILDCARD, PASS_ROLE]),
        ("", "", 20, vec![WILDCARD, PASS_ROLE, DELAY]),
        ("", lower, 0, vec![WILDCARD, SPELLING, PASS_ROLE]),
        (
            ", principals: { roleCaseIsIgnored: true }",
            lower,
            0,
            vec![WILDCARD, PASS_ROLE],
        ),
        (open, ", passRoleRequired: true", 0, vec![WILDCARD]),
        (public, "", 0, vec![PROCEDURE]),
        (
            ", principals: { sessionWildcardIsPublic: true }, blockPublicAccess: false",
            "",
            0,
            vec![PROCEDURE, PASS_ROLE],
        ),
    ] {
        let world = World::new(bucket, project).await;
        let access = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), 200);
        let questions = FurtherQuestions {
            pass_role: project.contains("passRole"),
            revocation: false,
            deny: false,
        };
        let mut probe = ProbeSequence::new(access, questions, 200);
        run_plan(&world, &mut probe, &[], lag).await;
        let report = report(&probe.findings());
        assert_eq!(assumptions(&report), wrong, "{bucket} {project}: {report:?}");
    }
}

#[test]
fn a_delay_of_the_end_of_access_is_listed() {
    for (lag, wrong) in [
        (RevocationLag::Millis(0), 0),
        (RevocationLag::Millis(4000), 1),
        (RevocationLag::LongerThan(120_000), 1),
    ] {
        let found = ProbeFindings {
            revocation: Some(lag),
            ..ProbeFindings::default()
        };
        assert_eq!(assumptions(&report(&found)).len(), wrong, "{lag:?}");
    }
}

#[test]
fn a_limit_that_is_not_enforced_is_listed() {
    let burst = |throttled, failed| {
        let findings = LimitsFindings {
            burst: Some(BurstAnswers {
                sent: 48,
                throttled,
                failed,
                ..BurstAnswers::default()
            }),
            limit: 20,
            ..LimitsFindings::default()
        };
        let facts = Facts {
            limits: Some(LimitsFacts {
                bucket: PROBE_BUCKET.to_owned(),
                keys: Vec::new(),
                findings,
                outcome: RestoreOutcome::Restored,
                file: String::new(),
            }),
            ..Facts::default()
        };
        DoctorReport::of(&facts, Timestamp::now())
    };
    assert_eq!(assumptions(&burst(28, 0)), [""; 0]);
    assert_eq!(assumptions(&burst(0, 0)), ["IMM enforces the limit of a project"]);
    assert_eq!(
        assumptions(&burst(0, 28)),
        ["calls above the limit of a project fail with a code of throttling"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_the_report_has_the_list_and_masks_it() {
    let world = World::new("", ", principalRole: aliyunimmdefaultrole").await;
    let entry = r#"{"operation":"GetObject","http_status":200,"extend_information":"1,aliyunimmdefaultrole,s-1,1234567890123456"}"#;
    std::fs::write(world.path("log.json"), entry).unwrap();
    let manifest = format!("{GRANT}---{JOB}");
    for form in ["text", "json", "markdown"] {
        let flags = ["-o", form, "--access-log", "log.json"];
        let run = world.doctor(&manifest, &flags, KEYS).await;
        assert!(run.stdout.contains(SPELLING), "{}", run.stdout);
        let output = world
            .command(&manifest, &["-o", form], KEYS)
            .output()
            .await
            .unwrap();
        let without = Run::of(&output);
        assert!(!without.stdout.contains(SPELLING), "{}", without.stdout);
    }
}
