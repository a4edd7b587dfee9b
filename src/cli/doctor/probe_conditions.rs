//! What must hold before a probe writes anything.

use std::path::PathBuf;
use std::time::Duration;

use super::collector::Collector;
use super::error::DoctorError;
use super::probe::{ProbeTarget, RenewedKeys};
use crate::api::ProjectRef;
use crate::app::{CallersCluster, RunError};
use crate::cli::escape::escaped;
use crate::cloud::{oss_policy, sts};
use crate::core::doctor::{GrantFacts, JobFacts};
use crate::core::error::CloudErrorKind;
use crate::core::place::{BucketPlace, ProjectPlace, check_object_path};
use crate::core::validate::check_prefix;

/// A project that does not exist.
const MISSING_PROJECT: &str = "imm-operator-doctor-no-such-project";
/// How long the answer of a cluster is waited for.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);
/// The objects and credentials that a probe uses.
pub(super) struct ProbeInput<'a> {
    pub(super) grant: &'a GrantFacts,
    pub(super) job: &'a JobFacts,
    pub(super) owner_keys: RenewedKeys<'a>,
    pub(super) caller_keys: RenewedKeys<'a>,
    /// Credentials of the job for the probe bucket, if the accounts are known to be different ones.
    pub(super) other_keys: Option<RenewedKeys<'a>>,
    pub(super) narrow_keys: Option<RenewedKeys<'a>>,
}

/// Checks everything that must hold before a probe writes, and returns what it works on.
pub(super) async fn checked_target<'a>(
    collector: &Collector<'_>,
    input: ProbeInput<'a>,
) -> Result<ProbeTarget<'a>, DoctorError> {
    let flags = &collector.flags.probe;
    let Some(name) = &flags.probe_bucket else {
        return Err("a probe needs --probe-bucket".into());
    };
    let spec = &input.job.spec;
    let bucket = bucket_of("--probe-bucket", name, &spec.project.region)?;
    if let Some(key) = &flags.probe_object {
        check_key("--probe-object", key)?;
    }
    for key in &flags.limits_object {
        check_key("--limits-object", key)?;
    }
    check_unused(collector, name, input.grant).await?;
    check_owner(collector, &bucket, &input).await?;
    if let Some(other) = &flags.limits_region_bucket {
        check_other_region(collector, other, &spec.project.region, &input).await?;
    }
    let file = flags
        .pre_image
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("imm-operator-doctor-{name}.json")));
    let missing_project = ProjectRef {
        name: MISSING_PROJECT.to_owned(),
        ..spec.project.clone()
    };
    Ok(ProbeTarget {
        cloud: collector.cloud.clone(),
        bucket,
        owner_uid: input.grant.spec.bucket.owner_uid.clone(),
        owner_keys: input.owner_keys,
        project: ProjectPlace::of(&spec.project)?,
        caller_keys: input.caller_keys,
        other_keys: input.other_keys,
        narrow_keys: input.narrow_keys,
        other_bucket: flags.limits_region_bucket.clone(),
        missing_project: ProjectPlace::of(&missing_project)?,
        key: flags.probe_object.clone().unwrap_or_default(),
        objects: flags.limits_object.clone(),
        with_policy: flags.with_policy,
        file,
    })
}

fn check_key(flag: &'static str, key: &str) -> Result<(), DoctorError> {
    check_object_path(flag, key)?;
    Ok(check_prefix(flag, key)?)
}

fn bucket_of(flag: &'static str, name: &str, region: &str) -> Result<BucketPlace, DoctorError> {
    BucketPlace::new(name, region).map_err(|source| DoctorError::Flag { flag, source })
}

