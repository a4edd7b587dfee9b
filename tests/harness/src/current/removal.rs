//! Removes what the demo created: each object by its uid, so that one of the same name that somebody else made stays. A
//! namespace goes only if nothing of others is in it, and the CRDs only if no object of them is left in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::created::{CreatedObject, objects};
use super::strangers::strangers;
use super::{CurrentCluster, listing};
use crate::error::{HarnessError, Result};
use crate::wait::until;

const GROUP: &str = "immops.dev/";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a listing may fail with the same error.
const LISTED_WITHIN: Duration = Duration::from_secs(15);

/// What the removal did.
#[derive(Debug, Default)]
pub struct RemovalReport {
    /// How many objects were removed by their uid.
    pub removed: usize,
    /// What stays because others use it, each with the reason.
    pub left: Vec<String>,
    /// The API groups whose objects were not seen, each with the reason.
    pub unknown: BTreeSet<String>,
    /// What could not be removed, each with the error.
    pub failed: Vec<String>,
}

/// Removes the grants and jobs, while the operator runs. One whose finalizer is not removed within `patience` loses it:
/// the cloud of the demo ends with it.
pub async fn remove_own_kinds(
    cluster: &CurrentCluster,
    created: &[CreatedObject],
    patience: Duration,
) -> RemovalReport {
    let mut paths = Paths::new(cluster);
    let mut report = RemovalReport::default();
    let own: Vec<&CreatedObject> = created.iter().filter(|object| is_own_kind(object)).collect();
    for object in &own {
        paths.remove(object, &mut report).await;
    }
    let started = Instant::now();
    for object in own {
        let patience = patience.saturating_sub(started.elapsed());
        if paths.until_gone(object, patience).await.is_err()
            && let Err(error) = paths.release(object).await
        {
            report.failed.push(format!("{}: {error}", object.place()));
        }
    }
    report
}

/// Removes the other objects, then the namespaces and the CRDs that nobody else uses. What others use cannot always be
/// seen; the namespace or the CRDs then stay, and the rest is removed.
pub async fn remove_rest(cluster: &CurrentCluster, created: &[CreatedObject]) -> RemovalReport {
    let mut paths = Paths::new(cluster);
    let mut report = RemovalReport::default();
    let (mut namespaces, mut definitions, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for object in created.iter().rev().filter(|object| !is_own_kind(object)) {
        match object.kind.as_str() {
            "Namespace" => namespaces.push(object),
            "CustomResourceDefinition" => definitions.push(object),
            _ => gone.push(object),
        }
    }
    for object in &gone {
        paths.remove(object, &mut report).await;
    }
    // The namespaces before the CRDs: what is in a namespace can only be listed as long as every kind exists.
    for object in namespaces {
        let what = format!("a list of what is in namespace {}", object.name);
        match until(&what, LISTED_WITHIN, || others(cluster, &object.name, created)).await {
            Ok((others, unknown)) if others.is_empty() => {
                report.unknown.extend(unknown);
                paths.remove(object, &mut report).await;
                gone.push(object);
            }
            Ok((others, unknown)) => {
                report.unknown.extend(unknown);
                let because = listed(&others);
                report
                    .left
                    .push(format!("namespace {}, because of {because}", object.name));
            }
            Err(error) => report
                .failed
                .push(format!("namespace {} stays: {error}", object.name)),
        }
    }
    paths.all_gone(&gone, &mut report).await;
    match users(cluster, &definitions).await {
        Ok(users) if users.is_empty() => {
            for object in &definitions {
                paths.remove(object, &mut report).await;
            }
            paths.all_gone(&definitions, &mut report).await;
        }
        Ok(users) => report
            .left
            .push(format!("the CRDs, because of {}", listed(&users))),
        Err(error) => report.failed.push(format!("the CRDs stay: {error}")),
    }
    report
}

fn is_own_kind(object: &CreatedObject) -> bool {
    object.api_version.starts_with(GROUP)
}

/// Returns the objects of the CRDs in the whole cluster, after the reports of the removed jobs are gone.
async fn users(cluster: &CurrentCluster, definitions: &[&CreatedObject]) -> Result<Vec<String>> {
    let kinds: Vec<&str> = definitions.iter().map(|object| object.name.as_str()).collect();
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let kinds = kinds.join(",");
    let list = [
        "get",
        &kinds,
        "--all-namespaces",
        "--ignore-not-found",
        "-o",
        "json",
    ];
    let what = "the reports of the demo's jobs to be gone";
    let gone = until(what, PATIENCE, || async {
        let found = match cluster.kubectl(&list).await.and_then(|text| objects(&text)) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let found = found.iter().filter_map(CreatedObject::of);
        let found: Vec<String> = found.map(|object| object.place()).collect();
        // Only reports are removed by somebody else, the garbage collector.
        if found.iter().any(|place| place.starts_with("ImageScoreReport ")) {
            Err(listed(&found))
        } else {
            Ok(Ok(found))
        }
    });
    match gone.await {
        Ok(found) => found,
        Err(HarnessError::Late { seen, .. }) => Ok(vec![seen]),
        Err(error) => Err(error),
    }
}

/// Returns what is in a namespace and neither the demo's nor made by the cluster itself, and the API groups whose
/// objects were not seen. Fails if the API server knows a kind and cannot list it.
async fn others(
    cluster: &CurrentCluster,
    namespace: &str,
    created: &[CreatedObject],
) -> Result<(Vec<String>, Vec<String>)> {
    let listing = listing::list(cluster, &["--namespaced"], &["-n", namespace]).await?;
    if let Some(failed) = listing.failed.first() {
        return Err(HarnessError::Surprise(failed.clone()));
    }
    Ok((strangers(&listing.objects, created), listing.unknown))
}

fn listed(places: &[String]) -> String {
    let shown: Vec<&str> = places.iter().take(3).map(String::as_str).collect();
    let more = places.len().saturating_sub(shown.len());
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("{}{more}", shown.join(", "))
}

/// The address of an object in the API.
struct ObjectPath {
    resource: String,
    url: String,
}

/// The addresses of objects, from what the API server says about their kinds.
struct Paths<'a> {
    cluster: &'a CurrentCluster,
    kinds: BTreeMap<String, Value>,
}

