//! Asks what reads say about the cloud itself. No call writes, scores or asks for a project.

use super::collector::{Collector, Subject};
use super::dates::{session_dates, signature_answers};
use super::endpoints::{AskedNames, name_answers};
use super::error::DoctorError;
use crate::api::RequestPayer;
use crate::cloud::{UnsignedQuery, answer_head, oss_objects, sts};
use crate::core::doctor::{
    Answered, Facts, KeyComparison, ListedKeys, OtherAccount, OtherRegion, QuestionFacts,
};
use crate::core::endpoints::variants_of;
use crate::core::identity::SessionScope;
use crate::core::job::ListedObject;
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::kubernetes::now;
use crate::ports::{AccessKeys, ListPosition};

/// What the questions are about.
pub(super) struct Asked<'a> {
    /// The grant and the job.
    pub(super) subjects: (Option<&'a Subject>, Option<&'a Subject>),
    /// The bucket of the grant, with its credentials.
    pub(super) bucket: Option<(&'a BucketPlace, &'a AccessKeys)>,
    /// The bucket that the job's source is in.
    pub(super) source: Option<&'a BucketPlace>,
    /// The project, with the credentials that call IMM.
    pub(super) project: Option<(&'a ProjectPlace, &'a AccessKeys)>,
    /// What every name of OSS is asked.
    pub(super) names: Option<AskedNames<'a>>,
    /// The first page of the prefix that the job lists.
    pub(super) listed: Option<ListedPage<'a>>,
}

/// The first page of a prefix, as it was listed.
pub(super) struct ListedPage<'a> {
    pub(super) bucket: &'a BucketPlace,
    pub(super) prefix: &'a str,
    pub(super) payer: RequestPayer,
    pub(super) keys: &'a AccessKeys,
    pub(super) objects: &'a [ListedObject],
}

/// Asks every question whose credentials are there.
///
/// # Errors
/// Returns the message if a reference to credentials is incomplete.
pub(super) async fn ask(
    collector: &Collector<'_>,
    facts: &Facts,
    asked: Asked<'_>,
) -> Result<QuestionFacts, DoctorError> {
    let mut found = QuestionFacts::default();
    if let Some(names) = &asked.names {
        found.names = name_answers(collector, &facts.variants, names).await;
    }
    if let Some((bucket, keys)) = asked.bucket {
        found.other_account = other_account(collector, facts, bucket, asked.subjects.1).await?;
        found.other_region = other_region(collector, facts, bucket, keys).await;
    }
    if let Some((project, keys)) = asked.project.filter(|_| !collector.flags.no_imm) {
        found.signatures = signature_answers(collector, facts, project, keys).await;
    }
    let places = (asked.bucket.map(|(bucket, _)| bucket), asked.source);
    found.session_dates = session_dates(collector, facts, asked.subjects, places).await?;
    found.exchanges = exchanges(collector, facts, asked.subjects).await?;
    if let Some(page) = &asked.listed {
        found.listed_keys = Some(listed_keys(collector, page).await);
    }
    Ok(found)
}

/// Reads the bucket of the grant with the credentials of the job, if they belong to another account.
async fn other_account(
    collector: &Collector<'_>,
    facts: &Facts,
    bucket: &BucketPlace,
    subject: Option<&Subject>,
) -> Result<Option<OtherAccount>, DoctorError> {
    let seen = facts.grant.as_ref().and_then(|grant| grant.bucket.as_ref());
    let (Some(seen), Some(job), Some((namespace, stored))) = (seen, &facts.job, subject) else {
        return Ok(None);
    };
    let info = seen.info.as_ref().ok();
    let owner = info.and_then(|info| info.owner_uid.as_ref());
    let owner = owner.or_else(|| seen.account.as_ref().ok());
    let caller = job.account.as_ref().and_then(|account| account.as_ref().ok());
    if caller.is_none() || owner.is_none() || caller == owner {
        return Ok(None);
    }
    // A session of the operator would be for this bucket too: the policy of another one would refuse the read before
    // OSS looks.
    let scope = SessionScope::Bucket(bucket.name().to_owned());
    let subject = (namespace.as_str(), *stored);
    let (_, keys) = collector
        .keys("JOB", subject, &job.spec.credentials, &scope)
        .await?;
    let Some(keys) = keys else { return Ok(None) };
    let read = async |setting| {
        let answer = answer_head::answer_about_bucket(&collector.cloud, bucket, setting, &keys, now());
        answer.await
    };
    Ok(Some(OtherAccount {
        is_there: seen.policy.is_ok() || info.is_some_and(|info| info.owner_uid.is_some()),
        info: read("bucketInfo").await,
        policy: read("policy").await,
    }))
}

