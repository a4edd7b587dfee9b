//! The objects to check: from manifests, and from the cluster with the caller's rights.

use serde_json::Value;

use super::args::DoctorArgs;
use super::error::DoctorError;
use crate::api::{GrantSpec, JobSpec, LedgerEntry};
use crate::app::CallersCluster;
use crate::cli::kind::{JOB_KINDS, plain_kind};
use crate::cli::manifest::{self, ManifestError, ReadGrant};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::core::validate::{is_namespace_name, is_object_name};
use crate::kubernetes::connect::namespace_of_context;

/// A grant to check.
pub(super) struct GrantSubject {
    pub(super) namespace: String,
    pub(super) spec: GrantSpec,
    pub(super) ledger: Vec<LedgerEntry>,
    /// Whether it is in the cluster.
    pub(super) stored: bool,
}

/// A job to check.
pub(super) struct JobSubject {
    pub(super) namespace: String,
    pub(super) spec: JobSpec,
    /// Whether it is in the cluster.
    pub(super) stored: bool,
}

/// What to check.
#[derive(Default)]
pub(super) struct Subjects {
    pub(super) grant: Option<GrantSubject>,
    pub(super) job: Option<JobSubject>,
    /// The cluster, if an object is in it.
    pub(super) cluster: Option<CallersCluster>,
}

/// Reads all objects.
///
/// # Errors
/// An object cannot be read, there is none, or there are two of a kind.
pub(super) async fn read(flags: &DoctorArgs) -> Result<Subjects, DoctorError> {
    let mut subjects = Subjects::default();
    let given = flags.namespace.clone().filter(|name| !name.is_empty());
    // A kubeconfig that cannot be used is no error here: files need no cluster.
    let of_context = || namespace_of_context(&flags.cluster.options()).ok().flatten();
    let fallback = given.or_else(of_context).unwrap_or_else(|| "default".to_owned());
    for path in &manifest::files_of(&flags.file).map_err(DoctorError::Folder)? {
        let shown = || manifest::shown(path);
        let bytes = manifest::read(path).await;
        let bytes = bytes.map_err(|source| DoctorError::Read {
            file: shown(),
            source,
        })?;
        let wrong = |source| DoctorError::Manifest {
            file: shown(),
            source,
        };
        let text = String::from_utf8(bytes).map_err(|error| wrong(error.into()))?;
        for grant in manifest::objects_of(&text, "ImmBucketGrant").map_err(wrong)? {
            let namespace = namespace_of(&grant, &fallback).map_err(wrong)?;
            let ReadGrant { spec, owned } = manifest::read_grant(grant).map_err(wrong)?;
            subjects.add_grant(GrantSubject {
                namespace,
                spec,
                ledger: owned,
                stored: false,
            })?;
        }
        for job in manifest::objects_of(&text, "ImageScoreJob").map_err(wrong)? {
            let namespace = namespace_of(&job, &fallback).map_err(wrong)?;
            let spec = manifest::job_spec(job).map_err(wrong)?;
            subjects.add_job(JobSubject {
                namespace,
                spec,
                stored: false,
            })?;
        }
    }
    if !flags.objects.is_empty() {
        read_cluster(flags, &mut subjects).await?;
    }
    if subjects.grant.is_none() && subjects.job.is_none() {
        return Err(
            "there is nothing to check: name a manifest with -f, or an object as ibg/NAME or isj/NAME".into(),
        );
    }
    Ok(subjects)
}

async fn read_cluster(flags: &DoctorArgs, subjects: &mut Subjects) -> Result<(), DoctorError> {
    let cluster = CallersCluster::connect(&flags.cluster.options())?;
    let namespace = flags.namespace.clone().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or_else(|| cluster.namespace.clone());
    let key = |namespace: &str, name: &str| {
        (is_object_name(name) && is_namespace_name(namespace))
            .then(|| ObjectKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
            .ok_or_else(|| DoctorError::Refused(format!("{namespace}/{name} is not the name of an object")))
    };
    for object in &flags.objects {
        let (kind, name) = object.split_once('/').unwrap_or((object.as_str(), ""));
        let key = key(&namespace, name)?;
        match plain_kind(kind).as_str() {
            kind if JOB_KINDS.contains(&kind) => {
                subjects.add_job(stored_job(cluster.job(&key).await?)?)?;
            }
            "ibg" | "immbucketgrant" | "immbucketgrants" => {
                subjects.add_grant(stored_grant(cluster.grant(&key).await?)?)?;
            }
            _ => {
                let why = format!("{object} is neither ibg/NAME nor isj/NAME");
                return Err(DoctorError::Refused(why));
            }
        }
    }
    // A grant that the caller may not read is left out.
    let reference = subjects
        .job
        .as_ref()
        .and_then(|job| Some((job, job.spec.grant_ref.as_ref()?)));
    if let Some((job, reference)) = reference.filter(|_| subjects.grant.is_none()) {
        let namespace = reference.namespace.as_deref().unwrap_or(&job.namespace);
        if let Ok(grant) = cluster.grant(&key(namespace, &reference.name)?).await {
            subjects.add_grant(stored_grant(grant)?)?;
        }
    }
    subjects.cluster = Some(cluster);
    Ok(())
}

fn stored_grant(grant: GrantObject) -> Result<GrantSubject, DoctorError> {
    Ok(GrantSubject {
        namespace: grant.key.namespace,
        spec: grant.spec.map_err(DoctorError::Refused)?,
        ledger: grant.status.owned,
        stored: true,
    })
}

fn stored_job(job: JobObject) -> Result<JobSubject, DoctorError> {
    Ok(JobSubject {
        namespace: job.key.namespace,
        spec: job.spec.map_err(DoctorError::Refused)?,
        stored: true,
    })
}

/// Returns the namespace of an object in a manifest. Like kubectl, an empty one is none.
fn namespace_of(object: &Value, fallback: &str) -> Result<String, ManifestError> {
    let own = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let name = own.filter(|name| !name.is_empty()).unwrap_or(fallback);
    if is_namespace_name(name) {
        Ok(name.to_owned())
    } else {
        Err(ManifestError::Namespace(name.to_owned()))
    }
}

impl Subjects {
    fn add_grant(&mut self, grant: GrantSubject) -> Result<(), DoctorError> {
        match self.grant.replace(grant) {
            None => Ok(()),
            Some(_) => Err("there is more than one ImmBucketGrant: check one at a time".into()),
        }
    }

    fn add_job(&mut self, job: JobSubject) -> Result<(), DoctorError> {
        match self.job.replace(job) {
            None => Ok(()),
            Some(_) => Err("there is more than one ImageScoreJob: check one at a time".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_without_a_namespace_goes_where_kubectl_would_apply_it() {
        for (metadata, namespace) in [
            (r#"{"name": "g"}"#, Ok("media")),
            (r#"{"name": "g", "namespace": ""}"#, Ok("media")),
            (r#"{"name": "g", "namespace": "press"}"#, Ok("press")),
            (r#"{"namespace": "No"}"#, Err("No is not the name of a namespace")),
        ] {
            let object = serde_json::from_str(&format!(r#"{{"metadata": {metadata}}}"#)).unwrap();
            let found = namespace_of(&object, "media");
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), namespace, "{metadata}");
        }
    }
}
