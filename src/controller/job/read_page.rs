//! Reads a page of a source from OSS, once the memory budget has room for it.

use crate::api::{JobSpec, ObservedSource};
use crate::controller::context::Context;
use crate::core::job::{PageItems, PageUse, SourcePosition, SourceSpec, is_listed_early};
use crate::ports::{AccessKeys, CloudError};
use crate::runtime::memory_budget::Reservation;

/// A page of a source.
pub(super) struct SourcePage {
    pub(super) items: PageItems,
    /// Position of the next page; `None` at the end.
    pub(super) next: Option<SourcePosition>,
    /// Whether objects that are part of the job may still be written: the page is read again.
    pub(super) is_early: bool,
    /// The part of the memory budget that the page of a count occupies.
    _memory: Option<Reservation>,
}

impl SourcePage {
    /// Returns a page without items at the end of a source.
    pub(super) fn empty() -> Self {
        Self {
            items: PageItems::none(),
            next: None,
            is_early: false,
            _memory: None,
        }
    }
}

/// Reads the page of a source at a position.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn read_page(
    context: &Context,
    (namespace, spec, source_spec): (&str, &JobSpec, &SourceSpec),
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
    purpose: PageUse,
) -> Result<SourcePage, CloudError> {
    let region = &spec.project.region;
    match (place, &spec.source.prefix, source_spec) {
        (SourcePosition::Listing(after), Some(prefix), _) => {
            let bytes = u64::try_from(after.answer_bytes()).unwrap_or(u64::MAX);
            let memory = context.memory.reserve(namespace, bytes).await;
            let (bucket, payer) = (&prefix.bucket, prefix.request_payer);
            let listing = context
                .ports
                .list_objects(region, bucket, &prefix.prefix, after, payer, keys)
                .await?;
            let as_of = observed.as_of.as_ref();
            let as_of = as_of.map_or_else(|| context.ports.now(), |time| time.0);
            let listed_at = listing.server_time.unwrap_or_else(|| context.ports.now());
            let (objects, token) = (listing.objects, listing.next);
            let (items, next) = PageItems::listed(prefix, as_of, objects, token, after, purpose);
            Ok(SourcePage {
                items,
                next,
                is_early: is_listed_early(as_of, listed_at),
                _memory: (purpose == PageUse::Count).then_some(memory),
            })
        }
        (SourcePosition::Byte(from), _, SourceSpec::Manifest(object)) => {
            let memory = match purpose.manifest_memory() {
                Some(bytes) => Some(context.memory.reserve(namespace, bytes).await),
                None => None,
            };
            let (etag, payer) = (observed.etag.as_deref(), spec.source.request_payer());
            let range = purpose.range_from(*from);
            let chunk = context
                .ports
                .read_object(region, object, range, etag, payer, keys)
                .await?;
            let (items, next) = PageItems::lines(chunk.bytes, *from, chunk.last);
            Ok(SourcePage {
                items,
                next,
                is_early: false,
                _memory: memory,
            })
        }
        (SourcePosition::Listing(_), None, _)
        | (SourcePosition::Byte(_), _, SourceSpec::Uris(_) | SourceSpec::Prefix { .. }) => {
            Ok(SourcePage::empty())
        }
    }
}
