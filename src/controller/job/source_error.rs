//! Reports the errors of a source: ends the job, or says what the job waits for.

use std::time::Duration;

use super::persist::JobWriter;
use crate::api::{JobReason, JobSpec};
use crate::controller::context::Context;
use crate::core::error::CORRECT_CLOCK;
use crate::core::identity::Identity;
use crate::core::job::{End, Phase, Progress};
use crate::core::refusal::RefusedBy;
use crate::ports::{CloudError, CloudErrorKind};
use crate::runtime::queue::Action;

/// Delay before a source that could not be read is read again: after a transient error, and when action is required.
const RETRY_SOURCE: Duration = Duration::from_secs(5);
pub(super) const RETRY_SOURCE_LATER: Duration = Duration::from_secs(60);

/// Reports the error of a source: ends the job, or writes the phase. Returns when the job is due again.
pub(super) async fn on_source_error(
    context: &Context,
    writer: JobWriter,
    progress: Option<&mut Progress>,
    spec: &JobSpec,
    error: &CloudError,
) -> Action {
    let reference = error.code_and_refusal();
    let what = match (&spec.source.prefix, &spec.source.manifest) {
        (Some(prefix), _) => format!("oss://{}/{}", prefix.bucket, prefix.prefix),
        (None, Some(manifest)) => manifest.uri.clone(),
        (None, None) => String::new(),
    };
    let credentials = spec.source.credentials().unwrap_or(&spec.credentials);
    let identity = Identity::of(&writer.job.key.namespace, credentials);
    let whose = identity
        .as_ref()
        .map_or_else(|| "the source".to_owned(), Identity::describe);
    let changed = error.code == "PreconditionFailed";
    let phase = match error.kind {
        _ if error.refusal.by == Some(RefusedBy::PublicEndpoint) => {
            let fix = error.refusal.fix().unwrap_or_default();
            let message = format!("{what} cannot be read ({reference}): {fix}");
            Phase::Stalled(JobReason::EndpointForbidden, message)
        }
        _ if changed => {
            let message = format!("{what} was replaced while the job ran: create another job");
            Phase::Ended(End::Failed(JobReason::SourceChanged, message))
        }
        CloudErrorKind::WrongRegion => {
            let region = &spec.project.region;
            let message = format!(
                "{what} is not in {region}, the region of the project ({reference}): create another job with a project in the region of the bucket"
            );
            Phase::Ended(End::Failed(JobReason::RegionMismatch, message))
        }
        CloudErrorKind::Unavailable if error.is_clock_skew() => {
            let message = format!(
                "OSS rejects the requests for {what}, because their time is wrong ({reference}): {CORRECT_CLOCK}"
            );
            Phase::SourceUnreadable(message, false)
        }
        CloudErrorKind::Throttled
        | CloudErrorKind::Unavailable
        | CloudErrorKind::Unanswered
        | CloudErrorKind::BucketLocked => {
            Phase::SourceUnreadable(format!("{what} could not be read ({reference}); retrying"), false)
        }
        CloudErrorKind::AccessDenied
        | CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::NoSuchBucket
        | CloudErrorKind::NoSuchProject
        | CloudErrorKind::PolicyRejected
        | CloudErrorKind::RequestRejected => {
            let permission = if spec.source.prefix.is_some() {
                "oss:ListObjects on the bucket"
            } else {
                "oss:GetObject on it"
            };
            let fix = error.refusal.fix().map_or_else(
                || {
                    format!(
                        "create it, or allow {permission} for the credentials of the source or of the job"
                    )
                },
                ToOwned::to_owned,
            );
            let message =
                format!("{what} cannot be read with the credentials of {whose} ({reference}): {fix}");
            Phase::SourceUnreadable(message, true)
        }
        CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
            if let Some(identity) = &identity {
                context.credentials.forget(identity);
            }
            let message = format!(
                "OSS rejected the credentials of {whose} ({reference}): provide valid credentials; the job then resumes"
            );
            Phase::SourceUnreadable(message, true)
        }
    };
    let wait = if matches!(phase, Phase::SourceUnreadable(_, true) | Phase::Stalled(..)) {
        RETRY_SOURCE_LATER
    } else {
        RETRY_SOURCE
    };
    stop_counting(context, writer, progress, phase, wait).await
}

/// Ends the job, or writes the phase and returns a requeue after `wait`.
pub(super) async fn stop_counting(
    context: &Context,
    mut writer: JobWriter,
    progress: Option<&mut Progress>,
    phase: Phase,
    wait: Duration,
) -> Action {
    if let Phase::Ended(end) = phase {
        return writer.finish_job(context, progress, end).await;
    }
    writer.write_phase(context, progress, &phase).await;
    Action::Requeue(wait)
}
