//! Who acts for an object: a *reference* to credentials, never a key id that anybody can type. Grants are planned and
//! written together only when their identity is equal.

use crate::api::Credentials;

/// Whose credentials an object uses: a Secret, in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Namespace of the object, and so of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
}

impl Identity {
    /// The identity that a spec names; `None` for a source that this version does not have.
    pub fn of(namespace: &str, credentials: &Credentials) -> Option<Self> {
        let secret = credentials.secret_ref.as_ref()?.name.clone();
        Some(Self {
            namespace: namespace.to_owned(),
            secret,
        })
    }
}
