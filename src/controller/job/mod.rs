//! Reconciles one job: checks its preconditions, then runs it until it ends or has to wait.
//!
//! Flow: read the job; hand a finished job to `retention`; validate the spec; stop a job that was restored from a
//! backup; check cancel and deadline; restore the progress of a crashed run; check suspend, budget, tenancy rules and
//! grant, in this order; take a run slot of the namespace; obtain credentials; count the source; run (see `run`);
//! store the end (see `finish`).
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
mod job_run;
mod load_progress;
mod mark;
mod persist;
mod preconditions;
mod refresh;
mod report_reader;
mod reservation;
mod retention;
mod run;
mod run_input;
mod source_error;
mod source_page;
mod source_reader;
mod store_status;

use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use self::job_credentials::valid_job;
use self::job_run::JobRun;
use self::load_progress::{RECHECK_GRANT, RETRY_KUBE_API, after_phase, load_progress};
use self::persist::JobWriter;
use self::preconditions::check_preconditions;
use self::run::execute;
use self::run_input::RunInput;
use self::source_reader::count_items;
use self::store_status::{WriteResult, write_status};
use super::context::Context;
use super::decoded_jobs::JobRoom;
use super::runs::{MAX_RUNS_PER_NAMESPACE, NoSlot};
use crate::api::JobSpec;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::{INCOMPLETE_CREDENTIALS, Identity};
use crate::core::job::{
    JobObject, KnownFacts, Phase, SourceSpec, active_deadline, decoded_bytes, is_region_known, list_bytes,
    missing_results, validated_source, unreadable_status,
};
use crate::core::{requeue, time};
use crate::runtime::queue::Action;

/// Requeue interval of a job whose credentials cannot be used.
const RECHECK_CREDENTIALS: Action = Action::Requeue(Duration::from_secs(30));

/// Reconciles a job, and runs it if its preconditions hold. Returns when the job is due again; see the module docs.
pub async fn reconcile(context: &Context, key: &ObjectKey) -> Action {
    let mut room = context.decoded_jobs.reserve(&key.namespace).await;
    let mut job = match context.ports.get_job(key).await {
        Ok(Some(job)) if !job.deleting => job,
        Ok(_) => {
            context.forget_job(key);
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
        context.runs.stop_waiting(key);
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
            context.runs.stop_waiting(key);
            return after_phase(writer.persist(context, None, &Phase::Invalid(message)).await);
        }
    };
    let now = context.ports.now();
    let until = active_deadline(&writer.job, &spec, now);
    let next = match Box::pin(check_preconditions(context, writer, &spec, &source_spec, now)).await {
        Continue((writer, grant)) => {
            Box::pin(start_run(context, (writer, room), spec, source_spec, grant)).await
        }
        Break(next) => {
            context.runs.stop_waiting(key);
            next
        }
    };
    // The deadline may come before the next reconcile. After the deadline, the requeue delay stays: it retries a
    // failed store.
    let left = until
        .filter(|time| *time > now)
        .map(|time| time::left_until(time, now));
    left.map_or(next, |left| next.within(left))
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

/// Returns the spec and its parsed source.
///
/// # Errors
/// Returns the message for the status when the spec is invalid.
fn validated_spec(job: &JobObject) -> Result<(JobSpec, SourceSpec), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let source_spec = validated_source(spec).map_err(|e| e.to_string())?;
    Ok((spec.clone(), source_spec))
}

/// Takes a run slot, obtains the credentials, counts the source if necessary, and runs the job.
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
    let _slot = match context.runs.try_slot(&writer.job.key, list_bytes(&spec)) {
        Ok(slot) => slot,
        Err(refused) => {
            let limit = (refused == NoSlot::Jobs).then_some(MAX_RUNS_PER_NAMESPACE);
            // A free slot triggers the job earlier.
            let next = Action::Requeue(RECHECK_GRANT);
            return writer.stop(context, None, Phase::Queued(limit), next).await;
        }
    };
    // The slot has the room of the list.
    drop(room);
    let Some(identity) = Identity::of(&writer.job.key.namespace, &spec.credentials) else {
        let phase = Phase::Invalid(INCOMPLETE_CREDENTIALS.to_owned());
        return after_phase(writer.persist(context, None, &phase).await);
    };
    let job = valid_job(context, &writer, &spec, &source_spec);
    // Before anything is read: a rule can lend the operator's own identity for buckets of the account of the project.
    let (keys, owner) = match job.scoring_credentials(&identity).await {
        Ok(found) => found,
        Err(phase) => return writer.stop(context, None, phase, RECHECK_CREDENTIALS).await,
    };
    let (mut source_keys, mut source_owner) = (None, None);
    if spec.source.uris.is_empty() {
        let keys = match job.source_credentials().await {
            Ok(keys) => keys,
            Err(phase) => return writer.stop(context, None, phase, RECHECK_CREDENTIALS).await,
        };
        source_owner = match job.verified_source_owner(&keys).await {
            Ok(owner) => owner,
            Err(phase) => return writer.stop(context, None, phase, RECHECK_CREDENTIALS).await,
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
            Continue(writer) => writer,
            Break(next) => return next,
        };
        source_keys = Some(keys);
    }
    if writer.job.status.suspended_by.is_some() {
        // The time of a resumed job starts now, even if its first page cannot be read. Stored before the progress is loaded, which may be that of a
        // status that another writer has replaced.
        let stored = writer.persist(context, None, &Phase::Scoring(0)).await;
        if stored != WriteResult::Stored {
            return Action::Requeue(stored.retry_after());
        }
    }
    let progress = match load_progress(context, &mut writer, &spec, context.ports.now()).await {
        Continue(Some(progress)) => progress,
        Continue(None) => return Action::Requeue(RETRY_KUBE_API),
        Break(next) => return next,
    };
    let missing = missing_results(&writer.job.status, &progress);
    if missing > 0 {
        let next = Action::Requeue(RECHECK_GRANT);
        return writer
            .stop(context, None, Phase::ResultsMissing(missing), next)
            .await;
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
    let (run, end) = Box::pin(execute(run)).await;
    Box::pin(finish::finish_run(run, end)).await
}
