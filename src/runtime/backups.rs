//! Copies of policies from before our writes: one ConfigMap a bucket in the operator's own namespace, the last five of
//! each. docs/grants.md tells how to put one back by hand.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::kubernetes::in_time;
use crate::api::BackupRef;
use crate::core::hash::sha256;
use crate::ports::{Backup, KubeFailure};

/// Copies kept of each bucket; with 16 KB each far below what a ConfigMap may hold.
const KEPT: usize = 5;

/// Adds a copy, and drops the oldest beyond five.
pub(super) async fn keep(client: &Client, home: &str, backup: Backup) -> Result<BackupRef, KubeFailure> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), home);
    let digest = sha256(&backup.bucket);
    let name = format!("policy-backup-{}", digest.get(..10).unwrap_or_default());
    // Keys sort by time, and hold what a ConfigMap's key may hold.
    let entry = backup.time.strftime("%Y-%m-%dt%H-%M-%S.%3fz").to_string();
    let found = in_time(api.get_opt(&name)).await?;
    let exists = found.is_some();
    let mut map = found.unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "imm-operator".to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                "immops.dev/bucket".to_owned(),
                backup.bucket.clone(),
            )])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    let data = map.data.get_or_insert_default();
    data.insert(format!("{entry}.json"), backup.document);
    data.insert(format!("{entry}.writer"), backup.writer);
    let mut copies: Vec<String> = data
        .keys()
        .filter_map(|k| k.strip_suffix(".json"))
        .map(ToOwned::to_owned)
        .collect();
    copies.sort();
    let excess = copies.len().saturating_sub(KEPT);
    for old in copies.drain(..excess) {
        data.remove(&format!("{old}.json"));
        data.remove(&format!("{old}.writer"));
    }
    let params = PostParams::default();
    if exists {
        in_time(api.replace(&name, &params, &map)).await?;
    } else {
        in_time(api.create(&params, &map)).await?;
    }
    Ok(BackupRef { name, entry })
}
