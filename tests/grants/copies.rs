//! Copies of policies from before our writes: how many there are, and that each is what was there.

use std::sync::Arc;

use serde_json::{Value, json};

use super::merging::FOREIGN;
use crate::support::{Stage, Tenant};

/// Copies kept of each bucket.
const KEPT: usize = 5;

// G46
pub async fn the_last_five_copies_are_kept_and_each_is_what_was_there(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "copied", FOREIGN).await;
    let (mut before, mut last) = (Vec::new(), Value::Null);
    for n in 0..KEPT + 2 {
        before.push(tenant.policy());
        let access = json!({"access": {"prefixes": [format!("{n}/")]}});
        last = tenant.granted("copied", &access).await;
        assert_eq!(tenant.puts().len(), n + 1);
    }
    let newest = &last["status"]["policy"]["backupRef"];
    let name = newest["name"].as_str().unwrap();
    let kept = stage
        .kubectl(&["get", "configmap", name, "-n", "imm-system", "-o", "json"])
        .await;
    let kept: Value = serde_json::from_str(&kept).unwrap();
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
    assert_eq!(copies, before[2..], "the oldest two have made room");
    assert_eq!(data.len(), 2 * KEPT, "each with its writer: {:?}", data.keys());
    let entry = format!("{}.json", newest["entry"].as_str().unwrap());
    assert_eq!(data[&entry], before[KEPT + 1]);
}
