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

use self::persist::{AGAIN, Stored, Work, announce};
use self::run::{Means, Run, cancelled};
use self::source_reader::{count, keys_of};
use super::context::{Context, MAX_RUNS_PER_NAMESPACE};
use crate::api::{
    Budget, ConditionStatus, EventReason, GrantRef, GrantSpec, JobReason, JobSpec, OnExceeded, kinds,
};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::{Identity, SessionScope};
use crate::core::job::{
    End, GateDecision, JobObject, Phase, Progress, SourceSpec, evaluate_gate, parse_spec, planned_size,
};
use crate::core::requeue;
use crate::ports::{AccessKeys, KubeError};
use crate::runtime::queue::Action;
use crate::runtime::rate_limit::ProjectOwner;

/// How long until a Secret that cannot be used is read again.
const KEYS_AGAIN: Duration = Duration::from_secs(30);
/// How long a waiting job goes without looking at its grant by itself; a change of the grant wakes it at once.
const GRANT_AGAIN: Duration = Duration::from_secs(60);
/// How long until the API server is asked again.
const SOON: Duration = Duration::from_secs(5);

/// Makes one pass over a job, running it to its end when it may run.
pub async fn pass(context: &Context, key: &ObjectKey) -> Action {
    let job = match context.ports.get_job(key).await {
        Ok(Some(job)) if !job.deleting => job,
        Ok(_) => return Action::AwaitChange,
        Err(failure) => {
            tracing::warn!(job = %key, %failure, "the job cannot be read");
            let (low, high) = (Duration::from_secs(1), Duration::from_secs(10));
            return Action::Requeue(requeue::uniform(low, high, &key.to_string()));
        }
    };
    if job.is_finished() {
        return retention::pass(context, job).await;
    }
    let mut work = Work::new(job);
    let (spec, source_spec) = match checked(&work.job) {
        Ok(checked) => checked,
        Err(message) => {
            work.tell(context, None, &Phase::Invalid(message)).await;
            return Action::AwaitChange;
        }
    };
    let now = context.ports.now();
    let until = deadline(&work.job, &spec, now);
    let next = match Box::pin(may_go_on(context, work, &spec, &source_spec, now)).await {
        Ok((work, grant)) => Box::pin(go_on(context, work, spec, &source_spec, grant)).await,
        Err(next) => next,
    };
    // Whatever it waits for, its time may be over before. Once it is over, what could not be stored is tried again by and by.
    match (next, until.filter(|time| *time > now)) {
        (next, None) => next,
        (Action::Requeue(wait), Some(until)) => Action::Requeue(wait.min(time_to(now, until))),
        (Action::AwaitChange, Some(until)) => Action::Requeue(time_to(now, until)),
    }
}

fn checked(job: &JobObject) -> Result<(JobSpec, SourceSpec), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let source_spec = parse_spec(spec).map_err(|e| e.to_string())?;
    Ok((spec.clone(), source_spec))
}

