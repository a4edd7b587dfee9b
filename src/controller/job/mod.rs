//! One pass over one job: may it call, with which keys, and then the run itself. A job that has ended is left alone but for
//! its results, which may be pruned.

mod events;
mod finish;
mod persist;
mod refresh;
mod reservation;
mod retention;
mod run;
mod source_reader;

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::persist::{JobWriter, REREAD_AFTER, WriteResult, publish_event, write_status};
use self::run::{JobRun, RunInput, cancelled};
use self::source_reader::{count_items, source_credentials};
use super::context::{Context, MAX_RUNS_PER_NAMESPACE};
use crate::api::{
    Budget, ConditionStatus, EventReason, GrantRef, GrantSpec, JobReason, JobSpec, OnExceeded, SuspendCause,
    kinds,
};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::{Identity, SessionScope};
use crate::core::job::{
    End, GateDecision, JobObject, Phase, Progress, SourceSpec, evaluate_gate, parse_spec, planned_size,
    unreadable_status,
};
use crate::core::requeue;
use crate::ports::{AccessKeys, KubeError};
use crate::runtime::queue::Action;
use crate::runtime::rate_limit::ProjectOwner;

/// How long until a Secret that cannot be used is read again.
const RECHECK_CREDENTIALS: Duration = Duration::from_secs(30);
/// How long a waiting job goes without looking at its grant by itself; a change of the grant wakes it at once.
const RECHECK_GRANT: Duration = Duration::from_secs(60);
/// How long until the API server is asked again.
const RETRY_KUBE_API: Duration = Duration::from_secs(5);

/// Makes one pass over a job, running it to its end when it may run.
pub async fn reconcile(context: &Context, key: &ObjectKey) -> Action {
    let job = match context.ports.get_job(key).await {
        Ok(Some(job)) if !job.deleting => job,
        Ok(_) => return Action::AwaitChange,
        Err(error) => {
            tracing::warn!(job = %key, %error, "the job cannot be read");
            let (low, high) = (Duration::from_secs(1), Duration::from_secs(10));
            return Action::Requeue(requeue::uniform(low, high, &key.to_string()));
        }
    };
    if !job.status.unreadable.is_empty() {
        return report_unreadable(context, job).await;
    }
    if job.is_finished() {
        return retention::reconcile(context, job).await;
    }
    let mut writer = JobWriter::new(job);
    let (spec, source_spec) = match validated_spec(&writer.job) {
        Ok(checked) => checked,
        Err(message) => {
            writer.write_phase(context, None, &Phase::Invalid(message)).await;
            return Action::AwaitChange;
        }
    };
    let now = context.ports.now();
    let until = active_deadline(&writer.job, &spec, now);
    let next = match Box::pin(check_preconditions(context, writer, &spec, &source_spec, now)).await {
        Ok((writer, grant)) => Box::pin(start_run(context, writer, spec, &source_spec, grant)).await,
        Err(next) => next,
    };
    // Whatever it waits for, its time may be over before. Once it is over, what could not be stored is tried again by and by.
    match (next, until.filter(|time| *time > now)) {
        (next, None) => next,
        (Action::Requeue(wait), Some(until)) => Action::Requeue(wait.min(duration_until(now, until))),
        (Action::AwaitChange, Some(until)) => Action::Requeue(duration_until(now, until)),
    }
}

/// Reports a status with members that cannot be decoded, and does nothing else: what was billed is not known.
async fn report_unreadable(context: &Context, mut job: JobObject) -> Action {
    let status = unreadable_status(&job, context.ports.now());
    match write_status(context, &mut job, &status).await {
        WriteResult::Stored | WriteResult::Gone => Action::AwaitChange,
        WriteResult::Retry | WriteResult::Superseded => Action::Requeue(RECHECK_GRANT),
    }
}

fn validated_spec(job: &JobObject) -> Result<(JobSpec, SourceSpec), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let source_spec = parse_spec(spec).map_err(|e| e.to_string())?;
    Ok((spec.clone(), source_spec))
}

