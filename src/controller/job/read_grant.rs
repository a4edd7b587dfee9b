//! Reads the grant of a job.

use crate::controller::context::Context;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::ports::KubeError;

/// Reads a grant for a job of the namespace `requester`. `None` without a key, or when the grant does not exist.
///
/// # Errors
/// Returns the error of the API server, except `Forbidden`.
pub(super) async fn read_grant(
    context: &Context,
    key: Option<ObjectKey>,
    requester: &str,
) -> Result<Option<GrantObject>, KubeError> {
    let Some(key) = key else {
        return Ok(None);
    };
    let ports = context.ports.as_ref();
    match context.grant_reads.get(ports, &key, requester).await {
        // A grant outside the watched namespaces is forbidden; it is handled like one that does not exist.
        Err(KubeError::Forbidden) => Ok(None),
        found => found,
    }
}
