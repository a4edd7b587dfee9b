//! Takes back what was stored for a write that was not sent, or that OSS has rejected. A user may edit the grant in the
//! meantime, so that its status cannot be stored with the version on which the write was planned. Nothing depends on
//! the result: an entry that stays claims nothing and expires.

use super::grant_set::{GrantSet, GrantWork};
use crate::api::GrantStatus;
use crate::core::grant::rolled_back;

/// How often a ledger is read and stored again.
const ATTEMPTS: usize = 3;

/// Restores the entries from before the write in the ledger as it is stored now.
pub(super) async fn roll_back(set: &GrantSet<'_>, work: &GrantWork) {
    for _ in 0..ATTEMPTS {
        let key = &work.grant.key;
        let mut fresh = match set.context.ports.get_grant(key, &key.namespace).await {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return,
            Err(_) => continue,
        };
        let owned = rolled_back(&fresh.status.owned, &work.input.ledger);
        if fresh.uid != work.grant.uid || owned == fresh.status.owned {
            return;
        }
        let status = GrantStatus {
            owned,
            ..fresh.status.clone()
        };
        if set.store_status(&mut fresh, status).await {
            return;
        }
    }
    tracing::info!(grant = %work.grant.key, "failed to roll back ledger");
}
