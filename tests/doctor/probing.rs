//! A probe by the program: what it refuses, a whole run, and ends by signals.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch, Hold};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, Run, World, check, setting};

const PROBE: &[&str] = &["--probe-bucket", PROBE_BUCKET, "--probe-object", "a.jpg"];
const OWN: &[&str] = &["--i-own", PROBE_BUCKET];

fn both() -> String {
    format!("{GRANT}---{JOB}")
}

fn flags(parts: &[&[&'static str]]) -> Vec<&'static str> {
    parts.concat()
}

async fn run(world: &World, manifest: &str, flags: &[&str]) -> Run {
    let run = Run::of(&world.command(manifest, flags, KEYS).output().await.unwrap());
    for secret in ["canary", "LTAI5t"] {
        assert!(
            !run.stdout.contains(secret) && !run.stderr.contains(secret),
            "{}{}",
            run.stdout,
            run.stderr
        );
    }
    run
}

fn writes(world: &World) -> usize {
    let calls = world.emulator.calls();
    let writes = calls
        .iter()
        .filter(|call| call.action.starts_with("Put") || call.action.starts_with("Delete"));
    writes.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_without_every_consent_writes_nothing() {
    let world = World::new("", "").await;
    let other = both().replace("6543210987654321", "6543210987650000");
    for (manifest, flags, part) in [
        (both(), flags(&[PROBE, OWN]), "add --yes"),
        (both(), flags(&[PROBE, &["--yes"]]), "--i-own"),
        (
            both(),
            flags(&[PROBE, &["--yes", "--i-own", "test-bucket-2024"]]),
            "must repeat",
        ),
        (
            GRANT.to_owned(),
            flags(&[PROBE, OWN, &["--yes"]]),
            "a grant and a job",
        ),
        (
            other,
            flags(&[PROBE, OWN, &["--yes"]]),
            "do not belong to the owner",
        ),
        (
            both(),
            flags(&[&["--probe-bucket", PROBE_BUCKET, "--yes"]]),
            "--probe-object",
        ),
        (
            both(),
            flags(&[PROBE, OWN, &["--max-billed", "0"]]),
            "--max-billed",
        ),
        (both(), flags(&[&["--yes"]]), "--probe-bucket"),
        (both(), flags(&[&["--probe", "limits"]]), "--probe-bucket"),
        (
            both(),
            flags(&[PROBE, OWN, &["--yes", "--probe", "limits", "--allow-public"]]),
            "--allow-public is for",
        ),
        (
            both(),
            flags(&[PROBE, OWN, &["--yes", "--limits-object", "b.jpg"]]),
            "--limits-object is for",
        ),
        (
            both(),
            flags(&[PROBE, OWN, &["--yes", "--no-imm"]]),
            "a probe calls IMM: leave --no-imm out",
        ),
        (
            both().replacen("test-bucket-2024", PROBE_BUCKET, 1),
            flags(&[PROBE, OWN, &["--yes"]]),
            "the grant names bucket probe-bucket",
        ),
        (both(), flags(&[PROBE, OWN]), "make up to 60 scoring calls"),
        (
            both(),
            flags(&[PROBE, OWN, &["--max-billed", "24000"]]),
            "make up to 24000 scoring calls",
        ),
        (
            both(),
            flags(&[
                &["--probe-bucket", PROBE_BUCKET, "--probe-object", "a*"],
                OWN,
                &["--yes"],
            ]),
            "--probe-object",
        ),
    ] {
        let run = run(&world, &manifest, &flags).await;
        // The parser of the command line refuses a flag without its companions.
        let code = if run.stderr.starts_with("error: ") { 64 } else { 2 };
        assert_eq!(run.code, code, "{flags:?}");
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        assert_eq!((writes(&world), world.emulator.billed()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_confirms_the_conclusion_and_leaves_nothing_behind() {
    let world = World::new("", "").await;
    let run = run(&world, &both(), &flags(&[PROBE, OWN, &["--yes", "-o", "json"]])).await;
    let report = run.json();
    assert_eq!(run.code, 0, "{report:#}");
    for (name, value) in [
        ("grantee.principal", "ServiceRole"),
        ("grantee.roleName", "AliyunIMMDefaultRole"),
    ] {
        assert_eq!(
            setting(&report, name),
            Some((value.to_owned(), true)),
            "{report:#}"
        );
    }
    assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
    assert_eq!(
        (world.emulator.billed(), world.emulator.policy(PROBE_BUCKET)),
        (2, None)
    );
    let left: Vec<_> = std::fs::read_dir(world.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("imm-operator-doctor")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_without_a_kind_asks_for_access() {
    let world = World::new("", "").await;
    let flags = flags(&[&["--probe"], PROBE, OWN, &["--yes", "-o", "json"]]);
    let run = run(&world, &both(), &flags).await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(check(&run.json(), "probe-access")["level"], "ok");
}

/// How an API server answers a list of grants.
#[derive(Clone, Copy, Debug)]
enum Listing {
    /// With a grant of this bucket.
    GrantOf(&'static str),
    /// With a status of its own.
    Rejected(&'static str, u16),
    /// With a page of another server.
    Page,
}

/// Starts an API server that answers each request so. Returns its kubeconfig.
async fn api_server(listing: Listing) -> String {
    let (status, kind, body) = match listing {
        Listing::GrantOf(bucket) => {
            let grant = GRANT.replace("test-bucket-2024", bucket);
            let grant: serde_json::Value = serde_saphyr::from_str(&grant).unwrap();
            let list = serde_json::json!({"apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrantList", "metadata": {"resourceVersion": "1"}, "items": [grant]});
            ("200 OK", "application/json", list.to_string())
        }
        Listing::Rejected(status, code) => {
            let rejected =
                serde_json::json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code});
            (status, "application/json", rejected.to_string())
        }
        Listing::Page => ("403 Forbidden", "text/html", "<html>no</html>".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_asked_for_grants_of_the_bucket_although_the_caller_owns_it() {
    for (listing, expected) in [
        (
            Listing::GrantOf(PROBE_BUCKET),
            Some("a grant of the cluster names bucket probe-bucket"),
        ),
        (Listing::GrantOf("pics-2024"), None),
        (Listing::Page, None),
        // There is a cluster, which may have a grant of the bucket.
        (
            Listing::Rejected("403 Forbidden", 403),
            Some("whether a grant of it names bucket probe-bucket must be known before a probe writes"),
        ),
        (
            Listing::Rejected("401 Unauthorized", 401),
            Some("log in again; whether a grant of it names bucket probe-bucket must be known"),
        ),
    ] {
        let world = World::new("", "").await;
        std::fs::write(world.path("kubeconfig"), api_server(listing).await).unwrap();
        let flags = flags(&[PROBE, OWN, &["--yes", "--kubeconfig", "kubeconfig"]]);
        let run = run(&world, &both(), &flags).await;
        let refused = expected.is_some();
        let code = if refused { 2 } else { 0 };
        assert_eq!(run.code, code, "{listing:?}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stderr.contains(expected.unwrap_or_default()),
            "{listing:?}: {}",
            run.stderr
        );
        assert_eq!(writes(&world) == 0, refused, "{listing:?}");
    }
}

/// Starts a probe and holds its first scoring call after the write. Returns it when the call is held.
async fn held(world: &World) -> (tokio::process::Child, Hold) {
    let scoring = FaultMatch {
        action: Some("DetectImageScore".to_owned()),
        ..FaultMatch::default()
    };
    let hold = world.emulator.hold(scoring, 1, None);
    let mut command = world.command(&both(), &flags(&[PROBE, OWN, &["--yes", "-o", "json"]]), KEYS);
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while hold.held() == 0 {
        tokio::task::yield_now().await;
    }
    (child, hold)
}

fn signal(child: &tokio::process::Child, name: &str) {
    let process = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args([name, &process])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_probe_and_the_policy_comes_back() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let world = World::new("", "").await;
        let (child, hold) = held(&world).await;
        assert!(world.emulator.policy(PROBE_BUCKET).is_some());
        // The answer after the signal is a refusal, so that the probe would continue without it.
        let denied = FaultAnswer {
            status: 403,
            code: "AccessDenied".to_owned(),
            ..FaultAnswer::default()
        };
        world.emulator.add_fault(Fault::on_action(
            "DetectImageScore",
            1000,
            FaultEffect::Answer(denied),
        ));
        signal(&child, name);
        drop(hold);
        let run = Run::of(&child.wait_with_output().await.unwrap());
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        let report = run.json();
        assert_eq!(check(&report, "probe-ended-early")["seen"], "interrupted");
        assert_eq!(check(&report, "probe-policy-restored")["level"], "ok");
        assert_eq!(
            (world.emulator.policy(PROBE_BUCKET), world.emulator.billed()),
            (None, 2)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_of_a_probe_that_was_killed_is_put_back_by_the_file() {
    let world = World::new("", "").await;
    let (mut child, hold) = held(&world).await;
    child.kill().await.unwrap();
    drop(hold);
    let written = world.emulator.policy(PROBE_BUCKET);
    assert!(written.is_some());
    let file = format!("imm-operator-doctor-{PROBE_BUCKET}.json");
    let back = ["-o", "json", "--restore", &file];
    world
        .emulator
        .set_policy(PROBE_BUCKET, Some("{\"Statement\":[]}"));
    let run = run(&world, "", &back).await;
    assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("{\"Statement\":[]}") && run.stderr.contains("(none)"),
        "{}",
        run.stderr
    );
    assert_eq!(
        world.emulator.policy(PROBE_BUCKET).as_deref(),
        Some("{\"Statement\":[]}")
    );
    world.emulator.set_policy(PROBE_BUCKET, written.as_deref());
    let run = self::run(&world, "", &back).await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
}
