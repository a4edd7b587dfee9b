//! Reads the source of a job from OSS: counts it before the first billed call, and reads it page by page during the
//! run.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::grant_wait::object_changed;
use super::job_credentials::{stops_run, valid_job};
use super::persist::JobWriter;
use super::source_error::{RETRY_SOURCE_LATER, on_source_error};
use super::source_page::{AllowedBuckets, PageUse, SourcePage, SourcePosition, read_page};
use super::store_status::WriteResult;
use crate::api::{Cursor, GrantSpec, JobReason, JobSpec, ObservedSource};
use crate::controller::context::Context;
use crate::core::job::{
    End, ItemCounter, Phase, SourceItem, SourceSpec, active_deadline, counting_source, namespace_unknown,
    source_too_long, uncovered_line,
};
use crate::core::validate::ObjectUri;
use crate::ports::{AccessKeys, CloudError, ListPosition};
use crate::runtime::queue::Action;

/// Delay after which OSS's clock has left the second in which the source was pinned: no new object gets that time any
/// more.
const NEXT_SECOND: Duration = Duration::from_millis(1_100);

/// Limits of a source: pages of a listing (of up to 1,000 objects each), and bytes of a manifest.
const MAX_PAGES: usize = 5_000;
const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
/// Interval at which the job is read while its source is counted.
const CHECK_CHANGES_EVERY: Duration = Duration::from_secs(5);

/// Interval at which the status of the job shows the number of items so far.
const SHOW_COUNT_EVERY: Duration = Duration::from_secs(30);

