//! The references of a history: whether they can be opened, and the keys that they give.

use imm_operator::core::grant::ObjectKey;
use imm_operator::core::identity::{CredentialOrigin, Identity};
use imm_operator::ports::{AccessKeys, CredentialsError, KubeError};
use k8s_openapi::jiff::Timestamp;

use super::super::jobs::JobWorld;
use super::step::Rotation;
use super::world::World;

impl World {
    /// Returns an error if the source of an identity cannot be used.
    pub fn open(&self, identity: &Identity, denied: CredentialsError) -> Result<(), CredentialsError> {
        let namespace = match &identity.origin {
            CredentialOrigin::Secret { namespace, .. }
            | CredentialOrigin::ServiceAccount { namespace, .. } => namespace,
            CredentialOrigin::Operator { .. } => return Ok(()),
        };
        if self.namespaces.get(namespace).is_none_or(|n| n.gone) {
            return Err(CredentialsError::NotFound);
        }
        match self.credentials.get(identity) {
            Some(Rotation::Deleted) => Err(CredentialsError::NotFound),
            Some(Rotation::Closed) => Err(denied),
            Some(Rotation::Replaced | Rotation::Restored) | None => Ok(()),
        }
    }

    pub fn issue(&mut self, identity: Identity, expires: Option<Timestamp>) -> AccessKeys {
        let life = match &identity.origin {
            CredentialOrigin::Secret { namespace, .. }
            | CredentialOrigin::ServiceAccount { namespace, .. } => self.namespaces.get(namespace),
            CredentialOrigin::Operator { .. } => None,
        };
        let life = life.map_or(0, |namespace| namespace.lives);
        self.cloud.issue(identity, life, expires)
    }

    pub fn job(&mut self, key: &ObjectKey) -> Result<&mut JobWorld, KubeError> {
        self.jobs.get_mut(key).ok_or(KubeError::NotFound)
    }
}
