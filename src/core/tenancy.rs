//! Tenancy: which accounts, buckets and projects a namespace may use, and with which credentials. An object is allowed
//! if one rule allows all of it. Without a matching rule, the operator's own identity and TakeOwnership are denied, and
//! the namespace's own credentials are allowed unless the rules are strict.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::{AdoptionPolicy, CredentialSource, Credentials, GrantSpec, JobSpec, Preset};

/// The tenancy rules, as configured by the cluster operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenancyRules {
    /// Whether the namespace's own credentials also require a rule.
    #[serde(default)]
    pub strict: bool,
    /// The rules: one that allows the object is sufficient.
    #[serde(default)]
    pub rules: Vec<TenancyRule>,
}

/// Namespaces to which a rule applies: those with a matching name or with all labels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Name patterns, in which `*` matches any text.
    #[serde(default)]
    pub names: Vec<String>,
    /// Labels that the namespace must have.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// One rule. The meaning of an empty list depends on the field.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenancyRule {
    /// Namespaces to which the rule applies.
    pub namespaces: NamespaceSelector,
    /// Allowed sources of credentials; empty means Secret and ServiceAccount.
    #[serde(default)]
    pub credential_sources: Vec<CredentialSource>,
    /// UIDs of bucket owner accounts; empty means any.
    #[serde(default, rename = "ownerUIDs")]
    pub owner_uids: Vec<String>,
    /// Bucket name patterns, in which `*` matches any text; empty means any.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// UIDs of grantee accounts, and of the accounts of projects; empty means any.
    #[serde(default, rename = "granteeUIDs")]
    pub grantee_uids: Vec<String>,
    /// Service roles of the grantee; empty means any.
    #[serde(default)]
    pub role_names: Vec<String>,
    /// Presets; empty means any.
    #[serde(default)]
    pub presets: Vec<Preset>,
    /// Whether the adoption policy `TakeOwnership` is allowed.
    #[serde(default)]
    pub take_ownership: bool,
    /// Name patterns of projects for jobs, in which `*` matches any text; empty means any.
    #[serde(default)]
    pub projects: Vec<String>,
    /// Roles that may be assumed with the operator's own identity; empty means none.
    #[serde(default, rename = "assumeRoleARNs")]
    pub assume_role_arns: Vec<String>,
}

/// The properties of a namespace that rules evaluate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Name of the namespace.
    pub name: String,
    /// Labels of the namespace.
    pub labels: BTreeMap<String, String>,
}

impl TenancyRules {
    /// Returns `true` if a rule selects by labels, so that namespaces must be read.
    pub fn needs_namespace_labels(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| !rule.namespaces.match_labels.is_empty())
    }

    /// Checks whether the rules allow a grant.
    ///
    /// # Errors
    /// A message for users if no rule allows the grant.
    pub fn allow_grant(&self, tenant: &Tenant, spec: &GrantSpec) -> Result<(), String> {
        let fits = |rule: &TenancyRule| {
            empty_or_contains(&rule.owner_uids, &spec.bucket.owner_uid)
                && empty_or_matches(&rule.buckets, &spec.bucket.name)
                && empty_or_contains(&rule.grantee_uids, &spec.grantee.account_uid)
                && empty_or_contains(&rule.role_names, &spec.grantee.role_name)
                && (rule.presets.is_empty() || rule.presets.contains(&spec.access.preset))
                && (rule.take_ownership || spec.adoption_policy != AdoptionPolicy::TakeOwnership)
        };
        let free = spec.adoption_policy != AdoptionPolicy::TakeOwnership;
        self.allow(tenant, &spec.credentials, free, fits)
    }

    /// Checks whether the rules allow a job that reads images of these buckets.
    ///
    /// # Errors
    /// A message for users if no rule allows the job.
    pub fn allow_job(&self, tenant: &Tenant, spec: &JobSpec, buckets: &[&str]) -> Result<(), String> {
        let fits = |rule: &TenancyRule| {
            empty_or_matches(&rule.projects, &spec.project.name)
                && empty_or_contains(&rule.grantee_uids, &spec.project.account_uid)
                && buckets
                    .iter()
                    .all(|bucket| empty_or_matches(&rule.buckets, bucket))
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
        fits: impl Fn(&TenancyRule) -> bool,
    ) -> Result<(), String> {
        let own = credentials.source != CredentialSource::Operator;
        if own && free && !self.strict {
            return Ok(());
        }
        let role = credentials.assume_role.as_ref().filter(|_| !own);
        let allowed = self
            .rules
            .iter()
            .filter(|rule| rule.namespaces.applies_to(tenant))
            .any(|rule| {
                let source = if rule.credential_sources.is_empty() {
                    own
                } else {
                    rule.credential_sources.contains(&credentials.source)
                };
                source && role.is_none_or(|role| rule.assume_role_arns.contains(&role.role_arn)) && fits(rule)
            });
        if allowed {
            return Ok(());
        }
        Err(format!(
            "No tenancy rule allows this object of namespace {} with credentials.source {:?}: ask the cluster operator for a rule \
             (Helm value tenancy.rules)",
            tenant.name, credentials.source
        ))
    }
}

