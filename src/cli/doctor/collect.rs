//! Makes the calls and collects the answers. Each call reads: no policy is written, nothing is scored, and GetProject is
//! called at most once.

use std::path::Path;

use super::access_log::read_access_log;
use super::args::{DoctorArgs, KeysFrom};
use super::collector::{Collector, Subject};
use super::endpoints::{AskedNames, reach_all, variants};
use super::error::DoctorError;
use super::input::{GrantSubject, JobSubject, Subjects};
use super::job_reads::{job_facts, source_place};
use super::probe::{RenewedKeys, read_image};
use super::probe_args::ProbeKind;
use super::probe_conditions::ProbeInput;
use super::probe_start::{restore_from_file, start_probe};
use super::questions::{Asked, ListedPage, ask};
use crate::api::{CredentialSource, Credentials, RequestPayer};
use crate::app::{CallersCluster, OperatorIdentity};
use crate::cloud::{oss_policy, sts};
use crate::core::doctor::{BucketFacts, Facts, GrantFacts, RestoreOutcome};
use crate::core::grant::{PassRoleDecision, parse_spec};
use crate::core::identity::SessionScope;
use crate::core::job::validated_source;
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::kubernetes::now;
use crate::ports::AccessKeys;

/// Collects all facts.
///
/// # Errors
/// Returns the message if an endpoint, a name in a spec, or the connection to the cluster cannot be used.
pub(super) async fn collect(
    flags: &DoctorArgs,
    subjects: Subjects,
    given: OperatorIdentity,
) -> Result<Facts, DoctorError> {
    let Subjects { grant, job, cluster } = subjects;
    let stored = [grant.as_ref().map(|g| g.stored), job.as_ref().map(|j| j.stored)];
    let cluster = connected(flags, cluster, stored.into_iter().flatten())?;
    let places = (
        grant
            .as_ref()
            .map(|grant| (grant.namespace.clone(), grant.stored)),
        job.as_ref().map(|job| (job.namespace.clone(), job.stored)),
    );
    let collector = Collector::new(flags, given, cluster).await?;
    let mut facts = Box::pin(seen(&collector, grant, job, &places)).await?;
    if let Some(path) = &flags.access_log {
        facts.access_log = Some(read_access_log(path, &facts)?);
    }
    if let Some(bucket) = &flags.probe.probe_bucket {
        let (Some(of_grant), Some(of_job)) = places else {
            return Err("a probe needs a grant and a job".into());
        };
        probe_with(&collector, &mut facts, bucket, of_grant, of_job).await?;
    }
    Ok(facts)
}

/// Connects to the cluster if the credentials of an object come from there.
///
/// # Errors
/// Returns the message if no configuration can be used.
fn connected(
    flags: &DoctorArgs,
    cluster: Option<CallersCluster>,
    stored: impl IntoIterator<Item = bool>,
) -> Result<Option<CallersCluster>, DoctorError> {
    let wants_cluster = |stored| flags.keys.map_or(stored, |from| from == KeysFrom::Cluster);
    if cluster.is_some() || !stored.into_iter().any(wants_cluster) {
        return Ok(cluster);
    }
    let connected = CallersCluster::connect(&flags.cluster.options());
    Ok(Some(connected?))
}

/// Puts the policy back that a probe has stored in a file, with the credentials of a grant if one is given.
///
/// # Errors
/// Returns the message if the file, an endpoint or the credentials cannot be used.
pub(super) async fn restore(
    flags: &DoctorArgs,
    file: &Path,
    subjects: Subjects,
    given: OperatorIdentity,
) -> Result<RestoreOutcome, DoctorError> {
    let image = read_image(file)?;
    let Subjects { grant, cluster, .. } = subjects;
    let is_given = grant.is_some();
    let (subject, credentials) = if let Some(grant) = grant {
        ((grant.namespace, grant.stored), grant.spec.credentials)
    } else {
        let of_caller = Credentials {
            source: CredentialSource::Operator,
            secret_ref: None,
            service_account: None,
            assume_role: None,
        };
        (("default".to_owned(), false), of_caller)
    };
    let cluster = connected(flags, cluster, is_given.then_some(subject.1))?;
    let collector = Collector::new(flags, given, cluster).await?;
    let scope = SessionScope::Bucket(image.bucket.clone());
    let source = collector.source("GRANT", (&subject.0, subject.1), &credentials, &scope)?;
    let keys = RenewedKeys::new(source);
    keys.get(now()).await.map_err(|error| {
        if is_given {
            error
        } else {
            DoctorError::NoKeysOfGrant(Box::new(error))
        }
    })?;
    restore_from_file(&collector, &image, &keys).await
}

