//! One pass over one job: may it call, with which keys, and then the run itself. A job that has ended is left alone for
//! good: nothing of it changes any more.

mod run;
mod store;

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::run::{Run, RunEnd};
use self::store::{acknowledge, announce, end, tell};
use super::context::Context;
use super::queue::Next;
use crate::api::{ConditionStatus, EventReason, GrantRef, JobReason, JobSpec, OnExceeded, kinds};
use crate::core::delay;
use crate::core::grant::ObjectKey;
use crate::core::identity::{Identity, Scope};
use crate::core::job::{End, Gate, JobObject, Phase, Progress, gate, parse_spec, verdict};
use crate::core::name::ObjectUri;
use crate::ports::{Keys, KubeFailure};

/// How long until a Secret that cannot be used is read again.
const KEYS_AGAIN: Duration = Duration::from_secs(30);
/// How long a waiting job goes without looking at its grant by itself; a change of the grant wakes it at once.
const GRANT_AGAIN: Duration = Duration::from_secs(60);

/// Makes one pass over a job, running it to its end when it may run.
pub async fn pass(context: &Context, key: &ObjectKey) -> Next {
    let job = match context.effects.get_job(key).await {
        Ok(Some(job)) => job,
        Ok(None) => return Next::WhenChanged,
        Err(failure) => {
            tracing::warn!(job = %key, %failure, "the job cannot be read");
            return Next::After(delay::between(
                Duration::from_secs(1),
                Duration::from_secs(10),
                &key.to_string(),
            ));
        }
    };
    if job.deleting {
        return Next::WhenChanged;
    }
    if job.ended() {
        return acknowledge(context, job).await;
    }
    let mut job = job;
    let now = context.effects.now();
    let (spec, images) = match checked(&job) {
        Ok(checked) => checked,
        Err(message) => {
            let progress = Progress::resume(&[], &job.status, 0, now, &job.uid);
            tell(context, &mut job, &Phase::Invalid(message), &progress).await;
            return Next::WhenChanged;
        }
    };
    let progress = Progress::resume(
        &spec.source.uris,
        &job.status,
        spec.backoff_limit_per_item,
        now,
        &job.uid,
    );
    if job.restored() {
        tell(context, &mut job, &Phase::Restored, &progress).await;
        return Next::WhenChanged;
    }
    match context.tenant(&key.namespace).await {
        Ok(tenant) => {
            if let Err(message) = context.effects.rules().allow_job(&tenant, &spec, &images) {
                tell(context, &mut job, &Phase::Denied(message), &progress).await;
                return Next::After(GRANT_AGAIN);
            }
        }
        Err(_) => return Next::After(Duration::from_secs(5)),
    }
    if context.in_doubt(key) {
        return Next::After(Duration::from_millis(500));
    }
    let grant = match look_at_grant(context, &job, &spec).await {
        Ok(grant) => grant,
        Err(failure) => {
            tracing::warn!(job = %key, %failure, "the grant cannot be read");
            return Next::After(Duration::from_secs(5));
        }
    };
    match gate(&job, &spec, &images, grant.as_ref(), now) {
        Gate::Open => {}
        Gate::Wait(message, until) => {
            return wait_for_grant(context, job, &spec, message, until, &progress).await;
        }
        Gate::Never(reason, message) => {
            return end(context, job, End::Failed(reason, message), progress).await;
        }
    }
    let Some(identity) = Identity::of(&job.key.namespace, &spec.credentials) else {
        tell(
            context,
            &mut job,
            &Phase::Invalid("spec.credentials cannot be used".to_owned()),
            &progress,
        )
        .await;
        return Next::WhenChanged;
    };
    match context
        .keys
        .get(
            context.effects.as_ref(),
            &identity,
            &Scope::project(&spec.project),
        )
        .await
    {
        Ok(keys) if context.keys.known_bad(&identity, &keys) => Next::After(KEYS_AGAIN),
        Ok(keys) => score(context, job, spec, identity, keys, progress).await,
        Err(problem) => {
            let message = problem.message(&identity);
            tell(context, &mut job, &Phase::Keys(problem, message), &progress).await;
            Next::After(KEYS_AGAIN)
        }
    }
}

fn checked(job: &JobObject) -> Result<(JobSpec, Vec<ObjectUri>), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let images = parse_spec(spec).map_err(|e| e.to_string())?;
    Ok((spec.clone(), images))
}

fn grant_key(job: &JobObject, reference: &GrantRef) -> ObjectKey {
    let namespace = reference
        .namespace
        .clone()
        .unwrap_or_else(|| job.key.namespace.clone());
    ObjectKey {
        namespace,
        name: reference.name.clone(),
    }
}