/// Counts the items once, before the first billed call. Breaks with the action for a job that has ended or has to count
/// again, whose status is written.
pub(super) async fn count_items(
    context: &Context,
    mut writer: JobWriter,
    (spec, source_spec): (&JobSpec, &SourceSpec),
    mut keys: AccessKeys,
    grant: Option<&GrantSpec>,
) -> ControlFlow<Action, JobWriter> {
    let observed = writer.job.status.source.clone().unwrap_or_default();
    if observed.items.is_some() || !spec.source.uris.is_empty() {
        return Continue(writer);
    }
    if observed.as_of.is_none() {
        return match pin_source(context, (spec, source_spec), &keys).await {
            Ok(observed) => {
                let counting = Phase::Counting(observed, 0);
                let stored = writer.persist(context, None, &counting).await;
                Break(Action::Requeue(if stored == WriteResult::Stored {
                    NEXT_SECOND
                } else {
                    stored.retry_after()
                }))
            }
            Err(error) => Break(on_source_error(context, writer, None, spec, &error).await),
        };
    }
    let most = spec
        .source
        .prefix
        .as_ref()
        .map_or(crate::api::ITEMS_LIMIT, |p| p.max_objects);
    let (mut count, mut place) = (
        ItemCounter::default(),
        Some(SourcePosition::of(&Cursor::default(), spec)),
    );
    let (mut pages, mut looked_at, mut shown_at) = (0, Instant::now(), Instant::now());
    let (namespace, mut allowed) = (writer.job.key.namespace.clone(), AllowedBuckets::default());
    while let Some(at) = place {
        // Before the page occupies a part of the memory budget: reading the job needs one too.
        let now = context.ports.now();
        let late = active_deadline(&writer.job, spec, now).is_some_and(|time| time <= now);
        let check = looked_at.elapsed() >= CHECK_CHANGES_EVERY;
        if late || context.stop.is_cancelled() || (check && object_changed(context, &writer).await) {
            return Break(Action::Requeue(Duration::ZERO));
        }
        if check {
            looked_at = Instant::now();
            match valid_job(context, &writer, spec, source_spec)
                .source_credentials()
                .await
            {
                Ok(fresh) => keys = fresh,
                Err(phase) if stops_run(&phase) => {
                    return Break(writer.stop(context, None, phase, RETRY_SOURCE_LATER).await);
                }
                Err(_) => {}
            }
        }
        if shown_at.elapsed() >= SHOW_COUNT_EVERY {
            shown_at = Instant::now();
            let so_far = Phase::Counting(observed.clone(), count.items());
            show_count(context, &mut writer, &so_far).await?;
        }
        let job = (namespace.as_str(), spec, source_spec);
        let mut page = match read_page_with_retries(context, job, &observed, &keys, &at).await {
            Ok(page) => page,
            Err(error) => return Break(on_source_error(context, writer, None, spec, &error).await),
        };
        pages += 1;
        let long = pages > MAX_PAGES
            || matches!(&page.next, Some(SourcePosition::Byte(at)) if *at > MAX_MANIFEST_BYTES);
        let mut fits = Ok(());
        while !page.is_used_up() && fits.is_ok() {
            let batch = page.next_batch();
            fits = count.add(&batch, most);
            if fits.is_ok()
                && let Err(phase) =
                    check_manifest_items(context, &namespace, (spec, grant), &batch, &mut allowed).await
            {
                drop(page);
                return Break(writer.stop(context, None, phase, RETRY_SOURCE_LATER).await);
            }
            // A page has many batches, and none of them waits for anything.
            tokio::task::yield_now().await;
        }
        if fits.is_ok() && long {
            fits = Err(source_too_long(spec));
        }
        if let Err(message) = fits {
            drop(page);
            let end = End::Failed(JobReason::SourceTooLarge, message);
            return Break(writer.finish_job(context, None, end).await);
        }
        place = page.next.take();
    }
    // The count is stored before it is used.
    let counted = Phase::Counting(count.source_seen(&observed), count.items());
    let stored = writer.persist(context, None, &counted).await;
    if stored == WriteResult::Stored {
        Continue(writer)
    } else {
        Break(Action::Requeue(stored.retry_after()))
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

/// Reads a page, with three retries after transient errors: a count of many pages must not restart because of one
/// page.
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
    let mut tries = 0;
    loop {
        match read_page(context, job, observed, keys, place, PageUse::Count).await {
            Err(error) if error.is_transient() && tries < 3 => {
                tries += 1;
                sleep(NEXT_SECOND * tries).await;
            }
            other => return other,
        }
    }
}

/// Pins the source: reads the time of OSS's clock (the local clock if OSS sends none) and, for a manifest, its ETag. An
/// empty manifest has none: it is counted at once, so that no item of a later version is added. Stores nothing.
///
/// # Errors
/// Returns the error of OSS.
async fn pin_source(
    context: &Context,
    (spec, source_spec): (&JobSpec, &SourceSpec),
    keys: &AccessKeys,
) -> Result<ObservedSource, CloudError> {
    let (region, payer) = (&spec.project.region, spec.source.request_payer());
    let (time, etag, empty) = match source_spec {
        SourceSpec::Prefix { bucket, prefix } => {
            let after = ListPosition {
                max_keys: 1,
                ..ListPosition::default()
            };
            let page = context
                .ports
                .list_objects(region, bucket, prefix, &after, payer, keys)
                .await?;
            (page.server_time, None, false)
        }
        SourceSpec::Manifest(object) => {
            let piece = context
                .ports
                .read_object(region, object, 0..1, None, payer, keys)
                .await?;
            // The answer for an empty object has no ETag; an ETag over 128 bytes cannot be stored and is not compared.
            let etag = Some(piece.etag).filter(|etag| !etag.is_empty() && etag.len() <= 128);
            (piece.server_time, etag, piece.bytes.is_empty())
        }
        // A list is part of the spec.
        SourceSpec::Uris(_) => (None, None, false),
    };
    let pinned = counting_source(time.unwrap_or_else(|| context.ports.now()), etag);
    Ok(if empty {
        ItemCounter::default().source_seen(&pinned)
    } else {
        pinned
    })
}

/// Checks the lines of a manifest: their buckets against the tenancy rules, and their URIs against the grant.
///
/// # Errors
/// Returns the phase to report when a line may not be scored or the namespace cannot be read.
pub(super) async fn check_manifest_items(
    context: &Context,
    namespace: &str,
    (spec, grant): (&JobSpec, Option<&GrantSpec>),
    found: &[SourceItem],
    allowed: &mut AllowedBuckets,
) -> Result<(), Phase> {
    if spec.source.manifest.is_none() {
        return Ok(());
    }
    let lines = found.iter().filter(|f| f.reject_code.is_none());
    let source_spec: Vec<ObjectUri> = lines
        .filter_map(|f| ObjectUri::parse("line", &f.uri).ok())
        .collect();
    if let Some(end) = grant.and_then(|grant| uncovered_line(grant, &source_spec)) {
        return Err(Phase::Ended(end));
    }
    let mut buckets: Vec<&str> = source_spec.iter().map(|i| i.bucket.as_str()).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let rules = context.ports.tenancy_rules();
    if allowed.contain(&rules, &buckets) {
        return Ok(());
    }
    let Ok(tenant) = context.tenant(namespace).await else {
        return Err(namespace_unknown());
    };
    rules.allow_job(&tenant, spec, &buckets).map_err(Phase::Denied)?;
    allowed.add(rules, &buckets);
    Ok(())
}
