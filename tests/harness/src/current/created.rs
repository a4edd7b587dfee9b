//! What the demo created in the cluster. Objects are created, never applied over existing ones, so that each of them
//! is the demo's; their uid is kept. A command that was interrupted leaves objects whose uid is not known: they carry
//! the demo's mark as field manager or label.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{CurrentCluster, listing};
use crate::error::{HarnessError, Result};

/// The label of the chart's objects with the mark of the demo.
pub(super) const LABEL: &str = "imm-demo";
/// The beginning of every mark.
pub(super) const MARK: &str = "imm-demo-";

/// An object that the demo created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedObject {
    /// The API version, with its group.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty if the kind has none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid, which no other object ever has.
    pub uid: String,
}

impl CreatedObject {
    /// Reads an object; `None` if it has no uid.
    pub fn of(object: &Value) -> Option<Self> {
        let text = |path| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            api_version: text("/apiVersion")?,
            kind: text("/kind")?,
            namespace: text("/metadata/namespace").unwrap_or_default(),
            name: text("/metadata/name")?,
            uid: text("/metadata/uid")?,
        })
    }

    /// Returns kind, namespace and name for people.
    pub fn place(&self) -> String {
        let (kind, name) = (&self.kind, &self.name);
        if self.namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {name} in namespace {}", self.namespace)
        }
    }
}

/// Creates the objects of a manifest. Fails if one exists, which then stays as it is.
pub async fn create(cluster: &CurrentCluster, manifest: &Path) -> Result<Vec<CreatedObject>> {
    let (manager, path) = (manager(cluster), manifest.display().to_string());
    let args = ["create", "--save-config", &manager, "-o", "json", "-f", &path];
    Ok(objects(&cluster.kubectl(&args).await?)?
        .iter()
        .filter_map(CreatedObject::of)
        .collect())
}

/// Creates a namespace. Fails if it exists.
pub async fn create_namespace(cluster: &CurrentCluster, name: &str) -> Result<Vec<CreatedObject>> {
    let args = ["create", "namespace", name, &manager(cluster), "-o", "json"];
    let made = objects(&cluster.kubectl(&args).await?)?;
    Ok(made.iter().filter_map(CreatedObject::of).collect())
}

/// Returns the arguments of `helm install` that mark the chart's objects, and Helm's own record.
pub fn labels(cluster: &CurrentCluster) -> [String; 4] {
    let mark = cluster.mark();
    [
        "--set".to_owned(),
        format!("commonLabels.{LABEL}={mark}"),
        "--labels".to_owned(),
        format!("{LABEL}={mark}"),
    ]
}

/// What of the demo was found in the cluster.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The objects.
    pub objects: Vec<CreatedObject>,
    /// The API groups whose objects were not seen, each with the reason.
    pub unknown: Vec<String>,
    /// Lookups that failed, so that there may be more.
    pub failed: Vec<String>,
}

/// Returns the objects of the demo's release, and Helm's record of it. They are found by their mark, because the
/// record may be gone, or be that of another release of this name. Fails if nothing can be listed.
pub async fn of_release(cluster: &CurrentCluster) -> Result<Lookup> {
    let selector = format!("{LABEL}={}", cluster.mark());
    let how = ["--all-namespaces", "--show-managed-fields", "-l", &selector];
    let listing = listing::list(cluster, &[], &how).await?;
    let installed = listing.objects.iter().filter(|object| is_installed(object));
    Ok(Lookup {
        objects: installed.filter_map(CreatedObject::of).collect(),
        unknown: listing.unknown,
        failed: listing.failed,
    })
}

/// Returns whether Helm made the object. Controllers copy labels to what they make, which goes with its origin, and users
/// can copy an object with its labels and annotations.
fn is_installed(object: &Value) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let annotations = object.pointer("/metadata/annotations");
    let from_chart = annotations.is_some_and(|all| all.get("meta.helm.sh/release-name").is_some());
    let by_helm = managers(object).any(|manager| manager.to_lowercase().starts_with("helm"));
    let record = object.get("type").and_then(Value::as_str) == Some("helm.sh/release.v1");
    owners.is_none_or(Vec::is_empty) && (from_chart && by_helm || record)
}

/// Returns the marks of demos on objects.
pub(super) fn marks(objects: &[Value]) -> BTreeSet<String> {
    let label = format!("/metadata/labels/{LABEL}");
    let all = objects.iter().flat_map(|object| {
        let label = object.pointer(&label).and_then(Value::as_str);
        label.into_iter().chain(managers(object))
    });
    all.filter(|mark| mark.starts_with(MARK))
        .map(str::to_owned)
        .collect()
}

/// Returns the objects of a manifest that this demo created and that exist.
pub async fn of_manifest(cluster: &CurrentCluster, manifest: &Path) -> Result<Vec<CreatedObject>> {
    let path = manifest.display().to_string();
    created_by_mark(cluster, &["-f", &path]).await
}

/// Returns the namespace, if this demo created it and it exists.
pub async fn of_namespace(cluster: &CurrentCluster, name: &str) -> Result<Vec<CreatedObject>> {
    created_by_mark(cluster, &["namespace", name]).await
}

async fn created_by_mark(cluster: &CurrentCluster, what: &[&str]) -> Result<Vec<CreatedObject>> {
    let how = ["--ignore-not-found", "--show-managed-fields", "-o", "json"];
    let found = match cluster.kubectl(&[&["get"], what, &how].concat()).await {
        // Without the CRDs, there is no object of their kinds.
        Err(HarnessError::Command { output, .. }) if output.contains("no matches for kind") => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let ours = |object: &&Value| managers(object).any(|manager| manager == cluster.mark());
    Ok(objects(&found)?
        .iter()
        .filter(ours)
        .filter_map(CreatedObject::of)
        .collect())
}

/// Fails if an object of a manifest is not the one that the demo created, whatever has its name now.
pub async fn must_be_own(cluster: &CurrentCluster, manifest: &Path, created: &[CreatedObject]) -> Result<()> {
    let path = manifest.display().to_string();
    let found = cluster.kubectl(&["get", "-f", &path, "-o", "json"]).await?;
    let found = objects(&found)?;
    let mut found = found.iter().filter_map(CreatedObject::of);
    found
        .find(|object| !created.contains(object))
        .map_or(Ok(()), |other| {
            Err(HarnessError::Surprise(format!(
                "{} is not the one that the demo created: somebody replaced it, and it stays as it is",
                other.place()
            )))
        })
}

/// Returns the names of those who have written an object.
fn managers(object: &Value) -> impl Iterator<Item = &str> {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("manager").and_then(Value::as_str))
}

fn manager(cluster: &CurrentCluster) -> String {
    format!("--field-manager={}", cluster.mark())
}

/// Reads what kubectl prints as JSON: nothing, objects one after the other, or lists of them.
pub(super) fn objects(text: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value =
            value.map_err(|error| HarnessError::Surprise(format!("reading kubectl's output: {error}")))?;
        match value.get("items").and_then(Value::as_array) {
            Some(items) => all.extend(items.iter().cloned()),
            None => all.push(value),
        }
    }
    Ok(all)
}
