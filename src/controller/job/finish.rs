//! Stores the end of a run, and decides when the job is reconciled again.

use std::time::Duration;

use super::enforcement::await_enforcement;
use super::run_input::{RunInput, RunResult, StopReason};
use super::source_error::on_source_error;
use super::store_status::REREAD_AFTER;
use crate::api::{EventReason, JobReason, OnExceeded, SuspendCause};
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::error::{CORRECT_CLOCK, CredentialsError};
use crate::core::job::{End, Phase, evaluate_limits};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Stores the end of a run and publishes its event. Returns when the job is due again.
pub(super) async fn finish_run(
    context: &Context,
    left: RunResult,
    end: StopReason,
    input: &RunInput,
) -> Action {
    let RunResult {
        mut writer,
        spec,
        mut progress,
    } = left;
    let fail = |reason, message| End::Failed(reason, message);
    let ended = match end {
        StopReason::LimitsReached => match evaluate_limits(&progress, &spec) {
            // The number of items that may fail was raised while calls were in flight.
            End::Complete if progress.has_open_items() => {
                writer
                    .write_phase(context, Some(&mut progress), &Phase::Scoring(0))
                    .await;
                return Action::Requeue(Duration::from_millis(20));
            }
            end @ (End::Complete | End::Failed(..)) => end,
        },
        StopReason::Finished(end) => end,
        StopReason::NoProject { canary, .. } if !canary || input.limiter.service_role().is_some() => {
            // The project has served calls before, or was read by an earlier run: it is read again, and a canary call
            // decides.
            input.limiter.invalidate();
            writer
                .write_phase(context, Some(&mut progress), &Phase::Scoring(0))
                .await;
            return Action::Requeue(Duration::from_millis(200));
        }
        StopReason::NoProject { error, .. } => {
            let (project, reference) = (&spec.project, error.code_and_request_id());
            let message = format!(
                "Project {} does not exist in {} of account {} ({reference}): create it or correct the name, then create another job",
                project.name, project.region, project.account_uid
            );
            fail(JobReason::ProjectNotFound, message)
        }
        StopReason::OtherRegion(error) => {
            let (project, reference) = (&spec.project, error.code_and_request_id());
            let message = format!(
                "IMM reads images only in {}, the region of project {} ({reference}): create another job with a project in the region of the bucket",
                project.region, project.name
            );
            fail(JobReason::RegionMismatch, message)
        }
        StopReason::ClockSkew(error) => {
            let message = format!(
                "The cloud rejects the requests because their time is wrong ({}): {CORRECT_CLOCK}; the job then resumes",
                error.code_and_request_id()
            );
            let phase = Phase::CredentialsFailed(CredentialsError::Unavailable, message);
            writer.write_phase(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        StopReason::Denied { canary, error } if canary || spec.grant_ref.is_none() => {
            let reference = error.code_and_refusal();
            // Only this code and this action name the caller. Other codes may stand for the caller or for the role that
            // reads the image.
            let of_caller = match error.refusal.action {
                Some(action) => action.starts_with("imm:"),
                None => error.code.starts_with("NoPermission"),
            };
            if !of_caller
                && let Some(action) =
                    await_enforcement(context, &mut writer, &spec, &mut progress, &error).await
            {
                return action;
            }
            let message = if of_caller {
                format!(
                    "The caller, {}, lacks imm:DetectImageScore on project {} ({reference}): {}, then create another job",
                    input.identity.describe(),
                    spec.project.name,
                    error.refusal.fix().unwrap_or("allow it")
                )
            } else {
                format!(
                    "IMM denied access ({reference}): allow oss:GetObject on the image for the service role of project {}, or the last role of the chain, and imm:DetectImageScore for {}, then create another job",
                    spec.project.name,
                    input.identity.describe()
                )
            };
            fail(JobReason::PermissionDenied, message)
        }
        StopReason::Denied { .. } => {
            // The grant may have been removed during the run: its bucket is rechecked first, and a canary call
            // decides.
            let phase = Phase::Waiting("IMM denied a call; checking the grant again".to_owned());
            writer.write_phase(context, Some(&mut progress), &phase).await;
            let bucket = input.grant.as_ref().map_or("", |g| g.bucket.name.as_str());
            context.request_recheck(&writer.job.key, bucket);
            return Action::Requeue(Duration::from_millis(200));
        }
        StopReason::CredentialsRejected(error, keys) => {
            // The same credentials are not used again: each rejected call may be billed.
            context
                .credentials
                .mark_rejected(&input.identity, &keys, error.clone());
            let phase = Phase::CredentialsRejected(error, input.identity.describe());
            writer.write_phase(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        StopReason::OutOfBudget => {
            if spec.budget.as_ref().map(|b| b.on_exceeded) == Some(OnExceeded::Suspend) {
                let already_suspended = writer.job.status.suspended_by == Some(SuspendCause::BudgetUsed);
                if !writer
                    .write_phase(context, Some(&mut progress), &Phase::OutOfBudget)
                    .await
                {
                    return Action::Requeue(REREAD_AFTER);
                }
                if !already_suspended {
                    let note = "Budget used up: raise budget.maxRequests to resume";
                    publish_job_event(context, &writer.job, EventReason::BudgetExceeded, note, true).await;
                }
                return Action::AwaitChange;
            }
            let message = "Budget used up: create another job with a higher budget.maxRequests";
            fail(JobReason::BudgetExceeded, message.to_owned())
        }
        StopReason::Source(error) => {
            return on_source_error(context, writer, Some(&mut progress), &spec, &error).await;
        }
        StopReason::Reevaluate => {
            // Stored now, because the next reconcile resumes the job from its status and reports what it waits for.
            writer
                .write_phase(context, Some(&mut progress), &Phase::Scoring(0))
                .await;
            return Action::Requeue(Duration::from_millis(20));
        }
        StopReason::NotStarted(KubeError::Unavailable | KubeError::Conflict) => {
            writer
                .write_phase(context, Some(&mut progress), &Phase::Scoring(0))
                .await;
            return Action::Requeue(Duration::from_secs(5));
        }
        StopReason::NotStarted(error) => {
            let phase = Phase::NotStarted(error.to_string());
            writer.write_phase(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        StopReason::Blocked(phase) => {
            writer.write_phase(context, Some(&mut progress), &phase).await;
            return Action::Requeue(Duration::from_secs(60));
        }
        StopReason::Superseded => return Action::Requeue(REREAD_AFTER),
        StopReason::ShuttingDown => {
            writer
                .write_phase(context, Some(&mut progress), &Phase::Scoring(0))
                .await;
            return Action::AwaitChange;
        }
        StopReason::Gone => return Action::AwaitChange,
    };
    writer.finish_job(context, Some(&mut progress), ended).await
}
