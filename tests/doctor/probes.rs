//! A probe in each world: the answers are right, and the price is limited.

use imm_operator::api::{Grantee, PrincipalForm};
use imm_operator::cli::doctor::probe::{read_image, run_probe};
use imm_operator::core::doctor::{Level, PassRoleFindings, Probe, ProbeFindings};
use imm_operator::core::grant::PublicAccessBlock::{self, Off, OnForBucket, Unreadable};
use tokio_util::sync::CancellationToken;

use super::probe_setup::{FOREIGN, TestClock, concluded, grantee, probe, report_for, setting, target};
use super::setup::{ACCOUNT_A, PROBE_BUCKET, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_tells_principal_spelling_and_lag() {
    let lower = ", principalRole: aliyunimmdefaultrole";
    let public = ", principals: { sessionWildcardIsPublic: true }";
    for (bucket, project, lag, principal, role, settle) in [
        ("", "", 0, "ServiceRole", "AliyunIMMDefaultRole", "10"),
        ("", "", 20, "ServiceRole", "AliyunIMMDefaultRole", "40"),
        ("", lower, 20, "ServiceRole", "aliyunimmdefaultrole", "40"),
        (
            ", principals: { roleCaseIsIgnored: true }",
            lower,
            90,
            "ServiceRole",
            "AliyunIMMDefaultRole",
            "180",
        ),
        (
            ", blockPublicAccess: false",
            "",
            90,
            "ServiceRole",
            "AliyunIMMDefaultRole",
            "180",
        ),
        (
            ", principals: { sessionWildcardIsPublic: true, accountCoversSessions: true }",
            "",
            20,
            "Account",
            "AliyunIMMDefaultRole",
            "40",
        ),
    ] {
        let world = World::new(bucket, project).await;
        let found = probe(&world, lag, 60).await;
        assert_eq!(
            concluded(&found, "grantee.principal"),
            (principal.to_owned(), true),
            "{bucket} {project}: {found:?}"
        );
        assert_eq!(concluded(&found, "grantee.roleName").0, role);
        assert_eq!(
            concluded(&found, "grantWait.settleSeconds"),
            (settle.to_owned(), true)
        );
        let wildcard = bucket.contains("sessionWildcardIsPublic");
        assert_eq!(found.session_wildcard_is_public, Some(wildcard));
    }
    let world = World::new(public, "").await;
    let found = probe(&world, 0, 60).await;
    assert!(found.works.is_none() && found.stopped.is_none(), "{found:?}");
    let (value, confirmed) = concluded(&found, "grantee.principal");
    assert!(value.contains("RoleChain") && confirmed, "{value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_never_makes_more_calls_than_allowed() {
    let world = World::new("", "").await;
    let found = probe(&world, 90, 3).await;
    assert_eq!((found.billed, found.works), (3, None));
    assert_eq!(
        concluded(&probe(&world, 90, 3).await, "grantWait.settleSeconds"),
        ("30".to_owned(), false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_from_before_stays_beside_the_statement_and_comes_back() {
    let world = World::new("", "").await;
    world.emulator.set_policy(PROBE_BUCKET, Some(FOREIGN));
    let found = probe(&world, 0, 60).await;
    assert_eq!(
        found.works.map(|grantee| grantee.principal),
        Some(PrincipalForm::ServiceRole)
    );
    let calls = world.emulator.calls();
    let written: Vec<&String> = calls.iter().filter_map(|call| call.body.as_ref()).collect();
    assert_eq!(written.len(), 2);
    assert!(
        written[0].contains("\"Action\":\"oss:DeleteObject\"")
            && written[0].starts_with("{ \"Version\":\"1\",\n\t")
    );
    assert_eq!(written[1], FOREIGN);
    assert_eq!(
        read_image(&world.path("before.json")).unwrap().before.as_deref(),
        Some(FOREIGN)
    );
    // Without the flag, and beside statements that would decide the answers, nothing is written.
    let named = FOREIGN.replace("274901234567890123", ACCOUNT_A);
    let public =
        r#"{"Statement":[{"Effect":"Allow","Principal":["*"],"Action":"oss:GetObject","Resource":"*"}]}"#;
    let denying =
        r#"{"Statement":[{"Effect":"Deny","Principal":["*"],"Action":"oss:GetObject","Resource":"*"}]}"#;
    for (policy, with_policy, part) in [
        (FOREIGN, false, "--with-policy"),
        (named.as_str(), true, "already names the account"),
        (public, true, "may be public"),
        ("{\"Statement\":{}}", true, "cannot be edited"),
        (denying, true, "may deny the image"),
    ] {
        world.emulator.set_policy(PROBE_BUCKET, Some(policy));
        let mut probe = Probe::new(&grantee(), None, 60);
        let clock = TestClock::new(&world.emulator, 0);
        let mut target = target(&world, with_policy);
        target.file = world.path("other.json");
        let refused = run_probe(&target, &mut probe, &clock, &CancellationToken::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(part), "{refused}");
        assert_eq!(world.emulator.policy(PROBE_BUCKET).as_deref(), Some(policy));
        assert!(!target.file.exists());
    }
}

#[test]
fn the_bucket_of_the_grant_may_have_another_block_public_access_than_that_of_the_probe() {
    let as_account = Grantee {
        principal: PrincipalForm::Account,
        ..grantee()
    };
    // The probe bucket accepts public policies.
    let accepted = ProbeFindings {
        session_wildcard_is_public: Some(true),
        works: Some(grantee()),
        ..ProbeFindings::default()
    };
    // The probe bucket rejects them.
    let rejected = ProbeFindings {
        session_wildcard_is_public: Some(true),
        rejected: vec![grantee()],
        denied: vec![as_account.clone()],
        ..ProbeFindings::default()
    };
    let by_account = ProbeFindings {
        denied: Vec::new(),
        works: Some(as_account),
        ..rejected.clone()
    };
    let by_public_statement = ProbeFindings {
        session_wildcard_is_public: Some(false),
        pass_role: Some(PassRoleFindings {
            is_needed: Some(true),
            ..PassRoleFindings::default()
        }),
        ..accepted.clone()
    };
    let no_principal = "none: access.mode RoleChain of the job instead of a grant";
    let rows: [(&ProbeFindings, PublicAccessBlock, &str, bool); 9] = [
        (&accepted, OnForBucket, no_principal, true),
        (&accepted, Off, "ServiceRole", true),
        (&accepted, Unreadable, "ServiceRole", false),
        (&rejected, Off, "ServiceRole", true),
        (&rejected, OnForBucket, no_principal, true),
        (&by_account, Off, "ServiceRole", true),
        (&by_account, OnForBucket, "Account", true),
        (&by_public_statement, OnForBucket, no_principal, true),
        (&by_public_statement, Off, "ServiceRole", true),
    ];
    for (found, block, principal, confirmed) in rows {
        let report = report_for(found, Some(block));
        let concluded = setting(&report, "grantee.principal");
        assert_eq!(
            concluded,
            (principal.to_owned(), confirmed),
            "{block:?} {found:?}"
        );
        let level = |name: &str| {
            report
                .checks
                .iter()
                .find(|check| check.name == name)
                .map(|check| check.level)
        };
        let fails = principal == no_principal && found.works.is_none();
        assert_eq!(
            level("probe-access") == Some(Level::Failed),
            fails,
            "{block:?} {found:?}"
        );
        let public = level("planned-policy-public");
        assert!(
            block != Unreadable || public == Some(Level::Warning),
            "{public:?}"
        );
    }
    let pass_role = |block| {
        setting(
            &report_for(&by_public_statement, Some(block)),
            "access.passRoleStatement",
        )
        .0
    };
    assert_eq!([pass_role(Off), pass_role(OnForBucket)], ["Include", "Omit"]);
}
