//! Credentials of a probe, which can last longer than a session: they are obtained again before they expire.

use futures::future::BoxFuture;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::error::DoctorError;
use crate::core::time;
use crate::ports::{AccessKeys, CloudError, CloudErrorKind};

/// How long before their expiry credentials are obtained again.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// How long credentials without a known expiry are used before their source is read again: a Secret or a file can change.
const SOURCE_TTL: SignedDuration = SignedDuration::from_secs(60);
/// How long held credentials are used after their source failed.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Where credentials come from.
pub trait KeySource: Send + Sync {
    /// Obtains credentials, or returns why there are none and what to do about that.
    fn obtain(&self) -> BoxFuture<'_, Result<AccessKeys, DoctorError>>;
}

/// Credentials that do not change.
impl KeySource for AccessKeys {
    fn obtain(&self) -> BoxFuture<'_, Result<AccessKeys, DoctorError>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

/// Credentials that are obtained again before they expire.
pub struct RenewedKeys<'a> {
    source: Box<dyn KeySource + 'a>,
    held: Mutex<Option<Held>>,
}

struct Held {
    keys: AccessKeys,
    /// When the source is asked again.
    until: Timestamp,
}

impl<'a> RenewedKeys<'a> {
    /// Creates credentials that are obtained at their first use.
    pub fn new(source: impl KeySource + 'a) -> Self {
        Self {
            source: Box::new(source),
            held: Mutex::new(None),
        }
    }

    /// Returns credentials for calls that start now. If the source fails, the held ones are used until their expiry.
    ///
    /// # Errors
    /// Returns why there are none.
    pub async fn get(&self, now: Timestamp) -> Result<AccessKeys, DoctorError> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| now < held.until) {
            return Ok(held.keys.clone());
        }
        let (keys, until) = match self.source.obtain().await {
            Ok(keys) => {
                let until = keys.expires_at.map_or_else(
                    || time::after(now, SOURCE_TTL),
                    |end| time::before(end, RENEW_BEFORE),
                );
                (keys, until)
            }
            Err(error) => {
                let usable = held.take().map(|held| held.keys);
                let usable = usable.filter(|keys| keys.expires_at.is_none_or(|end| now < end));
                (usable.ok_or(error)?, time::after(now, RETRY_AFTER))
            }
        };
        *held = Some(Held {
            keys: keys.clone(),
            until,
        });
        Ok(keys)
    }

    /// Drops the held credentials: the next use obtains new ones.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }

    /// Drops the held credentials if the cloud rejected them.
    pub(super) async fn on_error(&self, error: &CloudError) {
        if matches!(
            error.kind,
            CloudErrorKind::CredentialsExpired | CloudErrorKind::CredentialsRejected
        ) {
            self.forget().await;
        }
    }
}