/// Refuses a bucket that the grant or a grant of the cluster names. If the cluster does not answer, the caller
/// repeats the name.
async fn check_unused(
    collector: &Collector<'_>,
    bucket: &str,
    grant: &GrantFacts,
) -> Result<(), DoctorError> {
    let by_grant = || DoctorError::Refused(format!("the grant names bucket {bucket}: name another bucket"));
    let is_of_grant = grant.spec.bucket.name == bucket;
    if is_of_grant && collector.cluster.is_none() {
        return Err(by_grant());
    }
    let own = collector.flags.probe.i_own.as_ref();
    if own.is_some_and(|own| own != bucket) {
        return Err("--i-own must repeat the name of --probe-bucket".into());
    }
    let is_named = tokio::time::timeout(CLUSTER_PATIENCE, has_grant_of(collector, bucket)).await;
    match is_named.unwrap_or(Err(RunError::Silent)) {
        Ok(true) => Err(DoctorError::Refused(format!(
            "a grant of the cluster names bucket {bucket}: name another bucket"
        ))),
        Ok(false) if is_of_grant => Err(by_grant()),
        Ok(false) => Ok(()),
        // The objects are in that cluster, so that it must be asked.
        Err(error) if collector.cluster.is_some() => Err(error.into()),
        // It may have such a grant.
        Err(source @ RunError::Refused { .. }) => Err(DoctorError::GrantsHidden {
            bucket: bucket.to_owned(),
            source,
        }),
        Err(error) if own.is_some() => {
            eprintln!(
                "imm-operator doctor: no cluster says whether a grant names the probe bucket ({})",
                escaped(&error.to_string())
            );
            Ok(())
        }
        Err(source) => Err(DoctorError::GrantsUnknown {
            bucket: bucket.to_owned(),
            source,
        }),
    }
}

/// Whether a grant of the cluster names a bucket.
///
/// # Errors
/// Returns why the cluster does not say so.
async fn has_grant_of(collector: &Collector<'_>, bucket: &str) -> Result<bool, RunError> {
    if let Some(cluster) = &collector.cluster {
        return cluster.has_grant_of(bucket).await;
    }
    let cluster = CallersCluster::connect(&collector.flags.cluster.options())?;
    cluster.has_grant_of(bucket).await
}

/// Refuses a bucket that the credentials of the grant do not own, or in another region than the project.
async fn check_owner(
    collector: &Collector<'_>,
    bucket: &BucketPlace,
    input: &ProbeInput<'_>,
) -> Result<(), DoctorError> {
    let now = crate::kubernetes::now();
    let keys = input.owner_keys.get(now).await?;
    input.caller_keys.get(now).await?;
    let account = sts::caller_account(&collector.cloud, &keys, now).await;
    let account = account.map_err(DoctorError::of_call("GetCallerIdentity failed"))?;
    let info = oss_policy::bucket_info(&collector.cloud, bucket, &keys, now).await;
    let info = info.map_err(DoctorError::of_call("GetBucketInfo of the probe bucket failed"))?;
    if account != input.grant.spec.bucket.owner_uid || info.owner_uid.as_ref() != Some(&account) {
        return Err("the credentials of the grant do not belong to the owner of the probe bucket: name a bucket of that account".into());
    }
    if info.region.as_deref() != Some(bucket.region()) {
        return Err("the probe bucket is not in the region of the project".into());
    }
    Ok(())
}

/// Refuses a bucket that is not known to be in another region than the project.
async fn check_other_region(
    collector: &Collector<'_>,
    bucket: &str,
    region: &str,
    input: &ProbeInput<'_>,
) -> Result<(), DoctorError> {
    let flag = "--limits-region-bucket";
    let place = bucket_of(flag, bucket, region)?;
    let now = crate::kubernetes::now();
    let keys = input.owner_keys.get(now).await?;
    match oss_policy::bucket_info(&collector.cloud, &place, &keys, now).await {
        Err(error) if error.kind == CloudErrorKind::WrongRegion => Ok(()),
        Err(error) => Err(DoctorError::of_call(
            "--limits-region-bucket: GetBucketInfo failed",
        )(error)),
        Ok(info) => match info.region {
            Some(other) if other != region => Ok(()),
            Some(_) => Err(DoctorError::Refused(format!(
                "{flag} is in the region of the project: name one of another region"
            ))),
            None => Err(DoctorError::Refused(format!(
                "{flag} cannot be read by the credentials of the grant: name a bucket of that account"
            ))),
        },
    }
}
