//! Refreshes a running job: its object, its credentials, the tenancy rules and its grant.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::OptionFuture;
use tokio::time::sleep;

use super::events::handle_event;
use super::job_credentials::ValidJob;
use super::job_run::{Calls, JobRun, apply_edits};
use super::read_grant::read_grant;
use super::start_store::start_store;
use crate::core::identity::Identity;
use crate::core::job::{
    AllowedBuckets, Phase, Renewal, StopReason, needs_account_check, renewed, rules_allow_run, stays_open,
    take_over_edits,
};
use crate::ports::{AccessKeys, KubeError};

/// Why a refresh ends early.
enum RefreshEnd {
    /// The run has to stop.
    Stop(StopReason),
    /// The object, the namespace or the grant could not be read.
    Unread,
}

impl From<StopReason> for RefreshEnd {
    fn from(reason: StopReason) -> Self {
        Self::Stop(reason)
    }
}

impl From<KubeError> for RefreshEnd {
    fn from(_: KubeError) -> Self {
        Self::Unread
    }
}

/// Reads the object and its grant again. Returns why the run has to stop; `None` when it continues.
pub(super) async fn refresh<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> Option<StopReason> {
    let (all_read, end) = match refresh_all(run, calls).await {
        Ok(()) => (true, None),
        Err(RefreshEnd::Stop(reason)) => (true, Some(reason)),
        Err(RefreshEnd::Unread) => (false, None),
    };
    run.refreshes.tried(all_read, run.elapsed());
    end
}

/// Reads everything again that the run depends on.
///
/// # Errors
/// Returns why the run has to stop, or that something could not be read.
async fn refresh_all<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> Result<(), RefreshEnd> {
    let (context, input, key) = (run.context, run.input, run.writer.job.key.clone());
    // Nothing is stored while the object is read: the answer could be from before or after it.
    let read = answer_during_calls(run, calls, Stores::Wait, context.ports.get_job(&key)).await??;
    if !take_over_edits(&mut run.writer.job, read) {
        return Err(RefreshEnd::Stop(StopReason::Gone));
    }
    apply_edits(run);
    let uid = run.writer.job.uid.clone();
    let job = ValidJob {
        context,
        key: &key,
        uid: &uid,
        spec: &input.spec,
        source_spec: &input.source_spec,
    };
    let (known, with_source) = (run.keys.id.clone(), run.source_keys.is_some());
    let fetched = fetch_credentials(job, &input.identity, &known, with_source);
    let (scoring, source) = answer_during_calls(run, calls, Stores::Continue, fetched).await?;
    match renewed(scoring) {
        Renewal::Use(keys) => run.keys = Arc::new(keys),
        Renewal::Keep => {}
        Renewal::Stop(phase) => return Err(RefreshEnd::Stop(phase.into())),
    }
    match source.map(renewed) {
        Some(Renewal::Use(keys)) => run.source_keys = Some(Arc::new(keys)),
        Some(Renewal::Keep) | None => {}
        Some(Renewal::Stop(phase)) => return Err(RefreshEnd::Stop(phase.into())),
    }
    let tenant = answer_during_calls(run, calls, Stores::Continue, context.tenant(&key.namespace)).await??;
    // The labels of the namespace may have changed: the buckets in the lines of a manifest are checked again.
    run.source.allowed = AllowedBuckets::default();
    let rules = context.ports.tenancy_rules();
    let named = read_grant(context, run.writer.job.grant_key(&run.spec), &key.namespace);
    let grant = answer_during_calls(run, calls, Stores::Continue, named).await??;
    let (source_spec, owner) = (&input.source_spec, input.source_owner.as_deref());
    let granted = (grant.as_ref(), input.denied_objects.as_slice());
    if !rules_allow_run((&rules, &tenant), &run.spec, source_spec, owner)
        || !stays_open(
            &run.writer.job,
            &run.spec,
            source_spec,
            granted,
            context.ports.now(),
        )
    {
        return Err(RefreshEnd::Stop(StopReason::Reevaluate));
    }
    Ok(())
}

/// Whether results are stored during a read.
#[derive(Clone, Copy)]
enum Stores {
    Continue,
    Wait,
}

/// Awaits a read, and meanwhile handles the events of the calls in flight: one of them can occupy the part of the memory
/// budget that the read waits for. Their results are stored when that is due, unless stores wait: a crash repeats the
/// calls whose results are not stored. Nothing is sent or reserved until the read is done.
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
        let due_in = match stores {
            Stores::Continue => run.stores.results_due_in(&run.progress, run.elapsed()),
            Stores::Wait => None,
        };
        if due_in.is_some_and(|wait| wait.is_zero()) {
            start_store(run, calls, false);
            continue;
        }
        tokio::select! {
            biased;
            answer = &mut read => return Ok(answer),
            Some(event) = calls.next(), if !calls.is_empty() => {
                if let Some(end) = handle_event(run, event).await {
                    return Err(end);
                }
            }
            () = sleep(due_in.unwrap_or_default()), if due_in.is_some() => {}
            () = run.context.stop.cancelled() => return Err(StopReason::ShuttingDown),
        }
    }
}

/// The credentials for scoring, and for the source if the run reads one, or the phases to report.
type FetchedCredentials = (Result<AccessKeys, Phase>, Option<Result<AccessKeys, Phase>>);

/// Fetches the credentials of a run again: a run may outlast an STS session, and a Secret may be rotated. `known` is the
/// AccessKey ID in use. Another one is checked as at the start, and so are credentials that were rejected meanwhile.
async fn fetch_credentials(
    job: ValidJob<'_>,
    identity: &Identity,
    known: &str,
    with_source: bool,
) -> FetchedCredentials {
    let mut scoring = job.scoring_keys(identity).await;
    if let Ok(keys) = &scoring {
        let rejected = job.context.credentials.rejected_before(identity, keys).is_some();
        if needs_account_check(known, &keys.id, rejected) {
            scoring = job.scoring_credentials(identity).await.map(|(keys, _)| keys);
        }
    }
    let source = OptionFuture::from(with_source.then(|| job.source_credentials()));
    (scoring, source.await)
}
