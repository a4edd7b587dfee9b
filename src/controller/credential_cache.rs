//! Keys of identities, remembered while they are fresh: a rotated Secret is used without a restart, an STS session is used
//! until shortly before its end, and a pass over many grants of one identity asks once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::hash::sha256;
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::ports::{AccessKeys, CredentialsError, Ports, RoleSession};

/// How long keys from a Secret are used before it is read again.
const SECRET_TTL: SignedDuration = SignedDuration::from_secs(60);
/// How long before its end an STS session is no longer used.
const SESSION_RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// Static keys serve every purpose; a session serves the one that it is narrowed to.
type Entries = HashMap<(Identity, Option<SessionScope>), (AccessKeys, Timestamp)>;

/// The keys that were obtained lately.
#[derive(Default)]
pub struct CredentialCache {
    entries: Mutex<Entries>,
    /// Digests of keys that IMM refused, and how: a job does not pay to hear the same again.
    bad: Mutex<HashMap<Identity, (String, CloudError)>>,
}

impl CredentialCache {
    /// The keys of an identity for one purpose. Sessions that are opened on the way are narrowed to it.
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

    /// IMM refused these keys; they are obtained again next time, and not used unless they have changed.
    pub fn mark_rejected(&self, identity: &Identity, keys: &AccessKeys, error: CloudError) {
        self.forget(identity);
        self.bad
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(identity.clone(), (key_digest(keys), error));
    }

    /// How IMM has refused just these keys before.
    pub fn rejected_before(&self, identity: &Identity, keys: &AccessKeys) -> Option<CloudError> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bad.get(identity).cloned();
        let same = known.filter(|(old, _)| *old == key_digest(keys));
        if same.is_none() {
            bad.remove(identity);
        }
        same.map(|(_, error)| error)
    }

    /// The cloud refused these keys: they are obtained again next time.
    pub fn forget(&self, identity: &Identity) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _), _| known != identity);
    }
}

/// Until when keys are used. A static Secret may be rotated any time; a session lasts as long as it says.
fn usable_until(expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
    expires.map_or(now + SECRET_TTL, |end| {
        (end - SESSION_RENEW_BEFORE).max(now + SignedDuration::from_secs(1))
    })
}

/// What tells keys apart without keeping them.
fn key_digest(keys: &AccessKeys) -> String {
    let token = keys.token.as_ref().map_or("", |t| t.expose_secret());
    sha256(format!("{}\n{}\n{token}", keys.id, keys.secret.expose_secret()))
}

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
                name: session_name(namespace),
                external_id: None,
                policy,
            };
            return ports
                .assume_role_with_oidc(&session, provider_arn, &token)
                .await
                .map_err(sts_error);
        }
        CredentialOrigin::Operator => ports.operator_keys().await?,
    };
    let Some(hop) = &identity.assumed_role else {
        return Ok(keys);
    };
    let name = match &identity.origin {
        CredentialOrigin::Secret { namespace, .. } | CredentialOrigin::ServiceAccount { namespace, .. } => {
            session_name(namespace)
        }
        CredentialOrigin::Operator => "imm-operator".to_owned(),
    };
    let session = RoleSession {
        role_arn: hop.role_arn.clone(),
        name,
        external_id: hop.external_id.clone(),
        policy,
    };
    ports.assume_role(&session, &keys).await.map_err(sts_error)
}

/// The session's name tells account B's audit log which namespace acted; at most 64 characters.
fn session_name(namespace: &str) -> String {
    format!("imm-operator@{namespace}").chars().take(64).collect()
}

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
    fn keys_are_obtained_anew_while_the_old_ones_still_work() {
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
        assert_eq!(used(Some(200)), 1, "nearly over: for one call, not for ever");
    }
}
