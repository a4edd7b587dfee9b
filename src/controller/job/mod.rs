//! Reconciles one job: checks its preconditions, then runs it until it ends or has to wait.
//!
//! Flow: read the job; hand a finished job to `retention`; validate the spec; stop a job that was restored from a
//! backup; restore the progress of a crashed run; check cancel, deadline, suspend, budget, tenancy rules and grant, in
//! this order; take a run slot of the namespace; count the source; obtain credentials; run (see `run`); store the end
//! (see `finish`).
//!
//! Guarantees: a billed call is made only after its reservation is stored. A billed result is kept in memory until it
//! is stored. The counters of a finished job never change.
//!
//! The returned [`Action`]: `Requeue` is the time until the next reconcile unless a trigger comes first; the time is a
//! retry, the recheck of a precondition, or the deadline of the job. `AwaitChange` means that only an edit of the job,
//! a change of its grant or a new process continues it.

mod enforcement;
mod events;
mod finish;
mod grant_wait;
mod job_credentials;
mod mark;
mod persist;
mod preconditions;
mod refresh;
mod report_reader;
mod reservation;
mod retention;
mod run;
mod source_error;
mod source_page;
mod source_reader;
mod store_status;

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::job_credentials::ValidJob;
use self::persist::JobWriter;
use self::preconditions::check_preconditions;
use self::run::{JobRun, RunInput};
use self::source_reader::count_items;
use self::store_status::{WriteResult, write_status};
use super::context::Context;
use super::decoded_jobs::JobRoom;
use super::runs::{MAX_RUNS_PER_NAMESPACE, NoSlot};
use crate::api::{Budget, JobReason, JobSpec, OnExceeded, SuspendCause};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::Identity;
use crate::core::job::{
    End, JobObject, KnownFacts, Phase, Progress, SourceSpec, decoded_bytes, list_bytes, parse_spec,
    planned_size, unreadable_status,
};
use crate::core::{requeue, time};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Requeue interval of a job whose credentials cannot be used.
const RECHECK_CREDENTIALS: Duration = Duration::from_secs(30);
/// Requeue interval of a waiting job; a change of its grant triggers it at once.
const RECHECK_GRANT: Duration = Duration::from_secs(60);
/// Delay before a failed read from the API server is retried.
const RETRY_KUBE_API: Duration = Duration::from_secs(5);

/// Reconciles a job, and runs it if its preconditions hold. Returns when the job is due again; see the module docs.
pub async fn reconcile(context: &Context, key: &ObjectKey) -> Action {
    let mut room = context.decoded_jobs.reserve(&key.namespace).await;
    let mut job = match context.read_job(key).await {
        Ok(Some(job)) if !job.deleting => job,
        Ok(_) => {
            context.stop_waiting(key);
            return Action::AwaitChange;
        }
        Err(error) => {
            tracing::warn!(job = %key, %error, "failed to read job; retrying");
            let (low, high) = (Duration::from_secs(1), Duration::from_secs(10));
            return Action::Requeue(requeue::uniform(low, high, &key.to_string()));
        }
    };
    room.reduce(decoded_bytes(&job));
    if !job.status.unreadable.is_empty() {
        return report_unreadable(context, job).await;
    }
    let marked = mark::restore_mark(context, &mut job).await;
    if job.is_finished() {
        let next = retention::reconcile(context, job).await;
        return if marked { next } else { next.within(RECHECK_GRANT) };
    }
    let mut writer = JobWriter::new(job);
    let (spec, source_spec) = match validated_spec(&writer.job) {
        Ok(checked) => checked,
        Err(message) => {
            return after_phase(writer.persist(context, None, &Phase::Invalid(message)).await);
        }
    };
    let now = context.ports.now();
    let until = active_deadline(&writer.job, &spec, now);
    let next = match Box::pin(check_preconditions(context, writer, &spec, &source_spec, now)).await {
        Ok((writer, grant)) => Box::pin(start_run(context, (writer, room), spec, source_spec, grant)).await,
        Err(next) => {
            context.stop_waiting(key);
            next
        }
    };
    // The deadline may come before the next reconcile. After the deadline, the requeue delay stays: it retries a
    // failed store.
    match (next, until.filter(|time| *time > now)) {
        (next, None) => next,
        (Action::Requeue(wait), Some(until)) => Action::Requeue(wait.min(time::left_until(until, now))),
        (Action::AwaitChange, Some(until)) => Action::Requeue(time::left_until(until, now)),
    }
}

/// Reports a status with members that cannot be decoded, and does nothing else: what was billed is not known. A finished
/// job keeps its conditions. A repair of the status triggers no reconcile, so the job is checked again.
async fn report_unreadable(context: &Context, mut job: JobObject) -> Action {
    if !job.is_finished() {
        let status = unreadable_status(&job, context.ports.now());
        if write_status(context, &mut job, &status).await == WriteResult::Gone {
            return Action::AwaitChange;
        }
    }
    Action::Requeue(RECHECK_GRANT)
}

/// Waits for a change of the object once its phase is stored, and tries again when it could not be stored.
fn after_phase(stored: WriteResult) -> Action {
    if stored == WriteResult::Stored {
        Action::AwaitChange
    } else {
        Action::Requeue(stored.retry_after())
    }
}

/// Returns the spec and its parsed source.
///
/// # Errors
/// Returns the message for the status when the spec is invalid.
fn validated_spec(job: &JobObject) -> Result<(JobSpec, SourceSpec), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let source_spec = parse_spec(spec).map_err(|e| e.to_string())?;
    Ok((spec.clone(), source_spec))
}

