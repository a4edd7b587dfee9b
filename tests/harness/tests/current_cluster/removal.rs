//! What the removal leaves, and what it finds without a note.

use std::time::Duration;

use imm_harness::current::CurrentCluster;
use imm_harness::current::created::{self, CreatedObject};
use imm_harness::current::removal::{remove_own_kinds, remove_rest};
use imm_harness::environment::checkout;
use imm_harness::until;

use super::{break_an_api, cluster, plane, sample};

const PATIENCE: Duration = Duration::from_secs(60);

/// Creates what the demo creates, without an operator.
async fn created(cluster: &CurrentCluster) -> Vec<CreatedObject> {
    let mut all = created::create_namespace(cluster, "imm-system").await.unwrap();
    let chart = checkout().join("charts/imm-operator").display().to_string();
    let labels = created::labels(cluster);
    let mut release = vec![
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--set",
        "replicaCount=0",
    ];
    release.extend(labels.iter().map(String::as_str));
    cluster.helm(&release).await.unwrap();
    all.extend(created::of_release(cluster).await.unwrap().objects);
    for name in ["namespaces.yaml", "keys.yaml", "job.yaml", "grant.yaml"] {
        all.extend(created::create(cluster, &sample(name)).await.unwrap());
    }
    all
}

#[tokio::test]
async fn what_somebody_else_made_stays() {
    let (plane, _) = plane().await;
    let cluster = cluster(&plane).await;
    let mut mine = created(&cluster).await;
    let records = mine
        .iter()
        .filter(|object| object.name.starts_with("sh.helm.release."));
    assert_eq!(records.count(), 1, "{mine:?}");
    // Without Helm's record, which another demo may have removed, everything else is found.
    let record = [
        "delete",
        "secret",
        "sh.helm.release.v1.imm-operator.v1",
        "-n",
        "imm-system",
    ];
    plane.kubectl(&record).await.unwrap();
    mine.retain(|object| !object.name.starts_with("sh.helm.release."));
    // A copy of an object of the demo, with its labels and annotations, belongs to the user who made it.
    let copied = plane
        .kubectl(&["get", "clusterrole", "imm-operator", "-o", "yaml"])
        .await
        .unwrap();
    let copied = copied.replace("name: imm-operator\n", "name: copied\n");
    let copied: Vec<&str> = copied
        .lines()
        .filter(|line| !line.starts_with("  uid:") && !line.starts_with("  resourceVersion:"))
        .collect();
    plane.apply(&copied.join("\n")).await.unwrap();
    // What an interrupted demo could not note is found by its mark.
    let mut found = created::of_namespace(&cluster, "imm-system").await.unwrap();
    found.extend(created::of_release(&cluster).await.unwrap().objects);
    for name in ["namespaces.yaml", "keys.yaml", "job.yaml", "grant.yaml"] {
        found.extend(created::of_manifest(&cluster, &sample(name)).await.unwrap());
    }
    assert_eq!(found, mine);
    // An existing object is never taken over.
    assert!(created::create(&cluster, &sample("keys.yaml")).await.is_err());

    plane
        .kubectl(&["create", "configmap", "theirs", "-n", "media"])
        .await
        .unwrap();
    plane
        .kubectl(&["delete", "secret", "imm-caller", "-n", "analytics"])
        .await
        .unwrap();
    plane
        .kubectl(&["create", "secret", "generic", "imm-caller", "-n", "analytics"])
        .await
        .unwrap();
    plane.kubectl(&["create", "namespace", "others"]).await.unwrap();
    let grant = std::fs::read_to_string(sample("grant.yaml")).unwrap();
    plane
        .apply(&grant.replace("namespace: media", "namespace: others"))
        .await
        .unwrap();
    assert!(
        created::of_manifest(&cluster, &sample("keys.yaml"))
            .await
            .unwrap()
            .len()
            < 7
    );

    // What somebody has replaced is noticed before the demo would change it.
    for (name, own) in [("keys.yaml", false), ("job.yaml", true), ("grant.yaml", true)] {
        let checked = created::must_be_own(&cluster, &sample(name), &mine).await;
        assert_eq!(checked.is_ok(), own, "{name}: {checked:?}");
    }

    let own = remove_own_kinds(&cluster, &mine, PATIENCE).await;
    assert_eq!((own.removed, own.failed.len()), (2, 0), "{own:?}");
    let rest = remove_rest(&cluster, &mine).await;
    assert!(rest.failed.is_empty(), "{rest:?}");
    let mut left = rest.left;
    left.sort();
    let expected = [
        "namespace analytics, because of Secret imm-caller in namespace analytics",
        "namespace media, because of ConfigMap theirs in namespace media",
        "the CRDs, because of ImmBucketGrant photos-to-analytics in namespace others",
    ];
    assert_eq!(left, expected);
    let exists = async |args: &[&str]| plane.kubectl(&[&["get"], args].concat()).await.is_ok();
    assert!(exists(&["configmap", "theirs", "-n", "media"]).await);
    assert!(exists(&["secret", "imm-caller", "-n", "analytics"]).await);
    assert!(exists(&["immbucketgrant", "photos-to-analytics", "-n", "others"]).await);
    assert!(!exists(&["immbucketgrant", "photos-to-analytics", "-n", "media"]).await);
    assert!(!exists(&["secret", "oss-policy-admin", "-n", "media"]).await);
    assert!(!exists(&["clusterrole", "imm-operator"]).await);
    assert!(!exists(&["namespace", "imm-system"]).await);
    plane.stop().unwrap();
}

#[tokio::test]
async fn an_api_that_broke_during_the_demo_is_named_and_the_rest_is_removed() {
    let (plane, _) = plane().await;
    let cluster = cluster(&plane).await;
    let mine = created(&cluster).await;
    let own = remove_own_kinds(&cluster, &mine, PATIENCE).await;
    assert!(own.failed.is_empty(), "{own:?}");
    break_an_api(&plane).await;
    // Kubernetes ends no namespace while it knows not every kind. The API works again when the demo is waiting for that.
    let repaired = async {
        let ending = [
            "get",
            "namespace",
            "media",
            "-o",
            "jsonpath={.metadata.deletionTimestamp}",
        ];
        until("the namespace to be ending", PATIENCE, || async {
            // It may be gone already.
            match plane.kubectl(&ending).await {
                Ok(seen) if seen.is_empty() => Err("it exists"),
                Ok(_) | Err(_) => Ok(()),
            }
        })
        .await
        .unwrap();
        let repair = ["delete", "apiservice", "v1beta1.metrics.k8s.io"];
        plane.kubectl(&repair).await.unwrap();
    };
    let (rest, ()) = tokio::join!(remove_rest(&cluster, &mine), repaired);
    assert!(rest.failed.is_empty() && rest.left.is_empty(), "{rest:?}");
    assert!(
        rest.unknown
            .iter()
            .any(|line| line.contains("metrics.k8s.io/v1beta1")),
        "{rest:?}"
    );
    plane.stop().unwrap();
}
