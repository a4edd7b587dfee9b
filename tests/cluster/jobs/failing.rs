//! Mistakes that must not cost more than one request, and edits that are rejected.

use std::sync::Arc;

use serde_json::{Value, json};

use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant, condition};

// J6
pub async fn a_role_without_permission_costs_one_request(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "no-permission").await;
    let keys: Vec<String> = (0..100).map(|n| format!("{n}.jpg")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    // There is no grant, so the service role may not read.
    tenant
        .apply(&tenant.job("eager", &keys, &json!({"parallelism": 16})))
        .await;
    let job = tenant.until_true(JOB, "eager", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "PermissionDenied");
    assert_eq!(condition(&job, "Complete")[0], "");
    assert_eq!(tenant.scores().len(), 1);
    assert_eq!(job["status"]["requests"]["clientErrors"], 1);
    tenant.one_event("eager", "Failed").await;
}

// J14
pub async fn a_missing_project_costs_no_billed_request(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "no-project", 50).await;
    tenant
        .apply(&over(
            &tenant,
            "lost",
            &keys,
            &json!({"project": {"name": "nowhere"}}),
        ))
        .await;
    let job = tenant.until_true(JOB, "lost", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "ProjectNotFound");
    assert!(
        message.contains("nowhere") && message.contains("cn-hangzhou"),
        "{message}"
    );
    // The request for the project's limits comes first and is not billed.
    assert!(tenant.scores().is_empty());
}

// J32
pub async fn a_status_that_cannot_be_decoded_stalls_the_job_and_is_kept(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "undecodable").await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    let waits = json!({"grantRef": {"name": "later"}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job("garbled", &["a.jpg"], &waits)).await;
    tenant.until_reason(JOB, "garbled", "WaitingForGrant").await;
    let set = |time: &Value| json!({"status": {"startTime": time}}).to_string();
    let patch = [
        "patch",
        "isj",
        "garbled",
        "-n",
        "undecodable",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    // A date for the API server, and later than any time that this version can decode.
    let late = json!("9999-12-31T23:59:59Z");
    stage.kubectl(&[&patch[..], &[&set(&late)]].concat()).await;
    tenant.granted("later", &json!({})).await;
    let job = tenant.until_reason(JOB, "garbled", "StatusUnreadable").await;
    assert_eq!(condition(&job, "Stalled")[0], "True");
    assert!(condition(&job, "Ready")[2].contains("status.startTime"), "{job}");
    assert_eq!(job["status"]["startTime"], late, "kept as it was read");
    assert!(tenant.scores().is_empty(), "no billed call");
    let note = tenant.one_event("garbled", "StatusUnreadable").await;
    assert!(note.contains("status.startTime"), "{note}");

    stage.kubectl(&[&patch[..], &[&set(&Value::Null)]].concat()).await;
    tenant.request_reconcile(JOB, "garbled").await;
    tenant.until_true(JOB, "garbled", "Complete").await;
    assert_eq!(tenant.scores().len(), 1);
}

// J29
pub async fn a_restored_job_waits_for_confirmation(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "restored", 2).await;
    let mut manifest: serde_json::Value =
        serde_json::from_str(&over(&tenant, "restored", &keys, &json!({}))).unwrap();
    manifest["metadata"]["annotations"] =
        json!({"immops.dev/started": "00000000-0000-0000-0000-000000000000"});
    tenant.apply(&manifest.to_string()).await;
    let job = tenant.until_reason(JOB, "restored", "RestoredFromBackup").await;
    let [_, _, message] = condition(&job, "Ready");
    assert!(message.contains("immops.dev/started"), "{message}");
    assert_eq!(condition(&job, "Stalled")[0], "True");
    let token = tenant.request_reconcile(JOB, "restored").await;
    tenant
        .until(JOB, "restored", "a reconcile", |job| {
            job["status"]["lastHandledReconcileAt"] == *token
        })
        .await;
    assert!(tenant.scores().is_empty());

    stage
        .kubectl(&[
            "annotate",
            "isj",
            "restored",
            "-n",
            "restored",
            "immops.dev/started-",
        ])
        .await;
    tenant.until_true(JOB, "restored", "Complete").await;
    assert_eq!(tenant.scores().len(), 2);
}

