//! The report: no secret, no name that identifies an account, and equal to the one in the documentation.

use std::path::Path;

use super::access_log::{examine, log_of};
use super::setup::{ACCOUNT_A, ACCOUNT_B, BUCKET, GRANT, JOB, KEYS, PROBE_BUCKET, Run, World};
use super::ways::{IN_VPC, job_by_chain};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/operate/doctor.md");
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_without_mask_has_the_names_and_one_with_mask_has_none() {
    let world = World::new("", "").await;
    let manifest = format!("{GRANT}---{JOB}");
    let flags = ["-o", "markdown", "--no-mask"];
    let open = world.doctor(&manifest, &flags, KEYS).await;
    for name in [ACCOUNT_A, ACCOUNT_B, BUCKET] {
        assert!(open.stdout.contains(name), "{name}: {}", open.stdout);
    }
    let masked = world.doctor(&manifest, &["-o", "markdown"], KEYS).await;
    for name in [
        ACCOUNT_A,
        ACCOUNT_B,
        BUCKET,
        "immtest",
        "photos/",
        "oss-policy-admin",
    ] {
        assert!(!masked.stdout.contains(name), "{name}: {}", masked.stdout);
    }
    assert_eq!(masked.code, open.code);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_one_or_two_characters_is_masked_and_the_sentences_stay() {
    let world = World::new("", "").await;
    for prefix in ["a", "ü/", "7"] {
        let job = JOB.replace("prefix: photos/", &format!("prefix: '{prefix}'"));
        let manifest = format!("{GRANT}---{job}");
        let run = world.doctor(&manifest, &["-o", "markdown"], KEYS).await;
        let hidden =
            "the grant does not cover every key below oss://bucket-1/prefix-2 by its access.prefixes";
        assert!(run.stdout.contains(hidden), "{prefix}: {}", run.stdout);
        assert!(
            !run.stdout.contains(&format!("/{prefix}:")),
            "{prefix}: {}",
            run.stdout
        );
        // The article and the numbers are no names.
        assert!(
            run.stdout.contains("OSS rejects a policy that counts as public"),
            "{prefix}: {}",
            run.stdout
        );
        assert!(
            run.stdout.contains("1 statement would be added and 0 removed"),
            "{prefix}: {}",
            run.stdout
        );
    }
}

/// Returns a report in the documentation.
fn documented(name: &str) -> String {
    let page = page();
    let (_, rest) = page.split_once(&format!("<!-- report {name} -->\n\n")).unwrap();
    let (shown, _) = rest.split_once("\n<!-- end of report -->").unwrap();
    shown.to_owned()
}

/// Returns a report without what differs between machines.
fn settled(world: &World, report: &str) -> String {
    let report = report
        // Either of two writes at once can be the last one.
        .replace(
            "the policy of the first is live",
            "the policy of the second is live",
        )
        .replace(world.proxy(), "proxy-1")
        .replace("is 127.0.0.1 ", "is address-1 ");
    let lines = report.lines().map(|line| match line.split_once("OSS enforced the policy ") {
        Some((front, _)) => format!("{front}OSS enforced the policy 0.2 s after the write; settleSeconds 10 is at least twice that |  |\n"),
        None if line.contains("| access ended ") => {
            "| ok | `probe-revocation-lag` | access ended 0.4 s after the statement was removed |  |\n".to_owned()
        }
        None if line.contains("`grantWait.settleSeconds`") && line.contains("| seen |") => {
            "| `grantWait.settleSeconds` | `10` | seen | twice the time that the probe measured, and at least 10 s |\n".to_owned()
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn assert_documented(name: &str, report: &str) {
    assert_eq!(
        documented(name),
        format!("```markdown\n{report}```\n"),
        "put this into docs/src/operate/doctor.md:\n{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_in_the_documentation_is_what_the_program_prints() {
    let world = World::new("", "").await;
    let manifest = format!("{GRANT}---{JOB}");
    let run = world.doctor(&manifest, &["-o", "markdown"], KEYS).await;
    assert_documented("of a new account", &settled(&world, &run.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_failed_report_in_the_documentation_is_what_the_program_prints() {
    let world = World::new(", publicEndpointForbidden: true", "").await;
    let grant = GRANT.replace("3456\"}\n  access", "3456\", roleName: SomeRole}\n  access");
    let manifest = format!("{grant}---{JOB}");
    let run = world.doctor(&manifest, &["-o", "markdown"], KEYS).await;
    assert_eq!(run.code, 2, "{}", run.stdout);
    // The page leaves the lines out that are ok.
    let report = settled(&world, &run.stdout);
    let lines = report.lines().filter(|line| !line.starts_with("| ok |"));
    let report: String = lines.map(|line| format!("{line}\n")).collect();
    assert_documented("that failed", &report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_without_a_warning_in_the_documentation_is_what_the_program_prints() {
    let world = World::new("", "").await;
    let policy = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:{ACCOUNT_B}:{BUCKET}/photos/*"]}}]}}"#
    );
    world.emulator.set_policy(BUCKET, Some(&policy));
    let manifest = format!("{GRANT}---{JOB}");
    let run = world.doctor(&manifest, &["-o", "markdown"], KEYS).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    // The page leaves the lines out that the first report has too.
    let first = documented("of a new account");
    let known: Vec<&str> = first.lines().filter(|line| line.starts_with("| ok |")).collect();
    let report = settled(&world, &run.stdout);
    let lines = report.lines().filter(|line| !known.contains(line));
    let report: String = lines.map(|line| format!("{line}\n")).collect();
    assert_documented("without a warning", &report);
}

/// Returns the report of a probe, with further flags.
async fn probed(world: &World, job: &str, flags: &[&str]) -> String {
    let manifest = format!("{GRANT}---{job}");
    let own = [
        "-o",
        "markdown",
        "--probe-bucket",
        PROBE_BUCKET,
        "--probe-object",
        "a.jpg",
        "--i-own",
        PROBE_BUCKET,
        "--yes",
    ];
    let flags = [own.as_slice(), flags].concat();
    let output = world.command(&manifest, &flags, KEYS).output().await.unwrap();
    let run = Run::of(&output);
    let named = run.stdout.replace("--probe-bucket", "");
    assert!(
        !named.contains(PROBE_BUCKET) && !named.contains("a.jpg"),
        "{named}"
    );
    settled(world, &run.stdout)
}

/// Returns the lines of a report about checks and settings whose names begin so.
fn lines_of(report: &str, names: &str) -> String {
    let is_named = |line: &&str| {
        let mut cells = line.split("| ");
        cells.any(|cell| cell.strip_prefix('`').is_some_and(|cell| cell.starts_with(names)))
    };
    let lines = report.lines().filter(is_named);
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_in_the_documentation_is_what_the_program_prints() {
    let world = World::new("", ", principalRole: aliyunimmdefaultrole").await;
    let log = log_of(&world, 20, "aliyunimmdefaultrole").await;
    let run = examine(&world, &format!("{GRANT}---{JOB}"), &log, "markdown").await;
    let report = settled(&world, &run.stdout);
    let shown = lines_of(&report, "access-log") + &lines_of(&report, "grantee.roleName");
    assert_documented("of an access log", &shown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_in_the_documentation_are_what_the_program_prints() {
    let world = World::new("", "").await;
    let report = probed(&world, JOB, &["--probe", "limits", "--max-billed", "12"]).await;
    assert_documented("of limits", &lines_of(&report, "limits-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_further_answers_of_a_probe_in_the_documentation_are_what_the_program_prints() {
    let world = World::new("", "").await;
    let report = probed(&world, JOB, &["--probe", "lag", "--allow-public"]).await;
    let shown = lines_of(&report, "probe-pass-role") + &lines_of(&report, "probe-revocation-lag");
    assert_documented("of the end of access and of ram:PassRole", &shown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spelling_of_a_deny_in_the_documentation_is_what_the_program_prints() {
    let world = World::new("", "").await;
    let report = probed(&world, JOB, &["--probe", "deny"]).await;
    assert_documented("of a Deny", &lines_of(&report, "probe-deny"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unusual_policies_in_the_documentation_are_what_the_program_prints() {
    let world = World::new("", "").await;
    let report = probed(&world, JOB, &["--probe", "forms"]).await;
    assert_documented("of unusual policies", &lines_of(&report, "forms-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_ways_in_the_documentation_are_what_the_program_prints() {
    let world = World::new("", IN_VPC).await;
    let report = probed(&world, &job_by_chain("user"), &["--probe", "ways"]).await;
    let shown = lines_of(&report, "ways-") + &lines_of(&report, "access.mode");
    assert_documented("of other ways", &shown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_in_the_documentation_is_what_the_program_prints() {
    let world = World::new("", "").await;
    let report = probed(&world, JOB, &[]).await;
    // The checks before the probe are those of the first report.
    let (_, report) = report.split_once("| ok | `probe-session-wildcard`").unwrap();
    let report = format!("| ok | `probe-session-wildcard`{report}");
    assert_documented("of a probe", &report);
}
