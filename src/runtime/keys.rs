//! Keys read from Secrets, remembered for a minute: a rotated Secret is used without a restart, and a pass over many
//! grants of one identity reads it once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::core::identity::Identity;
use crate::ports::{Effects, Keys, KeysProblem};

const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// The keys that were read lately.
#[derive(Default)]
pub struct KeyCache {
    entries: Mutex<HashMap<Identity, (Keys, Timestamp)>>,
}

impl KeyCache {
    /// The keys of an identity, read again when older than a minute.
    pub async fn get(&self, effects: &dyn Effects, identity: &Identity) -> Result<Keys, KeysProblem> {
        let now = effects.now();
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, (_, read)| now.duration_since(*read) < FRESH);
            if let Some((keys, _)) = entries.get(identity) {
                return Ok(keys.clone());
            }
        }
        let keys = effects.read_keys(identity).await?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(identity.clone(), (keys.clone(), now));
        Ok(keys)
    }

    /// The cloud refused these keys: read them again next time.
    pub fn forget(&self, identity: &Identity) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(identity);
    }
}
