//! Reads the source of a job from OSS: counts it before the first billed call, and reads it page by page during the
//! run.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::grant_wait::object_changed;
use super::job_credentials::stops_run;
use super::persist::JobWriter;
use super::source_error::{RETRY_SOURCE_LATER, on_source_error, stop_counting};
use super::store_status::REREAD_AFTER;
use super::{active_deadline, valid_job};
use crate::api::{Cursor, GrantSpec, JobReason, JobSpec, ObservedSource};
use crate::controller::context::Context;
use crate::core::job::{
    End, ItemCounter, Phase, SourceItem, SourceSpec, counting_source, covers, items_of_lines, items_of_page,
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

/// Position in a source.
#[derive(Clone, Debug)]
pub(super) enum SourcePosition {
    /// In a listing.
    Listing(ListPosition),
    /// At a byte offset of a manifest.
    Byte(u64),
}

/// A page of a source.
pub(super) struct SourcePage {
    pub(super) found: Vec<SourceItem>,
    /// Position of the next page; `None` at the end.
    pub(super) next: Option<SourcePosition>,
}

impl SourcePosition {
    /// Returns the position at which a job with this cursor continues.
    pub(super) fn of(cursor: &Cursor, spec: &JobSpec) -> Self {
        if spec.source.prefix.is_some() {
            let key = cursor.key.clone();
            return Self::Listing(ListPosition { key, token: None });
        }
        Self::Byte(cursor.key.as_deref().and_then(|at| at.parse().ok()).unwrap_or(0))
    }
}

/// Reads the page of a source at a position.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn read_page(
    context: &Context,
    spec: &JobSpec,
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
) -> Result<SourcePage, CloudError> {
    let region = &spec.project.region;
    match place {
        SourcePosition::Listing(after) => {
            let Some(prefix) = &spec.source.prefix else {
                return Ok(SourcePage {
                    found: Vec::new(),
                    next: None,
                });
            };
            let page = context
                .ports
                .list_objects(region, &prefix.bucket, &prefix.prefix, after, keys)
                .await?;
            let key = page.objects.iter().rev().find_map(|o| o.key.clone().ok());
            let as_of = observed
                .as_of
                .as_ref()
                .map_or_else(|| context.ports.now(), |t| t.0);
            let found = items_of_page(prefix, as_of, page.objects);
            let next = page.next.map(|token| {
                SourcePosition::Listing(ListPosition {
                    key,
                    token: Some(token),
                })
            });
            Ok(SourcePage { found, next })
        }
        SourcePosition::Byte(from) => {
            let uri = spec.source.manifest.as_ref().map_or("", |m| m.uri.as_str());
            let Ok(object) = ObjectUri::parse("spec.source.manifest.uri", uri) else {
                return Ok(SourcePage {
                    found: Vec::new(),
                    next: None,
                });
            };
            let etag = observed.etag.as_deref();
            let piece = context
                .ports
                .read_object(region, &object, *from, etag, keys)
                .await?;
            // A line that is longer than a chunk is no URI: each part of the line is rejected as an item.
            let endless = !piece.last && !piece.bytes.contains(&b'\n');
            let (found, used) = items_of_lines(&piece.bytes, *from, piece.last || endless);
            let next = from + u64::try_from(used).unwrap_or(u64::MAX);
            Ok(SourcePage {
                found,
                next: (!piece.last).then_some(SourcePosition::Byte(next)),
            })
        }
    }
}

