//! Which objects of a namespace somebody else made.

use std::collections::BTreeSet;

use serde_json::Value;

use super::created::CreatedObject;

/// The annotation of the operator's copies of bucket policies.
const BUCKET: &str = "immops.dev/bucket";

/// Returns which objects of a namespace are of others: not created by the demo, nor owned by what it created, nor
/// made by the cluster in every namespace, nor a copy of a policy that the operator made.
pub(super) fn strangers(found: &[Value], created: &[CreatedObject]) -> Vec<String> {
    let mut known: BTreeSet<&str> = created.iter().map(|object| object.uid.as_str()).collect();
    let text = |object: &Value, path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let made_by_cluster = |object: &Value| {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let copy = object
            .pointer("/metadata/annotations")
            .is_some_and(|all| all.get(BUCKET).is_some());
        [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")]
            .contains(&(kind.as_str(), name.as_str()))
            || (kind == "ConfigMap" && name.starts_with("policy-backup-") && copy)
    };
    // An owner can be owned itself.
    loop {
        let owned = |object: &&Value| {
            let owners = object
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array);
            let is_known = |owner: &Value| {
                owner
                    .get("uid")
                    .and_then(Value::as_str)
                    .is_some_and(|uid| known.contains(uid))
            };
            owners.is_some_and(|owners| owners.iter().any(is_known))
        };
        let new: Vec<&str> = found
            .iter()
            .filter(owned)
            .filter_map(|object| object.pointer("/metadata/uid").and_then(Value::as_str))
            .filter(|uid| !known.contains(uid))
            .collect();
        if new.is_empty() {
            break;
        }
        known.extend(new);
    }
    found
        .iter()
        .filter(|object| !made_by_cluster(object))
        .filter_map(CreatedObject::of)
        .filter(|object| !known.contains(object.uid.as_str()))
        .map(|object| object.place())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{CreatedObject, strangers};

    fn object(kind: &str, name: &str, uid: &str, owner: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {
            "name": name, "namespace": "media", "uid": uid, "ownerReferences": [{"uid": owner}],
        }})
    }

    #[test]
    fn what_the_demo_the_cluster_and_owners_made_is_not_strange() {
        let created = CreatedObject::of(&object("Deployment", "mine", "1", "")).unwrap();
        let mut copy = object("ConfigMap", "policy-backup-1", "6", "");
        copy["metadata"]["annotations"] = json!({"immops.dev/bucket": "b"});
        let found = [
            object("Pod", "grandchild", "3", "2"),
            object("ReplicaSet", "child", "2", "1"),
            object("ServiceAccount", "default", "4", ""),
            object("ConfigMap", "kube-root-ca.crt", "5", ""),
            copy,
        ];
        assert!(strangers(&found, &[created]).is_empty());
    }

    #[test]
    fn an_object_of_the_same_name_with_another_uid_is_strange() {
        let created = CreatedObject::of(&object("Secret", "mine", "1", "")).unwrap();
        let found = [
            object("Secret", "mine", "2", ""),
            object("ConfigMap", "policy-backup-1", "3", "9"),
        ];
        let expected = [
            "Secret mine in namespace media",
            "ConfigMap policy-backup-1 in namespace media",
        ];
        assert_eq!(strangers(&found, &[created]), expected);
    }
}
