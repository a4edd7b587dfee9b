//! Prefixes: which objects are counted, scored, left out and skipped.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use imm_harness::until;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::fixtures::{
    answer, assert_counts, assert_indexes, call_count, item_counts, outcome, prefix_job, put_images,
    results_of, set_speed, with_grant,
};
use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant, condition, until_held};

/// Keys that clients tend to rewrite.
const ODD: [&str; 9] = [
    "photos/a b.jpg",
    "photos/a+b.jpg",
    "photos/100%25.jpg",
    "photos/../up.jpg",
    "photos/./here.jpg",
    "photos//double.jpg",
    "photos/\u{fc}\u{1f4f7}.jpg",
    "photos/a,\"b\".jpg",
    "photos/a&b=c?d#e.jpg",
];

// J16, J20, J21
pub async fn a_prefix_is_counted_scored_and_reported(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "prefix").await;
    let cloud = &stage.cloud;
    put_images(&tenant, 120, Some("0.5"));
    let long = format!("photos/{}.jpg", "l".repeat(1_023 - 11));
    assert_eq!(long.len(), 1_023);
    let odd = ODD.iter().copied().chain([long.as_str()]);
    for key in odd.clone() {
        assert!(cloud.put_object(&tenant.bucket, key, "pixels", Some("0.75")));
    }
    // A key that cannot be part of a URI makes no call, and is reported.
    assert!(cloud.put_object(&tenant.bucket, "photos/bell\u{7}.jpg", "pixels", None));
    for other in ["elsewhere.jpg", "photos/notes.txt", "photos/folder/"] {
        assert!(cloud.put_object(&tenant.bucket, other, "pixels", Some("0.1")));
    }
    tenant
        .apply(&prefix_job(
            &tenant,
            "all",
            &json!({"suffixes": [".jpg"]}),
            &json!({}),
        ))
        .await;
    let job = tenant.until_true(JOB, "all", "Complete").await;
    assert_eq!(job["status"]["progress"], "131/131", "{job}");
    assert!(job["status"]["results"].is_null(), "results are in reports");
    let results = results_of(&tenant, "all").await;
    assert_indexes(&results, 131);
    for key in odd {
        let uri = format!("oss://{}/{key}", tenant.bucket);
        let found = results.iter().find(|result| result["uri"] == *uri);
        assert_eq!(found.expect(&uri)["score"], "0.75", "{uri}");
    }
    let refused = results.iter().find(|result| result["code"] == "NotAnImageUri");
    assert!(
        refused.unwrap()["uri"]
            .as_str()
            .unwrap()
            .ends_with("bell\\u{7}.jpg")
    );
    assert_eq!(tenant.scores().len(), 130, "each object is requested once");
    assert_counts(&tenant, &job);
}

// J16
pub async fn objects_created_deleted_or_replaced_while_a_prefix_is_scored(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "moving").await;
    put_images(&tenant, 2_500, Some("0.5"));
    set_speed(&tenant, 1_000, 50);
    tenant
        .apply(&prefix_job(
            &tenant,
            "moving",
            &json!({}),
            &json!({"parallelism": 60}),
        ))
        .await;
    stage
        .until_calls("the first calls", &tenant.bucket, "DetectImageScore", 2)
        .await;
    // The second page is not read yet: by then these three objects are deleted, replaced and new.
    let cloud = &stage.cloud;
    assert!(cloud.delete_object(&tenant.bucket, "photos/0002400.jpg"));
    assert!(cloud.put_object(&tenant.bucket, "photos/0002401.jpg", "other pixels", Some("0.9")));
    assert!(cloud.put_object(&tenant.bucket, "photos/zzz.jpg", "pixels", Some("0.9")));
    let job = tenant.until_true(JOB, "moving", "Complete").await;
    assert_eq!(
        item_counts(&job, ["total", "succeeded", "skipped", "pending"]),
        [2_500, 2_498, 2, 0],
        "{job}"
    );
    assert_eq!(job["status"]["progress"], "2500/2500");
    let [_, _, message] = condition(&job, "Complete");
    assert!(
        message.contains("2 skipped: the object was deleted or replaced, or is empty, too large or archived"),
        "{message}"
    );
    let results = results_of(&tenant, "moving").await;
    assert_indexes(&results, 2_498);
    assert!(results.iter().all(|result| result["score"] == "0.5"));
    assert_eq!(tenant.scores().len(), 2_498);
    assert_counts(&tenant, &job);
    let lists = stage.calls(&tenant.bucket, "ListObjectsV2");
    let first_score = tenant.scores().iter().map(|call| call.seq).min().unwrap();
    let before = lists.iter().filter(|call| call.seq < first_score).count();
    assert!(
        before >= 4,
        "all pages are counted before the first billed call: {before}"
    );
}