fn time_to(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// When a job's time is over; `None` without a deadline, and while it is suspended. The time of a job that is new, or that
/// goes on after a pause, begins now.
fn deadline(job: &JobObject, spec: &JobSpec, now: Timestamp) -> Option<Timestamp> {
    let rests = spec.suspend || job.is_finished() || out_of_budget(job, spec);
    let seconds = spec.active_deadline_seconds.filter(|_| !rests)?;
    let paused = job.status.conditions.iter().any(|c| c.kind == kinds::SUSPENDED);
    let since = job.status.active_since.as_ref().filter(|_| !paused);
    Some(since.map_or(now, |time| time.0) + SignedDuration::from_secs(seconds))
}

/// Whether anything may be done for a job: its own switches, the tenancy rules, its grant.
async fn may_go_on(
    context: &Context,
    mut work: Work,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    now: Timestamp,
) -> Result<(Work, Option<GrantSpec>), Action> {
    if work.job.is_restored() {
        work.tell(context, None, &Phase::RestoredFromBackup).await;
        return Err(Action::Requeue(GRANT_AGAIN));
    }
    if work.job.has_started() {
        // Whatever comes next: what was spent and stored until then is told first.
        let progress = take_up(context, &mut work, spec, now).await?;
        if let Some(progress) = progress.filter(|progress| missing(&work, progress) == 0)
            && work.settle(context, &progress).await != Stored::Yes
        {
            return Err(Action::Requeue(AGAIN));
        }
    }
    if spec.cancel {
        return Err(finish(context, work, spec, cancelled(), now).await);
    }
    if deadline(&work.job, spec, now).is_some_and(|time| time <= now) {
        let seconds = spec.active_deadline_seconds.unwrap_or_default();
        let message = format!(
            "the job did not end within activeDeadlineSeconds ({seconds} s): the results so far are kept; create another job with more time"
        );
        let end = End::Failed(JobReason::DeadlineExceeded, message);
        return Err(finish(context, work, spec, end, now).await);
    }
    let paused = paused_by_hand(&work.job);
    if spec.suspend {
        if work.tell(context, None, &Phase::Suspended).await && !paused {
            let note = "spec.suspend is true: no call is made until it is false again";
            announce(context, &work.job, EventReason::Suspended, note, false).await;
        }
        return Err(Action::AwaitChange);
    }
    if out_of_budget(&work.job, spec) {
        work.tell(context, None, &Phase::OutOfBudget).await;
        return Err(Action::AwaitChange);
    }
    if paused {
        let note = "spec.suspend is false: the job goes on from where it was";
        announce(context, &work.job, EventReason::Resumed, note, false).await;
    }
    let key = work.job.key.clone();
    let Ok(tenant) = context.tenant(&key.namespace).await else {
        return Err(Action::Requeue(SOON));
    };
    if let Err(message) = context
        .ports
        .tenancy_rules()
        .allow_job(&tenant, spec, &source_spec.buckets())
    {
        work.tell(context, None, &Phase::Denied(message)).await;
        return Err(Action::Requeue(GRANT_AGAIN));
    }
    if context.awaits_recheck(&key) {
        return Err(Action::Requeue(Duration::from_millis(500)));
    }
    let grant = look_at_grant(context, &work.job, spec).await.map_err(|failure| {
        tracing::warn!(job = %key, %failure, "the grant cannot be read");
        Action::Requeue(SOON)
    })?;
    match evaluate_gate(&work.job, spec, source_spec, grant.as_ref(), now) {
        GateDecision::Open => Ok((work, grant.and_then(|g| g.spec.ok()))),
        GateDecision::Wait(message, until) => Err(wait_for_grant(context, work, spec, message, until).await),
        GateDecision::Never(reason, message) => {
            Err(finish(context, work, spec, End::Failed(reason, message), now).await)
        }
    }
}

/// Takes a job up from what is stored: its status, and reports that may be newer.
async fn take_up(
    context: &Context,
    work: &mut Work,
    spec: &JobSpec,
    now: Timestamp,
) -> Result<Option<Progress>, Action> {
    let Some(size) = planned_size(spec, work.job.status.source.as_ref()) else {
        return Ok(None);
    };
    let mut progress = Progress::resume(spec, &work.job.status, size, now, &work.job.uid);
    match work.recall(context, &mut progress).await {
        Ok(()) => Ok(Some(progress)),
        Err(failure) => {
            tracing::warn!(job = %work.job.key, %failure, "the reports cannot be read");
            if !matches!(failure, KubeError::Forbidden | KubeError::Invalid) {
                return Err(Action::Requeue(SOON));
            }
            let message = format!(
                "the ImageScoreReports of this job cannot be read ({failure}), and nothing is paid for before they can: look at the operator's rights and at who else writes them"
            );
            let phase = Phase::Stalled(JobReason::ResultsUnreadable, message);
            work.tell(context, None, &phase).await;
            Err(Action::Requeue(GRANT_AGAIN))
        }
    }
}

/// How many results the status counts that no report holds any more.
fn missing(work: &Work, progress: &Progress) -> usize {
    let counted = work.job.status.reports.as_ref().map_or(0, |r| r.items);
    let found = progress.results().reports().map(|reports| reports.count().1);
    found.map_or(0, |found| {
        usize::try_from(counted).unwrap_or(0).saturating_sub(found)
    })
}

/// Ends a job that is not running. After a crash its last figures may be behind what was reserved and stored.
async fn finish(context: &Context, mut work: Work, spec: &JobSpec, end: End, now: Timestamp) -> Action {
    let mut progress = None;
    if work.job.status.requests.is_some() {
        progress = match take_up(context, &mut work, spec, now).await {
            Ok(progress) => progress,
            Err(next) => return next,
        };
    }
    work.end(context, progress.as_mut(), end).await
}

fn paused_by_hand(job: &JobObject) -> bool {
    paused_for(job, JobReason::Suspended)
}

/// Whether the job rests since its budget was used up, and nobody has changed that.
fn out_of_budget(job: &JobObject, spec: &JobSpec) -> bool {
    let sent = job.status.requests.as_ref().map_or(0, |requests| requests.sent);
    let used = |budget: &Budget| budget.on_exceeded == OnExceeded::Suspend && sent >= budget.max_requests;
    paused_for(job, JobReason::BudgetExceeded) && spec.budget.as_ref().is_some_and(used)
}

fn paused_for(job: &JobObject, reason: JobReason) -> bool {
    let mut conditions = job.status.conditions.iter();
    conditions.any(|c| c.kind == kinds::SUSPENDED && c.reason == reason.as_str())
}

fn grant_key(job: &JobObject, reference: &GrantRef) -> ObjectKey {
    let namespace = reference.namespace.as_ref().unwrap_or(&job.key.namespace);
    ObjectKey {
        namespace: namespace.clone(),
        name: reference.name.clone(),
    }
}

async fn look_at_grant(
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
    mut work: Work,
    spec: &JobSpec,
    message: String,
    until: Option<Timestamp>,
) -> Action {
    let now = context.ports.now();
    let conditions = work.job.status.conditions.iter();
    let last = conditions
        .filter(|c| c.kind == kinds::GRANT_READY && c.status == ConditionStatus::False)
        .map(|c| c.last_transition_time.0)
        .next();
    let deadline =
        last.unwrap_or(now) + SignedDuration::from_secs(i64::from(spec.grant_wait.timeout_seconds));
    if now >= deadline && until.is_none() {
        let message = format!("after {} s: {message}", spec.grant_wait.timeout_seconds);
        let end = End::Failed(JobReason::GrantTimeout, message);
        return finish(context, work, spec, end, now).await;
    }
    if last.is_none() {
        let note = message.as_str();
        announce(context, &work.job, EventReason::WaitingForGrant, note, false).await;
    }
    work.tell(context, None, &Phase::Waiting(message)).await;
    let wait = time_to(now, until.unwrap_or(deadline));
    Action::Requeue(wait.clamp(Duration::from_millis(50), GRANT_AGAIN))
}

/// Obtains the keys, counts the source if need be, and runs.
async fn go_on(
    context: &Context,
    mut work: Work,
    spec: JobSpec,
    source_spec: &SourceSpec,
    grant: Option<GrantSpec>,
) -> Action {
    let Some(_place) = context.try_slot(&work.job.key) else {
        work.tell(context, None, &Phase::Queued(MAX_RUNS_PER_NAMESPACE))
            .await;
        // It is woken when a place is free.
        return Action::Requeue(GRANT_AGAIN);
    };
    let mut source_keys = None;
    if spec.source.uris.is_empty() {
        let keys = match keys_of(context, &work, &spec, source_spec).await {
            Ok(keys) => keys,
            Err(phase) => {
                work.tell(context, None, &phase).await;
                return Action::Requeue(KEYS_AGAIN);
            }
        };
        work = match Box::pin(count(context, work, &spec, &keys, grant.as_ref())).await {
            Ok(work) => work,
            Err(next) => return next,
        };
        source_keys = Some(keys);
    }
    let Some(identity) = Identity::of(&work.job.key.namespace, &spec.credentials) else {
        let message = "spec.credentials cannot be used".to_owned();
        work.tell(context, None, &Phase::Invalid(message)).await;
        return Action::AwaitChange;
    };
    let (keys, owner) = match keys_to_score(context, &identity, &spec).await {
        Ok(found) => found,
        Err(phase) => {
            work.tell(context, None, &phase).await;
            return Action::Requeue(KEYS_AGAIN);
        }
    };
    let progress = match take_up(context, &mut work, &spec, context.ports.now()).await {
        Ok(Some(progress)) => progress,
        Ok(None) => return Action::Requeue(SOON),
        Err(next) => return next,
    };
    let missing = missing(&work, &progress);
    if missing > 0 {
        work.tell(context, None, &Phase::ResultsMissing(missing)).await;
        return Action::Requeue(GRANT_AGAIN);
    }
    let means = Means {
        pacer: context.limiters.of(owner, &spec.project),
        spec,
        identity,
        source_spec: source_spec.clone(),
        grant,
    };
    let run = Run::new(context, &means, (keys, source_keys), work, progress);
    let (run, end) = Box::pin(run.go()).await;
    Box::pin(finish::go_on(context, run.left(), end, &means)).await
}

/// Keys that IMM has not refused, and whose pace they are used at. Keys of another account than the job names would read
/// another project, so nothing is called with them.
async fn keys_to_score(
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
    if let Some(failure) = context.credentials.rejected_before(identity, &keys) {
        return Err(Phase::CredentialsRejected(failure, identity.describe()));
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
        Err(failure)
            if matches!(
                failure.kind,
                CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
            ) =>
        {
            context
                .credentials
                .mark_rejected(identity, &keys, failure.clone());
            Err(Phase::CredentialsRejected(failure, identity.describe()))
        }
        Err(_) => Ok((keys, ProjectOwner::Identity(identity.clone()))),
    }
}
