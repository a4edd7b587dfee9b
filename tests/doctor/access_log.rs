//! An access log of the bucket: the conclusion is right in worlds with one session and with many, and with both
//! spellings.

use std::fmt::Write;

use imm_operator::api::JobAccess;
use imm_operator::cloud::imm;
use imm_operator::core::place::ProjectPlace;
use k8s_openapi::jiff::Timestamp;

use super::follow::{client, keys};
use super::setup::{ACCOUNT_A, ACCOUNT_B, BUCKET, GRANT, JOB, KEYS, REGION, Run, World, check, setting};

/// Scores an image, and returns the log that real-time log query of OSS exports: JSON lines.
pub(super) async fn log_of(world: &World, reads: u32, role: &str) -> String {
    let policy = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::{ACCOUNT_A}:assumed-role/{role}/*"],"Resource":["acs:oss:*:{ACCOUNT_B}:{BUCKET}/*"]}}]}}"#
    );
    let live = world.emulator.policy(BUCKET);
    world.emulator.set_policy(BUCKET, Some(&policy));
    world.emulator.set_block_public_access(BUCKET, false);
    let project = serde_json::json!({"name": "immtest", "region": REGION, "accountUID": ACCOUNT_A});
    let project = ProjectPlace::of(&serde_json::from_value(project).unwrap()).unwrap();
    let uri = format!("oss://{BUCKET}/photos/test-object.jpg");
    let caller = keys("LTAI5tScorer", "canary-scorer");
    world.emulator.clear_calls();
    for _ in 0..reads {
        imm::detect_image_score(
            &client(&world.emulator),
            &project,
            &JobAccess::default(),
            &caller,
            &uri,
            Timestamp::now(),
        )
        .await
        .unwrap();
    }
    world.emulator.set_block_public_access(BUCKET, true);
    world.emulator.set_policy(BUCKET, live.as_deref());
    let mut log = String::new();
    for arn in world
        .emulator
        .calls()
        .iter()
        .filter_map(|call| call.read_as.clone())
    {
        let (_, names) = arn.rsplit_once(":assumed-role/").unwrap();
        let (role, session) = names.split_once('/').unwrap();
        writeln!(
            log,
            r#"{{"operation":"GetObject","http_status":"200","bucket":"{BUCKET}","access_id":"STS.canary","extend_information":"1654321,{role},{session},{ACCOUNT_A},"}}"#
        )
        .unwrap();
    }
    assert_eq!(log.lines().count(), usize::try_from(reads).unwrap());
    log
}

pub(super) async fn examine(world: &World, manifest: &str, log: &str, form: &str) -> Run {
    std::fs::write(world.path("log.json"), log).unwrap();
    let flags = ["-o", form, "--access-log", "log.json"];
    world.doctor(manifest, &flags, KEYS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_many_sessions_rules_a_fixed_session_out() {
    let world = World::new("", ", principalRole: aliyunimmdefaultrole").await;
    let log = log_of(&world, 20, "aliyunimmdefaultrole").await;
    let manifest = format!("{GRANT}---{JOB}");
    let run = examine(&world, &manifest, &log, "json").await;
    let report = run.json();
    let session = check(&report, "access-log-session");
    assert_eq!(session["seen"], "no: IMM read in 20 sessions in 20 reads");
    assert_eq!(check(&report, "access-log-role")["level"], "warning");
    assert_eq!(
        setting(&report, "grantee.roleName"),
        Some(("aliyunimmdefaultrole".to_owned(), true))
    );
    assert_eq!(
        setting(&report, "grantee.principal"),
        Some(("ServiceRole".to_owned(), false))
    );
    let by_session = manifest.replace(
        "grantee: {accountUID: \"1234567890123456\"}",
        "grantee: {accountUID: \"1234567890123456\", principal: ServiceRoleSession, sessionName: imm-1}",
    );
    let run = examine(&world, &by_session, &log, "json").await;
    let report = run.json();
    assert_eq!(check(&report, "access-log-session")["level"], "failed");
    assert_eq!(
        setting(&report, "grantee.principal"),
        Some(("ServiceRole".to_owned(), true))
    );
    assert_eq!(run.code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_one_session_names_it_where_the_wildcard_is_rejected() {
    let world = World::new(
        ", principals: { sessionWildcardIsPublic: true }",
        ", sessionName: imm-fixed",
    )
    .await;
    let other = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:{ACCOUNT_B}:{BUCKET}/other/*"]}}]}}"#
    );
    world.emulator.set_policy(BUCKET, Some(&other));
    let manifest = format!("{GRANT}---{JOB}");
    for (reads, level, names_session) in [(20, "ok", true), (19, "warning", false)] {
        let log = log_of(&world, reads, "AliyunIMMDefaultRole").await;
        let report = examine(&world, &manifest, &log, "json").await.json();
        assert_eq!(check(&report, "access-log-role")["level"], "ok");
        assert_eq!(check(&report, "access-log-session")["level"], level, "{report:#}");
        let (principal, seen) = setting(&report, "grantee.principal").unwrap();
        assert_eq!(
            principal == "ServiceRoleSession with sessionName imm-fixed",
            names_session,
            "{principal}"
        );
        assert_eq!(seen, !names_session, "{principal}");
    }
    // The name of a session is no more shown than that of a bucket.
    let log = log_of(&world, 20, "AliyunIMMDefaultRole").await;
    let masked = examine(&world, &manifest, &log, "markdown").await;
    assert!(
        masked.stdout.contains("session session-1") && !masked.stdout.contains("imm-fixed"),
        "{}",
        masked.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_names_no_role_is_no_answer() {
    let world = World::new("", "").await;
    let stored = r#"10.0.0.1 - - [03/Jan/2021:14:59:49 +0800] "GET /a.jpg HTTP/1.0" 200 9 127 "-" "curl/7" "test-bucket-2024.oss-cn-hangzhou.aliyuncs.com" "5FF1" "true" "1234567890123456" "GetObject" "test-bucket-2024" "a.jpg" 9 88 "-" 302 "6543210987654321" - "-" "standard" "-" "-" "STS.x" "acs:oss:x""#;
    for (log, part) in [
        (stored.to_owned(), "none of 1 entry"),
        (String::new(), "none of 0 entries"),
        (
            format!(
                r#"{{"operation":"GetObject","http_status":403,"extend_information":"1,AliyunIMMDefaultRole,s-1,{ACCOUNT_A}"}}"#
            ),
            "reads that were denied: 1",
        ),
    ] {
        let report = examine(&world, GRANT, &log, "json").await.json();
        let seen = check(&report, "access-log");
        assert_eq!(seen["level"], "warning", "{report:#}");
        assert!(seen["seen"].as_str().unwrap().contains(part), "{seen}");
        assert_eq!(
            setting(&report, "grantee.roleName").map(|(_, seen)| seen),
            Some(false)
        );
    }
    let run = world
        .command(GRANT, &["--access-log", "missing.json"], KEYS)
        .output()
        .await
        .unwrap();
    let run = Run::of(&run);
    assert!(
        run.code == 2 && run.stderr.contains("cannot read missing.json"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_for_a_log_does_not_grow_with_it() {
    let world = World::new("", "").await;
    // Decoded as a whole, these entries take more than a GiB.
    let mut log = "[".to_owned();
    log.push_str(&r#"{"a":1},"#.repeat(2_000_000));
    log.push_str(r#"{"a":1}]"#);
    std::fs::write(world.path("log.json"), log).unwrap();
    let flags = ["-o", "json", "--access-log", "log.json"];
    let command = world.command(GRANT, &flags, KEYS);
    let command = command.as_std();
    let mut limited = tokio::process::Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(world.folder.path())
        .env_clear()
        .env("MALLOC_ARENA_MAX", "2")
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let output = limited.output().await.unwrap();
    assert!(
        output.status.code().is_some(),
        "{:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let report = Run::of(&output).json();
    let seen = check(&report, "access-log")["seen"].as_str().unwrap();
    assert!(seen.contains("none of 2000001 entries of log.json"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_log_is_to_be_decompressed_first() {
    let world = World::new("", "").await;
    std::fs::write(world.path("log.json.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    let flags = ["--access-log", "log.json.gz"];
    let run = Run::of(&world.command(GRANT, &flags, KEYS).output().await.unwrap());
    assert!(
        run.code == 2
            && run
                .stderr
                .contains("log.json.gz is compressed: decompress it with gunzip first"),
        "{}",
        run.stderr
    );
}