/// Reads the policy at the host of another region, if it can be read at its own and Alibaba Cloud's names are used.
async fn other_region(
    collector: &Collector<'_>,
    facts: &Facts,
    bucket: &BucketPlace,
    keys: &AccessKeys,
) -> Option<OtherRegion> {
    let seen = facts.grant.as_ref()?.bucket.as_ref()?;
    seen.policy.as_ref().ok()?;
    let region = OtherRegion::other_than(bucket.region());
    let elsewhere = BucketPlace::new(bucket.name(), region).ok()?;
    // An address that is the same for all regions, or not Alibaba Cloud's, says nothing about another region.
    for place in [bucket, &elsewhere] {
        let host = collector.endpoints.oss_service(place);
        if variants_of(&host, place.region()).is_empty() {
            return None;
        }
    }
    let answer = answer_head::answer_about_bucket(&collector.cloud, &elsewhere, "policy", keys, now()).await;
    Some(OtherRegion { region, answer })
}

/// Exchanges a ServiceAccount token with each form of the request. The sessions are not used.
async fn exchanges(
    collector: &Collector<'_>,
    facts: &Facts,
    (of_grant, of_job): (Option<&Subject>, Option<&Subject>),
) -> Result<Vec<(&'static str, Answered)>, DoctorError> {
    let grant = facts.grant.as_ref().filter(|grant| grant.credentials.by_token);
    let job = facts.job.as_ref().filter(|job| job.credentials.by_token);
    let source = match (grant.zip(of_grant), job.zip(of_job)) {
        (Some((grant, (namespace, stored))), _) => {
            let scope = SessionScope::bucket(&grant.spec.bucket);
            collector.source("GRANT", (namespace, *stored), &grant.spec.credentials, &scope)?
        }
        (None, Some((job, (namespace, stored)))) => {
            let scope = SessionScope::project(&job.spec.project, &job.spec.access);
            collector.source("JOB", (namespace, *stored), &job.spec.credentials, &scope)?
        }
        (None, None) => return Ok(Vec::new()),
    };
    let Some(exchange) = source.token_exchange().await else {
        return Ok(Vec::new());
    };
    let forms = [
        ("headers only", UnsignedQuery::Nothing),
        ("with Format in the query", UnsignedQuery::Format),
        (
            "with all parameters in the query, as the operator does",
            UnsignedQuery::All,
        ),
    ];
    let mut found = Vec::new();
    for (name, query) in forms {
        let answer = sts::answer_to_exchange(
            &collector.cloud,
            &exchange.session,
            &exchange.provider_arn,
            &exchange.token,
            query,
            now(),
        )
        .await;
        found.push((name, answer));
    }
    Ok(found)
}

/// Lists the first page without an encoding, and once more with it if they differ, because objects may have come or gone.
async fn listed_keys(collector: &Collector<'_>, page: &ListedPage<'_>) -> ListedKeys {
    let ListedPage {
        bucket,
        prefix,
        payer,
        keys,
        objects: before,
    } = *page;
    let plain = oss_objects::plain_keys(&collector.cloud, bucket, prefix, payer, keys, now()).await;
    let plain = match plain {
        Ok(plain) => plain,
        Err(error) => return ListedKeys::Failed(error),
    };
    let decoded = before.iter().map(|object| object.key.as_deref().ok());
    let found = KeyComparison::of(decoded, &plain);
    if before.len() == plain.len() && found.differing == 0 {
        return ListedKeys::Compared(found);
    }
    let start = ListPosition::default();
    let after = oss_objects::list_objects(&collector.cloud, bucket, prefix, &start, payer, keys, now()).await;
    if after.is_ok_and(|after| after.objects == before && before.len() == plain.len()) {
        ListedKeys::Compared(found)
    } else {
        ListedKeys::Changed
    }
}
