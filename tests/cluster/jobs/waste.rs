//! Calls that would be billed for nothing: images that IMM cannot score, and refusals that concern no single image.

use std::sync::Arc;

use imm_emulator::{ManySeed, Seed, StorageClass};
use serde_json::{Value, json};

use super::fixtures::{
    add_score_fault, answer, assert_counts, item_counts, prefix_job, put_images, results_of, with_grant,
};
use crate::support::tenant::JOB;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

// C8
pub async fn a_grant_that_oss_enforces_late_costs_one_denied_call_for_all_its_jobs(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "enforced-late").await;
    // OSS does not enforce the policy yet when IMM reads the first image.
    assert!(stage.cloud.enforce_without_newest(&tenant.bucket, 1));
    tenant.granted("grant", &json!({})).await;
    let changes = json!({"grantRef": {"name": "grant"}, "grantWait": {"settleSeconds": 0}});
    for name in ["first", "second"] {
        let key = format!("{name}.jpg");
        assert!(
            stage
                .cloud
                .put_object(&tenant.bucket, &key, "pixels", Some("0.5"))
        );
        tenant.apply(&tenant.job(name, &[&key], &changes)).await;
        if name == "first" {
            let waits = |job: &Value| condition(job, "GrantReady")[2].contains("trying again at");
            tenant.until(JOB, name, "the wait for OSS", waits).await;
            assert!(stage.cloud.enforce_without_newest(&tenant.bucket, 0));
        }
    }
    let waits = |job: &Value| condition(job, "GrantReady")[2].contains("Another job is trying");
    tenant
        .until(JOB, "second", "the wait for the first job", waits)
        .await;
    tenant.one_event("first", "WaitingForGrant").await;
    for name in ["first", "second"] {
        tenant.until_true(JOB, name, "Complete").await;
    }
    let codes: Vec<_> = tenant.scores().iter().map(|call| call.status).collect();
    assert_eq!(codes, [Some(403), Some(200), Some(200)]);
    let job = tenant.object(JOB, "first").await;
    assert_eq!(job["status"]["requests"]["sent"], 2, "{job}");
}

// C14
pub async fn equal_refusals_of_the_first_calls_end_the_job(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "refused").await;
    let many = ManySeed {
        prefix: "photos/".to_owned(),
        count: 10_000,
        ..ManySeed::default()
    };
    assert!(stage.cloud.put_many(&tenant.bucket, many).unwrap());
    add_score_fault(&tenant, "", None, answer(400, "Unforeseen.Code"));
    let changes = json!({"maxFailedItems": "100%"});
    tenant
        .apply(&prefix_job(&tenant, "refused", &json!({}), &changes))
        .await;
    let job = tenant.until_true(JOB, "refused", "Failed").await;
    let [_, reason, message] = condition(&job, "Ready");
    assert_eq!(reason, "FirstCallsRefused", "{job}");
    assert!(message.contains("Unforeseen.Code") && message.contains("failureRules"));
    let scores = tenant.scores();
    assert_eq!(scores.len(), 5);
    let mut keys: Vec<_> = scores.iter().filter_map(|call| call.key.clone()).collect();
    keys.dedup();
    let numbers: Vec<u32> = keys
        .iter()
        .map(|key| key.trim_start_matches("photos/").trim_end_matches(".jpg"))
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] - pair[0] > 20),
        "neighbours: {numbers:?}"
    );
    assert_counts(&tenant, &job);

    // A rule for the code says that it concerns single images.
    let changes = json!({
        "maxFailedItems": "100%",
        "failureRules": [{"codes": ["Unforeseen"], "action": "FailItem"}],
        "budget": {"maxRequests": 12, "onExceeded": "Fail"},
    });
    tenant
        .apply(&prefix_job(&tenant, "wanted", &json!({}), &changes))
        .await;
    let job = tenant.until_true(JOB, "wanted", "Failed").await;
    assert_eq!(condition(&job, "Ready")[1], "BudgetExceeded", "{job}");
}

