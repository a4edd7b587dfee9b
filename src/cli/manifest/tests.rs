//! What is said about manifests.

use serde_json::json;

use super::*;

/// Replaces members of an object, as a JSON merge patch does.
fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(members), Value::Object(patch)) = (&mut *into, patch) else {
        patch.clone_into(into);
        return;
    };
    for (name, value) in patch {
        merge(members.entry(name).or_insert(Value::Null), value);
    }
}

fn grant(patch: &Value) -> Value {
    let mut grant = json!({
        "apiVersion": "immops.dev/v1alpha1",
        "kind": "ImmBucketGrant",
        "metadata": {"name": "g"},
        "spec": {
            "bucket": {"name": "test-bucket-2024", "region": "cn-hangzhou", "ownerUID": "6543210987654321"},
            "grantee": {"accountUID": "1234567890123456"},
            "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
        },
    });
    merge(&mut grant, patch);
    grant
}

fn job(patch: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "immops.dev/v1alpha1",
        "kind": "ImageScoreJob",
        "metadata": {"name": "j"},
        "spec": {
            "project": {"name": "p", "region": "cn-hangzhou", "accountUID": "1234567890123456"},
            "source": {"uris": ["oss://test-bucket-2024/a.jpg"]},
            "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
        },
    });
    merge(&mut job, patch);
    job
}

/// Compares what is said about objects that differ in one part from a valid one; nothing is said about a valid one.
fn assert_said(
    cases: &[(Value, &str)],
    object: fn(&Value) -> Value,
    check: fn(Value) -> Result<(), ManifestError>,
) {
    for (patch, expected) in cases {
        let said = check(object(patch))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            said.contains(expected) && said.is_empty() == expected.is_empty(),
            "{patch}: {said}"
        );
    }
}

#[test]
fn a_grant_that_the_api_server_refuses_is_refused_with_its_message() {
    let spec = |patch: Value| json!({"spec": patch});
    let account = json!({"name": "a", "roleARN": "acs:ram::6543210987654321:role/r",
        "oidcProviderARN": "acs:ram::6543210987654321:oidc-provider/p"});
    let cases = [
        (json!({}), ""),
        (
            spec(json!({"access": {"preset": "Custom", "actions": ["oss:GetObject"]}})),
            "",
        ),
        (
            spec(json!({"grantee": {"principal": "ServiceRoleSession", "sessionName": "imm-1"}})),
            "",
        ),
        (
            spec(
                json!({"credentials": {"source": "ServiceAccount", "secretRef": null, "serviceAccount": account}}),
            ),
            "",
        ),
        (
            spec(json!({"allowedConsumers": {"namespaces": ["*"]}})),
            "spec.allowedConsumers.namespaces[0]: write the name of each namespace: wildcards are not supported",
        ),
        (
            spec(json!({"allowedConsumers": {"namespaces": ["A B"]}})),
            "must be the name of a namespace",
        ),
        (
            spec(json!({"bucket": {"name": "oss://b"}})),
            "without oss:// and without a host",
        ),
        (
            spec(json!({"bucket": {"region": "oss-cn-hangzhou"}})),
            "spec.bucket.region: write the region without oss-",
        ),
        (
            spec(json!({"bucket": {"region": "cn-hangzhou-internal"}})),
            "without -internal",
        ),
        (
            spec(json!({"bucket": {"region": "cn-shanghai-finance-1"}})),
            "not available in finance",
        ),
        (
            spec(json!({"bucket": {"region": "Hangzhou"}})),
            "must be the ID of a region",
        ),
        (
            spec(json!({"bucket": {"ownerUID": "12a45"}})),
            "spec.bucket.ownerUID must be the UID",
        ),
        (
            spec(json!({"grantee": {"roleName": "acs:ram::1:role/r"}})),
            "write the name of the role alone",
        ),
        (
            spec(json!({"grantee": {"sessionName": "imm-1"}})),
            "sessionName is allowed with",
        ),
        (
            spec(json!({"grantee": {"principal": "ServiceRoleSession"}})),
            "ServiceRoleSession requires sessionName",
        ),
        (
            spec(json!({"access": {"preset": "Custom"}})),
            "Custom requires at least one action",
        ),
        (
            spec(json!({"access": {"actions": ["oss:GetObject"]}})),
            "other presets allow none",
        ),
        (
            spec(json!({"access": {"prefixes": ["a/*"]}})),
            "must not contain * or ?",
        ),
        (
            spec(json!({"access": {"prefixes": ["${a}"]}})),
            "must not contain $, {, }",
        ),
        (
            spec(json!({"access": {"prefixes": ["/a"]}})),
            "must not start with /",
        ),
        (
            spec(json!({"access": {"prefixes": ["a\u{202e}"]}})),
            "invisible formatting",
        ),
        (
            spec(json!({"credentials": {"secretRef": null}})),
            "secretRef is required with",
        ),
        (
            spec(json!({"credentials": {"serviceAccount": account}})),
            "serviceAccount is required with source: ServiceAccount, and not allowed otherwise",
        ),
        (
            spec(
                json!({"credentials": {"source": "ServiceAccount", "secretRef": null,
                "serviceAccount": account, "assumeRole": {"roleARN": "acs:ram::6543210987654321:role/r"}}}),
            ),
            "assumeRole requires source Secret or Operator",
        ),
        (
            spec(json!({"credentials": {"assumeRole": {"roleARN": "arn:aws:iam::1:role/r"}}})),
            "must be the ARN of a RAM role",
        ),
        (
            spec(json!({"credentials": {"secretRef": {"name": "media/s"}}})),
            "spec.credentials.secretRef.name: write the name alone",
        ),
    ];
    assert_said(&cases, grant, |grant| read_grant(grant).map(drop));
}

