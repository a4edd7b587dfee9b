//! Stores the end of a run, and decides when the job is reconciled again.

use super::end_job::{rest, stop};
use super::enforcement::await_enforcement;
use super::job_run::JobRun;
use super::source_error::on_source_error;
use crate::core::job::{AfterRun, Phase, StopReason, after_run};
use crate::runtime::queue::Action;

/// Stores the end of a run and publishes its event. Returns when the job is due again.
pub(super) async fn finish(run: JobRun<'_>, reason: StopReason) -> Action {
    let (context, input, rejected_keys) = (run.context, run.input, run.rejected_keys.clone());
    let (mut writer, spec, mut progress) = run.into_state();
    let known = input.limiter.service_role().is_some();
    let (phase, next) = match after_run(reason, &spec, &progress, &input.identity, known) {
        AfterRun::Store(phase, next) => (phase, next),
        AfterRun::ReadProjectAgain(phase, next) => {
            input.limiter.invalidate();
            (phase, next)
        }
        AfterRun::RejectCredentials(error, phase, next) => {
            if let Some(keys) = rejected_keys {
                context.credentials.mark_rejected(&input.identity, &keys, error);
            }
            (phase, next)
        }
        AfterRun::AwaitEnforcement(error, end) => {
            let waits = await_enforcement(context, &mut writer, &spec, &mut progress, &error).await;
            if let Some(next) = waits {
                return next;
            }
            (Phase::Ended(end), Action::AwaitChange)
        }
        AfterRun::RecheckGrant(phase, next) => {
            writer.persist(context, Some(&mut progress), &phase).await;
            let bucket = input.grant.as_ref().map_or("", |g| g.bucket.name.as_str());
            context.request_recheck(&writer.job.key, bucket);
            return next;
        }
        AfterRun::Rest(phase) => return rest(context, &mut writer, Some(&mut progress), &phase).await,
        AfterRun::ReportSource(error) => {
            return on_source_error(context, &mut writer, Some(&mut progress), &spec, &error).await;
        }
        AfterRun::Leave(next) => return next,
    };
    stop(context, &mut writer, Some(&mut progress), phase, next).await
}
