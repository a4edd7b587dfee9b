//! Environment variables: no other module reads them.

use crate::ports::AccessKeys;

/// Returns the static credentials in the variables of Alibaba Cloud's SDKs; `None` unless ID and secret are set.
pub fn credentials_from_environment() -> Option<AccessKeys> {
    credentials_with_prefix("ALIBABA_CLOUD_")
}

/// Returns static credentials in variables with a prefix; `None` unless ID and secret are set.
pub(super) fn credentials_with_prefix(prefix: &str) -> Option<AccessKeys> {
    let named = |name: &str| variable(&format!("{prefix}{name}"));
    let (id, secret) = (named("ACCESS_KEY_ID")?, named("ACCESS_KEY_SECRET")?);
    let token = named("SECURITY_TOKEN").map(Into::into);
    Some(AccessKeys {
        id,
        secret: secret.into(),
        token,
        expires_at: None,
    })
}

/// Returns an environment variable without surrounding white space; `None` if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the only reader of the environment")]
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // The value of a Secret that was created with `echo` ends with a line break.
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}