// C15
pub async fn objects_that_cannot_be_scored_cost_no_call_unless_they_are_included(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "unscorable").await;
    let cloud = &stage.cloud;
    put_images(&tenant, 5, Some("0.5"));
    let put = |key: &str, bytes: Vec<u8>| assert!(cloud.put_object(&tenant.bucket, key, bytes, Some("0.5")));
    put("photos/empty.jpg", Vec::new());
    put("photos/huge.jpg", vec![0; 20 * 1024 * 1024 + 1]);
    for (key, class, restored) in [
        ("photos/archive.jpg", StorageClass::Archive, false),
        ("photos/cold.jpg", StorageClass::ColdArchive, false),
        ("photos/deep.jpg", StorageClass::DeepColdArchive, false),
        ("photos/infrequent.jpg", StorageClass::InfrequentAccess, false),
        ("photos/restored.jpg", StorageClass::Archive, true),
    ] {
        put(key, b"pixels".to_vec());
        assert!(cloud.set_storage_class(&tenant.bucket, key, class, restored));
    }
    tenant
        .apply(&prefix_job(
            &tenant,
            "skip",
            &json!({}),
            &json!({"maxFailedItems": 0}),
        ))
        .await;
    let job = tenant.until_true(JOB, "skip", "Complete").await;
    assert_eq!(
        item_counts(&job, ["succeeded", "failed", "skipped"]),
        [7, 0, 5],
        "{job}"
    );
    assert_eq!(tenant.scores().len(), 7);
    assert_eq!(
        job["status"]["failures"],
        json!([
            {"code": "Archived", "count": 3, "sampleIndex": 5},
            {"code": "Empty", "count": 1, "sampleIndex": 8},
            {"code": "TooLarge", "count": 1, "sampleIndex": 9},
        ])
    );
    assert_counts(&tenant, &job);

    let source = json!({"includeUnscorable": true});
    tenant
        .apply(&prefix_job(
            &tenant,
            "try",
            &source,
            &json!({"maxFailedItems": "100%"}),
        ))
        .await;
    let job = tenant.until_true(JOB, "try", "Complete").await;
    assert_eq!(
        item_counts(&job, ["succeeded", "failed", "skipped"]),
        [7, 5, 0],
        "{job}"
    );
    assert_eq!(tenant.scores().len(), 7 + 12);
    let results = results_of(&tenant, "try").await;
    assert_eq!(
        results
            .iter()
            .filter(|result| result["code"] == "InvalidArgument")
            .count(),
        5
    );
}

// J6, C23
pub async fn an_image_that_is_denied_alone_fails_and_the_others_are_scored(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "kms").await;
    put_images(&tenant, 300, Some("0.5"));
    let encrypted = ["photos/0000007.jpg", "photos/0000299.jpg"];
    for key in encrypted {
        assert!(stage.cloud.encrypt_with_key_of(ACCOUNT_B, &tenant.bucket, key));
    }
    let most = json!({"maxFailedItems": 2, "parallelism": 4});
    tenant.apply(&prefix_job(&tenant, "kms", &json!({}), &most)).await;
    let job = tenant.until_true(JOB, "kms", "Complete").await;
    let items = &job["status"]["items"];
    assert_eq!([&items["succeeded"], &items["failed"]], [298, 2]);
    assert_eq!(job["status"]["failures"][0]["code"], "AccessDenied");
    assert_eq!(tenant.scores().len(), 302, "each of the two was called twice");

    // A role of the bucket owner account can have a right to the key.
    let roles = format!(
        "accounts: [{{uid: '{ACCOUNT_A}', roles: [{{name: kms-start, allow: ['sts:AssumeRole'], trust: {{services: [imm.aliyuncs.com]}}}}]}}, \
         {{uid: '{ACCOUNT_B}', roles: [{{name: kms-reader, allow: ['oss:GetObject', 'kms:Decrypt'], trust: {{accounts: ['{ACCOUNT_A}']}}}}]}}]"
    );
    stage.cloud.add(Seed::from_yaml(&roles).unwrap()).unwrap();
    let link = json!({"role": "kms-reader", "assumeRoleFor": ACCOUNT_B});
    let chain =
        json!({"access": {"mode": "RoleChain", "roleChain": {"serviceRole": "kms-start", "chain": [link]}}});
    tenant.apply(&tenant.job("decrypted", &encrypted, &chain)).await;
    let job = tenant.until_true(JOB, "decrypted", "Complete").await;
    assert_eq!(job["status"]["items"]["succeeded"], 2);
}
