//! Reads grants and jobs from a manifest, with the verdict of `kubectl apply`: a file or standard input, several
//! documents, and lists.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_saphyr::budget::Budget;
use thiserror::Error;

use crate::api::{GROUP, GrantSpec, JobSpec, LedgerEntry, VERSION, crds};
use crate::core::grant::{self, PassRoleDecision, split_ledger};
use crate::core::job;
use crate::core::schema::{check, check_envelope};
use crate::core::validate::ValidationError;

/// What is wrong with a manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A folder cannot be read.
    #[error("cannot read {folder}: {source}")]
    Folder {
        /// Path of the folder.
        folder: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A folder has no manifest.
    #[error("{0} has no file that ends in .json, .yaml or .yml")]
    EmptyFolder(PathBuf),
    /// The file is no text.
    #[error("the file is not UTF-8 text")]
    NotText(#[from] FromUtf8Error),
    /// The text cannot be parsed.
    #[error("not valid YAML or JSON: {0}")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// A list has no items.
    #[error("items of kind {0} must be a list")]
    Items(String),
    /// No object is the wanted one.
    #[error("found none")]
    NoGrant,
    /// Several objects are the wanted one.
    #[error("found more than one: select one with --name, or with --name and --namespace")]
    SeveralGrants,
    /// The object is a value without fields.
    #[error("an {0} must have fields")]
    NoFields(String),
    /// The API server would not store the object.
    #[error("{0}")]
    Schema(String),
    /// The object passes the schema of its kind, and yet cannot be decoded.
    #[error("spec: {0}")]
    Decode(#[from] serde_json::Error),
    /// The operator would not accept the object.
    #[error(transparent)]
    Name(#[from] ValidationError),
    /// No namespace has this name.
    #[error("{0} is not the name of a namespace")]
    Namespace(String),
}

/// Reads a file; `-` is standard input.
pub(super) async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)?;
        return Ok(bytes);
    }
    tokio::fs::read(path).await
}

/// Returns the manifests that paths stand for, with those of each folder by name. Like kubectl without `--recursive`,
/// a folder stands for the files in it that end in .json, .yaml or .yml.
///
/// # Errors
/// A folder cannot be read or has no such file.
pub(super) fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ManifestError> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let listed = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let listed = listed.map_err(|source| ManifestError::Folder {
            folder: path.clone(),
            source,
        })?;
        let ends = |path: &PathBuf| {
            let ending = path.extension().and_then(OsStr::to_str);
            ending.is_some_and(|ending| ["json", "yaml", "yml"].contains(&ending)) && path.is_file()
        };
        let mut files: Vec<PathBuf> = listed.iter().map(DirEntry::path).filter(ends).collect();
        if files.is_empty() {
            return Err(ManifestError::EmptyFolder(path.clone()));
        }
        files.sort();
        found.extend(files);
    }
    Ok(found)
}

/// What a manifest says about a grant.
pub(super) struct ReadGrant {
    pub(super) spec: GrantSpec,
    /// The statements that the grant owns, if the manifest has the status of its object in the cluster.
    pub(super) owned: Vec<LedgerEntry>,
}

/// Returns the only grant, or the only one with a name and in a namespace.
///
/// # Errors
/// Returns what is wrong with the grant, or that it is not the only one.
pub(super) fn only_grant(
    mut found: Vec<Value>,
    name: Option<&str>,
    namespace: Option<&str>,
) -> Result<ReadGrant, ManifestError> {
    let metadata = |grant: &Value, member: &str| {
        let member = grant
            .get("metadata")
            .and_then(|metadata| metadata.get(member)?.as_str());
        member.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    };
    found.retain(|grant| name.is_none() || metadata(grant, "name").as_deref() == name);
    // An object without a namespace goes where --namespace says.
    found.retain(|grant| {
        let own = metadata(grant, "namespace");
        namespace.is_none() || own.is_none() || own.as_deref() == namespace
    });
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(ManifestError::NoGrant),
        (Some(_), Some(_)) => Err(ManifestError::SeveralGrants),
        (Some(grant), None) => read_grant(grant),
    }
}

