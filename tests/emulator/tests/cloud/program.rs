//! The binary: its output, its shutdown, and that it never prints a secret of the seed.
//! The real binary runs in a process of its own; the tests call none of its functions.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{BUCKET, CROSS_ACCOUNT, plain_at};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imm-emulator"));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn outputs(mut child: Child) -> (Option<i32>, String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout).await.unwrap();
    }
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .await
        .unwrap();
    (child.wait().await.unwrap().code(), stdout, stderr)
}

#[tokio::test]
async fn it_prints_its_url_serves_and_exits_on_sigterm() {
    let mut child = program()
        .args(["--seed", CROSS_ACCOUNT])
        .env("RUST_LOG", "trace")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let url = first.strip_prefix("listening on ").unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(
        plain_at(&url, "GET", "/-/health", b"").await.json()["status"],
        "ok"
    );
    assert_eq!(
        plain_at(&url, "GET", &format!("/{BUCKET}/?policy"), b"")
            .await
            .code(),
        "AccessDenied"
    );
    let id = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .unwrap()
            .success()
    );
    let (code, _, errors) = outputs(child).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("canary"), "{errors}");
}

#[tokio::test]
async fn help_names_every_switch() {
    let (code, text, _) = outputs(program().arg("--help").spawn().unwrap()).await;
    assert_eq!(code, Some(0));
    for switch in [
        "--seed",
        "--listen",
        "--session-wildcard-is-public",
        "--clock-offset",
        "--tls-certificate",
    ] {
        assert!(text.contains(switch), "{switch} in {text}");
    }
}

#[tokio::test]
async fn a_bad_seed_is_refused_without_showing_its_secrets() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (name, text) in [
        (
            "unknown-member",
            "accounts:\n  - uid: '1'\n    keys: [{id: a, secret: canary-secret-a, sort: b}]\n",
        ),
        (
            "not-yaml",
            "accounts: [{uid: '1', keys: [{id: a, secret: canary-secret-b}\n",
        ),
        (
            "contradiction",
            "accounts: [{uid: '1', keys: [{id: a, secret: canary-c}]}]\nbuckets: [{name: abc, region: r, owner: '2'}]\n",
        ),
        (
            "missing-file",
            "accounts: [{uid: '1'}]\nbuckets: [{name: abc, region: r, owner: '1', policyFile: none.json}]\n",
        ),
    ] {
        let path = folder.join(format!("{name}.yaml"));
        std::fs::write(&path, text).unwrap();
        let (code, output, errors) = outputs(program().arg("--seed").arg(&path).spawn().unwrap()).await;
        assert_eq!(code, Some(1), "{name}: {errors}");
        assert_eq!(output, "", "{name}");
        assert!(
            !errors.is_empty() && !errors.contains("canary"),
            "{name}: {errors}"
        );
    }
}