impl<'a> Paths<'a> {
    fn new(cluster: &'a CurrentCluster) -> Self {
        Self {
            cluster,
            kinds: BTreeMap::new(),
        }
    }

    async fn of(&mut self, object: &CreatedObject) -> Result<ObjectPath> {
        let root = if object.api_version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        let version = format!("{root}/{}", object.api_version);
        if !self.kinds.contains_key(&version) {
            let listed = self.cluster.kubectl(&["get", "--raw", &version]).await?;
            let listed = objects(&listed)?.into_iter().next().unwrap_or_default();
            self.kinds.insert(version.clone(), listed);
        }
        let resources = self.kinds.get(&version).and_then(|all| all.get("resources"));
        let resource = resources
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find_map(|one| {
                let name = one.get("name").and_then(Value::as_str)?;
                let kind = one.get("kind").and_then(Value::as_str)?;
                // A name with a slash is a part of another resource.
                (kind == object.kind && !name.contains('/')).then_some(name)
            });
        let resource = resource.ok_or_else(|| {
            HarnessError::Surprise(format!(
                "the API server does not serve {} of {version}",
                object.kind
            ))
        })?;
        let (name, namespace) = (&object.name, &object.namespace);
        let url = if namespace.is_empty() {
            format!("{version}/{resource}/{name}")
        } else {
            format!("{version}/namespaces/{namespace}/{resource}/{name}")
        };
        let group = object
            .api_version
            .split_once('/')
            .map(|(group, _)| format!(".{group}"));
        Ok(ObjectPath {
            resource: format!("{resource}{}", group.unwrap_or_default()),
            url,
        })
    }

    /// Deletes the object with this uid. Returns `false` if it does not exist, whatever has its name now.
    async fn delete(&mut self, object: &CreatedObject) -> Result<bool> {
        let path = self.of(object).await?;
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": object.uid},
            "propagationPolicy": "Background",
        });
        let args = ["delete", "--raw", &path.url, "-f", "-"];
        match self.cluster.kubectl_with(&args, &options.to_string()).await {
            Ok(_) => Ok(true),
            Err(HarnessError::Command { output, .. })
                if output.contains("(NotFound)") || output.contains("(Conflict)") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the object and counts it. An error does not keep the others from being removed.
    async fn remove(&mut self, object: &CreatedObject, report: &mut RemovalReport) {
        match self.delete(object).await {
            Ok(deleted) => report.removed += usize::from(deleted),
            Err(error) => report.failed.push(format!("{}: {error}", object.place())),
        }
    }

    /// Waits until all objects are gone, with one time limit for all.
    async fn all_gone(&mut self, objects: &[&CreatedObject], report: &mut RemovalReport) {
        let started = Instant::now();
        for object in objects {
            let patience = PATIENCE.saturating_sub(started.elapsed());
            if let Err(error) = self.until_gone(object, patience).await {
                report.failed.push(format!("{}: {error}", object.place()));
            }
        }
    }

    /// Removes the finalizers of the object with this uid, and waits until it is gone.
    async fn release(&mut self, object: &CreatedObject) -> Result<()> {
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": object.uid},
            {"op": "remove", "path": "/metadata/finalizers"},
        ]);
        let (resource, patch) = (self.of(object).await?.resource, patch.to_string());
        let (name, namespace) = (&object.name, &object.namespace);
        let args = [
            "patch",
            &resource,
            name,
            "-n",
            namespace,
            "--type=json",
            "-p",
            &patch,
        ];
        self.cluster.kubectl(&args).await?;
        self.until_gone(object, PATIENCE).await
    }

    async fn until_gone(&mut self, object: &CreatedObject, patience: Duration) -> Result<()> {
        let path = match self.of(object).await {
            // Its CRD is gone.
            Err(HarnessError::Command { output, .. }) if output.contains("(NotFound)") => return Ok(()),
            other => other?,
        };
        let what = format!("{} to be gone", object.place());
        until(&what, patience, || async {
            match self.cluster.kubectl(&["get", "--raw", &path.url]).await {
                Err(HarnessError::Command { output, .. }) if output.contains("(NotFound)") => Ok(()),
                Ok(text) if !text.contains(&object.uid) => Ok(()),
                Ok(_) => Err("it exists".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}