/// Counts the items once, before the first billed call.
///
/// # Errors
/// Returns the action for a job that has ended or has to count again; its status is written.
pub(super) async fn count_items(
    context: &Context,
    mut writer: JobWriter,
    (spec, source_spec): (&JobSpec, &SourceSpec),
    mut keys: AccessKeys,
    grant: Option<&GrantSpec>,
) -> Result<JobWriter, Action> {
    let observed = writer.job.status.source.clone().unwrap_or_default();
    if observed.items.is_some() || !spec.source.uris.is_empty() {
        return Ok(writer);
    }
    if observed.as_of.is_none() {
        return match pin_source(context, spec, &keys).await {
            Ok(observed) => {
                writer
                    .write_phase(context, None, &Phase::Counting(observed))
                    .await;
                Err(Action::Requeue(NEXT_SECOND))
            }
            Err(error) => Err(on_source_error(context, writer, None, spec, &error).await),
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
    let (mut pages, mut looked_at) = (0, Instant::now());
    while let Some(at) = place {
        let page = match read_page_with_retries(context, spec, &observed, &keys, &at).await {
            Ok(page) => page,
            Err(error) => return Err(on_source_error(context, writer, None, spec, &error).await),
        };
        pages += 1;
        let now = context.ports.now();
        let late = active_deadline(&writer.job, spec, now).is_some_and(|time| time <= now);
        let check = looked_at.elapsed() >= CHECK_CHANGES_EVERY;
        if late || context.stop.is_cancelled() || (check && object_changed(context, &writer).await) {
            return Err(Action::Requeue(Duration::ZERO));
        }
        if check {
            looked_at = Instant::now();
            match valid_job(context, &writer, spec, source_spec)
                .source_credentials()
                .await
            {
                Ok(fresh) => keys = fresh,
                Err(phase) if stops_run(&phase) => {
                    return Err(stop_counting(context, writer, None, phase, RETRY_SOURCE_LATER).await);
                }
                Err(_) => {}
            }
        }
        let long = pages > MAX_PAGES
            || matches!(&page.next, Some(SourcePosition::Byte(at)) if *at > MAX_MANIFEST_BYTES);
        let fits = count.add(&page.found, most).and_then(|()| {
            let message = if spec.source.prefix.is_some() {
                "The prefix holds more than 5,000,000 objects: create another job with a longer prefix"
            } else {
                "The manifest holds more than 64 MiB: split the source over several jobs"
            };
            if long { Err(message.to_owned()) } else { Ok(()) }
        });
        if let Err(message) = fits {
            let end = End::Failed(JobReason::SourceTooLarge, message);
            return Err(writer.finish_job(context, None, end).await);
        }
        if let Err(phase) = check_manifest_items(context, &writer, spec, grant, &page.found).await {
            return Err(stop_counting(context, writer, None, phase, RETRY_SOURCE_LATER).await);
        }
        place = page.next;
    }
    // The count is stored before it is used.
    if writer
        .write_phase(context, None, &Phase::Counting(count.source_seen(&observed)))
        .await
    {
        Ok(writer)
    } else {
        Err(Action::Requeue(REREAD_AFTER))
    }
}

/// Reads a page, with three retries after transient errors: a count of many pages must not restart because of one
/// page.
///
/// # Errors
/// Returns the last error of OSS.
async fn read_page_with_retries(
    context: &Context,
    spec: &JobSpec,
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
) -> Result<SourcePage, CloudError> {
    let mut tries = 0;
    loop {
        match read_page(context, spec, observed, keys, place).await {
            Err(error) if error.is_transient() && tries < 3 => {
                tries += 1;
                sleep(NEXT_SECOND * tries).await;
            }
            other => return other,
        }
    }
}

/// Pins the source: reads the time of OSS's clock (the local clock if OSS sends none) and, for a manifest, its ETag.
/// Stores nothing.
///
/// # Errors
/// Returns the error of OSS.
async fn pin_source(
    context: &Context,
    spec: &JobSpec,
    keys: &AccessKeys,
) -> Result<ObservedSource, CloudError> {
    let region = &spec.project.region;
    let (time, etag) = match (&spec.source.prefix, &spec.source.manifest) {
        (Some(prefix), _) => {
            let after = ListPosition::default();
            let page = context
                .ports
                .list_objects(region, &prefix.bucket, &prefix.prefix, &after, keys)
                .await?;
            (page.server_time, None)
        }
        (None, manifest) => {
            let uri = manifest.as_ref().map_or("", |m| m.uri.as_str());
            let object = ObjectUri::parse("spec.source.manifest.uri", uri).unwrap_or_else(|_| ObjectUri {
                bucket: String::new(),
                key: String::new(),
            });
            let piece = context.ports.read_object(region, &object, 0, None, keys).await?;
            // The answer for an empty object has no ETag; an ETag over 128 bytes cannot be stored and is not compared.
            let etag = Some(piece.etag).filter(|etag| !etag.is_empty() && etag.len() <= 128);
            (piece.server_time, etag)
        }
    };
    Ok(counting_source(time.unwrap_or_else(|| context.ports.now()), etag))
}

/// Checks the lines of a manifest: their buckets against the tenancy rules, and their URIs against the grant.
///
/// # Errors
/// Returns the phase to report when a line may not be scored or the namespace cannot be read.
pub(super) async fn check_manifest_items(
    context: &Context,
    writer: &JobWriter,
    spec: &JobSpec,
    grant: Option<&GrantSpec>,
    found: &[SourceItem],
) -> Result<(), Phase> {
    if spec.source.manifest.is_none() {
        return Ok(());
    }
    let lines = found.iter().filter(|f| f.reject_code.is_none());
    let source_spec: Vec<ObjectUri> = lines
        .filter_map(|f| ObjectUri::parse("line", &f.uri).ok())
        .collect();
    if let Some(grant) = grant
        && let Some(image) = source_spec.iter().find(|image| !covers(grant, image))
    {
        let message = format!(
            "The grant does not cover oss://{}/{} of the manifest: widen its access.prefixes or correct the line, then create another job",
            image.bucket, image.key
        );
        return Err(Phase::Ended(End::Failed(JobReason::GrantMismatch, message)));
    }
    let mut buckets: Vec<&str> = source_spec.iter().map(|i| i.bucket.as_str()).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let Ok(tenant) = context.tenant(&writer.job.key.namespace).await else {
        return Err(Phase::SourceUnreadable(
            "The namespace could not be read, so the tenancy rules cannot be evaluated; retrying".to_owned(),
            false,
        ));
    };
    let allowed = context.ports.tenancy_rules().allow_job(&tenant, spec, &buckets);
    allowed.map_err(Phase::Denied)
}
