//! Checks the lines of a manifest, which name buckets and objects that the spec does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::{GrantSpec, JobSpec};
use crate::controller::context::Context;
use crate::core::job::{BATCH, Phase, SourceItem, namespace_unknown, uncovered_line};
use crate::core::tenancy::TenancyRules;
use crate::core::validate::ObjectUri;

/// Buckets of manifest lines that the tenancy rules allow: a batch of lines mostly names the same ones as the last.
#[derive(Default)]
pub(super) struct AllowedBuckets {
    rules: Option<Arc<TenancyRules>>,
    names: BTreeSet<String>,
}

impl AllowedBuckets {
    fn contain(&self, rules: &Arc<TenancyRules>, buckets: &[&str]) -> bool {
        let same = self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules));
        same && buckets.iter().all(|bucket| self.names.contains(*bucket))
    }

    fn add(&mut self, rules: Arc<TenancyRules>, buckets: &[&str]) {
        let same = self
            .rules
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &rules));
        // A manifest can name another bucket in each line.
        if !same || self.names.len() > BATCH {
            self.names.clear();
        }
        self.rules = Some(rules);
        self.names
            .extend(buckets.iter().map(|bucket| (*bucket).to_owned()));
    }
}

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
    if spec.source.manifest.is_none() {
        return Ok(());
    }
    let lines = found.iter().filter(|f| f.reject_code.is_none());
    let lines: Vec<ObjectUri> = lines
        .filter_map(|f| ObjectUri::parse("line", &f.uri).ok())
        .collect();
    if let Some(end) = grant.and_then(|grant| uncovered_line(grant, &lines)) {
        return Err(Phase::Ended(end));
    }
    let mut buckets: Vec<&str> = lines.iter().map(|i| i.bucket.as_str()).collect();
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