/// Returns edits of fields that define how an image is reached and what its result means: changed, removed, and added.
fn of_rules() -> Vec<(&'static str, serde_json::Value, &'static str)> {
    let rule = json!([{"codes": ["Other"], "action": "FailJob"}]);
    let of_both = [
        (json!({"failureRules": rule}), "failureRules is immutable"),
        (json!({"failureRules": null}), "failureRules is immutable"),
        (
            json!({"thresholds": {"minScore": "0.4"}}),
            "thresholds is immutable",
        ),
        (json!({"thresholds": null}), "thresholds is immutable"),
        (json!({"thresholds": {"maxBelow": 3}}), "thresholds is immutable"),
        (
            json!({"results": {"select": "All"}}),
            "results.select is immutable",
        ),
        (json!({"results": null}), "results.select is immutable"),
        (json!({"access": null}), "access is immutable"),
        (
            json!({"access": {"mode": "BucketPolicy", "roleChain": null}}),
            "access is immutable",
        ),
        (
            json!({"access": {"roleChain": {"serviceRole": "other"}}}),
            "access is immutable",
        ),
        (
            json!({"source": {"uris": ["oss://fixed-bucket/a.jpg", "oss://fixed-bucket/b.jpg"]}}),
            "source is immutable",
        ),
        (
            json!({"source": {"uris": null, "prefix": {"bucket": "fixed-bucket"}}, "budget": {"maxRequests": 1}}),
            "source is immutable",
        ),
        (
            json!({"project": {"region": "cn-beijing"}}),
            "project is immutable",
        ),
        (
            json!({"project": {"accountUID": "1111222233334444"}}),
            "project is immutable",
        ),
        (
            json!({"credentials": {"source": "Operator", "secretRef": null}}),
            "credentials is immutable",
        ),
    ];
    let added = [
        (json!({"failureRules": rule}), "failureRules is immutable"),
        (
            json!({"thresholds": {"minScore": "0.4"}}),
            "thresholds is immutable",
        ),
        (
            json!({"results": {"select": "Failed"}}),
            "results.select is immutable",
        ),
    ];
    let of_both = of_both
        .into_iter()
        .map(|(change, error)| ("ruled", change, error));
    of_both
        .chain(added.into_iter().map(|(change, error)| ("free", change, error)))
        .collect()
}

// J30
pub async fn fields_that_define_results_are_immutable(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "fixed").await;
    tenant
        .apply(&tenant.job("waits", &["a.jpg"], &json!({"grantRef": {"name": "none"}})))
        .await;
    let chain =
        json!({"serviceRole": "start", "chain": [{"role": "reader", "assumeRoleFor": "6543210987654321"}]});
    let ruled = json!({
        "access": {"mode": "RoleChain", "roleChain": chain},
        "failureRules": [{"codes": ["Odd"], "action": "IgnoreItem"}],
        "thresholds": {"minScore": "0.5"},
        "results": {"select": "Failed"},
        "suspend": true,
    });
    tenant.apply(&tenant.job("ruled", &["a.jpg"], &ruled)).await;
    tenant
        .apply(&tenant.job(
            "free",
            &["a.jpg"],
            &json!({"credentials": {"secretRef": {"name": "none"}}}),
        ))
        .await;
    let edits = [
        (
            "waits",
            json!({"source": {"uris": ["oss://other-bucket/a.jpg"]}}),
            "source is immutable",
        ),
        (
            "waits",
            json!({"project": {"name": "other"}}),
            "project is immutable",
        ),
        (
            "waits",
            json!({"credentials": {"secretRef": {"name": "other"}}}),
            "credentials is immutable",
        ),
        (
            "waits",
            json!({"grantRef": {"name": "other"}}),
            "grantRef is immutable",
        ),
        (
            "waits",
            json!({"grantRef": null}),
            "grantRef is immutable and can be neither added nor removed",
        ),
        (
            "free",
            json!({"grantRef": {"name": "late"}}),
            "grantRef is immutable and can be neither added nor removed",
        ),
        (
            "waits",
            json!({"backoffLimitPerItem": 5}),
            "backoffLimitPerItem is immutable",
        ),
    ];
    for (name, change, message) in edits.into_iter().chain(of_rules()) {
        let patch = json!({"spec": change}).to_string();
        let patched = ["patch", "isj", name, "-n", "fixed", "--type=merge", "-p", &patch];
        let error = stage.plane.kubectl(&patched).await.unwrap_err().to_string();
        assert!(error.contains(message), "{patch}: {error}");
    }
    stage
        .kubectl(&[
            "patch",
            "isj",
            "waits",
            "-n",
            "fixed",
            "--type=merge",
            "-p",
            r#"{"spec":{"parallelism":7}}"#,
        ])
        .await;
}