async fn look_at_grant(
    context: &Context,
    job: &JobObject,
    spec: &JobSpec,
) -> Result<Option<crate::core::grant::GrantObject>, KubeFailure> {
    match &spec.grant_ref {
        Some(reference) => match context.effects.get_grant(&grant_key(job, reference)).await {
            // A grant outside the watched namespaces cannot be named from here, like one that does not exist.
            Err(KubeFailure::Forbidden) => Ok(None),
            found => found,
        },
        None => Ok(None),
    }
}

/// Waits for the grant, but not for ever.
async fn wait_for_grant(
    context: &Context,
    mut job: JobObject,
    spec: &JobSpec,
    message: String,
    until: Option<Timestamp>,
    progress: &Progress,
) -> Next {
    let now = context.effects.now();
    let last = job
        .status
        .conditions
        .iter()
        .find(|c| c.kind == kinds::GRANT_READY && c.status == ConditionStatus::False);
    let first_wait = last.is_none();
    let since = last.map_or(now, |c| c.last_transition_time.0);
    let deadline = since + SignedDuration::from_secs(i64::from(spec.grant_wait.timeout_seconds));
    if now >= deadline && until.is_none() {
        let message = format!("after {} s: {message}", spec.grant_wait.timeout_seconds);
        return end(
            context,
            job,
            End::Failed(JobReason::GrantTimeout, message),
            progress.clone(),
        )
        .await;
    }
    if first_wait {
        announce(
            context,
            &job,
            EventReason::WaitingForGrant,
            message.clone(),
            false,
        )
        .await;
    }
    tell(context, &mut job, &Phase::Waiting(message), progress).await;
    let next = until.unwrap_or(deadline);
    let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
    Next::After(wait.clamp(Duration::from_millis(50), GRANT_AGAIN))
}

/// Runs the job until it ends or cannot go on.
async fn score(
    context: &Context,
    job: JobObject,
    spec: JobSpec,
    identity: Identity,
    keys: Keys,
    progress: Progress,
) -> Next {
    let secret = identity.describe();
    let bucket = parse_spec(&spec)
        .ok()
        .and_then(|images| images.first().map(|i| i.bucket.clone()));
    let pacer = context.pacers.of(&identity, &spec.project);
    let run = Run::new(context, job, spec, keys.clone(), progress, pacer);
    let (run, end_of_run) = run.go().await;
    let (mut job, spec, progress) = run.parts();
    match end_of_run {
        RunEnd::AllDone => {
            let verdict = verdict(&progress, &spec.max_failed_items);
            end(context, job, verdict, progress).await
        }
        RunEnd::TooManyFailed(verdict) => end(context, job, verdict, progress).await,
        RunEnd::NoProject(failure) => {
            let message = format!(
                "project {} does not exist in {} of account {} ({})",
                spec.project.name,
                spec.project.region,
                spec.project.account_uid,
                failure.reference()
            );
            end(
                context,
                job,
                End::Failed(JobReason::ProjectNotFound, message),
                progress,
            )
            .await
        }
        RunEnd::Denied { canary, failure } => {
            let message = format!(
                "IMM refused a call ({}): the caller needs imm:DetectImageScore on the project, and the project's service role must be able to read the image",
                failure.reference()
            );
            if canary || spec.grant_ref.is_none() {
                return end(
                    context,
                    job,
                    End::Failed(JobReason::PermissionDenied, message),
                    progress,
                )
                .await;
            }
            // Later on, the grant may have been taken away under us: its bucket is looked at first, and one call alone
            // decides then.
            let message = "a call was refused; looking at the grant again".to_owned();
            tell(context, &mut job, &Phase::Waiting(message), &progress).await;
            context.doubt(&job.key, bucket.as_deref().unwrap_or_default());
            Next::After(Duration::from_millis(200))
        }
        RunEnd::KeysRefused(failure) => {
            // The same keys are not tried again: each refused call may be billed.
            context.keys.refused(&identity, &keys);
            tell(context, &mut job, &Phase::KeysRefused(failure, secret), &progress).await;
            Next::After(Duration::from_secs(60))
        }
        RunEnd::OutOfBudget => {
            let exceeded = spec.budget.as_ref().map(|b| b.on_exceeded);
            let message = "budget.maxRequests is used up".to_owned();
            if exceeded == Some(OnExceeded::Fail) {
                return end(
                    context,
                    job,
                    End::Failed(JobReason::BudgetExceeded, message),
                    progress,
                )
                .await;
            }
            let told = job.status.conditions.iter().any(|c| c.kind == kinds::SUSPENDED);
            if tell(context, &mut job, &Phase::OutOfBudget, &progress).await && !told {
                announce(context, &job, EventReason::BudgetExceeded, message, true).await;
            }
            Next::WhenChanged
        }
        RunEnd::GrantLost => {
            // Stored before the next pass takes the job up from its status, and tells what it waits for.
            tell(context, &mut job, &Phase::Scoring, &progress).await;
            Next::After(Duration::from_millis(100))
        }
        RunEnd::Stopped => Next::After(Duration::from_secs(1)),
        RunEnd::Gone => Next::WhenChanged,
    }
}