/// Returns a grant, checked as the API server does, and as the operator does afterwards.
///
/// # Errors
/// Returns what is wrong with it.
pub(super) fn read_grant(grant: Value) -> Result<ReadGrant, ManifestError> {
    let owned = grant.pointer("/status/owned").and_then(Value::as_array).cloned();
    // A record that was copied into another object owns nothing.
    let record_of = grant.pointer("/status/ledgerOf");
    let owned = owned.filter(|_| record_of.is_none() || record_of == grant.pointer("/metadata/uid"));
    let spec: GrantSpec = checked_spec(grant, "ImmBucketGrant")?;
    grant::parse_spec(&spec, PassRoleDecision::Omitted)?;
    let (owned, _) = split_ledger(Some(&spec.bucket.name), owned.unwrap_or_default());
    Ok(ReadGrant { spec, owned })
}

/// Returns the objects of a kind, also those in the items of lists.
///
/// # Errors
/// Returns what is wrong with the manifest.
pub(super) fn objects_of(text: &str, kind: &str) -> Result<Vec<Value>, ManifestError> {
    let mut found = Vec::new();
    for document in documents(text)? {
        collect(document, kind, &mut found)?;
    }
    Ok(found)
}

/// Returns the documents of a manifest: YAML, or JSON objects one after the other, as kubectl accepts.
fn documents(text: &str) -> Result<Vec<Value>, ManifestError> {
    let json = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let json: Result<Vec<&RawValue>, _> = json.collect();
    // JSON is YAML as well, whose parser reports a field that is there twice.
    let parts = json.map_or_else(
        |_| vec![text],
        |parts| parts.into_iter().map(RawValue::get).collect(),
    );
    let mut found = Vec::new();
    for part in parts {
        let mut budget = Budget::default();
        // The output of kubectl for a whole cluster is large. How often aliases repeat a part stays limited.
        (budget.max_documents, budget.max_nodes, budget.max_events) = (1_000_000, 50_000_000, 200_000_000);
        let options = serde_saphyr::options! { budget: Some(budget), with_snippet: false };
        let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(part, options);
        found.extend(documents.map_err(|error| ManifestError::Syntax(Box::new(error)))?);
    }
    Ok(found)
}

/// Collects the objects of a kind in a document, and in the items of a list.
fn collect(document: Value, wanted: &str, found: &mut Vec<Value>) -> Result<(), ManifestError> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind == wanted {
        found.push(document);
    } else if kind == "List" || kind.strip_suffix("List") == Some(wanted) {
        let items = document.get("items").and_then(Value::as_array).cloned();
        for item in items.ok_or_else(|| ManifestError::Items(kind.to_owned()))? {
            collect(item, wanted, found)?;
        }
    }
    Ok(())
}

/// Returns the spec of a job, checked as the API server does, and as the operator does afterwards.
///
/// # Errors
/// Returns what is wrong with it.
pub(super) fn job_spec(job: Value) -> Result<JobSpec, ManifestError> {
    let spec: JobSpec = checked_spec(job, "ImageScoreJob")?;
    job::validated_source(&spec)?;
    Ok(spec)
}

fn checked_spec<Spec: DeserializeOwned>(object: Value, kind: &str) -> Result<Spec, ManifestError> {
    let Value::Object(mut object) = object else {
        return Err(ManifestError::NoFields(kind.to_owned()));
    };
    check_envelope(&object, &format!("{GROUP}/{VERSION}")).map_err(ManifestError::Schema)?;
    let mut spec = object
        .remove("spec")
        .filter(|spec| !spec.is_null())
        .ok_or_else(|| ManifestError::Schema("spec is required".to_owned()))?;
    let definitions = crds();
    let schema = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == kind)
        .and_then(|definition| definition.spec.versions.first()?.schema.as_ref())
        .and_then(|schema| {
            schema
                .open_api_v3_schema
                .as_ref()?
                .properties
                .as_ref()?
                .get("spec")
        });
    let schema =
        schema.ok_or_else(|| ManifestError::Schema("the schema of the kind is missing".to_owned()))?;
    check(&mut spec, schema, "spec").map_err(ManifestError::Schema)?;
    Ok(serde_json::from_value(spec)?)
}

/// Path of a manifest for messages.
pub(super) fn shown(path: &Path) -> PathBuf {
    if path.as_os_str() == "-" {
        "standard input".into()
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests;
