//! Asks about a job, and reads its source.

use super::collector::Collector;
use super::error::DoctorError;
use super::input::JobSubject;
use crate::api::Source;
use crate::cloud::{imm, oss_objects, sts};
use crate::core::doctor::{JobFacts, ListingFacts};
use crate::core::identity::SessionScope;
use crate::core::job::{ListedObject, SourceSpec};
use crate::core::place::{BucketPlace, ObjectPlace, ProjectPlace};
use crate::core::validate::ObjectUri;
use crate::kubernetes::now;
use crate::ports::{AccessKeys, CloudError, ListPosition};

/// What was read of the source of a job.
pub(super) struct ReadSource {
    /// The credentials that read it.
    pub(super) keys: AccessKeys,
    /// The first page of a prefix.
    pub(super) objects: Vec<ListedObject>,
    /// An object that can be read: the manifest, or the first one of the page that is not archived.
    pub(super) object: Option<ObjectPlace>,
}

/// What was seen of a job.
pub(super) struct JobReads {
    pub(super) facts: JobFacts,
    /// The credentials that call IMM.
    pub(super) keys: Option<AccessKeys>,
    pub(super) source: Option<ReadSource>,
}

/// Asks about the job and reads its source.
///
/// # Errors
/// Returns the message if a reference to credentials is incomplete.
pub(super) async fn job_facts(
    collector: &Collector<'_>,
    job: JobSubject,
    project: &ProjectPlace,
    source: Option<(&SourceSpec, &BucketPlace)>,
) -> Result<JobReads, DoctorError> {
    let JobSubject {
        namespace,
        spec,
        stored,
    } = job;
    let scope = SessionScope::project(&spec.project, &spec.access);
    let (credentials, keys) = collector
        .keys("JOB", (&namespace, stored), &spec.credentials, &scope)
        .await?;
    let mut seen = JobFacts {
        credentials,
        account: None,
        project: None,
        listing: None,
        spec,
    };
    if let Some(keys) = &keys {
        seen.account = Some(sts::caller_account(&collector.cloud, keys, now()).await);
        if !collector.flags.no_imm {
            seen.project = Some(imm::project_limits(&collector.cloud, project, keys, now()).await);
        }
    }
    let Some((source_spec, place)) = source else {
        return Ok(JobReads {
            facts: seen,
            keys,
            source: None,
        });
    };
    let own = seen.spec.source.credentials();
    let used = own.unwrap_or(&seen.spec.credentials);
    let scope = SessionScope::Objects(place.name().to_owned());
    let whose = if own.is_some() { "SOURCE" } else { "JOB" };
    let (obtained, reader) = collector.keys(whose, (&namespace, stored), used, &scope).await?;
    let credentials = own.is_some().then_some(obtained);
    let Some(reader) = reader else {
        seen.listing = Some(ListingFacts {
            credentials,
            result: None,
        });
        return Ok(JobReads {
            facts: seen,
            keys,
            source: None,
        });
    };
    let read = read_source(collector, &seen.spec.source, (source_spec, place), &reader).await;
    let objects = read
        .as_ref()
        .map(|(_, objects)| objects.clone())
        .unwrap_or_default();
    let object = readable_object(source_spec, place, &objects);
    seen.listing = Some(ListingFacts {
        credentials,
        result: Some(read.map(|(count, _)| count)),
    });
    Ok(JobReads {
        facts: seen,
        keys,
        source: Some(ReadSource {
            keys: reader,
            objects,
            object,
        }),
    })
}

/// Returns an object of a source of which one byte can be read, without a fee for restoring it.
fn readable_object(
    source_spec: &SourceSpec,
    place: &BucketPlace,
    objects: &[ListedObject],
) -> Option<ObjectPlace> {
    let uri = if let SourceSpec::Manifest(object) = source_spec {
        object.clone()
    } else {
        let object = objects.iter().find(|object| !object.archived)?;
        ObjectUri {
            bucket: place.name().to_owned(),
            key: object.key.clone().ok()?,
        }
    };
    ObjectPlace::new(&uri, place.region()).ok()
}

/// Lists the first page of a prefix, or reads the first bytes of a manifest. Returns the number of objects, and those
/// of a page.
async fn read_source(
    collector: &Collector<'_>,
    source: &Source,
    (source_spec, place): (&SourceSpec, &BucketPlace),
    keys: &AccessKeys,
) -> Result<(usize, Vec<ListedObject>), CloudError> {
    if let SourceSpec::Manifest(object) = source_spec
        && let Ok(object) = ObjectPlace::new(object, place.region())
    {
        let read = oss_objects::read_object(
            &collector.cloud,
            &object,
            0..64,
            None,
            source.request_payer(),
            keys,
            now(),
        )
        .await;
        return read.map(|_| (1, Vec::new()));
    }
    let prefix = source.prefix.as_ref().map_or("", |prefix| prefix.prefix.as_str());
    let start = ListPosition::default();
    let page = oss_objects::list_objects(
        &collector.cloud,
        place,
        prefix,
        &start,
        source.request_payer(),
        keys,
        now(),
    )
    .await?;
    Ok((page.objects.len(), page.objects))
}

/// Returns the bucket of a source that has to be read; `None` for images that the job lists.
pub(super) fn source_place(source: &SourceSpec, region: &str) -> Result<Option<BucketPlace>, DoctorError> {
    let bucket = match source {
        SourceSpec::Prefix { bucket, .. } => bucket,
        SourceSpec::Manifest(object) => &object.bucket,
        SourceSpec::Uris(_) => return Ok(None),
    };
    let place = BucketPlace::new(bucket, region)?;
    Ok(Some(place))
}
