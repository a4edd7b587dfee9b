//! Decides whether an object may use an identity. Every fetch of credentials during a reconcile depends on it.
//!
//! Own sources (Secret, ServiceAccount) prove themselves: who can create the object can also open the reference. The
//! operator's own identity needs a tenancy rule, with one exception: it may remove the statements that it has written
//! for a grant, also after the rule is gone. The ledger records whose statements they are, as a digest of the identity
//! that is compared and never used to obtain credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::error::{CloudError, CredentialsError};
use super::identity::Identity;
use super::tenancy::{TenancyRules, Tenant};
use crate::api::{Access, EntryState, GrantSpec, JobSpec, LedgerEntry};

/// What an object wants to do with an identity.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Keep the statements of a grant in the policy.
    Grant(&'a GrantSpec),
    /// Remove the statements of a grant that is being deleted.
    Removal {
        /// The spec; `None` when it does not decode.
        spec: Option<&'a GrantSpec>,
        /// The ledger of the grant.
        ledger: &'a [LedgerEntry],
        /// Fingerprints of intended writes that have certainly not taken effect for the grant.
        unproven: &'a BTreeSet<String>,
    },
    /// Read the source of a job, or score its images.
    Job {
        /// The spec of the job.
        spec: &'a JobSpec,
        /// Buckets whose images it scores.
        buckets: &'a [&'a str],
    },
}

/// Why objects get no credentials.
#[derive(Clone, Debug)]
pub enum CredentialRefusal {
    /// No rule allows the use: the message for users.
    Denied(String),
    /// The namespace could not be read, so the rules cannot be evaluated.
    NamespaceUnknown,
    /// The credentials cannot be obtained.
    Failed(CredentialsError),
}

impl CredentialRefusal {
    /// Whether the reference can no longer be read. A terminating namespace may have lost its Role before its Secret.
    pub fn hides_reference(&self) -> bool {
        matches!(
            self,
            Self::Failed(
                CredentialsError::SecretAccessDenied { .. } | CredentialsError::TokenRequestDenied { .. }
            )
        )
    }

    /// Whether the reference itself gives no credentials, whatever the rules say.
    pub fn gives_no_credentials(&self) -> bool {
        match self {
            Self::Failed(_) => true,
            Self::Denied(_) | Self::NamespaceUnknown => false,
        }
    }

    /// The refusal if no object uses the credentials.
    pub fn unused() -> Self {
        Self::Denied("No object uses these credentials: nothing is to be done".to_owned())
    }
}

/// Returns the delay before STS is asked again for the account of credentials, after `attempts`; `None` if its error
/// stands.
pub fn retry_account(error: &CloudError, attempts: u32) -> Option<Duration> {
    (error.is_transient() && attempts < 3).then_some(Duration::from_secs(1))
}

