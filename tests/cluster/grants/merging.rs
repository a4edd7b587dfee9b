//! The first apply, and changes of a grant: what is written, and that foreign statements stay unchanged.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use serde_json::json;

use crate::support::seen::{meaning, statements};
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

/// Three foreign statements: odd key order, a condition, a string in place of a list, an unknown member.
pub const FOREIGN: &str = "{ \"Version\": \"1\",\n\t\"Statement\": [\n  {\"Resource\":[\"acs:oss:*:6543210987654321:x/*\"], \"Condition\" : {\"StringEquals\":{\"acs:SourceVpc\":[\"vpc-1\"]}},\"Principal\":[\"*\"],\"Effect\":\"Allow\",\"Action\":[\"oss:GetObject\"]},\n  {\"Effect\":\"Deny\",\"Principal\":\"27490\",\"Action\":\"oss:DeleteObject\",\"Resource\":\"acs:oss:*:6543210987654321:x/*\"} ,\n{\"Note\":{\"by\":[\"hand\"]},\"Effect\":\"Deny\",\"Principal\":[\"27491\"],\"Action\":[\"oss:PutObject\"],\"Resource\":[\"acs:oss:*:6543210987654321:x/*\"]}\n\n] }\n";

// G1
pub async fn a_bucket_without_policy_gets_exactly_our_statements(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "first").await;
    let grant = tenant.granted("first", &json!({})).await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    let policy: serde_json::Value = serde_json::from_str(&tenant.policy()).unwrap();
    assert_eq!(policy["Version"], "1");
    let found = statements(&tenant.policy());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0]["Resource"],
        json!([format!("acs:oss:*:{ACCOUNT_B}:{}/*", tenant.bucket)])
    );
    let shown = stage.kubectl(&["get", "ibg", "-n", "first"]).await;
    let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..5],
        ["first", "True", "Applied", "first-bucket", "True"],
        "{shown}"
    );
}

// G2, G41
pub async fn foreign_statements_stay_byte_for_byte_and_remain_after_deletion(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "foreign", FOREIGN).await;
    let grant = tenant.granted("guest", &json!({})).await;
    let policy = tenant.policy();
    let (head, tail) = FOREIGN.split_at(FOREIGN.rfind("\n\n]").unwrap());
    assert!(policy.starts_with(head) && policy.ends_with(tail), "{policy}");
    assert_eq!(statements(&policy).len(), 4);
    assert_eq!(grant["status"]["policy"]["foreignStatements"], 3);
    let wide = stage
        .kubectl(&["get", "ibg", "-n", "foreign", "-o", "wide"])
        .await;
    let [head, row] = [0, 1].map(|n| wide.lines().nth(n).unwrap());
    let column = head.find("UNMANAGED").unwrap();
    assert!(row[column..].starts_with("3 "), "{wide}");

    tenant.delete(GRANT, "guest").await;
    tenant.until_deleted(GRANT, "guest").await;
    assert_eq!(tenant.policy(), FOREIGN);
    assert_eq!(tenant.puts().len(), 2);
}

// G8, P13, G29
pub async fn a_second_apply_and_requested_reconciles_write_nothing(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "again", FOREIGN).await;
    let manifest = tenant.grant("again", &json!({}));
    tenant.granted("again", &json!({})).await;
    let before = tenant.reconcile("again").await;
    tenant.apply(&manifest).await;
    let applied = tenant.object(GRANT, "again").await;
    assert_eq!(
        applied["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    for _ in 0..3 {
        let earlier = tenant.object(GRANT, "again").await;
        let later = tenant.reconcile("again").await;
        let [mut earlier, mut later] = [earlier, later].map(|object| object["status"].clone());
        for status in [&mut earlier, &mut later] {
            status["lastHandledReconcileAt"] = json!(null);
        }
        assert_eq!(earlier, later, "only the echoed token is written");
    }
    assert_eq!(tenant.puts().len(), 1);
    let changes = stage.audited().into_iter();
    let changes =
        changes.filter(|one| one.namespace == "again" && one.verb != "get" && one.resource != "events");
    // The ledger, the finalizer, the result, and one echo for each of the four tokens.
    let changes: Vec<String> = changes
        .map(|one| format!("{} {}", one.verb, one.resource))
        .collect();
    assert_eq!(changes.len(), 7, "{changes:?}");
}

