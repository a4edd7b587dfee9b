//! Refreshes a running job: its object, its credentials, the tenancy rules and its grant.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::OptionFuture;
use tokio::time::{Instant, sleep_until};

use super::events::handle_event;
use super::job_credentials::ValidJob;
use super::job_run::{Calls, JobRun, apply_edits};
use super::manifest_lines::AllowedBuckets;
use super::read_grant::read_grant;
use super::reservation::persist;
use crate::core::identity::Identity;
use crate::core::job::{
    PERSIST_EVERY, Phase, StopReason, is_store_due, source_bucket, stays_open, stops_run,
};
use crate::ports::{AccessKeys, KubeError};
use crate::runtime::deadline;

/// Interval at which the object and its grant are read again; a change of either triggers that at once.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Reads the object and its grant again. The next refresh follows after 10 s, or after 1 s if one of them could
/// not be read. Returns why the run has to stop; `None` when it continues.
pub(super) async fn refresh<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> Option<StopReason> {
    let refreshed = refresh_all(run, calls).await;
    let wait = if refreshed.is_ok() {
        REFRESH_EVERY
    } else {
        PERSIST_EVERY
    };
    run.refresh_due = Some(deadline::after(Instant::now(), wait));
    refreshed.unwrap_or(None)
}

/// Returns why the run has to stop; `None` when it continues.
///
/// # Errors
/// Returns the error of the API server if the object, the namespace or the grant cannot be read.
async fn refresh_all<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
) -> Result<Option<StopReason>, KubeError> {
    let (context, key) = (run.context, run.writer.job.key.clone());
    // Nothing is stored while the object is read: the answer could be from before or after it.
    let fresh = match answer_during_calls(run, calls, Stores::Wait, context.ports.get_job(&key)).await {
        Ok(fresh) => fresh?,
        Err(end) => return Ok(Some(end)),
    };
    match fresh {
        Some(fresh) if fresh.uid == run.writer.job.uid && !fresh.deleting => {
            // Only the operator writes the status; if it differs, the next write detects the conflict.
            if fresh.status == run.writer.job.status {
                run.writer.job = fresh;
                apply_edits(run);
            }
        }
        _ => return Ok(Some(StopReason::Gone)),
    }
    let input = run.input;
    let uid = run.writer.job.uid.clone();
    let job = ValidJob {
        context,
        key: &key,
        uid: &uid,
        spec: &input.spec,
        source_spec: &input.source_spec,
    };
    let (known, with_source) = (run.keys.id.clone(), run.source_keys.is_some());
    let renewed = fetch_credentials(job, &input.identity, &known, with_source);
    let renewed = match answer_during_calls(run, calls, Stores::GoOn, renewed).await {
        Ok(renewed) => renewed,
        Err(end) => return Ok(Some(end)),
    };
    if let Some(phase) = renew_credentials(run, renewed) {
        return Ok(Some(StopReason::Blocked(phase)));
    }
    let tenant = match answer_during_calls(run, calls, Stores::GoOn, context.tenant(&key.namespace)).await {
        Ok(tenant) => tenant?,
        Err(end) => return Ok(Some(end)),
    };
    // The labels of the namespace may have changed: the buckets in the lines of a manifest are checked again.
    run.source.allowed = AllowedBuckets::default();
    let rules = context.ports.tenancy_rules();
    let source_spec = &run.input.source_spec;
    let buckets = source_spec.buckets();
    let owner_allowed = |owner: &String| {
        let bucket = source_bucket(source_spec);
        rules
            .allow_source_owner(&tenant, &run.spec, bucket, owner)
            .is_ok()
    };
    let allowed = rules.allow_job(&tenant, &run.spec, &buckets).is_ok()
        && run.input.source_owner.as_ref().is_none_or(owner_allowed);
    let named = read_grant(context, run.writer.job.grant_key(&run.spec), &key.namespace);
    let grant = match answer_during_calls(run, calls, Stores::GoOn, named).await {
        Ok(grant) => grant?,
        Err(end) => return Ok(Some(end)),
    };
    let now = context.ports.now();
    let granted = (grant.as_ref(), run.input.denied_objects.as_slice());
    let open = stays_open(&run.writer.job, &run.spec, source_spec, granted, now);
    Ok((!open || !allowed).then_some(StopReason::Reevaluate))
}

/// Whether results are stored during a read.
#[derive(Clone, Copy, PartialEq)]
enum Stores {
    GoOn,
    Wait,
}

/// Awaits a read, and meanwhile handles the events of the calls in flight: one of them can occupy the part of the memory
/// budget that the read waits for. Their results are stored when that is due, unless stores wait: a crash repeats the calls
/// whose results are not stored. Nothing is sent or reserved until the read is done.
///
/// # Errors
/// Returns why the run has to stop.
async fn answer_during_calls<'a, T>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    stores: Stores,
    read: impl Future<Output = T>,
) -> Result<T, StopReason> {
    let mut read = pin!(read);
    loop {
        let waits = stores == Stores::GoOn && !run.persisting && run.progress.done() > run.persisted_done;
        if waits && is_store_due(&run.progress, run.persisted_at.elapsed()) {
            persist(run, calls, false);
            continue;
        }
        let due = deadline::after(run.persisted_at, PERSIST_EVERY);
        tokio::select! {
            biased;
            answer = &mut read => return Ok(answer),
            Some(event) = calls.next(), if !calls.is_empty() => {
                if let Some(end) = handle_event(run, event).await {
                    return Err(end);
                }
            }
            () = sleep_until(due), if waits => {}
            () = run.context.stop.cancelled() => return Err(StopReason::ShuttingDown),
        }
    }
}

/// The credentials for scoring, and for the source if the run reads one, or the phases to report.
type FetchedCredentials = (Result<AccessKeys, Phase>, Option<Result<AccessKeys, Phase>>);

/// Fetches the credentials of a run again: a run may outlast an STS session, and a Secret may be rotated. `known` is the
/// AccessKey ID in use. Another one may belong to another account, whose project of the same name would be billed: it is
/// checked as at the start, and so are credentials that were rejected meanwhile.
async fn fetch_credentials(
    job: ValidJob<'_>,
    identity: &Identity,
    known: &str,
    with_source: bool,
) -> FetchedCredentials {
    let scoring = match job.scoring_keys(identity).await {
        Ok(keys)
            if keys.id != known || job.context.credentials.rejected_before(identity, &keys).is_some() =>
        {
            job.scoring_credentials(identity).await.map(|(keys, _)| keys)
        }
        found => found,
    };
    let source = OptionFuture::from(with_source.then(|| job.source_credentials()));
    (scoring, source.await)
}

/// Uses renewed credentials. If they could not be fetched, the current ones stay in use until a later refresh, unless
/// their reference is closed. Returns the phase of the job if they may not be used, are rejected or belong to another
/// account; `None` when the run continues.
fn renew_credentials(run: &mut JobRun<'_>, (scoring, source): FetchedCredentials) -> Option<Phase> {
    match scoring {
        Ok(keys) => run.keys = Arc::new(keys),
        Err(phase) if stops_run(&phase) => return Some(phase),
        Err(_) => {}
    }
    match source {
        Some(Ok(keys)) => run.source_keys = Some(Arc::new(keys)),
        Some(Err(phase)) if stops_run(&phase) => return Some(phase),
        Some(Err(_)) | None => {}
    }
    None
}