/// Returns the time until `due`, at least 1 ms and at most the interval of stores.
fn clamped_wait(now: Timestamp, due: Option<Timestamp>) -> Duration {
    due.map_or(run::PERSIST_EVERY, |due| time::left_until(due, now))
        .clamp(Duration::from_millis(1), run::PERSIST_EVERY)
}

/// Returns the deadline of a job; `None` without `activeDeadlineSeconds`, and while the job is finished, suspended or
/// out of budget. The time of a job that is new or resumes starts now.
fn active_deadline(job: &JobObject, spec: &JobSpec, now: Timestamp) -> Option<Timestamp> {
    let rests = spec.suspend || job.is_finished() || budget_is_exhausted(job, spec);
    let seconds = spec.active_deadline_seconds.filter(|_| !rests)?;
    let paused = job.status.suspended_by.is_some();
    let since = job.status.active_since.as_ref().filter(|_| !paused);
    let since = since.map_or(now, |time| time.0);
    Some(time::after(since, SignedDuration::from_secs(seconds)))
}

/// Whether OSS has confirmed that the images are in the region of the project: by the facts of the grant's bucket, or by
/// listing the prefix at the endpoint of that region.
fn is_region_known(spec: &JobSpec, grant: Option<&GrantObject>) -> bool {
    let observed = grant.and_then(|g| g.status.bucket.as_ref()?.region.as_ref());
    spec.source.prefix.is_some() || observed == Some(&spec.project.region)
}

/// Restores the progress of a job from its status and from reports, which may be newer. `None` when the size of the
/// source is not known yet.
///
/// # Errors
/// Returns the action for a retry when the reports cannot be read. If a retry cannot help, the job is stalled first.
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
            tracing::warn!(job = %writer.job.key, %error, "failed to read reports; retrying");
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

/// Returns the number of results that the status counts but no report contains.
fn missing_results(writer: &JobWriter, progress: &Progress) -> usize {
    let counted = writer.job.status.reports.as_ref().map_or(0, |r| r.items);
    let found = progress.results().reports().map(|reports| reports.count().1);
    found.map_or(0, |found| {
        usize::try_from(counted).unwrap_or(0).saturating_sub(found)
    })
}

/// Ends a job that is not running. After a crash the counters in status may lag behind the reports, so the progress is
/// restored first.
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

/// Whether the job is suspended because its budget is used up, and the budget has not been raised.
fn budget_is_exhausted(job: &JobObject, spec: &JobSpec) -> bool {
    let sent = job.status.requests.as_ref().map_or(0, |requests| requests.sent);
    let used = |budget: &Budget| budget.on_exceeded == OnExceeded::Suspend && sent >= budget.max_requests;
    job.status.suspended_by == Some(SuspendCause::BudgetUsed) && spec.budget.as_ref().is_some_and(used)
}

fn valid_job<'a>(
    context: &'a Context,
    writer: &'a JobWriter,
    spec: &'a JobSpec,
    source_spec: &'a SourceSpec,
) -> ValidJob<'a> {
    ValidJob {
        context,
        job: &writer.job,
        spec,
        source_spec,
    }
}

/// Takes a run slot, counts the source if necessary, obtains the credentials, and runs the job.
async fn start_run(
    context: &Context,
    (mut writer, room): (JobWriter, JobRoom),
    spec: JobSpec,
    source_spec: SourceSpec,
    grant: Option<GrantObject>,
) -> Action {
    let denied_objects = grant.as_ref().map(|g| g.status.denied_objects.clone());
    let known = KnownFacts {
        region: is_region_known(&spec, grant.as_ref()),
        project: false,
    };
    let grant = grant.and_then(|grant| grant.spec.ok());
    let _slot = match context.try_slot(&writer.job.key, list_bytes(&spec)) {
        Ok(slot) => slot,
        Err(refused) => {
            let limit = (refused == NoSlot::Jobs).then_some(MAX_RUNS_PER_NAMESPACE);
            writer.write_phase(context, None, &Phase::Queued(limit)).await;
            // A free slot triggers the job earlier.
            return Action::Requeue(RECHECK_GRANT);
        }
    };
    // The slot has the room of the list.
    drop(room);
    let (mut source_keys, mut source_owner) = (None, None);
    if spec.source.uris.is_empty() {
        let job = valid_job(context, &writer, &spec, &source_spec);
        let keys = match job.source_credentials().await {
            Ok(keys) => keys,
            Err(phase) => {
                writer.write_phase(context, None, &phase).await;
                return Action::Requeue(RECHECK_CREDENTIALS);
            }
        };
        source_owner = match job.verified_source_owner(&keys).await {
            Ok(owner) => owner,
            Err(phase) => {
                writer.write_phase(context, None, &phase).await;
                return Action::Requeue(RECHECK_CREDENTIALS);
            }
        };
        writer = match Box::pin(count_items(
            context,
            writer,
            (&spec, &source_spec),
            keys.clone(),
            grant.as_ref(),
        ))
        .await
        {
            Ok(writer) => writer,
            Err(next) => return next,
        };
        source_keys = Some(keys);
    }
    let Some(identity) = Identity::of(&writer.job.key.namespace, &spec.credentials) else {
        let message = "Field spec.credentials is incomplete: set the block that matches credentials.source (secretRef or serviceAccount)";
        let phase = Phase::Invalid(message.to_owned());
        return after_phase(writer.persist(context, None, &phase).await);
    };
    let job = valid_job(context, &writer, &spec, &source_spec);
    let (keys, owner) = match job.scoring_credentials(&identity).await {
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
        source_spec,
        source_owner,
        grant,
        denied_objects: denied_objects.unwrap_or_default(),
        known,
    };
    let run = JobRun::new(context, &input, (keys, source_keys), writer, progress);
    let (run, end) = Box::pin(run.execute()).await;
    Box::pin(finish::finish_run(context, run.into_result(), end, &input)).await
}