// J18
pub async fn an_invalid_job_is_rejected_with_the_name_of_its_field(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "not-yet").await;
    let uris: Vec<String> = (0..1_001)
        .map(|n| format!("oss://not-yet-bucket/{n}.jpg"))
        .collect();
    let prefix = json!({"bucket": "not-yet-bucket", "prefix": "photos/"});
    let cases = [
        (
            json!({"access": {"mode": "RoleChain"}}),
            "roleChain is required with mode: RoleChain",
        ),
        (json!({"source": {"uris": uris}}), "must have at most 1000 items"),
        (
            json!({"source": {"prefix": prefix}, "budget": {"maxRequests": 10}}),
            "exactly one of uris, prefix and manifest is required",
        ),
        (
            json!({"source": {"uris": null, "prefix": prefix}}),
            "budget.maxRequests is required with a prefix or a manifest",
        ),
        (
            json!({"source": {"uris": null, "manifest": {"uri": "oss://not-yet-bucket/list"}}}),
            "budget.maxRequests is required with a prefix or a manifest",
        ),
        (
            json!({"thresholds": {"minScore": "1.5"}}),
            "spec.thresholds.minScore",
        ),
        (
            json!({"thresholds": {"minScore": 0.6}}),
            "spec.thresholds.minScore",
        ),
        (
            json!({"thresholds": {"minScore": "0.6", "maxBelow": "many"}}),
            "thresholds.maxBelow must be a count such as 3",
        ),
        (
            json!({"results": {"select": "BelowThreshold"}}),
            "results.select: BelowThreshold requires thresholds.minScore",
        ),
        (
            json!({"failureRules": [{"codes": [], "action": "IgnoreItem"}]}),
            "spec.failureRules[0].codes",
        ),
        (
            json!({"maxFailedItems": "many"}),
            "maxFailedItems must be a count such as 3",
        ),
        (
            json!({"maxFailedItems": -1}),
            "maxFailedItems must be a count such as 3",
        ),
        (
            json!({"source": {"uris": ["https://example.test/a.jpg"]}}),
            "spec.source.uris[0]",
        ),
        (json!({"source": {"uris": []}}), "spec.source.uris"),
        (
            json!({"source": {"uris": ["oss://not-yet-bucket//a.jpg"]}}),
            "a key must not start with / or a backslash",
        ),
        (
            json!({"source": {"uris": null, "prefix": {"bucket": "not-yet-bucket", "prefix": "/a"}},
                "budget": {"maxRequests": 10}}),
            "a prefix must not start with / or a backslash",
        ),
        (json!({"parallelism": 201}), "spec.parallelism"),
        (
            json!({"project": {"accountUID": 1_234_567_890_123_456_i64}}),
            "spec.project.accountUID",
        ),
        (
            json!({"credentials": {"source": "Operator"}}),
            "secretRef is required with source: Secret",
        ),
    ];
    for (changes, message) in cases {
        let error = tenant
            .expect_rejection(&tenant.job("refused", &["a.jpg"], &changes))
            .await;
        assert!(error.contains(message), "{changes}: {error}");
    }
    assert!(tenant.object(JOB, "refused").await.is_null());
}
