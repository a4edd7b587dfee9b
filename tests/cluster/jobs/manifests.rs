//! Manifests: lines as people and other systems write them, and manifests that are missing, replaced, or too long.

use std::sync::Arc;

use imm_harness::until;
use serde_json::json;

use super::fixtures::{
    assert_counts, assert_indexes, item_counts, manifest_job, results_of, set_speed, with_grant,
};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition};

fn put(tenant: &Tenant, key: &str, bytes: &[u8]) {
    let cloud = &tenant.stage.cloud;
    assert!(cloud.put_object(&tenant.bucket, key, bytes.to_vec(), Some("0.5")));
}

// J16
pub async fn a_manifest_is_scored_line_by_line(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "lines").await;
    let good = ["a.jpg", "b c+%41.jpg", "\u{fc}.jpg", "../up.jpg", "last.jpg"];
    for key in good {
        put(&tenant, key, b"pixels");
    }
    let uri = |key: &str| format!("oss://{}/{key}", tenant.bucket);
    let mut text = format!("\u{feff}{}\r\n\r\n \n\n{}\n", uri("a.jpg"), uri("b c+%41.jpg")).into_bytes();
    text.extend(format!("nonsense\nhttps://host/a.jpg\n{}\n", uri("\u{fc}.jpg")).bytes());
    text.extend(b"oss://lines-bucket/\xff.jpg\n");
    text.extend(format!("{}\n{}\n", uri("gone.jpg"), uri("../up.jpg")).bytes());
    text.extend(uri("last.jpg").bytes());
    put(&tenant, "list.txt", &text);
    let changes = json!({"maxFailedItems": 4});
    tenant
        .apply(&manifest_job(&tenant, "lines", "list.txt", &changes))
        .await;
    let job = tenant.until_true(JOB, "lines", "Complete").await;
    assert_eq!(
        item_counts(&job, ["total", "succeeded", "failed", "skipped"]),
        [9, 5, 4, 0],
        "{job}"
    );
    let results = results_of(&tenant, "lines").await;
    assert_indexes(&results, 9);
    let outcomes: Vec<(&str, &str)> = results
        .iter()
        .map(|one| {
            let outcome = one["score"].as_str().or(one["code"].as_str()).unwrap();
            (one["uri"].as_str().unwrap(), outcome)
        })
        .collect();
    let own = |key| uri(key);
    let expected = [
        (own("a.jpg"), "0.5"),
        (own("b c+%41.jpg"), "0.5"),
        // A line that is no image URI is not shown: a job must not reveal the text of an object.
        ("line at byte 65".to_owned(), "NotAnImageUri"),
        ("line at byte 74".to_owned(), "NotAnImageUri"),
        (own("\u{fc}.jpg"), "0.5"),
        ("oss://lines-bucket/\\xff.jpg".to_owned(), "LineNotUtf8"),
        (own("gone.jpg"), "ResourceNotFound"),
        (own("../up.jpg"), "0.5"),
        (own("last.jpg"), "0.5"),
    ];
    let expected: Vec<(&str, &str)> = expected
        .iter()
        .map(|(uri, outcome)| (uri.as_str(), *outcome))
        .collect();
    assert_eq!(outcomes, expected);
    assert_eq!(
        tenant.scores().len(),
        6,
        "a line that is no image URI makes no call"
    );
    assert_counts(&tenant, &job);
}

// J16
pub async fn a_replaced_manifest_fails_the_job_and_keeps_its_results(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "replaced").await;
    set_speed(&tenant, 1_000, 50);
    let key = format!("{}.jpg", "k".repeat(1_000));
    put(&tenant, &key, b"pixels");
    // More than one chunk, so that the rest is read while the first is scored.
    let text = format!("oss://replaced-bucket/{key}\n").repeat(1_800);
    put(&tenant, "list.txt", text.as_bytes());
    let changes = json!({"parallelism": 20});
    tenant
        .apply(&manifest_job(&tenant, "replaced", "list.txt", &changes))
        .await;
    stage
        .until_calls("the first calls", &tenant.bucket, "DetectImageScore", 2)
        .await;
    put(&tenant, "list.txt", format!("{text}\n").as_bytes());
    let job = tenant.until_true(JOB, "replaced", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "SourceChanged");
    assert!(message.contains("oss://replaced-bucket/list.txt"), "{message}");
    assert_eq!(condition(&job, "SourceReady")[..2], ["False", "SourceChanged"]);
    let results = results_of(&tenant, "replaced").await;
    assert_indexes(&results, tenant.scores().len());
    assert!(results.len() < 1_800);
    assert_counts(&tenant, &job);
}

