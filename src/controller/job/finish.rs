//! Stores the end of a run, and decides when the job is reconciled again.

use std::time::Duration;

use super::enforcement::await_enforcement;
use super::job_run::JobRun;
use super::run_input::StopReason;
use super::source_error::on_source_error;
use super::store_status::{REREAD_AFTER, WriteResult};
use crate::api::{OnExceeded, SuspendCause};
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::budget_used;
use crate::core::job::{
    End, Phase, budget_exceeded, clock_skew, evaluate_limits, names_caller, no_project, other_region,
    permission_denied,
};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Stores the end of a run and publishes its event. Returns when the job is due again.
pub(super) async fn finish_run(run: JobRun<'_>, end: StopReason) -> Action {
    let (context, input) = (run.context, run.input);
    let (mut writer, spec, mut progress) = run.into_state();
    let requeue = |phase, milliseconds| (phase, Action::Requeue(Duration::from_millis(milliseconds)));
    let resume = |milliseconds| requeue(Phase::Scoring(0), milliseconds);
    let ended = |end| (Phase::Ended(end), Action::AwaitChange);
    let (phase, next) = match end {
        StopReason::LimitsReached => match evaluate_limits(&progress, &spec) {
            // The number of items that may fail was raised while calls were in flight.
            End::Complete if progress.has_open_items() => resume(20),
            end @ (End::Complete | End::Failed(..)) => ended(end),
        },
        StopReason::Finished(end) => ended(end),
        StopReason::NoProject { canary, .. } if !canary || input.limiter.service_role().is_some() => {
            // The project has served calls before, or was read by an earlier run: it is read again, and a canary call
            // decides.
            input.limiter.invalidate();
            resume(200)
        }
        StopReason::NoProject { error, .. } => ended(no_project(&spec.project, &error)),
        StopReason::OtherRegion(error) => ended(other_region(&spec.project, &error)),
        StopReason::ClockSkew(error) => requeue(clock_skew(&error), 60_000),
        StopReason::Denied { canary: true, error } => {
            if !names_caller(&error)
                && let Some(action) =
                    await_enforcement(context, &mut writer, &spec, &mut progress, &error).await
            {
                return action;
            }
            ended(permission_denied(&spec.project, &input.identity, &error))
        }
        // Calls of the next run decide.
        StopReason::Denied { .. } if spec.grant_ref.is_none() => resume(200),
        StopReason::Denied { .. } => {
            // The grant may have been removed during the run: its bucket is rechecked first, and a canary call
            // decides.
            let phase = Phase::Waiting("IMM denied a call; checking the grant again".to_owned());
            writer.persist(context, Some(&mut progress), &phase).await;
            let bucket = input.grant.as_ref().map_or("", |g| g.bucket.name.as_str());
            context.request_recheck(&writer.job.key, bucket);
            return Action::Requeue(Duration::from_millis(200));
        }
        StopReason::CredentialsRejected(error, keys) => {
            // The same credentials are not used again: each rejected call may be billed.
            context
                .credentials
                .mark_rejected(&input.identity, &keys, error.clone());
            requeue(
                Phase::CredentialsRejected(error, input.identity.describe()),
                60_000,
            )
        }
        StopReason::OutOfBudget
            if spec.budget.as_ref().map(|b| b.on_exceeded) == Some(OnExceeded::Suspend) =>
        {
            let already_suspended = writer.job.status.suspended_by == Some(SuspendCause::BudgetUsed);
            let stored = writer
                .persist(context, Some(&mut progress), &Phase::OutOfBudget)
                .await;
            if stored != WriteResult::Stored {
                return Action::Requeue(REREAD_AFTER);
            }
            if !already_suspended {
                publish_job_event(context, &writer.job, budget_used()).await;
            }
            return Action::AwaitChange;
        }
        StopReason::OutOfBudget => ended(budget_exceeded()),
        StopReason::Source(error) => {
            return on_source_error(context, writer, Some(&mut progress), &spec, &error).await;
        }
        // Stored now, because the next reconcile resumes the job from its status and reports what it waits for.
        StopReason::Reevaluate => resume(20),
        StopReason::NotStarted(KubeError::Unavailable | KubeError::Conflict) => resume(5_000),
        StopReason::NotStarted(error) => requeue(Phase::NotStarted(error.to_string()), 60_000),
        StopReason::Blocked(phase) => requeue(phase, 60_000),
        StopReason::Superseded => return Action::Requeue(REREAD_AFTER),
        StopReason::ShuttingDown => (Phase::Scoring(0), Action::AwaitChange),
        StopReason::Gone => return Action::AwaitChange,
    };
    writer.stop(context, Some(&mut progress), phase, next).await
}
