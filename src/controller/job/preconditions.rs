//! Checks whether a job may run: restored, cancelled, past its deadline, suspended, out of budget, denied by the tenancy
//! rules, or waiting for its grant, in this order.

use std::ops::ControlFlow::{self, Break, Continue};

use k8s_openapi::jiff::Timestamp;

use super::end_job::{block, rest};
use super::enforcement::trial_of_another_job;
use super::load_progress::{end_stored_job, load_progress};
use super::persist::JobWriter;
use super::read_grant::read_grant;
use super::store_status::write_status;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::grant::GrantObject;
use crate::core::job::delays::{RECHECK, RETRY_KUBE_API};
use crate::core::job::events::waiting_for_grant;
use crate::core::job::{
    End, GateDecision, Obstacle, Phase, Progress, SourceSpec, denying_bucket, evaluate_gate, final_obstacle,
    missing_results, recovered_status, resting_phase, wait_for_grant,
};
use crate::runtime::queue::Action;

/// Checks whether a job may run. Continues with its grant, if it references one, and with its progress, if an earlier
/// process has left some; breaks with the action for a job that has ended or has to wait, whose status is written.
pub(super) async fn check_preconditions(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    now: Timestamp,
) -> ControlFlow<Action, (Option<GrantObject>, Option<Progress>)> {
    match final_obstacle(&writer.job, spec, now) {
        None => {}
        Some(Obstacle::Ends(end)) => return Break(end_stored_job(context, writer, spec, end, now).await),
        Some(Obstacle::Restored) => {
            return Break(block(context, writer, Phase::RestoredFromBackup).await);
        }
    }
    let progress = recover(context, writer, spec, now).await?;
    if let Some(phase) = resting_phase(&writer.job, spec) {
        return Break(rest(context, writer, None, &phase).await);
    }
    let key = writer.job.key.clone();
    let Ok(tenant) = context.tenant(&key.namespace).await else {
        return Break(Action::Requeue(RETRY_KUBE_API));
    };
    let rules = context.ports.tenancy_rules();
    if let Err(message) = rules.allow_job(&tenant, spec, &source_spec.buckets()) {
        return Break(block(context, writer, Phase::Denied(message)).await);
    }
    if context.awaits_recheck(&key) {
        return Break(Action::Requeue(RECHECK));
    }
    let grant = match read_grant(context, writer.job.grant_key(spec), &key.namespace).await {
        Ok(grant) => grant,
        Err(error) => {
            tracing::warn!(job = %key, %error, "failed to read grant; retrying");
            return Break(Action::Requeue(RETRY_KUBE_API));
        }
    };
    let decision = evaluate_gate(&writer.job, spec, source_spec, grant.as_ref(), now);
    if let Some(bucket) = denying_bucket(&decision, grant.as_ref()).filter(|b| !context.is_rechecked(b)) {
        context.request_recheck(&key, bucket);
        return Break(Action::Requeue(RECHECK));
    }
    let trial = grant.as_ref().and_then(|grant| {
        let until = trial_of_another_job(context, grant, &writer.job)?;
        Some((&grant.key, until))
    });
    let (message, until) = match decision.during_trial(trial) {
        GateDecision::Open => return Continue((grant, progress)),
        GateDecision::Denied(message) => (message, None),
        GateDecision::Wait(message, until) => (message, until),
        GateDecision::Never(reason, message) => {
            let end = End::Failed(reason, message);
            return Break(end_stored_job(context, writer, spec, end, now).await);
        }
    };
    Break(Box::pin(wait(context, writer, spec, message, until)).await)
}

/// Reports the requests and results of a run that ended in a crash, and returns its progress. `None` if there was no
/// such run.
async fn recover(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    now: Timestamp,
) -> ControlFlow<Action, Option<Progress>> {
    if !writer.job.has_started() {
        return Continue(None);
    }
    let Some(progress) = load_progress(context, writer, spec, now).await? else {
        return Continue(None);
    };
    if missing_results(&writer.job.status, &progress) == 0 {
        let status = recovered_status(&writer.job, &progress);
        write_status(context, &mut writer.job, &status).await.or_retry()?;
    }
    Continue(Some(progress))
}

/// Waits for the grant, or fails the job after `grantWait.timeoutSeconds`.
async fn wait(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    message: String,
    until: Option<Timestamp>,
) -> Action {
    let now = context.ports.now();
    let wait = match wait_for_grant(&writer.job, spec, &message, until, now) {
        Ok(wait) => wait,
        Err(end) => return end_stored_job(context, writer, spec, end, now).await,
    };
    if wait.begins {
        publish_job_event(context, &writer.job, waiting_for_grant(&message)).await;
    }
    writer.persist(context, None, &Phase::Waiting(message)).await;
    Action::Requeue(wait.next)
}
