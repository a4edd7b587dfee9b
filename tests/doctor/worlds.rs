//! In each world the conclusion is right, an installation that follows it scores an image, and nothing was written or
//! billed before.

use imm_emulator::Lag;
use serde_json::Value;

use super::follow::follow;
use super::setup::{ACCOUNT_A, BUCKET, GRANT, JOB, KEYS, TOKEN, World, check, setting};

const JSON: &[&str] = &["-o", "json"];

/// A policy with the statement of a grant for another prefix.
fn policy_with_wildcard() -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:6543210987654321:{BUCKET}/other/*"]}}]}}"#
    )
}

fn both() -> String {
    format!("{GRANT}---{JOB}")
}

fn assert_setting(report: &Value, name: &str, value: &str, confirmed: bool) {
    assert_eq!(
        setting(report, name),
        Some((value.to_owned(), confirmed)),
        "{report:#}"
    );
}

/// Runs the command, compares its exit code and levels, and returns the report.
async fn examine(world: &World, manifest: &str, code: i32, levels: &[(&str, &str)]) -> Value {
    let run = world.doctor(manifest, JSON, KEYS).await;
    let report = run.json();
    assert_eq!(run.code, code, "{report:#}");
    assert_eq!(report["exitCode"], code);
    for (name, level) in levels {
        assert_eq!(check(&report, name)["level"], *level, "{name}: {report:#}");
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_leaves_open_whether_the_session_wildcard_is_public() {
    let world = World::new("", "").await;
    let report = examine(
        &world,
        &both(),
        1,
        &[
            ("endpoint-clock", "ok"),
            ("endpoint-tls", "ok"),
            ("bucket-owner", "ok"),
            ("public-access-block", "ok"),
            ("planned-policy-public", "warning"),
            ("service-role", "ok"),
            ("job-fits-grant", "ok"),
            ("listing", "ok"),
            ("oss-endpoint-variants", "ok"),
        ],
    )
    .await;
    assert_setting(&report, "grantee.principal", "ServiceRole", false);
    assert_setting(&report, "access.passRoleStatement", "Omit", true);
    assert_setting(&report, "grantWait.settleSeconds", "30", false);
    assert_setting(&report, "endpoints", "as they are", true);
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_policy_tells_that_the_session_wildcard_is_not_public() {
    let world = World::new("", "").await;
    world.emulator.set_policy(BUCKET, Some(&policy_with_wildcard()));
    let levels = [("planned-policy-public", "ok"), ("session-wildcard-public", "ok")];
    let report = examine(&world, &both(), 0, &levels).await;
    assert!(
        check(&report, "session-wildcard-public")["seen"]
            .as_str()
            .unwrap()
            .starts_with("no:")
    );
    assert_setting(&report, "grantee.principal", "ServiceRole", true);
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_policy_tells_that_the_session_wildcard_is_public() {
    let world = World::new(", principals: { sessionWildcardIsPublic: true }", "").await;
    world.emulator.set_policy(BUCKET, Some(&policy_with_wildcard()));
    // The statement in the policy was written before Block Public Access was switched on.
    let report = examine(&world, &both(), 2, &[("planned-policy-public", "failed")]).await;
    assert!(
        check(&report, "session-wildcard-public")["seen"]
            .as_str()
            .unwrap()
            .starts_with("yes:")
    );
    let (value, confirmed) = setting(&report, "grantee.principal").unwrap();
    assert!(value.contains("RoleChain") && confirmed, "{value}");
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spelling_that_was_not_seen_is_not_confirmed() {
    for (bucket, project, lag) in [
        ("", ", principalRole: aliyunimmdefaultrole", 20_000),
        (
            ", principals: { roleCaseIsIgnored: true }",
            ", principalRole: aliyunimmdefaultrole",
            90_000,
        ),
        ("", "", 90_000),
    ] {
        let world = World::new(bucket, project).await;
        world.emulator.set_lag(Lag {
            policy_read_ms: 0,
            policy_enforcement_ms: lag,
        });
        let report = examine(&world, &both(), 1, &[("service-role", "ok")]).await;
        assert_setting(&report, "grantee.roleName", "AliyunIMMDefaultRole", false);
        assert_setting(&report, "grantWait.settleSeconds", "30", false);
        follow(&world, &report).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_the_project_does_not_have_is_corrected() {
    let world = World::new(", blockPublicAccess: false", "").await;
    let manifest = both().replace("3456\"}\n  access", "3456\", roleName: SomeRole}\n  access");
    let report = examine(&world, &manifest, 2, &[("service-role", "failed")]).await;
    assert_setting(&report, "grantee.roleName", "AliyunIMMDefaultRole", true);
    // Without Block Public Access, Auto writes the public statement.
    assert_eq!(check(&report, "planned-policy-public")["level"], "warning");
    assert_setting(&report, "grantee.principal", "ServiceRole", true);
    assert_setting(&report, "access.passRoleStatement", "Omit", false);
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_does_not_serve_objects_is_replaced_by_one_that_does() {
    let world = World::new(", publicEndpointForbidden: true", "").await;
    world.emulator.set_policy(BUCKET, Some(&policy_with_wildcard()));
    let levels = [
        ("listing", "failed"),
        ("oss-endpoint-variants", "warning"),
        ("policy-readable", "ok"),
    ];
    let report = examine(&world, &both(), 2, &levels).await;
    let internal = "cn-hangzhou=https://oss-cn-hangzhou-internal.aliyuncs.com";
    assert_setting(&report, "--oss-endpoint", internal, true);
    let flags = ["-o", "json", "--oss-endpoint", internal];
    let run = world.doctor(&both(), &flags, KEYS).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    follow(&world, &run.json()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_exchanged_where_sts_answers_in_xml() {
    // STS of the emulator answers in XML unless the query asks for JSON.
    let world = World::new("", "").await;
    world.emulator.set_policy(BUCKET, Some(&policy_with_wildcard()));
    std::fs::write(world.path("token"), TOKEN).unwrap();
    let by_token = r#"{source: ServiceAccount, serviceAccount: {name: scorer, roleARN: "acs:ram::6543210987654321:role/policy-admin", oidcProviderARN: "acs:ram::6543210987654321:oidc-provider/cluster"}}"#;
    let manifest = GRANT
        .replace("{source: Secret, secretRef: {name: oss-policy-admin}}", by_token)
        .replace("namespace: media", "namespace: team");
    let environment = [
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "token"),
        (
            "ALIBABA_CLOUD_ROLE_ARN",
            "acs:ram::6543210987654321:role/policy-admin",
        ),
        (
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "acs:ram::6543210987654321:oidc-provider/cluster",
        ),
    ];
    let run = world.doctor(&manifest, JSON, &environment).await;
    let report = run.json();
    assert_eq!(run.code, 0, "{report:#}");
    let seen = check(&report, "grant-credentials")["seen"].as_str().unwrap();
    assert!(seen.contains("exchanged"), "{seen}");
    follow(&world, &report).await;
    let wrong = environment.map(|(name, value)| (name, value));
    let run = world
        .doctor(
            &manifest.replace("oidc-provider/cluster", "oidc-provider/other"),
            JSON,
            &wrong,
        )
        .await;
    let report = run.json();
    assert_eq!(run.code, 2);
    let seen = check(&report, "grant-credentials")["seen"].as_str().unwrap();
    assert!(seen.contains("EntityNotExist.OIDCProvider"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_whose_settings_are_locked_is_still_read() {
    let world = World::new(", settingsLockMs: 300", "").await;
    assert!(world.emulator.change_settings(BUCKET));
    let report = examine(&world, &both(), 1, &[("policy-readable", "ok")]).await;
    world.emulator.change_settings(BUCKET);
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_chain_needs_no_grant_and_no_setting_of_one() {
    let world = World::new(", principals: { sessionWildcardIsPublic: true }", "").await;
    let chain = r#"  access: {mode: RoleChain, roleChain: {serviceRole: first, chain: [{role: reader, assumeRoleFor: "6543210987654321"}]}}"#;
    let manifest = JOB.replace("  grantRef: {name: photos}", chain);
    let report = examine(
        &world,
        &manifest,
        0,
        &[("job-fits-grant", "ok"), ("service-role", "ok")],
    )
    .await;
    assert_setting(&report, "access.mode", "RoleChain", true);
    assert_eq!(setting(&report, "grantee.principal"), None);
    follow(&world, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_service_is_the_only_source_of_credentials() {
    let world = World::new("", "").await;
    world.emulator.set_policy(BUCKET, Some(&policy_with_wildcard()));
    let address = world.emulator.address().to_string();
    let flags = [
        "-o",
        "json",
        "--own-identity",
        "ecs",
        "--metadata-address",
        &address,
    ];
    let run = world.doctor(GRANT, &flags, &[]).await;
    let report = run.json();
    assert_eq!(run.code, 0, "{report:#}");
    let seen = check(&report, "grant-credentials")["seen"].as_str().unwrap();
    assert!(seen.starts_with("RAM role of the ECS instance"), "{seen}");
    follow(&world, &report).await;
    let run = world.doctor(GRANT, JSON, &[]).await;
    let report = run.json();
    assert_eq!(run.code, 1, "{report:#}");
    assert_eq!(check(&report, "grant-credentials")["level"], "warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_is_named_before_what_it_breaks() {
    let world = World::new("", "").await;
    world.emulator.set_clock_offset(20 * 60);
    let levels = [("endpoint-clock", "failed"), ("grant-caller-account", "failed")];
    let report = examine(&world, &both(), 2, &levels).await;
    let change = check(&report, "grant-caller-account")["change"].as_str().unwrap();
    assert!(change.contains("clock"), "{change}");
    world.emulator.set_clock_offset(2 * 60);
    examine(
        &world,
        &both(),
        1,
        &[("endpoint-clock", "warning"), ("grant-caller-account", "ok")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_objects_say_is_compared_with_what_is_there() {
    let world = World::new("", "").await;
    let private = r#"{"Statement":[{"Effect":"Allow","Action":"oss:GetObject","Principal":["*"],"Resource":"*"},{"Effect":"Deny","Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:test-bucket-2024/*"]}]}"#;
    world.emulator.set_policy(BUCKET, Some(private));
    let levels = [("planned-policy-public", "failed"), ("policy-deny", "failed")];
    examine(&world, GRANT, 2, &levels).await;
    world.emulator.set_policy(BUCKET, None);
    let other = GRANT.replace("ownerUID: \"6543210987654321\"", "ownerUID: \"1111111111\"");
    let levels = [("bucket-owner", "failed"), ("grant-caller-account", "warning")];
    examine(&world, &other, 2, &levels).await;
    let missing = GRANT.replace("test-bucket-2024", "another-bucket");
    examine(&world, &missing, 2, &[("policy-readable", "failed")]).await;
    let project = JOB.replace("immtest", "another");
    examine(&world, &project, 2, &[("project", "failed")]).await;
    let elsewhere = both().replace("prefix: photos/\n", "prefix: other/\n");
    examine(
        &world,
        &elsewhere,
        2,
        &[("job-fits-grant", "failed"), ("listing", "warning")],
    )
    .await;
    let run = world.doctor(JOB, &["-o", "json", "--no-imm"], KEYS).await;
    assert!(!world.emulator.calls().iter().any(|call| call.service == "imm"));
    assert!(
        run.json()["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["name"] != "project")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_cannot_be_reached_is_named_with_the_stage() {
    let world = World::new("", "").await;
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    std::fs::write(world.path("other.pem"), other.cert.pem()).unwrap();
    let file = world.path("other.pem").display().to_string();
    let flags = [
        "-o",
        "json",
        "--imm-endpoint=https://nowhere.invalid",
        "--sts-endpoint=https://127.0.0.1:1",
    ];
    let environment = [("SSL_CERT_FILE", file.as_str()), ("NO_PROXY", "nowhere.invalid")];
    let output = world.command(JOB, &flags, &environment).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed: Vec<(&str, &str)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["level"] == "failed")
        .map(|check| (check["name"].as_str().unwrap(), check["seen"].as_str().unwrap()))
        .collect();
    assert_eq!(failed.len(), 3, "{report:#}");
    assert!(
        failed[0].0 == "endpoint-tls" && failed[0].1.contains("unknown authority"),
        "{failed:?}"
    );
    assert!(
        failed[1].0 == "endpoint-dns" && failed[1].1.starts_with("IMM: nowhere.invalid"),
        "{failed:?}"
    );
    assert!(
        failed[2].0 == "endpoint-tcp" && failed[2].1.starts_with("STS: 127.0.0.1:1"),
        "{failed:?}"
    );
    assert_setting(&report, "--imm-endpoint", "unknown", false);
}
