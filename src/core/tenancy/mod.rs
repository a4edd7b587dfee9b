//! Tenancy: which accounts, buckets and projects a namespace may use, and with which credentials. An object is allowed
//! if one rule allows all of it. Without a matching rule, the operator's own identity, TakeOwnership and grants for a
//! whole account are denied, and the namespace's own credentials are allowed unless the rules are strict.
//!
//! A rule for the operator's own identity is read narrowly: it says for which kinds it is, and an empty list in a field
//! that decides what the identity reaches allows nothing.

mod check;

pub use check::check_rules;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::{AdoptionPolicy, CredentialSource, Credentials, GrantSpec, JobSpec, Preset, PrincipalForm};
use crate::core::policy::pattern_matches;

/// The tenancy rules, as configured by the cluster operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenancyRules {
    /// Whether the namespace's own credentials also require a rule.
    #[serde(default)]
    pub strict: bool,
    /// The rules: one that allows the object is sufficient. Required, so that an empty or truncated file is an error and
    /// does not disable `strict`.
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

/// A kind that a rule can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum RuleKind {
    /// Grants.
    ImmBucketGrant,
    /// Jobs.
    ImageScoreJob,
}

/// One rule. The meaning of an empty list depends on the field, and `*` means any in each list but `assumeRoleARNs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenancyRule {
    /// Namespaces to which the rule applies.
    pub namespaces: NamespaceSelector,
    /// Kinds that the rule is for; empty means both. Required with source Operator.
    #[serde(default)]
    pub kinds: Vec<RuleKind>,
    /// Allowed sources of credentials; empty means Secret and ServiceAccount.
    #[serde(default)]
    pub credential_sources: Vec<CredentialSource>,
    /// UIDs of bucket owner accounts; empty means any. With source Operator: required for grants; for jobs, the owners of
    /// the buckets that the operator itself reads, where empty means the account of the project.
    #[serde(default, rename = "ownerUIDs")]
    pub owner_uids: Vec<String>,
    /// Bucket name patterns, in which `*` matches any text; empty means any. Required for jobs with source
    /// Operator.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// UIDs of grantee accounts, and of the accounts of projects; empty means any. Required for jobs with source
    /// Operator.
    #[serde(default, rename = "granteeUIDs")]
    pub grantee_uids: Vec<String>,
    /// Service roles of the grantee, compared without their case; empty means any.
    #[serde(default)]
    pub role_names: Vec<String>,
    /// Forms of the principal; empty means any but Account.
    #[serde(default)]
    pub principals: Vec<PrincipalForm>,
    /// Presets; empty means any.
    #[serde(default)]
    pub presets: Vec<Preset>,
    /// Whether the adoption policy `TakeOwnership` is allowed.
    #[serde(default)]
    pub take_ownership: bool,
    /// Name patterns of projects for jobs, in which `*` matches any text; empty means any. Required for jobs with source
    /// Operator.
    #[serde(default)]
    pub projects: Vec<String>,
    /// ARNs of the roles in the role chain of a job, the first one included; empty means any, and none with source
    /// Operator.
    #[serde(default, rename = "chainRoleARNs")]
    pub chain_role_arns: Vec<String>,
    /// Roles that an object must assume, compared verbatim. Empty means none after the operator's own identity, and any
    /// after other sources.
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
        let fits = |rule: &TenancyRule, empty: EmptyList| {
            rule.is_for(RuleKind::ImmBucketGrant, empty)
                && lists(&rule.owner_uids, &spec.bucket.owner_uid, empty)
                && matches_any(&rule.buckets, &spec.bucket.name, EmptyList::Any)
                && lists(&rule.grantee_uids, &spec.grantee.account_uid, EmptyList::Any)
                && lists_role(&rule.role_names, &spec.grantee.role_name)
                && rule.allows_principal(spec.grantee.principal)
                && (rule.presets.is_empty() || rule.presets.contains(&spec.access.preset))
                && (rule.take_ownership || spec.adoption_policy != AdoptionPolicy::TakeOwnership)
        };
        let free = spec.adoption_policy != AdoptionPolicy::TakeOwnership
            && spec.grantee.principal != PrincipalForm::Account;
        self.allow(tenant, &spec.credentials, free, fits)
            .map_err(|message| match spec.grantee.principal {
                PrincipalForm::Account => {
                    format!("{message} with principals: [Account], which grantee.principal Account needs")
                }
                PrincipalForm::ServiceRole | PrincipalForm::ServiceRoleSession => message,
            })
    }

    /// Checks whether the rules allow a job that reads images of these buckets.
    ///
    /// # Errors
    /// A message for users if no rule allows the job.
    pub fn allow_job(&self, tenant: &Tenant, spec: &JobSpec, buckets: &[&str]) -> Result<(), String> {
        let reader = spec.source.credentials().into_iter();
        reader.chain([&spec.credentials]).try_for_each(|credentials| {
            let fits = |rule: &TenancyRule, empty| rule.fits_job(spec, buckets, empty);
            self.allow(tenant, credentials, true, fits)
        })
    }

    /// Checks whether the rules allow a job whose source the operator's own identity reads from a bucket of this account:
    /// the name of a bucket does not show who owns it.
    ///
    /// # Errors
    /// A message for users if no rule allows the job on a bucket of this owner.
    pub fn allow_source_owner(
        &self,
        tenant: &Tenant,
        spec: &JobSpec,
        bucket: &str,
        owner: &str,
    ) -> Result<(), String> {
        let reader = spec.source.credentials().unwrap_or(&spec.credentials);
        let fits = |rule: &TenancyRule, empty| {
            let own_account = rule.owner_uids.is_empty() && owner == spec.project.account_uid;
            rule.fits_job(spec, &[bucket], empty)
                && (own_account || lists(&rule.owner_uids, owner, EmptyList::Nothing))
        };
        self.allow(tenant, reader, true, fits).map_err(|_| {
            format!(
                "Bucket {bucket} belongs to account {owner}, and no tenancy rule lets the operator's own identity read its \
                 buckets for this job: ask the cluster operator for a rule with that account in ownerUIDs (Helm value tenancy.rules)"
            )
        })
    }

    fn allow(
        &self,
        tenant: &Tenant,
        credentials: &Credentials,
        free: bool,
        fits: impl Fn(&TenancyRule, EmptyList) -> bool,
    ) -> Result<(), String> {
        let own = credentials.source != CredentialSource::Operator;
        if own && free && !self.strict {
            return Ok(());
        }
        let empty = if own { EmptyList::Any } else { EmptyList::Nothing };
        let mut rules = self
            .rules
            .iter()
            .filter(|rule| rule.namespaces.applies_to(tenant));
        if rules.any(|rule| rule.allows_credentials(credentials) && fits(rule, empty)) {
            return Ok(());
        }
        Err(format!(
            "No tenancy rule allows this object of namespace {} with credentials.source {:?}: ask the cluster operator for a rule \
             (Helm value tenancy.rules)",
            tenant.name, credentials.source
        ))
    }
}