// J16
pub async fn an_object_that_vanishes_between_listing_and_call_is_skipped(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "vanish").await;
    put_images(&tenant, 30, Some("0.5"));
    set_speed(&tenant, 100, 300);
    tenant
        .apply(&prefix_job(
            &tenant,
            "vanish",
            &json!({}),
            &json!({"parallelism": 1, "maxFailedItems": 0}),
        ))
        .await;
    stage
        .until_calls("the first calls", &tenant.bucket, "DetectImageScore", 2)
        .await;
    for n in [28, 29] {
        assert!(
            stage
                .cloud
                .delete_object(&tenant.bucket, &format!("photos/{n:07}.jpg"))
        );
    }
    tenant
        .patch(JOB, "vanish", &json!({"spec": {"parallelism": 20}}))
        .await;
    let job = tenant.until_true(JOB, "vanish", "Complete").await;
    assert_eq!(item_counts(&job, ["succeeded", "failed", "skipped"]), [28, 0, 2]);
    assert_eq!(job["status"]["failures"][0]["code"], "ResourceNotFound");
    assert_eq!(tenant.scores().len(), 30);
    assert_counts(&tenant, &job);
}

// J16
pub async fn a_prefix_can_be_narrowed_by_time_and_suffix(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "narrow").await;
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (key, modified) in [
        ("photos/old.jpg", "2024-01-01T00:00:00Z"),
        ("photos/equal.jpg", "2024-06-01T00:00:00Z"),
        ("photos/new.jpg", "2024-06-01T00:00:01Z"),
        ("photos/new.png", "2024-06-02T00:00:00Z"),
        ("photos/new.txt", "2024-06-02T00:00:00Z"),
        ("photos/folder.jpg/", "2024-06-02T00:00:00Z"),
    ] {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
        let modified = at(modified).to_string().parse().unwrap();
        assert!(stage.cloud.set_modified(&tenant.bucket, key, modified));
    }
    let prefix = json!({"suffixes": [".jpg", ".png"], "modifiedAfter": "2024-06-01T00:00:00Z"});
    tenant
        .apply(&prefix_job(&tenant, "narrow", &prefix, &json!({})))
        .await;
    let job = tenant.until_true(JOB, "narrow", "Complete").await;
    let uris: Vec<String> = results_of(&tenant, "narrow")
        .await
        .iter()
        .map(|result| result["uri"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        uris,
        ["new.jpg", "new.png"].map(|key| format!("oss://narrow-bucket/photos/{key}"))
    );
    assert_counts(&tenant, &job);

    // A prefix without objects is a job without items: the job finishes immediately and says so.
    tenant
        .apply(&prefix_job(
            &tenant,
            "none",
            &json!({"prefix": "empty/"}),
            &json!({}),
        ))
        .await;
    let job = tenant.until_true(JOB, "none", "Complete").await;
    assert_eq!(job["status"]["progress"], "0/0");
    assert_eq!(tenant.scores().len(), 2);
}