// J5, J16
pub async fn a_line_that_the_grant_does_not_cover_costs_nothing(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "outside").await;
    tenant
        .granted("open", &json!({"access": {"prefixes": ["photos/"]}}))
        .await;
    put(&tenant, "photos/a.jpg", b"pixels");
    let text = "oss://outside-bucket/photos/a.jpg\noss://outside-bucket/private/b.jpg\n";
    put(&tenant, "photos/list.txt", text.as_bytes());
    tenant
        .apply(&manifest_job(&tenant, "outside", "photos/list.txt", &json!({})))
        .await;
    let job = tenant.until_true(JOB, "outside", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "GrantMismatch");
    assert!(
        message.contains("oss://outside-bucket/private/b.jpg"),
        "{message}"
    );
    assert!(tenant.scores().is_empty());
}

// J16, J17
pub async fn a_manifest_that_is_missing_empty_or_too_long_costs_nothing(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "lists").await;
    tenant
        .apply(&manifest_job(&tenant, "missing", "none.txt", &json!({})))
        .await;
    let job = tenant.until_reason(JOB, "missing", "SourceUnreadable").await;
    let [_, _, message] = condition(&job, "Ready");
    assert!(
        message.contains("oss://lists-bucket/none.txt") && message.contains("NoSuchKey"),
        "{message}"
    );
    put(&tenant, "empty.txt", b"");
    tenant
        .apply(&manifest_job(&tenant, "empty", "empty.txt", &json!({})))
        .await;
    let job = tenant.until_true(JOB, "empty", "Complete").await;
    assert_eq!(job["status"]["progress"], "0/0");
    let [_, _, message] = condition(&job, "Ready");
    assert!(message.contains("has no items"), "{message}");

    put(
        &tenant,
        "long.txt",
        "oss://lists-bucket/a\n".repeat(250_001).as_bytes(),
    );
    tenant
        .apply(&manifest_job(&tenant, "long", "long.txt", &json!({})))
        .await;
    let job = tenant.until_true(JOB, "long", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "SourceTooLarge");
    assert!(message.contains("split the source"), "{message}");
    assert!(tenant.scores().is_empty());

    // When the manifest of the first job is created, that job continues.
    put(&tenant, "a.jpg", b"pixels");
    put(&tenant, "none.txt", b"oss://lists-bucket/a.jpg");
    tenant.request_reconcile(JOB, "missing").await;
    let job = tenant.until_true(JOB, "missing", "Complete").await;
    assert_counts(&tenant, &job);
}

// J16, D10: alone, because tenancy rules apply to all tests.
pub async fn under_strict_rules_a_manifest_reaches_no_bucket_without_a_rule(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "ruled").await;
    let other = Tenant::new(&stage, "unruled").await;
    for key in ["a.jpg", "b.jpg"] {
        put(&tenant, key, b"pixels");
    }
    put(&other, "c.jpg", b"pixels");
    put(
        &tenant,
        "good.txt",
        b"oss://ruled-bucket/a.jpg\noss://ruled-bucket/b.jpg\n",
    );
    put(
        &tenant,
        "bad.txt",
        b"oss://ruled-bucket/a.jpg\noss://unruled-bucket/c.jpg\n",
    );
    let changes = || stage.log().matches("reloaded tenancy rules").count();
    let before = changes();
    stage.write_rules("strict: true\nrules: [{namespaces: {names: [ruled]}, buckets: [ruled-bucket]}]");
    until("the rules to take effect", PATIENCE, || async {
        (changes() > before).then_some(())
    })
    .await
    .unwrap();
    for name in ["good", "bad"] {
        let ungranted = json!({"grantRef": null});
        tenant
            .apply(&manifest_job(&tenant, name, &format!("{name}.txt"), &ungranted))
            .await;
    }
    let job = tenant.until_true(JOB, "good", "Complete").await;
    assert_eq!(job["status"]["progress"], "2/2");
    let job = tenant.until_reason(JOB, "bad", "TenancyDenied").await;
    assert_eq!(condition(&job, "Allowed")[0], "False");
    assert_eq!(tenant.scores().len(), 2);
    assert!(other.scores().is_empty());
    stage.restore_rules();
    tenant.delete(JOB, "bad").await;
}
