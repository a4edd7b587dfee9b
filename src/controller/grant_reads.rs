//! Reads of grants for jobs: the jobs that wait for one grant share one read. A read is used until the watch shows a
//! change of the grant or the operator writes its status, and for a few seconds at most, in case the watch is
//! interrupted.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::freshness::is_grant_read_usable;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::ports::{KubeError, Ports};

/// Grants whose reads are kept: a stored grant can have a hundred kilobytes, and anybody can name any number of grants.
const MAX_GRANTS: usize = 128;

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
    /// Records that the watch has shown a change of a grant, or that its status was written.
    pub fn changed(&self, key: &ObjectKey) {
        if let Some(slot) = self.slots.lock().get_mut(key) {
            slot.changes += 1;
        }
    }

    /// Returns a grant; `None` if it does not exist. See [`Ports::get_grant`] for `requester`.
    ///
    /// # Errors
    /// Returns the error of the API server.
    pub(super) async fn get(
        &self,
        ports: &dyn Ports,
        key: &ObjectKey,
        requester: &str,
    ) -> Result<Option<GrantObject>, KubeError> {
        let read = {
            let now = Instant::now();
            let mut slots = self.slots.lock();
            if slots.len() >= MAX_GRANTS && !slots.contains_key(key) {
                let in_use = |used| is_grant_read_usable(now.duration_since(used), false);
                slots.retain(|_, slot| slot.used.is_some_and(in_use));
                forget_oldest(&mut slots);
            }
            let slot = slots.entry(key.clone()).or_default();
            slot.used = Some(now);
            Arc::clone(&slot.read)
        };
        let mut read = read.lock().await;
        let changes = self.changes(key);
        if let Some(known) = &*read
            && is_grant_read_usable(known.at.elapsed(), known.changes != changes)
        {
            return Ok(known.grant.clone());
        }
        *read = None;
        let at = Instant::now();
        let grant = ports.get_grant(key, requester).await?;
        *read = Some(GrantRead {
            at,
            changes,
            grant: grant.clone(),
        });
        Ok(grant)
    }

    fn changes(&self, key: &ObjectKey) -> u64 {
        self.slots.lock().get(key).map_or(0, |slot| slot.changes)
    }
}

/// Makes room for one more grant. The jobs that share a read under way keep it.
fn forget_oldest(slots: &mut HashMap<ObjectKey, Slot>) {
    if slots.len() < MAX_GRANTS {
        return;
    }
    let oldest = slots.iter().min_by_key(|(_, slot)| slot.used);
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        slots.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bounded_number_of_reads_is_kept_and_the_oldest_is_forgotten() {
        let key = |number: usize| ObjectKey {
            namespace: "media".to_owned(),
            name: number.to_string(),
        };
        let start = Instant::now();
        let mut slots = HashMap::new();
        for number in 0..MAX_GRANTS * 2 {
            forget_oldest(&mut slots);
            let used = start + Duration::from_millis(u64::try_from(number).unwrap());
            let slot = Slot {
                used: Some(used),
                ..Slot::default()
            };
            slots.insert(key(number), slot);
            assert!(slots.len() <= MAX_GRANTS);
        }
        assert!((MAX_GRANTS..MAX_GRANTS * 2).all(|number| slots.contains_key(&key(number))));
    }
}