/// Whether all uses are removals that need no rule: what an identity has written itself is removed without one, and the
/// namespace may be gone by then.
pub fn need_no_namespace(rules: &TenancyRules, identity: &Identity, purposes: &[Purpose<'_>]) -> bool {
    let unlabelled = Tenant {
        name: identity.namespace().to_owned(),
        ..Tenant::default()
    };
    purposes.iter().all(|purpose| {
        matches!(purpose, Purpose::Removal { .. }) && allow_use(rules, &unlabelled, identity, purpose).is_ok()
    })
}

/// Whether the use depends on the tenancy rules, so that the namespace has to be read first.
pub fn depends_on_rules(identity: &Identity, purpose: &Purpose<'_>) -> bool {
    identity.is_operator() || !matches!(purpose, Purpose::Removal { .. })
}

/// Checks whether an object of `tenant` may use `identity`.
///
/// # Errors
/// A message for users when it may not.
pub fn allow_use(
    rules: &TenancyRules,
    tenant: &Tenant,
    identity: &Identity,
    purpose: &Purpose<'_>,
) -> Result<(), String> {
    match *purpose {
        Purpose::Grant(spec) => rules.allow_grant(tenant, spec),
        Purpose::Job { spec, buckets } => rules.allow_job(tenant, spec, buckets),
        Purpose::Removal { .. } if !identity.is_operator() => Ok(()),
        Purpose::Removal {
            spec,
            ledger,
            unproven,
        } => {
            let digest = identity.digest();
            let mut of_others = ledger
                .iter()
                .filter(|e| must_be_removed(e, unproven) && e.identity.as_ref() != Some(&digest))
                .peekable();
            if of_others.peek().is_none() {
                return Ok(());
            }
            if of_others.any(|e| e.identity.is_some()) {
                return Err(
                    "Statements of this grant were written with other credentials than spec.credentials names: set \
                     spec.credentials to the credentials that wrote them"
                        .to_owned(),
                );
            }
            let spec = spec.ok_or(
                "The spec cannot be decoded, so no tenancy rule can allow the operator's own identity: correct spec",
            )?;
            rules.allow_grant(tenant, spec)
        }
    }
}

/// Whether the deletion of a grant has to remove the statement of an entry. A statement that was there before stays, and
/// so does one whose intended write is known not to have taken effect. The age of an intended write proves nothing: only
/// the policy tells whether it took effect before it expired.
pub fn must_be_removed(entry: &LedgerEntry, unproven: &BTreeSet<String>) -> bool {
    let not_written = entry.state == EntryState::Intended && unproven.contains(&entry.fingerprint);
    !entry.pre_existing && !not_written
}

/// Whether the write of an entry can still take effect.
pub fn is_within_life(entry: &LedgerEntry, now: Timestamp) -> bool {
    entry.unsettled_until.as_ref().is_some_and(|until| until.0 > now)
}

/// Returns a spec without the lists that can be long: neither the use of an identity nor the removal of statements
/// depends on them.
pub fn without_lists(spec: &GrantSpec) -> GrantSpec {
    GrantSpec {
        access: Access {
            preset: spec.access.preset,
            pass_role_statement: spec.access.pass_role_statement,
            ..Access::default()
        },
        allowed_consumers: None,
        ..spec.clone()
    }
}

/// Returns a ledger without the texts of its statements: the use of an identity does not depend on them.
pub fn without_texts(ledger: &[LedgerEntry]) -> Vec<LedgerEntry> {
    let entry = |entry: &LedgerEntry| LedgerEntry {
        statement: String::new(),
        other: BTreeMap::new(),
        fingerprint: entry.fingerprint.clone(),
        identity: entry.identity.clone(),
        unsettled_until: entry.unsettled_until.clone(),
        ..*entry
    };
    ledger.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::StatementRole;
    use crate::core::grant::spec_with;

    const ROLE: &str = "acs:ram::65432:role/w";

    fn spec(credentials: &serde_json::Value) -> GrantSpec {
        spec_with(&json!({"credentials": credentials}))
    }

    fn identity(spec: &GrantSpec) -> Identity {
        Identity::of("media", &spec.credentials).unwrap()
    }

    fn entry(state: EntryState, identity: Option<&Identity>) -> LedgerEntry {
        LedgerEntry {
            fingerprint: "sha256:0".to_owned(),
            role: StatementRole::Access,
            state,
            pre_existing: false,
            statement: "{}".to_owned(),
            copies: None,
            unsettled_until: None,
            identity: identity.map(Identity::digest),
            other: std::collections::BTreeMap::new(),
        }
    }

    /// Whether a grant of namespace media that is being deleted may use its identity.
    fn removes(rules: &serde_json::Value, spec: &GrantSpec, ledger: &[LedgerEntry]) -> bool {
        removes_except(rules, spec, ledger, &BTreeSet::new())
    }

    fn removes_except(
        rules: &serde_json::Value,
        spec: &GrantSpec,
        ledger: &[LedgerEntry],
        unproven: &BTreeSet<String>,
    ) -> bool {
        let rules: TenancyRules = serde_json::from_value(rules.clone()).unwrap();
        let tenant = Tenant {
            name: "media".to_owned(),
            ..Tenant::default()
        };
        let purpose = Purpose::Removal {
            spec: Some(spec),
            ledger,
            unproven,
        };
        allow_use(&rules, &tenant, &identity(spec), &purpose).is_ok()
    }

    #[test]
    fn without_a_rule_the_operator_removes_only_what_it_has_written_with_the_same_role() {
        let own = spec(&json!({"source": "Secret", "secretRef": {"name": "keys"}}));
        let operator = spec(&json!({"source": "Operator"}));
        let role = spec(&json!({"source": "Operator", "assumeRole": {"roleARN": ROLE}}));
        let with_word =
            spec(&json!({"source": "Operator", "assumeRole": {"roleARN": ROLE, "externalID": "word"}}));
        let (none, strict) = (json!({"rules": []}), json!({"strict": true, "rules": []}));
        for state in [EntryState::Applied, EntryState::Removing, EntryState::Missing] {
            let by = |who: &GrantSpec| [entry(state, Some(&identity(who)))];
            assert!(removes(&none, &operator, &by(&operator)), "{state:?}");
            assert!(removes(&none, &role, &by(&role)), "{state:?}");
            for (wanted, writer) in [
                (&operator, &own),
                (&operator, &role),
                (&role, &operator),
                (&with_word, &role),
            ] {
                assert!(!removes(&none, wanted, &by(writer)), "{state:?}");
            }
            assert!(!removes(&none, &operator, &[entry(state, None)]), "{state:?}");
            for rules in [&none, &strict] {
                assert!(removes(rules, &own, &[entry(state, None)]), "{state:?}");
                assert!(removes(rules, &own, &by(&operator)), "{state:?}");
            }
        }
    }

    #[test]
    fn a_rule_in_force_covers_entries_of_earlier_versions_and_no_other_identity() {
        let rules = json!({"rules": [{"namespaces": {"names": ["media"]}, "credentialSources": ["Operator"],
                "kinds": ["ImmBucketGrant"], "ownerUIDs": ["65432"]}]});
        let operator = spec(&json!({"source": "Operator"}));
        let own = spec(&json!({"source": "Secret", "secretRef": {"name": "keys"}}));
        assert!(removes(&rules, &operator, &[entry(EntryState::Applied, None)]));
        let written_by_own = entry(EntryState::Applied, Some(&identity(&own)));
        assert!(!removes(&rules, &operator, &[written_by_own]));
    }

    #[test]
    fn what_need_not_be_removed_needs_no_rule() {
        let operator = spec(&json!({"source": "Operator"}));
        let found = LedgerEntry {
            pre_existing: true,
            ..entry(EntryState::Applied, None)
        };
        let intended = LedgerEntry {
            unsettled_until: Some(Time(Timestamp::UNIX_EPOCH)),
            ..entry(EntryState::Intended, None)
        };
        let none = json!({"rules": []});
        assert!(removes(&none, &operator, std::slice::from_ref(&found)));
        let unproven = BTreeSet::from([intended.fingerprint.clone()]);
        let ledger = [found, intended];
        assert!(removes_except(&none, &operator, &ledger, &unproven));
        assert!(
            !removes(&none, &operator, &ledger),
            "a write that has expired can have taken effect before"
        );
        let applied = [entry(EntryState::Applied, None)];
        assert!(!removes_except(&none, &operator, &applied, &unproven));
    }

    #[test]
    fn a_digest_tells_apart_every_part_of_a_reference() {
        let specs = [
            json!({"source": "Operator"}),
            json!({"source": "Operator", "assumeRole": {"roleARN": ROLE}}),
            json!({"source": "Secret", "secretRef": {"name": "a"}}),
            json!({"source": "Secret", "secretRef": {"name": "b"}}),
            json!({"source": "Secret", "secretRef": {"name": "a"}, "assumeRole": {"roleARN": ROLE}}),
            json!({"source": "ServiceAccount", "serviceAccount": {"name": "a", "roleARN": ROLE, "oidcProviderARN": "p"}}),
            json!({"source": "ServiceAccount", "serviceAccount": {"name": "a", "roleARN": ROLE, "oidcProviderARN": "q"}}),
        ];
        let mut digests = std::collections::BTreeSet::new();
        for namespace in ["media", "press"] {
            for credentials in &specs {
                let spec = spec(credentials);
                digests.insert(Identity::of(namespace, &spec.credentials).unwrap().digest());
            }
        }
        assert_eq!(digests.len(), specs.len() * 2);
    }

    #[test]
    fn only_removals_without_a_rule_need_no_namespace() {
        let rules: TenancyRules = serde_json::from_value(json!({"rules": []})).unwrap();
        let own = spec(&json!({"source": "Secret", "secretRef": {"name": "keys"}}));
        let operator = spec(&json!({"source": "Operator"}));
        let (none, by_own) = (
            BTreeSet::new(),
            [entry(EntryState::Applied, Some(&identity(&own)))],
        );
        let removal = |spec| Purpose::Removal {
            spec: Some(spec),
            ledger: &by_own,
            unproven: &none,
        };
        assert!(need_no_namespace(&rules, &identity(&own), &[removal(&own)]));
        assert!(!need_no_namespace(
            &rules,
            &identity(&own),
            &[removal(&own), Purpose::Grant(&own)]
        ));
        assert!(!need_no_namespace(
            &rules,
            &identity(&operator),
            &[removal(&operator)]
        ));
    }

    #[test]
    fn the_account_is_asked_for_three_times_if_the_error_may_pass() {
        use crate::core::error::CloudErrorKind;
        let retry = |kind, attempts| retry_account(&CloudError::new(kind, "Code"), attempts);
        let second = Some(Duration::from_secs(1));
        assert_eq!(retry(CloudErrorKind::Unavailable, 1), second);
        assert_eq!(retry(CloudErrorKind::Unavailable, 2), second);
        assert_eq!(retry(CloudErrorKind::Unavailable, 3), None);
        assert_eq!(retry(CloudErrorKind::CredentialsRejected, 1), None);
    }

    #[test]
    fn a_reference_is_hidden_when_the_operator_may_not_read_it() {
        let failed = |error| CredentialRefusal::Failed(error).hides_reference();
        assert!(failed(CredentialsError::SecretAccessDenied { account: None }));
        assert!(failed(CredentialsError::TokenRequestDenied { account: None }));
        assert!(!failed(CredentialsError::NotFound), "its owner has deleted it");
        let missing = CredentialRefusal::Failed(CredentialsError::NotFound);
        assert!(missing.gives_no_credentials(), "a deleted one gives none either");
        for refusal in [CredentialRefusal::unused(), CredentialRefusal::NamespaceUnknown] {
            assert!(!refusal.hides_reference() && !refusal.gives_no_credentials());
        }
    }
}
