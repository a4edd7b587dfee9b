//! Backups of bucket policies from before the operator's writes: one ConfigMap per bucket in a namespace of choice,
//! with the last five policies. docs/src/concepts/grants.md describes how to restore one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::Kubernetes;
use super::request::send_with_deadline;
use crate::api::BackupRef;
use crate::core::hash::sha256;
use crate::ports::{KubeError, PolicyBackup};

/// Backups kept per bucket: 5 × 16 KB is far below the 1 MiB limit of a ConfigMap.
const COPIES_KEPT: usize = 5;
/// Annotation with the name of the bucket whose backups the ConfigMap holds.
const BUCKET_ANNOTATION: &str = "immops.dev/bucket";

/// Digits of the bucket's hash in the ConfigMap's name: 10 for readability, all 64 if another bucket already uses the
/// short name, because a collision of 10 digits can be constructed on purpose.
const DIGITS: [usize; 2] = [10, 64];

/// Adds a backup and drops the oldest ones beyond five. A policy equal to the newest backup is not stored again, so
/// that a write that is rejected repeatedly does not evict the other backups. Fails with `Conflict` if both candidate
/// names belong to other buckets or the ConfigMap changed meanwhile. Returns `None` if no namespace is configured.
pub(crate) async fn store_policy_backup(
    kubernetes: &Kubernetes,
    backup: PolicyBackup,
) -> Result<Option<BackupRef>, KubeError> {
    let Some(namespace) = &kubernetes.backups else {
        return Ok(None);
    };
    let api: Api<ConfigMap> = Api::namespaced(kubernetes.client.clone(), namespace);
    let digest = sha256(&backup.bucket);
    for digits in DIGITS {
        let name = format!("policy-backup-{}", digest.get(..digits).unwrap_or_default());
        let found = send_with_deadline("get", format!("ConfigMap {name}"), api.get_opt(&name)).await?;
        if !found
            .as_ref()
            .is_some_and(|map| belongs_to_other_bucket(map, &backup.bucket))
        {
            return store_backup_in(&api, name, found, backup).await.map(Some);
        }
        tracing::warn!(
            bucket = backup.bucket,
            configmap = name,
            "failed to use backup ConfigMap: it belongs to another bucket"
        );
    }
    Err(KubeError::Conflict)
}

fn belongs_to_other_bucket(map: &ConfigMap, bucket: &str) -> bool {
    let named = map
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(BUCKET_ANNOTATION));
    named.is_some_and(|named| named != bucket)
}

async fn store_backup_in(
    api: &Api<ConfigMap>,
    name: String,
    found: Option<ConfigMap>,
    backup: PolicyBackup,
) -> Result<BackupRef, KubeError> {
    let newest = found.as_ref().and_then(|map| map.data.as_ref()).and_then(newest);
    if let Some((entry, document)) = newest
        && *document == backup.document
    {
        let entry = entry.to_owned();
        return Ok(BackupRef { name, entry });
    }
    // Keys sort by time and use only characters that a ConfigMap key allows.
    let entry = backup.time.strftime("%Y-%m-%dt%H-%M-%S.%3fz").to_string();
    let exists = found.is_some();
    let mut map = found.unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "imm-operator".to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                BUCKET_ANNOTATION.to_owned(),
                backup.bucket.clone(),
            )])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    add_copy(map.data.get_or_insert_default(), &entry, backup);
    let (params, object) = (PostParams::default(), format!("ConfigMap {name}"));
    if exists {
        send_with_deadline("update", object, api.replace(&name, &params, &map)).await?;
    } else {
        send_with_deadline("create", object, api.create(&params, &map)).await?;
    }
    Ok(BackupRef { name, entry })
}

/// Adds a copy under `entry`, and removes the oldest of the others beyond the number that is kept. After the clock was
/// set back, older copies have later keys: the new one stays nevertheless, because a status names it.
fn add_copy(data: &mut BTreeMap<String, String>, entry: &str, backup: PolicyBackup) {
    let others = data.keys().filter_map(|key| key.strip_suffix(".json"));
    let others: Vec<String> = others
        .filter(|key| *key != entry)
        .map(ToOwned::to_owned)
        .collect();
    let excess = (others.len() + 1).saturating_sub(COPIES_KEPT);
    for old in others.iter().take(excess) {
        data.remove(&format!("{old}.json"));
        data.remove(&format!("{old}.writer"));
    }
    data.insert(format!("{entry}.json"), backup.document);
    data.insert(format!("{entry}.writer"), backup.writer);
}

/// Returns key and document of the newest backup; keys sort by time.
fn newest(data: &BTreeMap<String, String>) -> Option<(&str, &String)> {
    let mut newest_first = data.iter().rev();
    newest_first.find_map(|(key, copy)| Some((key.strip_suffix(".json")?, copy)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn the_oldest_copies_are_removed_and_never_the_new_one() {
        let stored = |entries: &[&str]| {
            let mut data = BTreeMap::new();
            for entry in entries {
                let backup = PolicyBackup {
                    bucket: "pics".to_owned(),
                    document: (*entry).to_owned(),
                    writer: String::new(),
                    time: Timestamp::UNIX_EPOCH,
                };
                add_copy(&mut data, entry, backup);
            }
            assert_eq!(data.len() % 2, 0, "each copy has its writer");
            let kept = data.keys().filter_map(|key| key.strip_suffix(".json"));
            kept.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            stored(&["1", "2", "3", "4", "5", "6", "7"]),
            ["3", "4", "5", "6", "7"]
        );
        // The clock was set back after "8".
        assert_eq!(stored(&["4", "5", "6", "7", "8", "1"]), ["1", "5", "6", "7", "8"]);
        assert_eq!(
            stored(&["4", "5", "6", "7", "8", "1", "2"]),
            ["2", "5", "6", "7", "8"]
        );
    }
}
