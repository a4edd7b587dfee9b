//! Whether a job may use the credentials that it got, and the phase to report if not.

use super::ends::{credentials_failed, rejected_credentials};
use super::{Phase, SourceSpec};
use crate::api::{CredentialSource, Credentials, JobSpec};
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::{CloudError, CredentialsError};
use crate::core::identity::{INCOMPLETE_CREDENTIALS, Identity};

/// What follows from the account that STS names for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCheck {
    /// They belong to the account of the project.
    Verified,
    /// Their account is unknown, and they can reach only what their owner may use: an outage of STS does not stop the
    /// job.
    Unknown,
    /// They are rejected, and not used again.
    Rejected(CloudError, Phase),
    /// They may not be used.
    Refused(Phase),
}

/// Checks the account of the credentials for scoring. Those of another account than the job names would use another
/// project, so no call is made with them.
pub fn check_account(
    spec: &JobSpec,
    identity: &Identity,
    account: Result<&String, CloudError>,
) -> AccountCheck {
    let expected = &spec.project.account_uid;
    let error = match account {
        Ok(account) if account == expected => return AccountCheck::Verified,
        Ok(account) => CredentialsError::OtherAccount {
            account: account.clone(),
            expected: expected.clone(),
        },
        Err(error) if error.rejects_credentials() => {
            let phase = rejected_credentials(identity, error.clone());
            return AccountCheck::Rejected(error, phase);
        }
        // With the operator's own identity, another account's project of the same name would be scored in and billed,
        // or a bucket be read because the spec names the account of its owner.
        Err(error) if identity.is_operator() || operator_reads_source(spec) => {
            if error.is_transient() {
                CredentialsError::StsUnavailable(error)
            } else {
                CredentialsError::AccountUnverified(error)
            }
        }
        Err(_) => return AccountCheck::Unknown,
    };
    AccountCheck::Refused(credentials_failed(error, identity))
}

/// Whether the operator's own identity reads the source.
pub fn operator_reads_source(spec: &JobSpec) -> bool {
    spec.source.uris.is_empty() && source_credentials(spec).source == CredentialSource::Operator
}

/// The credentials with which the source is read.
fn source_credentials(spec: &JobSpec) -> &Credentials {
    spec.source.credentials().unwrap_or(&spec.credentials)
}

/// Returns the identity that makes the calls.
///
/// # Errors
/// Returns the message of a job whose credentials are incomplete.
pub fn scoring_identity(namespace: &str, spec: &JobSpec) -> Result<Identity, &'static str> {
    Identity::of(namespace, &spec.credentials).ok_or(INCOMPLETE_CREDENTIALS)
}

/// Returns the identity that reads the source.
///
/// # Errors
/// Returns the message of a job whose credentials are incomplete.
pub fn source_identity(namespace: &str, spec: &JobSpec) -> Result<Identity, &'static str> {
    Identity::of(namespace, source_credentials(spec)).ok_or(
        "The credentials of the source (spec.source) are incomplete: set the block that matches their source (secretRef or serviceAccount)",
    )
}

/// The bucket that is known before the source is read; the only one of a prefix or a manifest.
pub fn source_bucket(source: &SourceSpec) -> &str {
    source.buckets().first().copied().unwrap_or_default()
}

/// The phase of a job that gets no credentials.
pub fn refused_credentials(refusal: CredentialRefusal, identity: &Identity) -> Phase {
    match refusal {
        CredentialRefusal::Denied(message) => Phase::Denied(message),
        CredentialRefusal::NamespaceUnknown => credentials_failed(CredentialsError::Unavailable, identity),
        CredentialRefusal::Failed(error) => credentials_failed(error, identity),
    }
}

/// What follows from fetching credentials again that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal<T> {
    /// The fetched ones are used.
    Use(T),
    /// The current ones stay in use until they are fetched again: the failure may pass.
    Keep,
    /// The job stops with this phase: its credentials may not be used any more.
    Stop(Phase),
}

/// Returns what follows from fetching credentials again, or from the phase of a job that gets none.
pub fn renewed<T>(fetched: Result<T, Phase>) -> Renewal<T> {
    match fetched {
        Ok(keys) => Renewal::Use(keys),
        Err(phase) if stops_run(&phase) => Renewal::Stop(phase),
        Err(_) => Renewal::Keep,
    }
}

/// Whether a running job has to stop with this phase.
fn stops_run(phase: &Phase) -> bool {
    let of_other = |error: &CredentialsError| {
        matches!(
            error,
            CredentialsError::OtherAccount { .. } | CredentialsError::AccountUnverified(_)
        )
    };
    let closed = |error: &CredentialsError| of_other(error) || error.is_closed();
    matches!(phase, Phase::Denied(_) | Phase::CredentialsRejected(..))
        || matches!(phase, Phase::CredentialsFailed(error, _) if closed(error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::error::CloudErrorKind;
    use crate::core::job::spec_with;

    fn spec(source: &Value, credentials: &str) -> JobSpec {
        let mut spec = spec_with(&json!({"source": source}));
        if credentials == "Operator" {
            spec.credentials = serde_json::from_value(json!({"source": "Operator"})).unwrap();
        }
        spec
    }

    #[test]
    fn an_outage_of_sts_stops_only_jobs_that_the_identity_of_the_operator_serves() {
        let outage = || CloudError::new(CloudErrorKind::Unavailable, "ServiceUnavailable");
        let listed = json!({"uris": ["oss://pics/a.jpg"]});
        let own = json!({"prefix": {"bucket": "pics"}});
        let lent = json!({"prefix": {"bucket": "pics", "credentials": {"source": "Operator"}}});
        for (source, credentials, refused) in [
            (&listed, "Secret", false),
            (&own, "Secret", false),
            (&lent, "Secret", true),
            (&listed, "Operator", true),
        ] {
            let spec = spec(source, credentials);
            let identity = scoring_identity("media", &spec).unwrap();
            let found = check_account(&spec, &identity, Err(outage()));
            let expected = matches!(
                found,
                AccountCheck::Refused(Phase::CredentialsFailed(CredentialsError::StsUnavailable(_), _))
            );
            assert_eq!(expected, refused, "{source} {credentials} {found:?}");
            assert!(refused || found == AccountCheck::Unknown);
        }
    }

    #[test]
    fn credentials_of_another_account_and_rejected_ones_are_not_used() {
        let spec = spec(&json!({"uris": ["oss://pics/a.jpg"]}), "Secret");
        let identity = scoring_identity("media", &spec).unwrap();
        let check = |account: Result<&String, CloudError>| check_account(&spec, &identity, account);
        assert_eq!(check(Ok(&"12345".to_owned())), AccountCheck::Verified);
        let AccountCheck::Refused(other) = check(Ok(&"1".to_owned())) else {
            panic!("another account is refused");
        };
        let rejected = CloudError::new(CloudErrorKind::CredentialsRejected, "InvalidAccessKeyId");
        let AccountCheck::Rejected(_, rejected) = check(Err(rejected)) else {
            panic!("they are rejected");
        };
        let passing = credentials_failed(CredentialsError::Unavailable, &identity);
        assert_eq!(renewed::<()>(Err(passing)), Renewal::Keep);
        assert_eq!(renewed::<()>(Err(other.clone())), Renewal::Stop(other));
        assert_eq!(renewed::<()>(Err(rejected.clone())), Renewal::Stop(rejected));
        assert_eq!(renewed(Ok(7)), Renewal::Use(7));
    }
}
