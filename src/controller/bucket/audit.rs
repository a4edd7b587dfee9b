//! The audit trail: one log line for each policy write, whether it succeeded or not.

use crate::core::error::CloudError;
use crate::core::grant::{GrantWork, Plan, audit_names};
use crate::core::hash::sha256;
use crate::core::identity::Identity;

/// A policy write.
pub(super) struct PolicyWrite<'a> {
    pub(super) bucket: &'a str,
    pub(super) call: &'static str,
    pub(super) identity: &'a Identity,
    pub(super) before: Option<&'a [u8]>,
    pub(super) after: Option<&'a [u8]>,
    /// The request id of OSS, or the error.
    pub(super) answer: Result<Option<&'a str>, &'a CloudError>,
}

/// Logs a policy write with the grants that it is for. A digest is empty where the bucket has no policy.
pub(super) fn log_write(write: &PolicyWrite<'_>, batch: &[GrantWork], plan: &Plan) {
    let grants = audit_names(batch, plan);
    let digest = |text: Option<&[u8]>| text.map(sha256).unwrap_or_default();
    let namespace = write.identity.namespace();
    let (identity, identity_digest) = (write.identity.describe(), write.identity.digest());
    let (sha256_before, sha256_after) = (digest(write.before), digest(write.after));
    let (added, removed) = (plan.added(), plan.removed());
    let (bucket, call) = (write.bucket, write.call);
    macro_rules! log {
        ($level:ident, $message:literal, $($field:ident = $value:expr),+) => {
            tracing::$level!(
                bucket, call, grants, namespace, identity, identity_digest, $($field = $value,)+
                sha256_before, sha256_after, added, removed, $message
            )
        };
    }
    match write.answer {
        Ok(id) => log!(info, "policy written", request_id = id.unwrap_or_default()),
        Err(error) => log!(
            warn,
            "failed to write policy",
            request_id = error.request_id.as_deref().unwrap_or_default(),
            code = error.code,
            had_no_effect = error.had_no_effect()
        ),
    }
}
