//! Counts the source of a job before its first billed call.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::end_job::block;
use super::job_credentials::ValidJob;
use super::manifest_lines::check_manifest_lines;
use super::persist::JobWriter;
use super::read_page::{SourcePage, read_page};
use super::source_error::on_source_error;
use crate::api::{Cursor, GrantSpec, JobSpec, ObservedSource};
use crate::controller::context::Context;
use crate::core::job::delays::{NEXT_SECOND, is_past_deadline, retry_counted_page};
use crate::core::job::{
    AllowedBuckets, CountSchedule, ItemCounter, PageUse, Phase, Renewal, SourcePosition, SourceSpec,
    after_shown_count, pinned_source, renewed,
};
use crate::ports::{AccessKeys, CloudError, ListPosition};
use crate::runtime::queue::Action;

/// Counts the items once. `keys` are those of the source; a list of URIs, which needs none, is not counted. Breaks
/// with the action for a job that has ended or has to count again, whose status is written.
pub(super) async fn count_source(
    job: ValidJob<'_>,
    writer: &mut JobWriter,
    keys: Option<&AccessKeys>,
    grant: Option<&GrantSpec>,
) -> ControlFlow<Action> {
    let (context, spec) = (job.context, job.spec);
    let Some(keys) = keys else {
        return Continue(());
    };
    let observed = writer.job.status.source.clone().unwrap_or_default();
    if observed.items.is_some() {
        return Continue(());
    }
    if observed.as_of.is_none() {
        let pinned = match pin_source(context, (spec, job.source_spec), keys).await {
            Ok(pinned) => pinned,
            Err(error) => return Break(on_source_error(context, writer, None, spec, &error).await),
        };
        let stored = writer.persist(context, None, &Phase::Counting(pinned, 0)).await;
        return Break(stored.then(Action::Requeue(NEXT_SECOND)));
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
    let (context, spec) = (job.context, job.spec);
    let (mut counter, mut allowed) = (ItemCounter::default(), AllowedBuckets::default());
    let mut place = Some(SourcePosition::of(&Cursor::default(), spec));
    let (started_at, mut schedule) = (Instant::now(), CountSchedule::default());
    while let Some(at) = place {
        // Before the page occupies a part of the memory budget: reading the job needs one too.
        let checks = schedule.is_check_due(started_at.elapsed());
        if is_past_deadline(&writer.job, spec, context.ports.now())
            || context.stop.is_cancelled()
            || (checks && is_changed(context, writer).await)
        {
            return Break(Action::Requeue(Duration::ZERO));
        }
        if checks {
            schedule.checked(started_at.elapsed());
            match renewed(job.source_credentials().await) {
                Renewal::Use(fresh) => keys = fresh,
                Renewal::Keep => {}
                Renewal::Stop(phase) => return Break(block(context, writer, phase).await),
            }
        }
        if schedule.is_showing_due(started_at.elapsed()) {
            schedule.shown(started_at.elapsed());
            let generation = writer.job.generation;
            let so_far = Phase::Counting(observed.clone(), counter.items());
            let stored = writer.persist(context, None, &so_far).await;
            after_shown_count(stored, writer.job.generation != generation)?;
        }
        let page = match read_page_with_retries(job, observed, &keys, &at).await {
            Ok(page) => page,
            Err(error) => return Break(on_source_error(context, writer, None, spec, &error).await),
        };
        // A trigger came before the requeue that follows the pinning.
        if page.is_early {
            return Break(Action::Requeue(NEXT_SECOND));
        }
        match Box::pin(count_page(job, page, &mut counter, grant, &mut allowed)).await {
            Ok(next) => place = next,
            Err(phase) => return Break(block(context, writer, phase).await),
        }
    }
    Continue(counter)
}

/// Counts the items of a page. Returns the position of the next one; `None` at the end.
///
/// # Errors
/// Returns the end of the job, or what it waits for.
async fn count_page(
    job: ValidJob<'_>,
    mut page: SourcePage,
    counter: &mut ItemCounter,
    grant: Option<&GrantSpec>,
    allowed: &mut AllowedBuckets,
) -> Result<Option<SourcePosition>, Phase> {
    while !page.items.is_used_up() {
        let batch = page.items.next_batch();
        counter.add(&batch, job.spec).map_err(Phase::Ended)?;
        let namespace = &job.key.namespace;
        check_manifest_lines(job.context, namespace, (job.spec, grant), &batch, allowed).await?;
        // A page has many batches, and none of them waits for anything.
        tokio::task::yield_now().await;
    }
    counter
        .end_page(job.spec, page.next.as_ref())
        .map_err(Phase::Ended)?;
    Ok(page.next)
}

/// Whether the job was edited, recreated or deleted since it was read. `false` when it cannot be read now.
async fn is_changed(context: &Context, writer: &JobWriter) -> bool {
    let stored = context.ports.get_job(&writer.job.key).await;
    stored.is_ok_and(|stored| writer.job.is_changed(stored.as_ref()))
}

/// Reads a page, with retries after transient errors.
///
/// # Errors
/// Returns the last error of OSS.
async fn read_page_with_retries(
    job: ValidJob<'_>,
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
) -> Result<SourcePage, CloudError> {
    let of_job = (job.key.namespace.as_str(), job.spec, job.source_spec);
    let mut tries = 1;
    loop {
        let page = read_page(job.context, of_job, observed, keys, place, PageUse::Count).await;
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

/// Pins the source: reads the time of OSS's clock (the local clock if OSS sends none) and, for a manifest, its ETag.
/// Stores nothing.
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