#[test]
fn a_job_that_the_api_server_refuses_is_refused_with_its_message() {
    let spec = |patch: Value| json!({"spec": patch});
    let source = |source: Value| json!({"spec": {"source": {"uris": null, "prefix": source}, "budget": {"maxRequests": 9}}});
    let chain = json!({"mode": "RoleChain", "roleChain": {"serviceRole": "s",
        "chain": [{"role": "r", "roleType": "user", "assumeRoleFor": "6543210987654321"}]}});
    let long = format!("oss://test-bucket-2024/{}", "a".repeat(1024));
    let many: Vec<String> = (0..200)
        .map(|n| format!("oss://test-bucket-2024/{n}{}", "a".repeat(900)))
        .collect();
    let cases = [
        (json!({}), ""),
        (source(json!({"bucket": "test-bucket-2024"})), ""),
        (spec(json!({"access": chain})), ""),
        (
            spec(json!({"maxFailedItems": "10%", "thresholds": {"minScore": "0.60"}})),
            "",
        ),
        (
            spec(json!({"maxFailedItems": "abc"})),
            "spec.maxFailedItems: maxFailedItems must be a count such as 3",
        ),
        (
            spec(json!({"maxFailedItems": "101%"})),
            "must be a count such as 3",
        ),
        (
            spec(json!({"maxFailedItems": -1})),
            "must be a count such as 3 (0 or more, without quotes)",
        ),
        (
            spec(json!({"maxFailedItems": "5"})),
            "or a percentage such as \"10%\" (0% to 100%)",
        ),
        (
            source(json!({"bucket": "test-bucket-2024", "prefix": "/gallery/"})),
            "spec.source.prefix.prefix: a prefix must not start with / or a backslash",
        ),
        (
            spec(json!({"source": {"uris": ["oss://test-bucket-2024/a//b", "oss://test-bucket-2024//a"]}})),
            "spec.source.uris[1]: a key must not start with / or a backslash",
        ),
        (
            spec(json!({"source": {"uris": ["oss://test-bucket-2024/\\a"]}})),
            "a key must not start with / or a backslash",
        ),
        (
            spec(json!({"thresholds": {"minScore": "0.5", "maxBelow": "x"}})),
            "thresholds.maxBelow must be a count",
        ),
        (
            spec(json!({"thresholds": {"minScore": "1.5"}})),
            "spec.thresholds.minScore must be a decimal from 0 to 1",
        ),
        (
            spec(json!({"results": {"select": "BelowThreshold"}})),
            "BelowThreshold requires thresholds.minScore",
        ),
        (
            spec(json!({"failureRules": [{"codes": ["a b"], "action": "IgnoreItem"}]})),
            "must be an error code",
        ),
        (
            spec(json!({"source": {"uris": null, "prefix": {"bucket": "test-bucket-2024"}}})),
            "budget.maxRequests is required",
        ),
        (
            spec(json!({"source": {"uris": null, "manifest": {"uri": "oss://test-bucket-2024/a"}}})),
            "budget.maxRequests is required",
        ),
        (
            spec(json!({"source": {"uris": null}})),
            "is required: set one, remove the others",
        ),
        (
            spec(json!({"grantRef": {"name": "g"}, "access": chain})),
            "grantRef requires access.mode: BucketPolicy",
        ),
        (
            spec(json!({"grantRef": {"name": "n/g"}})),
            "the namespace in the field namespace",
        ),
        (
            spec(json!({"access": {"mode": "RoleChain"}})),
            "roleChain is required with mode: RoleChain",
        ),
        (
            spec(json!({"access": {"mode": "RoleChain", "passedRole": "r",
                "roleChain": {"serviceRole": "r", "chain": [{"role": "s", "assumeRoleFor": "12345"}]}}})),
            "passedRole is allowed with mode: BucketPolicy only",
        ),
        (
            spec(json!({"access": {"passedRole": "acs:ram::12345:role/r"}})),
            "write the name of the role alone",
        ),
        (
            spec(json!({"project": {"name": "1p"}})),
            "must be the name of an IMM project",
        ),
        (spec(json!({"source": {"uris": [long]}})), "exceeds 1,023 bytes"),
        (spec(json!({"source": {"uris": many}})), "uris exceed 128 KiB"),
        (
            spec(json!({"source": {"uris": ["https://b.oss-cn-hangzhou.aliyuncs.com/a"]}})),
            "write oss://BUCKET/KEY",
        ),
        (
            spec(json!({"budget": {"maxRequests": 9},
                "source": {"uris": null, "manifest": {"uri": "oss://test-bucket-2024/a/../b"}}})),
            "must not contain the path segments . or ..",
        ),
        (
            source(json!({"bucket": "test-bucket-2024", "modifiedAfter": "2026-02-30T00:00:00Z"})),
            "spec.source.prefix.modifiedAfter must be a day that exists",
        ),
        (
            source(json!({"bucket": "test-bucket-2024", "modifiedAfter": "yesterday"})),
            "must be a time such as",
        ),
        (
            source(json!({"bucket": "test-bucket-2024", "prefix": "a\u{7}"})),
            "must not have control characters",
        ),
    ];
    assert_said(&cases, job, |job| job_spec(job).map(drop));
}

