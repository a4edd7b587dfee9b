//! Counts the source of a job before its first billed call.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::end_job::{end_job, stop};
use super::job_credentials::ValidJob;
use super::manifest_lines::{AllowedBuckets, check_manifest_lines};
use super::persist::JobWriter;
use super::read_page::{SourcePage, read_page};
use super::source_error::on_source_error;
use crate::api::{Cursor, GrantSpec, JobSpec, ObservedSource};
use crate::controller::context::Context;
use crate::core::job::delays::{NEXT_SECOND, RECHECK, is_past_deadline, retry_counted_page};
use crate::core::job::{
    ItemCounter, PageUse, Phase, SourcePosition, SourceSpec, WriteResult, pinned_source, stops_run,
};
use crate::ports::{AccessKeys, CloudError, ListPosition};
use crate::runtime::queue::Action;

/// Interval at which the job is read while its source is counted.
const CHECK_CHANGES_EVERY: Duration = Duration::from_secs(5);

/// Interval at which the status of the job shows the number of items so far.
const SHOW_COUNT_EVERY: Duration = Duration::from_secs(30);

/// Counts the items once. `keys` are those of the source; a list of URIs, which needs none, is not counted. Breaks with the
/// action for a job that has ended or has to count again, whose status is written.
pub(super) async fn count_source(
    job: ValidJob<'_>,
    writer: &mut JobWriter,
    keys: Option<&AccessKeys>,
    grant: Option<&GrantSpec>,
) -> ControlFlow<Action> {
    let (context, spec) = (job.context, job.spec);
    let observed = writer.job.status.source.clone().unwrap_or_default();
    let Some(keys) = keys.filter(|_| observed.items.is_none()) else {
        return Continue(());
    };
    if observed.as_of.is_none() {
        let pinned = match pin_source(context, (spec, job.source_spec), keys).await {
            Ok(pinned) => pinned,
            Err(error) => return Break(on_source_error(context, writer, None, spec, &error).await),
        };
        let stored = writer.persist(context, None, &Phase::Counting(pinned, 0)).await;
        stored.or_retry()?;
        return Break(Action::Requeue(NEXT_SECOND));
    }
    let counter = Box::pin(count_pages(job, writer, &observed, keys.clone(), grant)).await?;
    // The count is stored before it is used.
    let phase = Phase::Counting(counter.source_seen(&observed), counter.items());
    writer.persist(context, None, &phase).await.or_retry()
}

/// Counts the items of all pages.
async fn count_pages(
    job: ValidJob<'_>,
    writer: &mut JobWriter,
    observed: &ObservedSource,
    mut keys: AccessKeys,
    grant: Option<&GrantSpec>,
) -> ControlFlow<Action, ItemCounter> {
    let (context, spec, namespace) = (job.context, job.spec, job.key.namespace.as_str());
    let (mut counter, mut allowed) = (ItemCounter::default(), AllowedBuckets::default());
    let mut place = Some(SourcePosition::of(&Cursor::default(), spec));
    let (mut checked_at, mut shown_at) = (Instant::now(), Instant::now());
    while let Some(at) = place {
        // Before the page occupies a part of the memory budget: reading the job needs one too.
        let now = context.ports.now();
        let check = checked_at.elapsed() >= CHECK_CHANGES_EVERY;
        if is_past_deadline(&writer.job, spec, now)
            || context.stop.is_cancelled()
            || (check && is_changed(context, writer).await)
        {
            return Break(Action::Requeue(Duration::ZERO));
        }
        if check {
            checked_at = Instant::now();
            match job.source_credentials().await {
                Ok(fresh) => keys = fresh,
                Err(phase) if stops_run(&phase) => {
                    return Break(stop(context, writer, None, phase, Action::Requeue(RECHECK)).await);
                }
                Err(_) => {}
            }
        }
        if shown_at.elapsed() >= SHOW_COUNT_EVERY {
            shown_at = Instant::now();
            let so_far = Phase::Counting(observed.clone(), counter.items());
            show_count(context, writer, &so_far).await?;
        }
        let of_job = (namespace, spec, job.source_spec);
        let mut page = match read_page_with_retries(context, of_job, observed, &keys, &at).await {
            Ok(page) => page,
            Err(error) => return Break(on_source_error(context, writer, None, spec, &error).await),
        };
        // A trigger came before the requeue that follows the pinning.
        if page.is_early {
            return Break(Action::Requeue(NEXT_SECOND));
        }
        let mut fits = Ok(());
        while !page.items.is_used_up() && fits.is_ok() {
            let batch = page.items.next_batch();
            fits = counter.add(&batch, spec);
            if fits.is_ok()
                && let Err(phase) =
                    check_manifest_lines(context, namespace, (spec, grant), &batch, &mut allowed).await
            {
                drop(page);
                return Break(stop(context, writer, None, phase, Action::Requeue(RECHECK)).await);
            }
            // A page has many batches, and none of them waits for anything.
            tokio::task::yield_now().await;
        }
        if let Err(end) = fits.and_then(|()| counter.end_page(spec, page.next.as_ref())) {
            drop(page);
            return Break(end_job(context, writer, None, end).await);
        }
        place = page.next.take();
    }
    Continue(counter)
}

