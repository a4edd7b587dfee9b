//! Tenancy: which namespace may do what to whom. A list of rules; an object is allowed when one rule allows all of it.
//! Without a matching rule the operator's own identity and TakeOwnership are denied; own credentials are allowed unless
//! the rules are strict.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::{AdoptionPolicy, CredentialSource, Credentials, GrantSpec, JobSpec, Preset};

/// The rules, as the person who runs the operator wrote them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// Whether own credentials need a rule too.
    #[serde(default)]
    pub strict: bool,
    /// The rules; the first that allows decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Which namespaces a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    /// Names, each with `*` for any text.
    #[serde(default)]
    pub names: Vec<String>,
    /// Labels that the namespace must carry.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// One rule: a list that is empty allows nothing but where it says so.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Namespaces that it is for.
    pub namespaces: Namespaces,
    /// Sources of credentials that it allows; empty means Secret and ServiceAccount.
    #[serde(default)]
    pub credential_sources: Vec<CredentialSource>,
    /// Owners of buckets; empty means any.
    #[serde(default, rename = "ownerUIDs")]
    pub owner_uids: Vec<String>,
    /// Buckets, each with `*` for any text; empty means any.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// Accounts that may be granted to; empty means any.
    #[serde(default, rename = "granteeUIDs")]
    pub grantee_uids: Vec<String>,
    /// Service roles that may be granted to; empty means any.
    #[serde(default)]
    pub role_names: Vec<String>,
    /// Presets that may be granted; empty means any.
    #[serde(default)]
    pub presets: Vec<Preset>,
    /// Whether an existing statement may be taken over.
    #[serde(default)]
    pub take_ownership: bool,
    /// Projects that jobs may use, each with `*` for any text; empty means any.
    #[serde(default)]
    pub projects: Vec<String>,
    /// Roles that may be assumed after Operator; empty means none.
    #[serde(default, rename = "assumeRoleARNs")]
    pub assume_role_arns: Vec<String>,
}

/// A namespace, as far as rules look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Rules {
    /// Whether any rule looks at labels, so that a namespace has to be read.
    pub fn need_labels(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| !rule.namespaces.match_labels.is_empty())
    }

    /// Whether a grant is allowed; else why not.
    pub fn allow_grant(&self, tenant: &Tenant, spec: &GrantSpec) -> Result<(), String> {
        let fits = |rule: &Rule| {
            any_or(&rule.owner_uids, &spec.bucket.owner_uid)
                && matches_any(&rule.buckets, &spec.bucket.name)
                && any_or(&rule.grantee_uids, &spec.grantee.account_uid)
                && any_or(&rule.role_names, &spec.grantee.role_name)
                && (rule.presets.is_empty() || rule.presets.contains(&spec.access.preset))
                && (rule.take_ownership || spec.adoption_policy != AdoptionPolicy::TakeOwnership)
        };
        let free = spec.adoption_policy != AdoptionPolicy::TakeOwnership;
        self.allow(tenant, &spec.credentials, free, fits)
    }

    /// Whether a job may score images of these buckets; else why not.
    pub fn allow_job(&self, tenant: &Tenant, spec: &JobSpec, buckets: &[&str]) -> Result<(), String> {
        let fits = |rule: &Rule| {
            matches_any(&rule.projects, &spec.project.name)
                && any_or(&rule.grantee_uids, &spec.project.account_uid)
                && buckets.iter().all(|bucket| matches_any(&rule.buckets, bucket))
        };
        let reader = spec.source.credentials().into_iter();
        reader
            .chain([&spec.credentials])
            .try_for_each(|credentials| self.allow(tenant, credentials, true, fits))
    }

    fn allow(
        &self,
        tenant: &Tenant,
        credentials: &Credentials,
        free: bool,
        fits: impl Fn(&Rule) -> bool,
    ) -> Result<(), String> {
        let own = credentials.source != CredentialSource::Operator;
        if own && free && !self.strict {
            return Ok(());
        }
        let hop = credentials.assume_role.as_ref().filter(|_| !own);
        let allowed = self
            .rules
            .iter()
            .filter(|rule| rule.namespaces.cover(tenant))
            .any(|rule| {
                let source = if rule.credential_sources.is_empty() {
                    own
                } else {
                    rule.credential_sources.contains(&credentials.source)
                };
                source && hop.is_none_or(|h| rule.assume_role_arns.contains(&h.role_arn)) && fits(rule)
            });
        if allowed {
            return Ok(());
        }
        Err(format!(
            "no tenancy rule allows namespace {} to do this with credentials.source {:?}: ask whoever runs the operator for a rule \
             (Helm value tenancy.rules)",
            tenant.name, credentials.source
        ))
    }
}

impl Namespaces {
    fn cover(&self, tenant: &Tenant) -> bool {
        let named = self.names.iter().any(|pattern| glob(pattern, &tenant.name));
        let labelled = !self.match_labels.is_empty()
            && self
                .match_labels
                .iter()
                .all(|(key, value)| tenant.labels.get(key) == Some(value));
        named || labelled
    }
}

fn any_or(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry == value)
}

fn matches_any(patterns: &[String], value: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| glob(pattern, value))
}

/// Whether `value` follows a pattern in which `*` stands for any text.
fn glob(pattern: &str, value: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, value, fits) in [
            ("test-bucket-*", "test-bucket-2024", true),
            ("test-bucket-*", "test-bucket", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("abc", "abcd", false),
            ("a*a", "a", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(glob(pattern, value), fits, "{pattern} {value}");
        }
    }
}
