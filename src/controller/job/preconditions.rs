//! Checks whether a job may run: restored, cancelled, past its deadline, suspended, out of budget, denied by the tenancy
//! rules, or waiting for its grant, in this order.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::enforcement::trial_of_another_job;
use super::grant_wait::{read_grant, wait_for_grant};
use super::load_progress::{RECHECK_GRANT, RETRY_KUBE_API, after_phase, fail_or_complete, load_progress};
use super::persist::JobWriter;
use super::store_status::{WriteResult, is_suspended, write_status};
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::grant::GrantObject;
use crate::core::job::events::suspended;
use crate::core::job::{
    End, GateDecision, Phase, SourceSpec, active_deadline, budget_is_exhausted, cancelled, deadline_exceeded,
    evaluate_gate, missing_results, other_job_message, recovered_status,
};
use crate::runtime::queue::Action;

/// Checks whether a job may run. Continues with its grant, if it references one; breaks with the action for a job that has
/// ended or has to wait, whose status is written.
pub(super) async fn check_preconditions(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    now: Timestamp,
) -> ControlFlow<Action, (JobWriter, Option<GrantObject>)> {
    if writer.job.is_restored() {
        let next = Action::Requeue(RECHECK_GRANT);
        return Break(writer.stop(context, None, Phase::RestoredFromBackup, next).await);
    }
    if spec.cancel {
        return Break(fail_or_complete(context, writer, spec, cancelled(), now).await);
    }
    if active_deadline(&writer.job, spec, now).is_some_and(|time| time <= now) {
        let end = deadline_exceeded(spec);
        return Break(fail_or_complete(context, writer, spec, end, now).await);
    }
    if writer.job.has_started() {
        // Report the requests and results of a run that ended in a crash.
        let progress = load_progress(context, &mut writer, spec, now).await?;
        if let Some(progress) = progress.filter(|progress| missing_results(&writer.job.status, progress) == 0)
        {
            let status = recovered_status(&writer.job, &progress);
            let stored = write_status(context, &mut writer.job, &status).await;
            if stored != WriteResult::Stored {
                return Break(Action::Requeue(stored.retry_after()));
            }
        }
    }
    let paused = is_suspended(&writer.job.status);
    if spec.suspend {
        let stored = writer.persist(context, None, &Phase::Suspended).await;
        if stored == WriteResult::Stored && !paused {
            publish_job_event(context, &writer.job, suspended()).await;
        }
        return Break(after_phase(stored));
    }
    if budget_is_exhausted(&writer.job, spec) {
        return Break(after_phase(
            writer.persist(context, None, &Phase::OutOfBudget).await,
        ));
    }
    let key = writer.job.key.clone();
    let Ok(tenant) = context.tenant(&key.namespace).await else {
        return Break(Action::Requeue(RETRY_KUBE_API));
    };
    if let Err(message) = context
        .ports
        .tenancy_rules()
        .allow_job(&tenant, spec, &source_spec.buckets())
    {
        let next = Action::Requeue(RECHECK_GRANT);
        return Break(writer.stop(context, None, Phase::Denied(message), next).await);
    }
    if context.awaits_recheck(&key) {
        return Break(Action::Requeue(Duration::from_millis(500)));
    }
    let grant = match read_grant(context, &writer.job, spec).await {
        Ok(grant) => grant,
        Err(error) => {
            tracing::warn!(job = %key, %error, "failed to read grant; retrying");
            return Break(Action::Requeue(RETRY_KUBE_API));
        }
    };
    let decision = evaluate_gate(&writer.job, spec, source_spec, grant.as_ref(), now);
    if let Some(bucket) = denying_bucket(&decision, grant.as_ref()).filter(|b| !context.is_rechecked(b)) {
        context.request_recheck(&key, bucket);
        return Break(Action::Requeue(Duration::from_millis(500)));
    }
    let (message, until) = match decision {
        GateDecision::Open => {
            let other = grant.as_ref().and_then(|grant| {
                let until = trial_of_another_job(context, grant, &writer.job)?;
                Some((other_job_message(&grant.key), until))
            });
            match other {
                None => return Continue((writer, grant)),
                Some((message, until)) => (message, Some(until)),
            }
        }
        GateDecision::Denied(message) => (message, None),
        GateDecision::Wait(message, until) => (message, until),
        GateDecision::Never(reason, message) => {
            let end = End::Failed(reason, message);
            return Break(fail_or_complete(context, writer, spec, end, now).await);
        }
    };
    Break(Box::pin(wait_for_grant(context, writer, spec, message, until)).await)
}

/// Returns the bucket whose policy has a Deny that decides about the job: it makes no call, or none for some items.
fn denying_bucket<'a>(decision: &GateDecision, grant: Option<&'a GrantObject>) -> Option<&'a str> {
    let grant = grant?;
    let denied = match decision {
        GateDecision::Denied(_) => true,
        GateDecision::Open => !grant.status.denied_objects.is_empty(),
        GateDecision::Wait(..) | GateDecision::Never(..) => false,
    };
    let bucket = grant.bucket.as_ref().filter(|_| denied)?;
    Some(bucket.name.as_str())
}