/// Whether the job was edited, recreated or deleted since it was read. `false` when it cannot be read now.
async fn is_changed(context: &Context, writer: &JobWriter) -> bool {
    let job = &writer.job;
    match context.ports.get_job(&job.key).await {
        Ok(Some(fresh)) => fresh.has_changed_since(&job.uid, job.generation),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Stores the number of items so far. Breaks when the job is gone or changed, or was edited: the write may have taken
/// over the edit. A failed write stops no count.
async fn show_count(context: &Context, writer: &mut JobWriter, so_far: &Phase) -> ControlFlow<Action> {
    let generation = writer.job.generation;
    match writer.persist(context, None, so_far).await {
        gone @ (WriteResult::Gone | WriteResult::Superseded) => Break(Action::Requeue(gone.retry_after())),
        _ if writer.job.generation != generation => Break(Action::Requeue(Duration::ZERO)),
        WriteResult::Stored | WriteResult::Retry | WriteResult::Refused => Continue(()),
    }
}

/// Reads a page, with retries after transient errors.
///
/// # Errors
/// Returns the last error of OSS.
async fn read_page_with_retries(
    context: &Context,
    job: (&str, &JobSpec, &SourceSpec),
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
) -> Result<SourcePage, CloudError> {
    let mut tries = 1;
    loop {
        let page = read_page(context, job, observed, keys, place, PageUse::Count).await;
        let Some(wait) = page
            .as_ref()
            .err()
            .and_then(|error| retry_counted_page(error, tries))
        else {
            return page;
        };
        tries += 1;
        sleep(wait).await;
    }
}

/// Pins the source: reads the time of OSS's clock (the local clock if OSS sends none) and, for a manifest, its ETag. Stores
/// nothing.
///
/// # Errors
/// Returns the error of OSS.
async fn pin_source(
    context: &Context,
    (spec, source_spec): (&JobSpec, &SourceSpec),
    keys: &AccessKeys,
) -> Result<ObservedSource, CloudError> {
    let (ports, region, payer) = (&context.ports, &spec.project.region, spec.source.request_payer());
    let (time, etag, is_empty) = match source_spec {
        SourceSpec::Prefix { bucket, prefix } => {
            let after = ListPosition {
                max_keys: 1,
                ..ListPosition::default()
            };
            let page = ports
                .list_objects(region, bucket, prefix, &after, payer, keys)
                .await?;
            (page.server_time, None, false)
        }
        SourceSpec::Manifest(object) => {
            let chunk = ports.read_object(region, object, 0..1, None, payer, keys).await?;
            (chunk.server_time, Some(chunk.etag), chunk.bytes.is_empty())
        }
        // A list is part of the spec.
        SourceSpec::Uris(_) => (None, None, false),
    };
    let as_of = time.unwrap_or_else(|| context.ports.now());
    Ok(pinned_source(as_of, etag, is_empty))
}