// J17
pub async fn a_prefix_with_too_many_objects_costs_nothing(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "large").await;
    put_images(&tenant, 1_200, None);
    tenant
        .apply(&prefix_job(
            &tenant,
            "large",
            &json!({"maxObjects": 1_100}),
            &json!({}),
        ))
        .await;
    let job = tenant.until_true(JOB, "large", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "SourceTooLarge");
    assert!(message.contains("1200") && message.contains("1100"), "{message}");
    assert!(
        message.contains("another job with a higher maxObjects"),
        "{message}"
    );
    assert_eq!(condition(&job, "SourceReady")[..2], ["False", "SourceTooLarge"]);
    assert!(tenant.scores().is_empty());
    assert_eq!(job["status"]["requests"]["sent"].as_u64().unwrap_or_default(), 0);
    tenant.one_event("large", "Failed").await;

    // A prefix with exactly as many objects as allowed is scored.
    tenant
        .apply(&prefix_job(
            &tenant,
            "exact",
            &json!({"prefix": "photos/00000", "maxObjects": 100}),
            &json!({}),
        ))
        .await;
    let job = tenant.until_true(JOB, "exact", "Complete").await;
    assert_eq!(job["status"]["progress"], "100/100");
    assert_counts(&tenant, &job);
}

// J16
pub async fn a_denied_listing_is_reported_and_resumed(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "unlisted").await;
    put_images(&tenant, 3, Some("0.5"));
    tenant.set_permissions("owner", Some(&["oss:*BucketPolicy", "oss:GetBucketInfo"]));
    tenant
        .apply(&prefix_job(&tenant, "unlisted", &json!({}), &json!({})))
        .await;
    let job = tenant.until_reason(JOB, "unlisted", "SourceUnreadable").await;
    let [_, _, message] = condition(&job, "Ready");
    assert!(
        message.contains("oss:ListObjects") && message.contains("oss://unlisted-bucket/photos/"),
        "{message}"
    );
    assert_eq!(condition(&job, "SourceReady")[..2], ["False", "SourceUnreadable"]);
    assert!(tenant.scores().is_empty());
    tenant.set_permissions("owner", None);
    tenant.request_reconcile(JOB, "unlisted").await;
    let job = tenant.until_true(JOB, "unlisted", "Complete").await;
    assert_eq!(condition(&job, "SourceReady")[..2], ["True", "Counted"]);
    assert_counts(&tenant, &job);

    // A page that is interrupted is requested again, and no image is scored twice.
    tenant.fault("ListObjectsV2", 2, 1, imm_emulator::FaultEffect::DropAfter);
    tenant
        .apply(&prefix_job(&tenant, "broken", &json!({}), &json!({})))
        .await;
    tenant.until_true(JOB, "broken", "Complete").await;
    assert_eq!(tenant.scores().len(), 6);
    until("the pages", PATIENCE, || async {
        (call_count(&tenant, "ListObjectsV2") >= 3).then_some(())
    })
    .await
    .unwrap();

    // Credentials that OSS rejects are reported as such, and not as a missing permission.
    let valid = tenant
        .keys("owner")
        .replace(r#""name":"owner""#, r#""name":"reader""#);
    tenant.apply(&valid.replace("canary-owner", "canary-wrong")).await;
    let reader = json!({"credentials": {"secretRef": {"name": "reader"}}});
    tenant
        .apply(&prefix_job(&tenant, "wrong-keys", &reader, &json!({})))
        .await;
    let job = tenant.until_reason(JOB, "wrong-keys", "SourceUnreadable").await;
    let [_, _, message] = condition(&job, "Ready");
    assert!(
        message.contains("the credentials of Secret reader (SignatureDoesNotMatch"),
        "{message}"
    );
    tenant.apply(&valid).await;
    tenant.request_reconcile(JOB, "wrong-keys").await;
    tenant.until_true(JOB, "wrong-keys", "Complete").await;
}

