//! Checks the lines of a manifest, which name buckets and objects that the spec does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::source_ends::uncovered_line;
use super::{BATCH, End, SourceItem};
use crate::api::{GrantSpec, JobSpec};
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::ObjectUri;

/// Returns the buckets that the lines of a manifest name, each once; `None` for the items of another source.
///
/// # Errors
/// Returns the end of a job whose grant does not cover a line.
pub fn manifest_buckets(
    spec: &JobSpec,
    grant: Option<&GrantSpec>,
    found: &[SourceItem],
) -> Result<Option<BTreeSet<String>>, End> {
    if spec.source.manifest.is_none() {
        return Ok(None);
    }
    let lines = found.iter().filter(|item| item.reject_code.is_none());
    let lines: Vec<ObjectUri> = lines
        .filter_map(|item| ObjectUri::parse("line", &item.uri).ok())
        .collect();
    match grant.and_then(|grant| uncovered_line(grant, &lines)) {
        Some(end) => Err(end),
        None => Ok(Some(lines.into_iter().map(|line| line.bucket).collect())),
    }
}

/// Buckets of manifest lines that the tenancy rules allow: a batch of lines mostly names the same ones as the last.
#[derive(Debug, Default)]
pub struct AllowedBuckets {
    rules: Option<Arc<TenancyRules>>,
    names: BTreeSet<String>,
}

impl AllowedBuckets {
    /// Whether these very rules have allowed all of the buckets.
    pub fn contain(&self, rules: &Arc<TenancyRules>, buckets: &BTreeSet<String>) -> bool {
        self.are_of(rules) && buckets.is_subset(&self.names)
    }

    /// Checks buckets against the rules, and remembers those that are allowed.
    ///
    /// # Errors
    /// Returns the message of a job that the rules do not allow.
    pub fn check(
        &mut self,
        rules: Arc<TenancyRules>,
        tenant: &Tenant,
        spec: &JobSpec,
        buckets: BTreeSet<String>,
    ) -> Result<(), String> {
        let names: Vec<&str> = buckets.iter().map(String::as_str).collect();
        rules.allow_job(tenant, spec, &names)?;
        // A manifest can name another bucket in each line.
        if !self.are_of(&rules) || self.names.len() > BATCH {
            self.names.clear();
        }
        self.rules = Some(rules);
        self.names.extend(buckets);
        Ok(())
    }

    fn are_of(&self, rules: &Arc<TenancyRules>) -> bool {
        self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::JobReason;
    use crate::core::grant::spec_with as grant_spec_with;
    use crate::core::job::spec_with;

    fn items(uris: &[&str]) -> Vec<SourceItem> {
        let item = |uri: &&str| SourceItem {
            uri: (*uri).to_owned(),
            resume_after: None,
            reject_code: (!uri.starts_with("oss://")).then_some("NotAnImageUri"),
        };
        uris.iter().map(item).collect()
    }

    fn names(buckets: &[&str]) -> BTreeSet<String> {
        buckets.iter().map(|bucket| (*bucket).to_owned()).collect()
    }

    #[test]
    fn the_buckets_of_valid_lines_are_checked_and_the_grant_covers_each_line() {
        let spec = spec_with(&json!({"source": {"manifest": {"uri": "oss://pics/list.txt"}}}));
        let found = items(&[
            "oss://pics/a.jpg",
            "no line",
            "oss://docs/a.jpg",
            "oss://pics/b.jpg",
        ]);
        let buckets = manifest_buckets(&spec, None, &found).unwrap();
        assert_eq!(buckets, Some(names(&["docs", "pics"])));
        let grant = grant_spec_with(&json!({
            "credentials": {"source": "Operator"}, "access": {"prefixes": ["a/"]},
        }));
        let uncovered = manifest_buckets(&spec, Some(&grant), &items(&["oss://pics-1/b/2.jpg"]));
        assert!(
            matches!(uncovered, Err(End::Failed(JobReason::GrantMismatch, _))),
            "{uncovered:?}"
        );
        let listed = spec_with(&json!({"source": {"prefix": {"bucket": "pics"}}}));
        assert_eq!(manifest_buckets(&listed, Some(&grant), &found), Ok(None));
    }

    #[test]
    fn buckets_are_checked_once_by_the_same_rules_and_again_by_new_ones() {
        let spec = spec_with(&json!({"source": {"manifest": {"uri": "oss://pics/list.txt"}}}));
        let rules = |buckets: &[&str]| {
            let rule = json!({"namespaces": {"names": ["media"]}, "buckets": buckets});
            Arc::new(
                serde_json::from_value::<TenancyRules>(json!({"strict": true, "rules": [rule]})).unwrap(),
            )
        };
        let tenant = Tenant {
            name: "media".to_owned(),
            ..Tenant::default()
        };
        let first = rules(&["pics", "docs"]);
        let mut allowed = AllowedBuckets::default();
        assert!(!allowed.contain(&first, &names(&[])), "no rules were asked");
        let check = |allowed: &mut AllowedBuckets, rules: &Arc<TenancyRules>, buckets: &[&str]| {
            allowed.check(Arc::clone(rules), &tenant, &spec, names(buckets))
        };
        assert_eq!(check(&mut allowed, &first, &["pics"]), Ok(()));
        assert!(allowed.contain(&first, &names(&["pics"])));
        assert!(!allowed.contain(&first, &names(&["docs", "pics"])));
        assert_eq!(check(&mut allowed, &first, &["docs"]), Ok(()));
        assert!(allowed.contain(&first, &names(&["docs", "pics"])));
        assert!(check(&mut allowed, &first, &["other"]).is_err());
        let equal = rules(&["pics", "docs"]);
        assert!(
            !allowed.contain(&equal, &names(&["pics"])),
            "they were read again"
        );
        assert_eq!(check(&mut allowed, &equal, &["pics"]), Ok(()));
        assert!(!allowed.contain(&equal, &names(&["docs"])));
    }
}
