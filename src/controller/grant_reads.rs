//! Reads of grants for jobs: the jobs that wait for one grant share one read. A read is used until the watch shows a
//! change of the grant, and for a few seconds at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::grant::{GrantObject, ObjectKey};
use crate::ports::{KubeError, Ports};

/// How long a read is used without a change.
const FRESH: Duration = Duration::from_secs(5);
/// Number of grants above which old reads are dropped.
const MAX_GRANTS: usize = 1_024;

/// A read of a grant, and the number of changes that the watch had shown before it.
struct GrantRead {
    at: Instant,
    changes: u64,
    grant: Option<GrantObject>,
}

#[derive(Default)]
struct Slot {
    changes: u64,
    /// Locked during a read, so that others wait for its result.
    read: Arc<tokio::sync::Mutex<Option<GrantRead>>>,
    used: Option<Instant>,
}

/// The recent reads of grants.
#[derive(Default)]
pub struct GrantReads {
    slots: Mutex<HashMap<ObjectKey, Slot>>,
}

impl GrantReads {
    /// Records that the watch has shown a change of a grant.
    pub fn changed(&self, key: &ObjectKey) {
        if let Some(slot) = self.lock().get_mut(key) {
            slot.changes += 1;
        }
    }

    /// Returns a grant; `None` if it does not exist.
    ///
    /// # Errors
    /// Returns the error of the API server.
    pub(super) async fn get(
        &self,
        ports: &dyn Ports,
        key: &ObjectKey,
    ) -> Result<Option<GrantObject>, KubeError> {
        let read = {
            let now = Instant::now();
            let mut slots = self.lock();
            if slots.len() >= MAX_GRANTS {
                slots.retain(|_, slot| slot.used.is_some_and(|used| now.duration_since(used) < FRESH));
            }
            let slot = slots.entry(key.clone()).or_default();
            slot.used = Some(now);
            Arc::clone(&slot.read)
        };
        let mut read = read.lock().await;
        let changes = self.changes(key);
        if let Some(known) = &*read
            && known.changes == changes
            && known.at.elapsed() < FRESH
        {
            return Ok(known.grant.clone());
        }
        *read = None;
        let at = Instant::now();
        let grant = ports.get_grant(key).await?;
        *read = Some(GrantRead {
            at,
            changes,
            grant: grant.clone(),
        });
        Ok(grant)
    }

    fn changes(&self, key: &ObjectKey) -> u64 {
        self.lock().get(key).map_or(0, |slot| slot.changes)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
