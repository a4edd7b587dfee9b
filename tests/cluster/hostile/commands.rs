//! Commands of the program on a user's machine, with manifests and policies of others.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use imm_operator::core::hash::sha256;

use crate::support::{ACCOUNT_A, ACCOUNT_B, REGION, Stage};

fn manifest() -> String {
    format!(
        r#"
apiVersion: immops.dev/v1alpha1
kind: ImmBucketGrant
metadata: {{name: g, namespace: media}}
spec:
  bucket: {{name: test-bucket-2024, region: {REGION}, ownerUID: "{ACCOUNT_B}"}}
  grantee: {{accountUID: "{ACCOUNT_A}"}}
  access: {{preset: Minimal, passRoleStatement: Omit}}
  credentials: {{source: Secret, secretRef: {{name: s}}}}
"#
    )
}

fn plan(folder: &Path, grant: &str, flags: &[&str]) -> Output {
    std::fs::write(folder.join("grant.yaml"), grant).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
    command
        .args(["plan", "--file", "grant.yaml"])
        .args(flags)
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAI")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "canary")
        .current_dir(folder);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

// T11
pub async fn a_manifest_sends_no_request_to_a_host_of_its_choice(_: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let live = ["--live", "--oss-endpoint", "http://oss-{region}.example.invalid"];
    let region = format!("region: {REGION}");
    for (from, to) in [
        ("name: test-bucket-2024", format!("name: \"{host}/\"")),
        ("name: test-bucket-2024", format!("name: \"{host}#\"")),
        (region.as_str(), format!("region: \"x@{host}/\"")),
    ] {
        let output = plan(folder.path(), &manifest().replace(from, &to), &live);
        assert_eq!(output.status.code(), Some(1), "{to}");
        let message = text(&output.stderr);
        assert!(message.contains("spec.bucket."), "{to}: {message}");
        assert!(listener.accept().is_err(), "{to}: a connection was made");
    }
}

// T11
pub async fn what_a_terminal_obeys_is_printed_escaped(_: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let policy =
        "{\"Version\":\"1\",\"Statement\":[{\"Effect\":\"Deny\",\"Sid\":\"\u{202e}yned\u{9b}2J\u{7f}\"}]}";
    std::fs::write(folder.path().join("policy.json"), policy).unwrap();
    let offline = ["--policy", "policy.json"];
    let output = plan(folder.path(), &manifest(), &offline);
    let shown = text(&output.stdout);
    assert!(shown.contains("\\u202eyned\\u009b2J\\u007f"), "{shown}");
    let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!shown.contains(raw), "{shown:?}");
    // Only the output is escaped: the planned document keeps every byte.
    let ours = shown.lines().find_map(|line| line.strip_prefix("+{")).unwrap();
    let written = policy.replace("}]}", &format!("}},{{{ours}]}}"));
    assert!(shown.contains(&sha256(&written)), "{shown}");

    let odd = manifest()
        .replace("metadata:", "\"\\u001b[2J\": 1\nmetadata:")
        .replace("spec:", "spec: 1\nx:");
    let output = plan(folder.path(), &odd, &offline);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stderr).contains('\u{1b}'));
}