fn duration_until(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// When a job's time is over; `None` without a deadline, and while it is suspended. The time of a job that is new, or that
/// goes on after a pause, begins now.
fn active_deadline(job: &JobObject, spec: &JobSpec, now: Timestamp) -> Option<Timestamp> {
    let rests = spec.suspend || job.is_finished() || budget_is_exhausted(job, spec);
    let seconds = spec.active_deadline_seconds.filter(|_| !rests)?;
    let paused = job.status.suspended_by.is_some();
    let since = job.status.active_since.as_ref().filter(|_| !paused);
    Some(since.map_or(now, |time| time.0) + SignedDuration::from_secs(seconds))
}

/// Whether anything may be done for a job: its own switches, the tenancy rules, its grant.
async fn check_preconditions(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    now: Timestamp,
) -> Result<(JobWriter, Option<GrantSpec>), Action> {
    if writer.job.is_restored() {
        writer
            .write_phase(context, None, &Phase::RestoredFromBackup)
            .await;
        return Err(Action::Requeue(RECHECK_GRANT));
    }
    if writer.job.has_started() {
        // Whatever comes next: what was spent and stored until then is told first.
        let progress = load_progress(context, &mut writer, spec, now).await?;
        if let Some(progress) = progress.filter(|progress| missing_results(&writer, progress) == 0)
            && writer.write_recovered_status(context, &progress).await != WriteResult::Stored
        {
            return Err(Action::Requeue(REREAD_AFTER));
        }
    }
    if spec.cancel {
        return Err(fail_or_complete(context, writer, spec, cancelled(), now).await);
    }
    if active_deadline(&writer.job, spec, now).is_some_and(|time| time <= now) {
        let seconds = spec.active_deadline_seconds.unwrap_or_default();
        let message = format!(
            "The job did not finish within activeDeadlineSeconds ({seconds} s), and the results so far are kept: create another job with more time"
        );
        let end = End::Failed(JobReason::DeadlineExceeded, message);
        return Err(fail_or_complete(context, writer, spec, end, now).await);
    }
    let paused = is_suspended(&writer.job);
    if spec.suspend {
        if writer.write_phase(context, None, &Phase::Suspended).await && !paused {
            let note = "Suspended by spec.suspend; no calls until it is false";
            publish_event(context, &writer.job, EventReason::Suspended, note, false).await;
        }
        return Err(Action::AwaitChange);
    }
    if budget_is_exhausted(&writer.job, spec) {
        writer.write_phase(context, None, &Phase::OutOfBudget).await;
        return Err(Action::AwaitChange);
    }
    if paused {
        let note = "Resumed: spec.suspend is false";
        publish_event(context, &writer.job, EventReason::Resumed, note, false).await;
    }
    let key = writer.job.key.clone();
    let Ok(tenant) = context.tenant(&key.namespace).await else {
        return Err(Action::Requeue(RETRY_KUBE_API));
    };
    if let Err(message) = context
        .ports
        .tenancy_rules()
        .allow_job(&tenant, spec, &source_spec.buckets())
    {
        writer.write_phase(context, None, &Phase::Denied(message)).await;
        return Err(Action::Requeue(RECHECK_GRANT));
    }
    if context.awaits_recheck(&key) {
        return Err(Action::Requeue(Duration::from_millis(500)));
    }
    let grant = read_grant(context, &writer.job, spec).await.map_err(|error| {
        tracing::warn!(job = %key, %error, "the grant cannot be read");
        Action::Requeue(RETRY_KUBE_API)
    })?;
    match evaluate_gate(&writer.job, spec, source_spec, grant.as_ref(), now) {
        GateDecision::Open => Ok((writer, grant.and_then(|g| g.spec.ok()))),
        GateDecision::Wait(message, until) => {
            Err(wait_for_grant(context, writer, spec, message, until).await)
        }
        GateDecision::Never(reason, message) => {
            Err(fail_or_complete(context, writer, spec, End::Failed(reason, message), now).await)
        }
    }
}

/// Takes a job up from what is stored: its status, and reports that may be newer.
async fn load_progress(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    now: Timestamp,
) -> Result<Option<Progress>, Action> {
    let Some(size) = planned_size(spec, writer.job.status.source.as_ref()) else {
        return Ok(None);
    };
    let mut progress = Progress::resume(spec, &writer.job.status, size, now, &writer.job.uid);
    match writer.restore_reports(context, &mut progress).await {
        Ok(()) => Ok(Some(progress)),
        Err(error) => {
            tracing::warn!(job = %writer.job.key, %error, "the reports cannot be read");
            if !matches!(error, KubeError::Forbidden | KubeError::Invalid) {
                return Err(Action::Requeue(RETRY_KUBE_API));
            }
            let message = format!(
                "The ImageScoreReports of this job cannot be read ({error}), and no billed call is made before they can: check the permissions of the operator and other writers of the reports"
            );
            let phase = Phase::Stalled(JobReason::ResultsUnreadable, message);
            writer.write_phase(context, None, &phase).await;
            Err(Action::Requeue(RECHECK_GRANT))
        }
    }
}

/// How many results the status counts that no report holds any more.
fn missing_results(writer: &JobWriter, progress: &Progress) -> usize {
    let counted = writer.job.status.reports.as_ref().map_or(0, |r| r.items);
    let found = progress.results().reports().map(|reports| reports.count().1);
    found.map_or(0, |found| {
        usize::try_from(counted).unwrap_or(0).saturating_sub(found)
    })
}

/// Ends a job that is not running. After a crash its last figures may be behind what was reserved and stored.
async fn fail_or_complete(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    end: End,
    now: Timestamp,
) -> Action {
    let mut progress = None;
    if writer.job.status.requests.is_some() {
        progress = match load_progress(context, &mut writer, spec, now).await {
            Ok(progress) => progress,
            Err(next) => return next,
        };
    }
    writer.finish_job(context, progress.as_mut(), end).await
}

/// Whether `spec.suspend` has suspended the job.
fn is_suspended(job: &JobObject) -> bool {
    job.status.suspended_by == Some(SuspendCause::Requested)
}

/// Whether the job is suspended because its budget is used, and the budget has not been raised since.
fn budget_is_exhausted(job: &JobObject, spec: &JobSpec) -> bool {
    let sent = job.status.requests.as_ref().map_or(0, |requests| requests.sent);
    let used = |budget: &Budget| budget.on_exceeded == OnExceeded::Suspend && sent >= budget.max_requests;
    job.status.suspended_by == Some(SuspendCause::BudgetUsed) && spec.budget.as_ref().is_some_and(used)
}

fn grant_key(job: &JobObject, reference: &GrantRef) -> ObjectKey {
    let namespace = reference.namespace.as_ref().unwrap_or(&job.key.namespace);
    ObjectKey {
        namespace: namespace.clone(),
        name: reference.name.clone(),
    }
}

async fn read_grant(
    context: &Context,
    job: &JobObject,
    spec: &JobSpec,
) -> Result<Option<GrantObject>, KubeError> {
    match &spec.grant_ref {
        Some(reference) => match context.ports.get_grant(&grant_key(job, reference)).await {
            // A grant outside the watched namespaces cannot be named from here, like one that does not exist.
            Err(KubeError::Forbidden) => Ok(None),
            found => found,
        },
        None => Ok(None),
    }
}

/// Waits for the grant, but not for ever.
async fn wait_for_grant(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    message: String,
    until: Option<Timestamp>,
) -> Action {
    let now = context.ports.now();
    let conditions = writer.job.status.conditions.iter();
    let last = conditions
        .filter(|c| c.kind == kinds::GRANT_READY && c.status == ConditionStatus::False)
        .map(|c| c.last_transition_time.0)
        .next();
    let deadline =
        last.unwrap_or(now) + SignedDuration::from_secs(i64::from(spec.grant_wait.timeout_seconds));
    if now >= deadline && until.is_none() {
        let message = format!(
            "The grant was not ready for {} s: {message}",
            spec.grant_wait.timeout_seconds
        );
        let end = End::Failed(JobReason::GrantTimeout, message);
        return fail_or_complete(context, writer, spec, end, now).await;
    }
    if last.is_none() {
        let note = message.as_str();
        publish_event(context, &writer.job, EventReason::WaitingForGrant, note, false).await;
    }
    writer.write_phase(context, None, &Phase::Waiting(message)).await;
    let wait = duration_until(now, until.unwrap_or(deadline));
    Action::Requeue(wait.clamp(Duration::from_millis(50), RECHECK_GRANT))
}

/// Obtains the keys, counts the source if need be, and runs.
async fn start_run(
    context: &Context,
    mut writer: JobWriter,
    spec: JobSpec,
    source_spec: &SourceSpec,
    grant: Option<GrantSpec>,
) -> Action {
    let Some(_place) = context.try_slot(&writer.job.key) else {
        writer
            .write_phase(context, None, &Phase::Queued(MAX_RUNS_PER_NAMESPACE))
            .await;
        // It is woken when a place is free.
        return Action::Requeue(RECHECK_GRANT);
    };
    let mut source_keys = None;
    if spec.source.uris.is_empty() {
        let keys = match source_credentials(context, &writer, &spec, source_spec).await {
            Ok(keys) => keys,
            Err(phase) => {
                writer.write_phase(context, None, &phase).await;
                return Action::Requeue(RECHECK_CREDENTIALS);
            }
        };
        writer = match Box::pin(count_items(context, writer, &spec, &keys, grant.as_ref())).await {
            Ok(writer) => writer,
            Err(next) => return next,
        };
        source_keys = Some(keys);
    }
    let Some(identity) = Identity::of(&writer.job.key.namespace, &spec.credentials) else {
        let message =
            "spec.credentials is incomplete: set the block that credentials.source names".to_owned();
        writer.write_phase(context, None, &Phase::Invalid(message)).await;
        return Action::AwaitChange;
    };
    let (keys, owner) = match scoring_credentials(context, &identity, &spec).await {
        Ok(found) => found,
        Err(phase) => {
            writer.write_phase(context, None, &phase).await;
            return Action::Requeue(RECHECK_CREDENTIALS);
        }
    };
    let progress = match load_progress(context, &mut writer, &spec, context.ports.now()).await {
        Ok(Some(progress)) => progress,
        Ok(None) => return Action::Requeue(RETRY_KUBE_API),
        Err(next) => return next,
    };
    let missing = missing_results(&writer, &progress);
    if missing > 0 {
        writer
            .write_phase(context, None, &Phase::ResultsMissing(missing))
            .await;
        return Action::Requeue(RECHECK_GRANT);
    }
    let input = RunInput {
        limiter: context.limiters.of(owner, &spec.project),
        spec,
        identity,
        source_spec: source_spec.clone(),
        grant,
    };
    let run = JobRun::new(context, &input, (keys, source_keys), writer, progress);
    let (run, end) = Box::pin(run.execute()).await;
    Box::pin(finish::finish_run(context, run.into_result(), end, &input)).await
}

/// Keys that IMM has not refused, and whose pace they are used at. Keys of another account than the job names would read
/// another project, so nothing is called with them.
async fn scoring_credentials(
    context: &Context,
    identity: &Identity,
    spec: &JobSpec,
) -> Result<(AccessKeys, ProjectOwner), Phase> {
    let scope = SessionScope::project(&spec.project);
    let failed = |problem: CredentialsError| {
        let message = problem.message(identity);
        Phase::CredentialsFailed(problem, message)
    };
    let keys = context
        .credentials
        .fetch_cached(context.ports.as_ref(), identity, &scope)
        .await
        .map_err(failed)?;
    if let Some(error) = context.credentials.rejected_before(identity, &keys) {
        return Err(Phase::CredentialsRejected(error, identity.describe()));
    }
    match context.account_of(identity, &keys).await {
        Ok(account) if account == spec.project.account_uid => Ok((keys, ProjectOwner::Account(account))),
        Ok(account) => {
            context.credentials.forget(identity);
            let wanted = spec.project.account_uid.clone();
            Err(failed(CredentialsError::OtherAccount {
                account,
                expected: wanted,
            }))
        }
        Err(error)
            if matches!(
                error.kind,
                CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
            ) =>
        {
            context.credentials.mark_rejected(identity, &keys, error.clone());
            Err(Phase::CredentialsRejected(error, identity.describe()))
        }
        Err(_) => Ok((keys, ProjectOwner::Identity(identity.clone()))),
    }
}
