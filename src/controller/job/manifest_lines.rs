//! Checks the lines of a manifest against the grant and the tenancy rules.

use crate::api::{GrantSpec, JobSpec};
use crate::controller::context::Context;
use crate::core::job::{AllowedBuckets, Phase, SourceItem, manifest_buckets, namespace_unknown};

/// Checks the lines of a manifest: their buckets against the tenancy rules, and their URIs against the grant.
///
/// # Errors
/// Returns the phase to report when a line may not be scored or the namespace cannot be read.
pub(super) async fn check_manifest_lines(
    context: &Context,
    namespace: &str,
    (spec, grant): (&JobSpec, Option<&GrantSpec>),
    found: &[SourceItem],
    allowed: &mut AllowedBuckets,
) -> Result<(), Phase> {
    let Some(buckets) = manifest_buckets(spec, grant, found).map_err(Phase::Ended)? else {
        return Ok(());
    };
    let rules = context.ports.tenancy_rules();
    if allowed.contain(&rules, &buckets) {
        return Ok(());
    }
    let Ok(tenant) = context.tenant(namespace).await else {
        return Err(namespace_unknown());
    };
    allowed
        .check(rules, &tenant, spec, buckets)
        .map_err(Phase::Denied)
}