impl TenancyRule {
    fn is_for(&self, kind: RuleKind, empty: EmptyList) -> bool {
        (self.kinds.is_empty() && empty == EmptyList::Any) || self.kinds.contains(&kind)
    }

    fn allows_principal(&self, form: PrincipalForm) -> bool {
        let unlisted = self.principals.is_empty() && form != PrincipalForm::Account;
        unlisted || self.principals.contains(&form)
    }

    fn allows_credentials(&self, credentials: &Credentials) -> bool {
        let own = credentials.source != CredentialSource::Operator;
        let source = if self.credential_sources.is_empty() {
            own
        } else {
            self.credential_sources.contains(&credentials.source)
        };
        let role = credentials.assume_role.as_ref().map(|role| &role.role_arn);
        let assumes = if self.assume_role_arns.is_empty() {
            own || role.is_none()
        } else {
            // The role limits what the credentials reach: without it, they reach more than the rule is about.
            role.is_some_and(|role| self.assume_role_arns.contains(role))
        };
        source && assumes
    }

    fn fits_job(&self, spec: &JobSpec, buckets: &[&str], empty: EmptyList) -> bool {
        self.is_for(RuleKind::ImageScoreJob, empty)
            && matches_any(&self.projects, &spec.project.name, empty)
            && lists(&self.grantee_uids, &spec.project.account_uid, empty)
            && buckets
                .iter()
                .all(|bucket| matches_any(&self.buckets, bucket, empty))
            && chain_roles(spec)
                .iter()
                .all(|role| lists(&self.chain_role_arns, role, empty))
    }
}

impl NamespaceSelector {
    fn applies_to(&self, tenant: &Tenant) -> bool {
        let named = self
            .names
            .iter()
            .any(|pattern| pattern_matches(pattern, &tenant.name));
        let labelled = !self.match_labels.is_empty()
            && self
                .match_labels
                .iter()
                .all(|(key, value)| tenant.labels.get(key) == Some(value));
        named || labelled
    }
}

/// What an empty list of a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EmptyList {
    Any,
    Nothing,
}

/// Returns the ARNs of the roles that IMM assumes for a job, the first one included.
fn chain_roles(spec: &JobSpec) -> Vec<String> {
    let Some(chain) = &spec.access.role_chain else {
        return Vec::new();
    };
    let arn = |account: &str, role: &str| format!("acs:ram::{account}:role/{role}");
    let first = arn(&spec.project.account_uid, &chain.service_role);
    let further = chain
        .chain
        .iter()
        .map(|link| arn(&link.assume_role_for, &link.role));
    [first].into_iter().chain(further).collect()
}

fn lists(list: &[String], value: &str, empty: EmptyList) -> bool {
    (list.is_empty() && empty == EmptyList::Any) || list.iter().any(|entry| entry == value || entry == "*")
}

/// Whether a list has a role. It is not documented whether OSS compares the case of a role, so both spellings count as
/// the same role.
fn lists_role(list: &[String], role: &str) -> bool {
    list.is_empty()
        || list
            .iter()
            .any(|entry| entry.eq_ignore_ascii_case(role) || entry == "*")
}

fn matches_any(patterns: &[String], value: &str, empty: EmptyList) -> bool {
    (patterns.is_empty() && empty == EmptyList::Any)
        || patterns.iter().any(|pattern| pattern_matches(pattern, value))
}

#[cfg(test)]
mod tests;
