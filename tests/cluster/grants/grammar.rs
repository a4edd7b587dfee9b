//! One grammar: the API server, `imm-operator plan` and the decoder of the operator agree on every manifest.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imm_operator::api::{GrantSpec, JobSpec};
use serde_json::{Value, json};

use crate::support::{Stage, Tenant};

/// Returns what the API server would store, or its error.
async fn applied(tenant: &Tenant, manifest: &str) -> Result<Value, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest).unwrap();
    let path = file.path().display().to_string();
    let args = [
        "apply",
        "--dry-run=server",
        "-n",
        &tenant.name,
        "-o",
        "json",
        "-f",
        &path,
    ];
    let answer = tenant
        .stage
        .plane
        .kubectl(&args)
        .await
        .map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&answer).unwrap())
}

/// Returns the error of `plan -f -`; `None` if the manifest is accepted.
fn plan_error(manifest: &str) -> Option<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_imm-operator"))
        .args(["plan", "-f", "-", "--policy", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code() == Some(1)).then(|| String::from_utf8(output.stderr).unwrap())
}

const GRANT: &str = "apiVersion: immops.dev/v1alpha1
kind: ImmBucketGrant
metadata: {name: g}
spec:
  bucket: {name: test-bucket-2024, region: cn-hangzhou, ownerUID: \"6543210987654321\"}
  grantee: {accountUID: \"1234567890123456\"}
  credentials: {source: Secret, secretRef: {name: s}}
";

/// A change of the manifest, and the text that the error of `plan` must have; empty if the manifest is accepted.
const CASES: &[(&str, &str, &str)] = &[
    ("", "", ""),
    ("v1alpha1", "v1", "apiVersion"),
    ("immops.dev/v1alpha1", "immops.dev/v1beta1", "apiVersion"),
    ("spec:", "speck: {}\nspec:", "speck"),
    ("spec:", "spec:\n  suspendd: true", "spec.suspendd"),
    ("cn-hangzhou", "cn-north-2-gov-1", ""),
    ("cn-hangzhou", "cn-shanghai-finance-1", "spec.bucket.region"),
    ("spec:", "spec:\n  suspend: true", ""),
    ("spec:", "spec:\n  suspend: yes", ""),
    ("spec:", "spec:\n  suspend: \"true\"", "spec.suspend"),
    ("spec:", "spec:\n  suspend: 1", "spec.suspend"),
    ("spec:", "spec:\n  suspend:", ""),
    ("spec:", "spec:\n  access:", ""),
    ("spec:", "spec:\n  access: []", "spec.access"),
    ("spec:", "spec:\n  access: {prefixes: null}", ""),
    (
        "spec:",
        "spec:\n  access: {prefixes: [null]}",
        "spec.access.prefixes[0]",
    ),
    (
        "spec:",
        "spec:\n  access: {prefixes: [1]}",
        "spec.access.prefixes[0]",
    ),
    (
        "spec:",
        "spec:\n  access: {prefixes: [a, a]}",
        "spec.access.prefixes[1]",
    ),
    (
        "spec:",
        "spec:\n  access: {prefixes: [\"\"]}",
        "spec.access.prefixes[0]",
    ),
    (
        "spec:",
        "spec:\n  access: {prefixes: [\"a*\"]}",
        "spec.access.prefixes",
    ),
    (
        "spec:",
        "spec:\n  access: {actions: [\"oss:GetObject\"]}",
        "spec.access.actions",
    ),
    (
        "spec:",
        "spec:\n  access: {preset: Custom}",
        "spec.access.actions",
    ),
    ("spec:", "spec:\n  access: {preset: custom}", "spec.access.preset"),
    ("spec:", "spec:\n  driftIntervalSeconds: 6e+02", ""),
    ("spec:", "spec:\n  driftIntervalSeconds: 600.0", ""),
    (
        "spec:",
        "spec:\n  driftIntervalSeconds: 600.5",
        "spec.driftIntervalSeconds",
    ),
    (
        "spec:",
        "spec:\n  driftIntervalSeconds: \"600\"",
        "spec.driftIntervalSeconds",
    ),
    (
        "spec:",
        "spec:\n  driftIntervalSeconds: 59",
        "spec.driftIntervalSeconds",
    ),
    (
        "spec:",
        "spec:\n  driftIntervalSeconds: 1e30",
        "spec.driftIntervalSeconds",
    ),
    (
        "\"1234567890123456\"",
        "1234567890123456",
        "spec.grantee.accountUID",
    ),
    ("\"1234567890123456\"", "null", "spec.grantee.accountUID"),
    (
        "\"1234567890123456\"",
        "12345678901234567890123",
        "spec.grantee.accountUID",
    ),
    ("\"}\n  cred", "\", principal: Account}\n  cred", ""),
    (
        "\"}\n  cred",
        "\", principal: ServiceRoleSession}\n  cred",
        "spec.grantee.sessionName",
    ),
    (
        "\"}\n  cred",
        "\", principal: ServiceRoleSession, sessionName: imm.one@x}\n  cred",
        "",
    ),
    (
        "\"}\n  cred",
        "\", principal: ServiceRoleSession, sessionName: \"imm*\"}\n  cred",
        "spec.grantee.sessionName",
    ),
    (
        "\"}\n  cred",
        "\", sessionName: imm-session}\n  cred",
        "spec.grantee.sessionName",
    ),
    ("test-bucket-2024", "Test", "spec.bucket.name"),
    ("cn-hangzhou", "oss-cn-hangzhou", "spec.bucket.region"),
    ("region: cn-hangzhou, ", "", "spec.bucket.region"),
    (
        "secretRef: {name: s}",
        "secretRef: {name: S}",
        "spec.credentials.secretRef.name",
    ),
    (
        "secretRef: {name: s}",
        "secretRef: {name: s, namespace: n}",
        "spec.credentials.secretRef.namespace",
    ),
    ("source: Secret, ", "", "spec.credentials.source"),
    ("source: Secret", "source: Operator", "secretRef is required"),
    (", secretRef: {name: s}", "", "spec.credentials: secretRef"),
    ("name: g}", "name: g, labels: {a: b}}", ""),
    ("metadata: {name: g}", "metadata: {}", "metadata.name"),
];

// G7
pub async fn plan_and_the_api_server_agree_on_every_manifest(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "grammar").await;
    let mut disagreements = Vec::new();
    for (from, to, field) in CASES {
        let manifest = GRANT.replacen(from, to, 1);
        let (stored, planned) = (applied(&tenant, &manifest).await, plan_error(&manifest));
        let named = planned.as_deref().is_none_or(|error| error.contains(field));
        if stored.is_err() == field.is_empty() || planned.is_some() == field.is_empty() || !named {
            disagreements.push(format!("{from} -> {to}: stored {stored:?}, planned {planned:?}"));
        }
        if let Ok(object) = stored {
            serde_json::from_value::<GrantSpec>(object["spec"].clone()).expect(to);
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

// G7
pub async fn a_plan_reads_lists_and_several_documents(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "documents").await;
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let item = format!("- {}", GRANT.trim_end().replace('\n', "\n  "));
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{item}\n");
    for manifest in [format!("---\n{other}---\n{GRANT}---\n"), list.clone()] {
        assert_eq!(plan_error(&manifest), None, "{manifest}");
        applied(&tenant, &manifest).await.unwrap();
    }
    let two = format!("{list}---\n{GRANT}");
    assert!(plan_error(&two).unwrap().contains("--name"));
}

/// A job that is accepted, with this value at a path.
fn job_with(tenant: &Tenant, path: &str, value: &Value) -> String {
    let changes = path
        .rsplit('/')
        .fold(value.clone(), |inner, name| json!({ name: inner }));
    let mut changes = changes;
    if path.starts_with("source/prefix") {
        changes["budget"] = json!({"maxRequests": 1});
        changes["source"]["uris"] = Value::Null;
        if changes["source"]["prefix"]["bucket"].is_null() {
            changes["source"]["prefix"]["bucket"] = json!("bucket");
        }
    }
    tenant.job("j", &["a.jpg"], &changes)
}

// J18
pub async fn times_and_numbers_of_a_job_are_decoded_as_they_are_stored(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "times").await;
    let time = "source/prefix/modifiedAfter";
    let mut wrong = Vec::new();
    for (path, value, accepted) in [
        (time, json!("2020-01-01T00:00:00Z"), true),
        (time, json!("2020-01-01T00:00:00.123456789+08:00"), true),
        (time, json!("2020-01-01t00:00:00z"), false),
        (time, json!("2020-01-01T00:00:00z"), false),
        (time, json!("2020-01-01 00:00:00Z"), false),
        (time, json!("2020-01-01T00:00:00,5Z"), false),
        (time, json!("2020-01-01T00:00:00+99:99"), false),
        (time, json!("2020-02-30T00:00:00Z"), false),
        (time, json!("2020-01-01T24:00:00Z"), false),
        (time, json!("2016-12-31T23:59:60Z"), false),
        (time, json!("0000-01-01T00:00:00Z"), false),
        (time, json!("2020-01-01"), false),
        (time, json!(1_577_836_800), false),
        ("maxFailedItems", json!(3), true),
        ("maxFailedItems", json!(3.0), true),
        ("maxFailedItems", json!("10%"), true),
        ("maxFailedItems", json!("3"), false),
        ("maxFailedItems", json!(-1), false),
        ("maxFailedItems", json!(1.5), false),
        ("maxFailedItems", json!("101%"), false),
        ("maxFailedItems", json!(true), false),
        ("maxFailedItems", json!(99_999_999_999_i64), false),
        ("parallelism", json!(2e1), true),
        ("parallelism", json!("20"), false),
        ("activeDeadlineSeconds", json!(1e19), false),
    ] {
        let manifest = job_with(&tenant, path, &value);
        match applied(&tenant, &manifest).await {
            Ok(object) => {
                let decoded = serde_json::from_value::<JobSpec>(object["spec"].clone());
                if !accepted || decoded.is_err() {
                    wrong.push(format!("{path} {value}: accepted, {:?}", decoded.err()));
                }
            }
            Err(error) if accepted => wrong.push(format!("{path} {value}: {error}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
