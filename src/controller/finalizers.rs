//! Adds the finalizer again to grants from which another writer removed it: one patch, without a reconcile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::Context;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::requeue;
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Longest delay between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The grants without their finalizer, as the watch showed them last, with the number of failed attempts.
#[derive(Default)]
pub struct MissingFinalizers {
    grants: Mutex<HashMap<ObjectKey, (GrantObject, u32)>>,
}

impl MissingFinalizers {
    /// Records a grant without its finalizer.
    pub fn insert(&self, grant: GrantObject) {
        self.put(grant, 0);
    }

    /// Removes a grant that has its finalizer again or was deleted.
    pub(super) fn remove(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    fn put(&self, grant: GrantObject, failures: u32) {
        self.lock().insert(grant.key.clone(), (grant, failures));
    }

    /// Returns a grant, which stays recorded until [`Self::settled`]: a panic must not lose it.
    fn get(&self, key: &ObjectKey) -> Option<(GrantObject, u32)> {
        self.lock().get(key).cloned()
    }

    /// Removes a grant that needs no further attempt, unless the watch has shown a newer version of it.
    fn settled(&self, grant: &GrantObject) {
        let mut grants = self.lock();
        let recorded = grants.get(&grant.key);
        if recorded.is_some_and(|(known, _)| known.resource_version == grant.resource_version) {
            grants.remove(&grant.key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, (GrantObject, u32)>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the finalizer to a grant that lost it. Returns when to try again.
pub(super) async fn restore(context: &Context, key: &ObjectKey) -> Action {
    let Some((grant, failures)) = context.missing_finalizers.get(key) else {
        return Action::AwaitChange;
    };
    let Err(error) = context.ports.add_finalizer(&grant).await else {
        context.missing_finalizers.settled(&grant);
        context.metrics.finalizer_restored();
        tracing::warn!(grant = %key, "finalizer was removed by another writer and is added again");
        return Action::AwaitChange;
    };
    let current = match error {
        KubeError::NotFound => None,
        // The object has changed since the watch showed it.
        KubeError::Conflict | KubeError::Invalid => match context.ports.get_grant(key).await {
            Ok(current) => current.filter(|now| now.uid == grant.uid),
            Err(_) => Some(grant.clone()),
        },
        KubeError::Forbidden | KubeError::Unavailable => Some(grant.clone()),
    };
    let Some(current) = current.filter(|grant| !grant.deleting && !grant.has_finalizer()) else {
        context.missing_finalizers.settled(&grant);
        return Action::AwaitChange;
    };
    tracing::info!(grant = %key, %error, "failed to add finalizer again; retrying");
    let failures = failures.saturating_add(1);
    context.missing_finalizers.put(current, failures);
    let first = Duration::from_millis(200);
    Action::Requeue(requeue::exponential_backoff(
        failures,
        first,
        MAX_BACKOFF,
        &key.to_string(),
    ))
}
