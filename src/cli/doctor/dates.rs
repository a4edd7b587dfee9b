//! Asks IMM and OSS which dates and which signatures they accept. IMM is asked for its regions only: that concerns no
//! project and no object, and needs no permission.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::collector::{Collector, ObjectKeys, Subject};
use super::error::DoctorError;
use crate::cloud::answer_head;
use crate::core::doctor::{
    CALL_DATES, Facts, Reachability, SESSION_DATES, Service, SessionDates, SignatureAnswers,
};
use crate::core::identity::SessionScope;
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::kubernetes::now;
use crate::ports::AccessKeys;

/// An AccessKey ID that nobody has: none has this length.
const UNKNOWN_KEY: &str = "LTAIimmOperatorDoctorNone";

/// Asks IMM, if it answers at all. Two calls are accepted at most if IMM keeps to its documentation.
pub(super) async fn signature_answers(
    collector: &Collector<'_>,
    facts: &Facts,
    project: &ProjectPlace,
    keys: &AccessKeys,
) -> Option<SignatureAnswers> {
    let offset = clock_offset(facts, Service::Imm, project.region())?;
    let cloud = &collector.cloud;
    let at = |earlier: SignedDuration| dated(offset.saturating_sub(earlier));
    let [recent, old] = CALL_DATES;
    let [recent, repeated] = answer_head::regions_twice(cloud, project, keys, at(recent)).await;
    let with_secret = |keys: &AccessKeys| AccessKeys {
        secret: "imm-operator-doctor".into(),
        ..keys.clone()
    };
    let unknown = AccessKeys {
        id: UNKNOWN_KEY.to_owned(),
        token: None,
        ..with_secret(keys)
    };
    Some(SignatureAnswers {
        recent,
        repeated,
        old: answer_head::regions(cloud, project, keys, at(old)).await,
        wrong_secret: answer_head::regions(cloud, project, &with_secret(keys), at(SignedDuration::ZERO))
            .await,
        unknown_key: answer_head::regions(cloud, project, &unknown, at(SignedDuration::ZERO)).await,
    })
}

/// Opens a session and reads with it at once, with dates around that time: the session of the grant, or else that of
/// the job's source. Long-lived keys and the session of a machine have no time at which they were issued.
///
/// # Errors
/// Returns the message if a reference to credentials is incomplete.
pub(super) async fn session_dates(
    collector: &Collector<'_>,
    facts: &Facts,
    (of_grant, of_job): (Option<&Subject>, Option<&Subject>),
    (bucket, source): (Option<&BucketPlace>, Option<&BucketPlace>),
) -> Result<Option<SessionDates>, DoctorError> {
    if let (Some(grant), Some((namespace, stored)), Some(place)) = (&facts.grant, of_grant, bucket) {
        let scope = SessionScope::bucket(&grant.spec.bucket);
        let subject = (namespace.as_str(), *stored);
        let keys = collector.source("GRANT", subject, &grant.spec.credentials, &scope)?;
        if keys.opens_session() {
            return Ok(ask_with(collector, facts, &keys, (place, true)).await);
        }
    }
    if let (Some(job), Some((namespace, stored)), Some(place)) = (&facts.job, of_job, source) {
        let own = job.spec.source.credentials();
        let whose = if own.is_some() { "SOURCE" } else { "JOB" };
        let used = own.unwrap_or(&job.spec.credentials);
        let scope = SessionScope::Objects(place.name().to_owned());
        let keys = collector.source(whose, (namespace.as_str(), *stored), used, &scope)?;
        if keys.opens_session() {
            return Ok(ask_with(collector, facts, &keys, (place, false)).await);
        }
    }
    Ok(None)
}

async fn ask_with(
    collector: &Collector<'_>,
    facts: &Facts,
    source: &ObjectKeys<'_>,
    (place, of_grant): (&BucketPlace, bool),
) -> Option<SessionDates> {
    let offset = clock_offset(facts, Service::Oss, place.region())?;
    let keys = source.credentials().await.ok()?;
    let read = async |seconds: i64| {
        let time = dated(offset.saturating_add(SignedDuration::from_secs(seconds)));
        let answer = answer_head::answer_about_bucket(&collector.cloud, place, "bucketInfo", &keys, time);
        answer.await
    };
    // The dates come first: the session is as new as it can be.
    let mut answers = Vec::new();
    for seconds in SESSION_DATES {
        answers.push((seconds, read(seconds).await));
    }
    Some(SessionDates {
        of_grant,
        now: read(0).await,
        dated: answers,
    })
}

/// How far the clock of a service is ahead of that of this machine; `None` if the service does not answer.
fn clock_offset(facts: &Facts, service: Service, region: &str) -> Option<SignedDuration> {
    let mut endpoints = facts.endpoints.iter();
    let found = endpoints.find(|endpoint| endpoint.service == service && endpoint.region == region)?;
    match &found.reached {
        Reachability::Answered { offset, .. } => Some(offset.unwrap_or_default()),
        Reachability::NoName
        | Reachability::NoConnection { .. }
        | Reachability::NoTls { .. }
        | Reachability::NoAnswer { .. } => None,
    }
}

fn dated(offset: SignedDuration) -> Timestamp {
    let now = now();
    now.checked_add(offset).unwrap_or(now)
}
