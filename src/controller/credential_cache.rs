//! Cache of credentials by identity. A rotated Secret is used within 60 s and without a restart, an STS session is
//! used until 5 min before its expiry, and many grants of one identity share one request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::hash::sha256;
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::ports::{AccessKeys, CredentialsError, Ports, RoleSession};

/// How long credentials from a Secret are used before the Secret is read again.
const SECRET_TTL: SignedDuration = SignedDuration::from_secs(60);
/// How long before its expiry an STS session is no longer used.
const SESSION_RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// Credentials with the end of their use. Static credentials serve every scope; a session serves the scope of its
/// session policy.
type Entries = HashMap<(Identity, Option<SessionScope>), (AccessKeys, Timestamp)>;

/// Recently obtained credentials.
#[derive(Default)]
pub struct CredentialCache {
    entries: Mutex<Entries>,
    /// Digests of credentials that IMM rejected, with the error: a job must not be billed for the same rejection
    /// again.
    bad: Mutex<HashMap<Identity, (String, CloudError)>>,
}

impl CredentialCache {
    /// Returns the credentials of an identity for one scope, from the cache or from their source. A new STS session is
    /// restricted to the scope.
    ///
    /// # Errors
    /// Returns an error if the source has no usable credentials, or if STS rejects the role assumption or does not
    /// answer.
    pub async fn fetch_cached(
        &self,
        ports: &dyn Ports,
        identity: &Identity,
        scope: &SessionScope,
    ) -> Result<AccessKeys, CredentialsError> {
        let now = ports.now();
        let key = (
            identity.clone(),
            identity.uses_sts_session().then(|| scope.clone()),
        );
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, (_, until)| *until > now);
            if let Some((keys, _)) = entries.get(&key) {
                return Ok(keys.clone());
            }
        }
        let keys = fetch(ports, identity, scope).await?;
        let until = usable_until(keys.expires_at, now);
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, (keys.clone(), until));
        Ok(keys)
    }

    /// Records that IMM rejected these credentials: the next use obtains them again, and uses them only if they have
    /// changed.
    pub fn mark_rejected(&self, identity: &Identity, keys: &AccessKeys, error: CloudError) {
        self.forget(identity);
        self.bad
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(identity.clone(), (key_digest(keys), error));
    }

    /// Returns the error with which IMM rejected exactly these credentials before; `None` otherwise.
    pub fn rejected_before(&self, identity: &Identity, keys: &AccessKeys) -> Option<CloudError> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bad.get(identity).cloned();
        let same = known.filter(|(old, _)| *old == key_digest(keys));
        if same.is_none() {
            bad.remove(identity);
        }
        same.map(|(_, error)| error)
    }

    /// Drops the cached credentials of an identity, so that the next use obtains them again.
    pub fn forget(&self, identity: &Identity) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _), _| known != identity);
    }
}

/// Returns until when credentials are used: 60 s for static ones, because a Secret may be rotated any time; for a
/// session until 5 min before its expiry, but at least 1 s.
fn usable_until(expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
    expires.map_or(now + SECRET_TTL, |end| {
        (end - SESSION_RENEW_BEFORE).max(now + SignedDuration::from_secs(1))
    })
}

/// Digest that identifies credentials without storing them.
fn key_digest(keys: &AccessKeys) -> String {
    let token = keys.token.as_ref().map_or("", |t| t.expose_secret());
    sha256(format!("{}\n{}\n{token}", keys.id, keys.secret.expose_secret()))
}

/// Obtains credentials from their source, and assumes the role of the identity if it has one.
///
/// # Errors
/// Returns the error of the source, or that of the role assumption.
async fn fetch(
    ports: &dyn Ports,
    identity: &Identity,
    scope: &SessionScope,
) -> Result<AccessKeys, CredentialsError> {
    let policy = Some(scope.session_policy());
    let keys = match &identity.origin {
        CredentialOrigin::Secret { namespace, name } => ports.read_secret(namespace, name).await?,
        CredentialOrigin::ServiceAccount {
            namespace,
            name,
            role_arn,
            provider_arn,
        } => {
            let token = ports.request_token(namespace, name).await?;
            let session = RoleSession {
                role_arn: role_arn.clone(),
                name: identity.session_name(),
                external_id: None,
                policy,
            };
            return ports
                .assume_role_with_oidc(&session, provider_arn, &token)
                .await
                .map_err(sts_error);
        }
        CredentialOrigin::Operator { .. } => ports.operator_keys().await?,
    };
    let Some(role) = &identity.assumed_role else {
        return Ok(keys);
    };
    let session = RoleSession {
        role_arn: role.role_arn.clone(),
        name: identity.session_name(),
        external_id: role.external_id.clone(),
        policy,
    };
    ports.assume_role(&session, &keys).await.map_err(sts_error)
}

/// Transient errors of STS become `Unavailable`, all others `AssumeRoleDenied`.
fn sts_error(error: CloudError) -> CredentialsError {
    match error.kind {
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered => {
            CredentialsError::Unavailable
        }
        CloudErrorKind::AccessDenied
        | CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::NoSuchBucket
        | CloudErrorKind::NoSuchProject
        | CloudErrorKind::WrongRegion
        | CloudErrorKind::CredentialsRejected
        | CloudErrorKind::CredentialsExpired
        | CloudErrorKind::PolicyRejected
        | CloudErrorKind::RequestRejected => CredentialsError::AssumeRoleDenied(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_while_the_old_ones_still_work() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let used = |lasts: Option<i64>| {
            let end = lasts.map(|seconds| now + SignedDuration::from_secs(seconds));
            usable_until(end, now).duration_since(now).as_secs()
        };
        assert_eq!(used(None), 60, "a Secret is read again");
        assert_eq!(
            used(Some(3600)),
            3300,
            "a call that takes long must not outlive its session"
        );
        assert_eq!(used(Some(200)), 1, "a session near its expiry is used for 1 s");
    }
}
