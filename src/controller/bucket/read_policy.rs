//! Reads the policy, and turns what was read into the input of a plan.

use k8s_openapi::jiff::Timestamp;

use super::grant_set::GrantSet;
use super::prepare::Prepared;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{EarlyEnd, GrantSetCache, GrantWork, PlanInput};
use crate::core::policy::Document;
use crate::ports::{AccessKeys, PolicyRead};

/// Reads the policy, and keeps the credentials of a successful read. What a probe has read serves as the first read.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn read_policy(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    prepared: &Prepared,
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) -> Result<PolicyRead, CloudError> {
    let (context, bucket) = (set.context, &prepared.place.name);
    let probed = cache.take_probed_policy(set.writes, context.ports.now());
    let read = if let Some(probed) = probed {
        Ok(probed)
    } else {
        let read = context.ports.get_policy(&prepared.place, keys).await;
        cache.answered(read.as_ref().err());
        if let Ok(read) = &read {
            context.metrics.policy_read(read.size());
        }
        read
    };
    match &read {
        Ok(read) => {
            context.policy_sizes.read(bucket, read.size());
            if !set.reference_closed && !set.identity.is_operator() {
                cache.last_credentials.worked(batch, keys);
            }
        }
        Err(error) if error.kind == CloudErrorKind::NoSuchBucket => context.policy_sizes.forget(bucket),
        Err(_) => {}
    }
    read
}

/// A policy as it is planned from.
pub(super) struct RoundInput {
    pub(super) read: PolicyRead,
    pub(super) document: Option<Document>,
    pub(super) now: Timestamp,
    /// Digest of the identity that has read it.
    identity: String,
}

/// Parses a policy that was read.
///
/// # Errors
/// Returns that nothing may be planned from it.
pub(super) fn round_input(set: &GrantSet<'_>, read: PolicyRead) -> Result<RoundInput, EarlyEnd> {
    let now = set.context.ports.now();
    let document = read.bytes.as_deref().map(Document::parse).transpose();
    let document = document.map_err(EarlyEnd::Unreadable)?;
    if set.writes.is_stale_read(&read.bytes, now) {
        set.context.metrics.stale_reads.inc();
        return Err(EarlyEnd::StaleRead);
    }
    Ok(RoundInput {
        read,
        document,
        now,
        identity: set.identity.digest(),
    })
}

impl RoundInput {
    /// Returns the input of a plan.
    pub(super) fn plan_input<'a>(&'a self, set: &'a GrantSet<'_>) -> PlanInput<'a> {
        PlanInput {
            document: self.document.as_ref(),
            now: self.now,
            unsettled_until: set.writes.unsettled(),
            absence_untrusted: set.writes.absence_untrusted(&self.read.bytes, self.now),
            placed_by_others: Some(&set.placed_by_others),
            explained_by_others: Some(&set.explained_by_others),
            confirmed_removed: Some(&set.writes.confirmed_removed),
            identity: Some(&self.identity),
            shared_identity: set.identity.is_operator(),
        }
    }
}
