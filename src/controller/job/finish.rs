//! What follows from the end of a run.

use std::time::Duration;

use super::persist::{AGAIN, Work, announce};
use super::run::{Means, RunEnd};
use super::source_reader::trouble;
use crate::api::{EventReason, JobReason, JobSpec, OnExceeded, kinds};
use crate::controller::context::Context;
use crate::core::error::CredentialsError;
use crate::core::job::{End, Phase, Progress, evaluate_limits};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// What a run has left.
pub(super) struct Left {
    pub(super) work: Work,
    pub(super) spec: JobSpec,
    pub(super) progress: Progress,
}

/// Stores and tells it, and says when the job is to be looked at again.
pub(super) async fn go_on(context: &Context, left: Left, end: RunEnd, means: &Means) -> Action {
    let Left {
        mut work,
        spec,
        mut progress,
    } = left;
    let fail = |reason, message| End::Failed(reason, message);
    let ended = match end {
        RunEnd::Judged => match evaluate_limits(&progress, &spec) {
            // What is allowed to fail was raised while calls were awaited.
            End::Complete if progress.has_open_items() => {
                work.tell(context, Some(&mut progress), &Phase::Scoring).await;
                return Action::Requeue(Duration::from_millis(20));
            }
            end @ (End::Complete | End::Failed(..)) => end,
        },
        RunEnd::Over(end) => end,
        RunEnd::NoProject { canary: false, .. } => {
            // It has served calls before: it is asked whether it is still there, and one call alone decides then.
            means.pacer.invalidate();
            work.tell(context, Some(&mut progress), &Phase::Scoring).await;
            return Action::Requeue(Duration::from_millis(200));
        }
        RunEnd::NoProject { failure, .. } => {
            let (project, reference) = (&spec.project, failure.code_and_request_id());
            let message = format!(
                "project {} does not exist in {} of account {} ({reference}): create it or correct the name, then create the job again",
                project.name, project.region, project.account_uid
            );
            fail(JobReason::ProjectNotFound, message)
        }
        RunEnd::OtherRegion(failure) => {
            let (project, reference) = (&spec.project, failure.code_and_request_id());
            let message = format!(
                "IMM reads images only in {}, the region of project {} ({reference}): use a project in the bucket's region",
                project.region, project.name
            );
            fail(JobReason::RegionMismatch, message)
        }
        RunEnd::ClockIsOff(failure) => {
            let message = format!(
                "the cloud refuses the time of our requests ({}): set the clock of the operator's node right; the job then goes on",
                failure.code_and_request_id()
            );
            let phase = Phase::CredentialsFailed(CredentialsError::Unavailable, message);
            work.tell(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        RunEnd::Denied { canary, failure } if canary || spec.grant_ref.is_none() => {
            let reference = failure.code_and_request_id();
            let message = format!(
                "IMM refused a call ({reference}): the caller needs imm:DetectImageScore on the project, and the project's service role, or the last role of the chain, must be able to read the image; then create the job again"
            );
            fail(JobReason::PermissionDenied, message)
        }
        RunEnd::Denied { .. } => {
            // Later on, the grant may have been taken away under us: its bucket is looked at first, and one call alone
            // decides then.
            let phase = Phase::Waiting("a call was refused; looking at the grant again".to_owned());
            work.tell(context, Some(&mut progress), &phase).await;
            let bucket = means.grant.as_ref().map_or("", |g| g.bucket.name.as_str());
            context.request_recheck(&work.job.key, bucket);
            return Action::Requeue(Duration::from_millis(200));
        }
        RunEnd::KeysRefused(failure, keys) => {
            // The same keys are not tried again: each refused call may be billed.
            context
                .credentials
                .mark_rejected(&means.identity, &keys, failure.clone());
            let phase = Phase::CredentialsRejected(failure, means.identity.describe());
            work.tell(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        RunEnd::OutOfBudget => {
            if spec.budget.as_ref().map(|b| b.on_exceeded) == Some(OnExceeded::Suspend) {
                let told = work
                    .job
                    .status
                    .conditions
                    .iter()
                    .any(|c| c.kind == kinds::SUSPENDED);
                if !work.tell(context, Some(&mut progress), &Phase::OutOfBudget).await {
                    return Action::Requeue(AGAIN);
                }
                if !told {
                    let note = "budget.maxRequests is used up: raise it to go on";
                    announce(context, &work.job, EventReason::BudgetExceeded, note, true).await;
                }
                return Action::AwaitChange;
            }
            let message = "budget.maxRequests is used up: create another job with a higher one";
            fail(JobReason::BudgetExceeded, message.to_owned())
        }
        RunEnd::Source(failure) => return trouble(context, work, Some(&mut progress), &spec, &failure).await,
        RunEnd::LookAgain => {
            // Stored before the next pass takes the job up from its status, and tells what it waits for.
            work.tell(context, Some(&mut progress), &Phase::Scoring).await;
            return Action::Requeue(Duration::from_millis(20));
        }
        RunEnd::Unmarked(KubeError::Unavailable | KubeError::Conflict) => {
            work.tell(context, Some(&mut progress), &Phase::Scoring).await;
            return Action::Requeue(Duration::from_secs(5));
        }
        RunEnd::Unmarked(failure) => {
            let message = format!(
                "the API server refuses annotation immops.dev/started on this job ({failure}), and no call is made without it: look at admission policies and the operator's rights"
            );
            let phase = Phase::Stalled(JobReason::NotStarted, message);
            work.tell(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        RunEnd::Blocked(phase) => {
            work.tell(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        RunEnd::Taken => return Action::Requeue(AGAIN),
        RunEnd::Stopped => {
            work.tell(context, Some(&mut progress), &Phase::Scoring).await;
            return Action::AwaitChange;
        }
        RunEnd::Gone => return Action::AwaitChange,
    };
    work.end(context, Some(&mut progress), ended).await
}