#[test]
fn a_manifest_is_read_as_kubectl_reads_it() {
    let grant = |name: &str| format!(r#"{{"kind": "ImmBucketGrant", "metadata": {{"name": "{name}"}}}}"#);
    let (a, b) = (grant("a"), grant("b"));
    let many = "---\nkind: ConfigMap\n".repeat(2000);
    let large = format!("data: [{}]", "1, ".repeat(300_000));
    for (text, count) in [
        (format!("{a}\n---\n{b}"), 2),
        (format!("{a}{b}"), 2),
        (format!("{a}\n{b}\n"), 2),
        (format!("{{kind: List, items: [{a}, {b}]}}"), 2),
        (format!("{many}---\n{a}"), 1),
        (format!("{large}\n---\n{a}"), 1),
        (String::new(), 0),
    ] {
        let found = objects_of(&text, "ImmBucketGrant").unwrap();
        assert_eq!(found.len(), count, "{}", &text[..text.len().min(99)]);
    }
    for (text, part) in [
        ("kind: [", "not valid YAML or JSON: "),
        (r#"{"kind": "A", "kind": "B"}"#, "duplicate"),
        (r#"{"kind": "A"}{"kind": "A", "kind": "B"}"#, "duplicate"),
        ("a: &a [x]\nb: *c", "not valid YAML or JSON: "),
    ] {
        let said = objects_of(text, "ImmBucketGrant").unwrap_err().to_string();
        assert!(said.contains(part) && said.lines().count() == 1, "{text}: {said}");
    }
}

#[test]
fn a_folder_stands_for_its_manifests_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, missing) = (path("b.yml"), path("missing"));
    std::fs::create_dir_all(path("sub.yaml/deeper")).unwrap();
    let wrong = files_of(&[folder.path().to_owned()]).unwrap_err().to_string();
    assert!(wrong.contains("no file that ends in"), "{wrong}");
    for name in [
        "b.yml",
        "c.json",
        "a.yaml",
        "notes.txt",
        "yaml",
        "sub.yaml/d.yaml",
    ] {
        std::fs::write(path(name), "").unwrap();
    }
    let given = [
        missing.clone(),
        folder.path().to_owned(),
        file.clone(),
        "-".into(),
    ];
    let expected = [
        missing,
        path("a.yaml"),
        path("b.yml"),
        path("c.json"),
        file,
        "-".into(),
    ];
    assert_eq!(files_of(&given).unwrap(), expected);
}
