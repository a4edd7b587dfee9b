//! Backups of policies from before our writes: how many are kept, and that each equals the policy before its write.

use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::merging::FOREIGN;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant};

/// Backups kept of each bucket.
const KEPT: usize = 5;

// G46
pub async fn the_last_five_backups_are_kept_and_each_is_the_policy_before_its_write(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "copied", FOREIGN).await;
    let (mut before, mut last) = (Vec::new(), Value::Null);
    for n in 0..KEPT + 2 {
        before.push(tenant.policy());
        let access = json!({"access": {"prefixes": [format!("{n}/")]}});
        last = tenant.granted("copied", &access).await;
        assert_eq!(tenant.puts().len(), n + 1);
    }
    let newest = &last["status"]["policy"]["backupRef"];
    let kept = config_map(&stage, newest["name"].as_str().unwrap()).await;
    assert_eq!(
        kept["metadata"]["annotations"]["immops.dev/bucket"],
        tenant.bucket
    );
    let data = kept["data"].as_object().unwrap();
    // The keys sort by time.
    let copies: Vec<&str> = data
        .iter()
        .filter_map(|(key, copy)| key.strip_suffix(".json").and(copy.as_str()))
        .collect();
    assert_eq!(copies, before[2..], "the two oldest backups are removed");
    assert_eq!(
        data.len(),
        2 * KEPT,
        "each backup with its writer: {:?}",
        data.keys()
    );
    let entry = format!("{}.json", newest["entry"].as_str().unwrap());
    assert_eq!(data[&entry], before[KEPT + 1]);
    one_event_is_true_for_all(&stage, newest["name"].as_str().unwrap()).await;
}

/// The events of the writes are one event with a count; what exceeds ten events a minute is dropped. Its note cannot
/// be changed, so it names no single copy.
async fn one_event_is_true_for_all(stage: &Stage, map: &str) {
    let query = "reason=PolicyBackedUp";
    let event = until("a second event to be counted", PATIENCE, || async {
        let found = stage
            .kubectl(&[
                "get",
                "events.events.k8s.io",
                "-n",
                "copied",
                "--field-selector",
                query,
                "-o",
                "json",
            ])
            .await;
        let found: Value = serde_json::from_str(&found).unwrap();
        let [event] = found["items"].as_array().unwrap().as_slice() else {
            return Err(found.to_string());
        };
        if event["series"]["count"].as_u64() >= Some(2) {
            Ok(event.clone())
        } else {
            Err(event["series"].to_string())
        }
    })
    .await
    .unwrap();
    let note = event["note"].as_str().unwrap();
    let expected = format!(
        "Stored the policy from before each write in ConfigMap {map}; status.policy.backupRef names the latest copy"
    );
    assert_eq!(note, expected);
}

async fn config_map(stage: &Stage, name: &str) -> Value {
    let kept = stage
        .kubectl(&["get", "configmap", name, "-n", "imm-system", "-o", "json"])
        .await;
    serde_json::from_str(&kept).unwrap()
}

// G46
pub async fn a_write_that_is_rejected_repeatedly_removes_no_backup(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "refused-copy", FOREIGN).await;
    tenant.granted("copied", &json!({})).await;
    tenant.set_permissions(
        "owner",
        Some(&["oss:GetBucketPolicy", "oss:GetBucketPublicAccessBlock"]),
    );
    let access = json!({"access": {"prefixes": ["a/"]}});
    tenant.apply(&tenant.grant("copied", &access)).await;
    tenant.until_reason(GRANT, "copied", "AccessDenied").await;
    for _ in 0..KEPT {
        tenant.reconcile("copied").await;
    }
    let refused = stage.calls(&tenant.bucket, "PutBucketPolicy").len();
    assert!(refused > KEPT, "{refused} writes");

    let grant = tenant.object(GRANT, "copied").await;
    let copy = &grant["status"]["policy"]["backupRef"];
    let kept = config_map(&stage, copy["name"].as_str().unwrap()).await;
    let entry = format!("{}.json", copy["entry"].as_str().unwrap());
    assert_eq!(
        kept["data"][&entry], FOREIGN,
        "the backup that status names exists"
    );
    assert_eq!(kept["data"].as_object().unwrap().len(), 2 * 2, "{kept}");
}

// G46: another bucket has taken the short ConfigMap name of this bucket's backups.
pub async fn the_backups_of_another_bucket_are_not_touched(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "namesake", FOREIGN).await;
    let digest: String = Sha256::digest(&tenant.bucket)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("policy-backup-{}", &digest[..10]);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "imm-system", "annotations": {"immops.dev/bucket": "another"}},
        "data": {"2026-01-01t00-00-00.000z.json": "{}"}});
    tenant.apply(&theirs.to_string()).await;
    let grant = tenant.granted("copied", &json!({})).await;
    assert_eq!(config_map(&stage, &name).await["data"], theirs["data"]);
    let own = &grant["status"]["policy"]["backupRef"]["name"];
    let own = config_map(&stage, own.as_str().unwrap()).await;
    assert_eq!(own["metadata"]["annotations"]["immops.dev/bucket"], tenant.bucket);
}