impl NamespaceSelector {
    fn applies_to(&self, tenant: &Tenant) -> bool {
        let named = self
            .names
            .iter()
            .any(|pattern| glob_matches(pattern, &tenant.name));
        let labelled = !self.match_labels.is_empty()
            && self
                .match_labels
                .iter()
                .all(|(key, value)| tenant.labels.get(key) == Some(value));
        named || labelled
    }
}

fn empty_or_contains(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry == value)
}

fn empty_or_matches(patterns: &[String], value: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| glob_matches(pattern, value))
}

/// Returns `true` if `value` matches a pattern in which `*` matches any text.
fn glob_matches(pattern: &str, value: &str) -> bool {
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
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_star_matches_any_text_and_all_other_characters_are_literal() {
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
            assert_eq!(glob_matches(pattern, value), fits, "{pattern} {value}");
        }
    }

    fn rules(rule: &Value) -> TenancyRules {
        serde_json::from_value(json!({"strict": true, "rules": [rule]})).unwrap()
    }

    fn tenant(labels: &[(&str, &str)]) -> Tenant {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Tenant {
            name: "media".to_owned(),
            labels: labels.iter().map(own).collect(),
        }
    }

    /// Checks a rule that allows the object, and the same rule with one member changed at a time, which must deny it.
    fn judge(fitting: &Value, unfit: &[(&str, Value)], allows: impl Fn(&TenancyRules) -> bool) {
        assert!(allows(&rules(fitting)), "{fitting}");
        for (member, value) in unfit {
            let mut rule = fitting.clone();
            rule[*member] = value.clone();
            assert!(!allows(&rules(&rule)), "{member}: {value}");
        }
    }

    #[test]
    fn each_member_of_a_rule_can_deny_a_grant() {
        let spec: GrantSpec = serde_json::from_value(json!({
            "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
            "grantee": {"accountUID": "12345", "roleName": "R"},
            "access": {"preset": "Minimal"}, "adoptionPolicy": "TakeOwnership",
            "credentials": {"source": "Operator", "assumeRole": {"roleARN": "acs:ram::65432:role/w"}},
        }))
        .unwrap();
        let fitting = json!({"namespaces": {"names": ["med*"]}, "credentialSources": ["Operator"], "ownerUIDs": ["65432"],
            "buckets": ["pics-*"], "granteeUIDs": ["12345"], "roleNames": ["R"], "presets": ["Minimal"],
            "takeOwnership": true, "assumeRoleARNs": ["acs:ram::65432:role/w"]});
        let unfit = [
            ("namespaces", json!({})),
            ("namespaces", json!({"names": ["press"]})),
            ("credentialSources", json!([])),
            ("credentialSources", json!(["Secret"])),
            ("ownerUIDs", json!(["1"])),
            ("buckets", json!(["docs-*"])),
            ("granteeUIDs", json!(["1"])),
            ("roleNames", json!(["S"])),
            ("presets", json!(["Documented"])),
            ("takeOwnership", json!(false)),
            ("assumeRoleARNs", json!([])),
        ];
        judge(&fitting, &unfit, |rules| {
            rules.allow_grant(&tenant(&[]), &spec).is_ok()
        });
    }

    #[test]
    fn each_member_of_a_rule_can_deny_a_job() {
        let spec: JobSpec = serde_json::from_value(json!({
            "project": {"name": "scores", "region": "cn-hangzhou", "accountUID": "12345"},
            "credentials": {"source": "Secret", "secretRef": {"name": "keys"}},
            "source": {"uris": ["oss://pics-1/a.jpg"]},
        }))
        .unwrap();
        let images = ["pics-1"];
        let fitting = json!({"namespaces": {"matchLabels": {"team": "media", "site": "north"}}, "buckets": ["pics-*"],
            "projects": ["sc*"], "granteeUIDs": ["12345"]});
        let unfit = [
            (
                "namespaces",
                json!({"matchLabels": {"team": "media", "site": "south"}}),
            ),
            (
                "namespaces",
                json!({"matchLabels": {"team": "media", "floor": "1"}}),
            ),
            ("credentialSources", json!(["ServiceAccount"])),
            ("buckets", json!(["docs-*"])),
            ("projects", json!(["other"])),
            ("granteeUIDs", json!(["1"])),
        ];
        judge(&fitting, &unfit, |rules| {
            rules
                .allow_job(&tenant(&[("team", "media"), ("site", "north")]), &spec, &images)
                .is_ok()
        });
    }
}