// C5
pub async fn a_bucket_that_the_public_endpoint_does_not_serve_is_reported_and_resumed(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "endpoint").await;
    put_images(&tenant, 3, Some("0.5"));
    assert!(stage.cloud.forbid_public_endpoint(&tenant.bucket, true));
    // The policy is still served, so the grant is written.
    tenant
        .granted("other", &json!({"access": {"prefixes": ["other/"]}}))
        .await;
    tenant
        .apply(&prefix_job(&tenant, "endpoint", &json!({}), &json!({})))
        .await;
    let job = tenant.until_reason(JOB, "endpoint", "EndpointForbidden").await;
    assert_eq!(
        condition(&job, "SourceReady")[..2],
        ["False", "EndpointForbidden"]
    );
    assert_eq!(condition(&job, "Stalled")[0], "True");
    let [_, _, message] = condition(&job, "Ready");
    assert!(
        message.contains("the public endpoint does not serve this bucket")
            && message.contains("Helm value network"),
        "{message}"
    );
    assert!(tenant.scores().is_empty());
    assert!(stage.cloud.forbid_public_endpoint(&tenant.bucket, false));
    tenant.request_reconcile(JOB, "endpoint").await;
    tenant.until_true(JOB, "endpoint", "Complete").await;
}

// J13, J16
pub async fn a_prefix_in_another_region_costs_nothing(stage: Arc<Stage>) {
    let bucket = BucketSeed {
        region: "cn-beijing".to_owned(),
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "distant", bucket).await;
    put_images(&tenant, 3, None);
    let ungranted = json!({"grantRef": null});
    tenant
        .apply(&prefix_job(&tenant, "distant", &json!({}), &ungranted))
        .await;
    let job = tenant.until_true(JOB, "distant", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "RegionMismatch");
    assert!(message.contains("is not in cn-hangzhou"), "{message}");
    assert!(tenant.scores().is_empty());
}

// D6: the grant is checked again before the first call, however long the count took.
pub async fn a_grant_deleted_while_a_source_is_counted_costs_no_call(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "counted").await;
    put_images(&tenant, 30, Some("0.5"));
    // The first listing only reads the server's time.
    let count = tenant.hold("ListObjectsV2", 1, Some(1));
    tenant
        .apply(&prefix_job(&tenant, "counted", &json!({}), &json!({})))
        .await;
    tenant.until_reason(JOB, "counted", "CountingItems").await;
    until_held(&count, 1).await;
    tenant.delete(GRANT, "open").await;
    tenant.until_deleted(GRANT, "open").await;
    let job = tenant.object(JOB, "counted").await;
    assert_eq!(condition(&job, "Ready")[1], "CountingItems");
    drop(count);
    let reported =
        |job: &Value| condition(job, "Ready")[1] == "WaitingForGrant" || !outcome(job)[0].is_empty();
    let job = tenant
        .until(JOB, "counted", "a message about the grant", reported)
        .await;
    assert_eq!(outcome(&job), ["", ""]);
    assert!(tenant.scores().is_empty());
    tenant.granted("open", &json!({})).await;
    tenant.until_true(JOB, "counted", "Complete").await;
}

// J16
pub async fn a_source_that_fails_in_the_middle_is_reported_and_resumed(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "halfway").await;
    put_images(&tenant, 1_200, Some("0.5"));
    // The first check, two pages to count, and the first page of the run succeed. The run tries the second one four
    // times.
    tenant.fault("ListObjectsV2", 4, 6, answer(503, "ServiceUnavailable"));
    tenant
        .apply(&prefix_job(&tenant, "halfway", &json!({}), &json!({})))
        .await;
    let job = tenant.until_reason(JOB, "halfway", "SourceUnreadable").await;
    assert_eq!(condition(&job, "SourceReady")[..2], ["False", "SourceUnreadable"]);
    assert_eq!(condition(&job, "Stalled")[0], "", "it may pass");
    let scored = tenant.scores().len();
    assert!((1..1_200).contains(&scored), "{scored}");
    let job = tenant.until_true(JOB, "halfway", "Complete").await;
    assert_eq!(condition(&job, "SourceReady")[..2], ["True", "Counted"]);
    assert_eq!(tenant.scores().len(), 1_200);
    assert_counts(&tenant, &job);
}
