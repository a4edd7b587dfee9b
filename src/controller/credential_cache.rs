//! Obtains credentials from their source unless they are kept, see [`KeptCredentials`].

use parking_lot::Mutex;
use secrecy::SecretString;

use crate::core::error::{CloudError, CredentialsError};
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::core::kept_credentials::{KeptCredentials, key_digest};
use crate::ports::{AccessKeys, Ports};

/// What a reference contains.
enum Opened {
    Keys(AccessKeys),
    Token(SecretString),
}

/// Recently obtained credentials.
#[derive(Default)]
pub struct CredentialCache {
    kept: Mutex<KeptCredentials>,
}

impl CredentialCache {
    /// Returns the credentials of an identity for one scope and the objects with the uids `users`, from the cache or
    /// from their source. A new STS session is restricted to the scope. Only `credential_gate` calls this.
    ///
    /// # Errors
    /// Returns an error if the source has no usable credentials, or if STS rejects the role assumption or does not
    /// answer.
    pub(super) async fn fetch_checked(
        &self,
        ports: &dyn Ports,
        identity: &Identity,
        scope: &SessionScope,
        users: &[&str],
    ) -> Result<AccessKeys, CredentialsError> {
        let now = ports.now();
        if let Some(keys) = self.kept.lock().usable(identity, scope, users, now) {
            return Ok(keys);
        }
        let opened = match open(ports, identity).await {
            Ok(opened) => opened,
            Err(error) => {
                if error.is_closed() {
                    self.kept.lock().close(identity);
                }
                return Err(error);
            }
        };
        let opened_with = match &opened {
            Opened::Keys(keys) => key_digest(keys),
            Opened::Token(_) => String::new(),
        };
        let session = self.kept.lock().opened(identity, scope, users, &opened_with, now);
        if let Some(keys) = session {
            return Ok(keys);
        }
        let keys = exchange(ports, identity, scope, opened).await?;
        let mut kept = self.kept.lock();
        kept.obtained(identity, scope, &keys, opened_with, now);
        Ok(keys)
    }

    /// See [`KeptCredentials::mark_rejected`].
    pub fn mark_rejected(&self, identity: &Identity, keys: &AccessKeys, error: CloudError) {
        self.kept.lock().mark_rejected(identity, keys, error);
    }

    /// See [`KeptCredentials::rejected_before`].
    pub fn rejected_before(&self, identity: &Identity, keys: &AccessKeys) -> Option<CloudError> {
        self.kept.lock().rejected_before(identity, keys)
    }

    /// See [`KeptCredentials::forget`].
    pub fn forget(&self, identity: &Identity) {
        self.kept.lock().forget(identity);
    }
}

/// Opens the reference of an identity: reads the Secret, or requests a token.
///
/// # Errors
/// Returns the error of the source.
async fn open(ports: &dyn Ports, identity: &Identity) -> Result<Opened, CredentialsError> {
    Ok(match &identity.origin {
        CredentialOrigin::Secret { namespace, name } => {
            Opened::Keys(ports.read_secret(namespace, name).await?)
        }
        CredentialOrigin::ServiceAccount { namespace, name, .. } => {
            Opened::Token(ports.request_token(namespace, name).await?)
        }
        CredentialOrigin::Operator { .. } => Opened::Keys(ports.operator_keys().await?),
    })
}

/// Exchanges a token for a session, and assumes the role of the identity if it has one.
///
/// # Errors
/// Returns the error of STS.
async fn exchange(
    ports: &dyn Ports,
    identity: &Identity,
    scope: &SessionScope,
    opened: Opened,
) -> Result<AccessKeys, CredentialsError> {
    let session = |role_arn: &str, external_id| identity.role_session(scope, role_arn, external_id);
    match (opened, &identity.origin, &identity.assumed_role) {
        (
            Opened::Token(token),
            CredentialOrigin::ServiceAccount {
                role_arn,
                provider_arn,
                ..
            },
            _,
        ) => ports
            .assume_role_with_oidc(&session(role_arn, None), provider_arn, &token)
            .await
            .map_err(CredentialsError::of_sts),
        (Opened::Token(_), _, _) => Err(CredentialsError::Unavailable),
        (Opened::Keys(keys), _, None) => Ok(keys),
        (Opened::Keys(keys), _, Some(role)) => ports
            .assume_role(&session(&role.role_arn, role.external_id.as_ref()), &keys)
            .await
            .map_err(CredentialsError::of_sts),
    }
}
