//! What to do about credentials that cannot be obtained and about calls that fail, for a person with a terminal.

use super::{Check, CredentialFacts, Level};
use crate::core::error::{CloudError, CloudErrorKind, CredentialsError};

/// The check of credentials.
pub(super) fn credentials_check(name: &'static str, facts: &CredentialFacts) -> Check {
    let origin = &facts.origin;
    let Err(error) = &facts.result else {
        let how = if facts.by_token {
            "STS exchanged the ServiceAccount token for a session"
        } else {
            "found"
        };
        return Check::ok(name, format!("{origin}: {how}"));
    };
    let (level, seen, change) = match error {
        CredentialsError::NotConfigured => (
            Level::Warning,
            "none, so nothing that needs them was checked".to_owned(),
            "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, name a source with --own-identity, or use --keys cluster".to_owned(),
        ),
        CredentialsError::NotFound => (
            Level::Failed,
            format!("{origin} does not exist"),
            "create it".to_owned(),
        ),
        CredentialsError::Invalid(key) => (
            Level::Failed,
            format!("{origin} has no usable {key}"),
            "set accessKeyId and accessKeySecret to printable text without line breaks".to_owned(),
        ),
        CredentialsError::SecretAccessDenied { .. } => (
            Level::Warning,
            format!("you have no permission to read {origin}, so nothing that needs it was checked"),
            "ask for get on this Secret, or set the keys in the environment and use --keys environment".to_owned(),
        ),
        CredentialsError::TokenRequestDenied { .. } => (
            Level::Warning,
            format!("you have no permission to request a token of {origin}, so nothing that needs it was checked"),
            "ask for create on serviceaccounts/token of it, or run this command in a Pod of that ServiceAccount".to_owned(),
        ),
        CredentialsError::AssumeRoleDenied(error) => (
            Level::Failed,
            format!("STS rejected the session for {origin} ({})", error.code_and_refusal()),
            "check the ARN of the role, its trust policy, the OIDC provider and the external ID".to_owned(),
        ),
        CredentialsError::StsUnavailable(error) => (
            Level::Failed,
            format!("no session for {origin} ({})", error.code_and_refusal()),
            fix(error),
        ),
        CredentialsError::OwnSourceFailed(error) => (
            Level::Failed,
            format!("{origin} gave no credentials ({})", error.code),
            "check the token file, the RAM role of the ECS instance, or the credentials URI".to_owned(),
        ),
        CredentialsError::OtherAccount { account, expected } => (
            Level::Failed,
            format!("{origin} belongs to account {account}, and the project to account {expected}"),
            format!("use credentials of account {expected}"),
        ),
        CredentialsError::AccountUnverified(error) => (
            Level::Failed,
            format!("STS does not say which account {origin} belongs to ({})", error.code_and_refusal()),
            fix(error),
        ),
        CredentialsError::Unavailable => (
            Level::Warning,
            format!("{origin} cannot be read, because the API server did not answer"),
            "try again".to_owned(),
        ),
    };
    Check {
        change: Some(change),
        ..Check::new(name, level, seen)
    }
}

/// Returns why there are no credentials and what to do about that; `None` if there are some.
pub fn missing_credentials(facts: &CredentialFacts) -> Option<String> {
    let error = facts.result.as_ref().err()?;
    let check = credentials_check("", facts);
    let seen = if matches!(error, CredentialsError::NotConfigured) {
        format!("there are no {}", facts.origin)
    } else {
        check.seen
    };
    Some(format!("{seen}: {}", check.change.unwrap_or_default()))
}

/// What to do about a failed call.
pub(super) fn fix(error: &CloudError) -> String {
    if error.is_clock_skew() {
        return "correct the clock of this machine".to_owned();
    }
    if let Some(fix) = error.refusal.fix() {
        return fix.to_owned();
    }
    match error.kind {
        CloudErrorKind::AccessDenied => match error.refusal.action {
            Some(action) => format!("allow {action} in a RAM policy of this identity"),
            None => "allow the call in a RAM policy of this identity".to_owned(),
        },
        CloudErrorKind::CredentialsRejected => "correct the AccessKey pair".to_owned(),
        CloudErrorKind::CredentialsExpired => "renew the temporary credentials".to_owned(),
        CloudErrorKind::NoSuchBucket => {
            "correct the name of the bucket, or use credentials of its owner, as OSS can hide it from others"
                .to_owned()
        }
        CloudErrorKind::NoSuchProject => "correct name, region and account of the project".to_owned(),
        CloudErrorKind::WrongRegion => "correct the region of the bucket".to_owned(),
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::BucketLocked => {
            "try again later".to_owned()
        }
        CloudErrorKind::Unanswered => "see the checks of the endpoint, then try again".to_owned(),
        CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::PolicyRejected
        | CloudErrorKind::RequestRejected => {
            "look up the code in the documentation of the service".to_owned()
        }
    }
}

/// A failed check of a call.
pub(super) fn call_failed(name: &'static str, what: &str, error: &CloudError) -> Check {
    let seen = format!("{what} failed ({})", error.code_and_refusal());
    if error.is_transient() && !error.is_clock_skew() {
        Check::warning(name, seen, fix(error))
    } else {
        Check::failed(name, seen, fix(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_credentials_says_what_failed() {
        let error = || CloudError::new(CloudErrorKind::Unavailable, "ServiceUnavailable");
        let cases = [
            (
                CredentialsError::OtherAccount {
                    account: "111".to_owned(),
                    expected: "222".to_owned(),
                },
                Level::Failed,
                "Secret keys belongs to account 111, and the project to account 222",
            ),
            (
                CredentialsError::AccountUnverified(error()),
                Level::Failed,
                "STS does not say which account Secret keys belongs to (ServiceUnavailable)",
            ),
            (
                CredentialsError::Unavailable,
                Level::Warning,
                "Secret keys cannot be read, because the API server did not answer",
            ),
        ];
        for (error, level, seen) in cases {
            let facts = CredentialFacts {
                origin: "Secret keys".to_owned(),
                by_token: false,
                result: Err(error),
            };
            let check = credentials_check("credentials", &facts);
            assert_eq!((check.level, check.seen.as_str()), (level, seen));
        }
    }
}