/// A bucket on which public policies are allowed, as on those made before October 2025.
fn public_access_allowed() -> BucketSeed {
    BucketSeed {
        block_public_access: false,
        ..BucketSeed::default()
    }
}

// G3
pub async fn the_default_preset_is_the_two_documented_statements(stage: Arc<Stage>) {
    let tenant = Tenant::with_bucket(&stage, "documented", public_access_allowed()).await;
    let grant = tenant.granted("documented", &json!({})).await;
    let role = format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*");
    let actions = [
        "GetObject",
        "GetObjectAcl",
        "ListObjects",
        "RestoreObject",
        "GetVodPlaylist",
        "ListObjectVersions",
        "GetObjectVersion",
        "GetObjectVersionAcl",
        "RestoreObjectVersion",
    ]
    .map(|action| format!("oss:{action}"));
    let documented = [
        json!({"Effect": "Allow", "Action": ["ram:PassRole"], "Principal": [], "Resource": [role]}),
        json!({"Effect": "Allow", "Action": actions, "Principal": [role],
            "Resource": [format!("acs:oss:*:{ACCOUNT_B}:{}/*", tenant.bucket)]}),
    ];
    let found: Vec<_> = statements(&tenant.policy()).iter().map(meaning).collect();
    assert_eq!(found, documented.iter().map(meaning).collect::<Vec<_>>());
    assert_eq!(
        grant["status"]["passRoleStatement"],
        json!({"written": true, "cause": "PublicAccessOff"})
    );
}

// G3, D5
pub async fn pass_role_is_omitted_under_block_public_access(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "blocked").await;
    let grant = tenant.granted("auto", &json!({})).await;
    assert_eq!(
        grant["status"]["passRoleStatement"],
        json!({"written": false, "cause": "PublicAccessBlockOnBucket"})
    );
    assert!(!tenant.policy().contains("ram:PassRole"));

    // With `Include` the grant reports the conflict and writes its other statements.
    let manifest = tenant.grant(
        "insists",
        &json!({"access": {"passRoleStatement": "Include", "prefixes": ["a/"]}}),
    );
    tenant.apply(&manifest).await;
    let grant = tenant.until_reason(GRANT, "insists", "PublicAccessBlocked").await;
    assert_eq!(
        [condition(&grant, "Granted")[0], condition(&grant, "Stalled")[0]],
        ["True", "True"]
    );
    assert_eq!(statements(&tenant.policy()).len(), 2);
    let refused = tenant
        .puts()
        .into_iter()
        .filter(|call| call.status != Some(200))
        .count();
    assert_eq!(refused, 0, "a write that OSS must reject is not sent");
}

// G4
pub async fn narrowing_the_prefixes_is_one_write_without_a_gap(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "narrow").await;
    tenant
        .granted("narrow", &json!({"access": {"prefixes": ["a/", "b/"]}}))
        .await;
    let resource = |prefix: &str| format!("acs:oss:*:{ACCOUNT_B}:{}/{prefix}*", tenant.bucket);
    let found = statements(&tenant.policy());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["Resource"], json!([resource("a/"), resource("b/")]));
    assert_eq!(tenant.puts().len(), 1);

    tenant
        .apply(&tenant.grant("narrow", &json!({"access": {"prefixes": ["a/"]}})))
        .await;
    tenant.until_reason(GRANT, "narrow", "Applied").await;
    let found = statements(&tenant.policy());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["Resource"], json!([resource("a/")]));
    let puts = tenant.puts();
    assert_eq!(puts.len(), 2);
    let always = puts
        .iter()
        .all(|put| put.body.as_ref().unwrap().contains(&resource("a/")));
    assert!(always && stage.calls(&tenant.bucket, "DeleteBucketPolicy").is_empty());
}

// G6
pub async fn another_grantee_is_one_write(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "regrant").await;
    tenant.granted("regrant", &json!({})).await;
    tenant
        .apply(&tenant.grant("regrant", &json!({"grantee": {"accountUID": "1111222233334444"}})))
        .await;
    tenant.until_reason(GRANT, "regrant", "Applied").await;
    let policy = tenant.policy();
    assert!(
        policy.contains("arn:sts::1111222233334444:") && !policy.contains(ACCOUNT_A),
        "{policy}"
    );
    assert_eq!(tenant.puts().len(), 2);
}