/// Runs a probe with the credentials of both objects.
async fn probe_with(
    collector: &Collector<'_>,
    facts: &mut Facts,
    bucket: &str,
    of_grant: Subject,
    of_job: Subject,
) -> Result<(), DoctorError> {
    let (Some(grant), Some(job)) = (facts.grant.clone(), facts.job.clone()) else {
        return Err("a probe needs a grant and a job".into());
    };
    let source = |whose, (namespace, stored): &Subject, credentials, scope| {
        collector.source(whose, (namespace, *stored), credentials, scope)
    };
    let of_bucket = SessionScope::Bucket(bucket.to_owned());
    let of_project = SessionScope::project(&job.spec.project, &job.spec.access);
    let owner = source("GRANT", &of_grant, &grant.spec.credentials, &of_bucket)?;
    let caller = source("JOB", &of_job, &job.spec.credentials, &of_project)?;
    let narrow = caller.with_scope(SessionScope::Objects(bucket.to_owned()));
    let account = job.account.as_ref().and_then(|account| account.as_ref().ok());
    let is_other = account.is_some_and(|account| *account != grant.spec.bucket.owner_uid);
    let other = if is_other && collector.flags.probe.probe == ProbeKind::Forms {
        // In a session for the project, its own policy would refuse the write before OSS looks.
        Some(source("JOB", &of_job, &job.spec.credentials, &of_bucket)?)
    } else {
        None
    };
    let input = ProbeInput {
        grant: &grant,
        job: &job,
        owner_keys: RenewedKeys::new(owner),
        caller_keys: RenewedKeys::new(caller),
        other_keys: other.map(RenewedKeys::new),
        narrow_keys: narrow.map(RenewedKeys::new),
    };
    start_probe(collector, input, facts).await
}

async fn seen(
    collector: &Collector<'_>,
    grant: Option<GrantSubject>,
    job: Option<JobSubject>,
    subjects: &(Option<Subject>, Option<Subject>),
) -> Result<Facts, DoctorError> {
    let bucket = grant
        .as_ref()
        .map(|grant| BucketPlace::of(&grant.spec.bucket))
        .transpose()?;
    if let Some(grant) = &grant {
        parse_spec(&grant.spec, PassRoleDecision::Omitted)?;
    }
    let source_spec = job.as_ref().map(|job| validated_source(&job.spec)).transpose()?;
    let project = job
        .as_ref()
        .map(|job| ProjectPlace::of(&job.spec.project))
        .transpose()?;
    let source = match (&job, &source_spec) {
        (Some(job), Some(source_spec)) => source_place(source_spec, &job.spec.project.region)?,
        _ => None,
    };
    let mut facts = Facts {
        endpoints: reach_all(collector, bucket.as_ref(), source.as_ref(), project.as_ref()).await,
        ..Facts::default()
    };
    let (mut objects, mut owner) = (None, None);
    let (mut page, mut object, mut caller) = (Vec::new(), None, None);
    if let (Some(grant), Some(bucket)) = (grant, &bucket) {
        let scope = SessionScope::bucket(&grant.spec.bucket);
        let (credentials, keys) = collector
            .keys(
                "GRANT",
                (&grant.namespace, grant.stored),
                &grant.spec.credentials,
                &scope,
            )
            .await?;
        let seen = match &keys {
            Some(keys) => Some(bucket_facts(collector, bucket, keys).await),
            None => None,
        };
        owner.clone_from(&keys);
        objects = keys.map(|keys| (bucket.clone(), (String::new(), RequestPayer::default()), keys));
        facts.grant = Some(GrantFacts {
            spec: grant.spec,
            ledger: grant.ledger,
            credentials,
            bucket: seen,
        });
    }
    if let (Some(job), Some(project), Some(source_spec)) = (job, &project, &source_spec) {
        let of_source = source.as_ref().map(|place| (source_spec, place));
        let reads = job_facts(collector, job, project, of_source).await?;
        if let (Some(place), Some(read)) = (&source, reads.source) {
            let source = &reads.facts.spec.source;
            let prefix = source.prefix.as_ref().map(|p| p.prefix.clone());
            let payer = source.request_payer();
            objects = Some((place.clone(), (prefix.unwrap_or_default(), payer), read.keys));
            page = read.objects;
            object = read.object;
        }
        caller = reads.keys;
        facts.job = Some(reads.facts);
    }
    if let Some((bucket, (prefix, payer), keys)) = &objects {
        facts.variants = variants(collector, bucket, (prefix, *payer), keys).await;
    }
    let of_grant = bucket.as_ref().zip(owner.as_ref());
    let of_prefix = objects.as_ref().filter(|_| !page.is_empty());
    let asked = Asked {
        subjects: (subjects.0.as_ref(), subjects.1.as_ref()),
        bucket: of_grant,
        source: source.as_ref(),
        project: project.as_ref().zip(caller.as_ref()),
        names: objects.as_ref().map(|(place, (prefix, payer), keys)| AskedNames {
            listed: (place, prefix, *payer, keys),
            object,
            policy: of_grant.filter(|(bucket, _)| bucket.region() == place.region()),
        }),
        listed: of_prefix.map(|(bucket, (prefix, payer), keys)| ListedPage {
            bucket,
            prefix,
            payer: *payer,
            keys,
            objects: &page,
        }),
    };
    facts.questions = Box::pin(ask(collector, &facts, asked)).await?;
    Ok(facts)
}

async fn bucket_facts(collector: &Collector<'_>, bucket: &BucketPlace, keys: &AccessKeys) -> BucketFacts {
    let cloud = &collector.cloud;
    let policy = oss_policy::get_policy(cloud, bucket, keys, now()).await;
    let has_policy = policy.as_ref().is_ok_and(|read| read.bytes.is_some());
    BucketFacts {
        account: sts::caller_account(cloud, keys, now()).await,
        info: oss_policy::bucket_info(cloud, bucket, keys, now()).await,
        block: oss_policy::read_public_access_block(cloud, bucket, keys, now()).await,
        policy: policy.map(|read| read.bytes),
        policy_is_public: if has_policy {
            oss_policy::is_public(cloud, bucket, keys, now()).await
        } else {
            None
        },
    }
}
