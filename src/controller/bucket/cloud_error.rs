//! Handles a failed call to the cloud.

use std::time::Duration;

use super::cache::GrantSetCache;
use super::finish::write_state;
use super::grant_set::{GrantSet, GrantWork, drift_interval};
use super::permission::is_bucket_gone;
use crate::controller::object_events::publish_grant_event;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::events::bucket_gone;
use crate::core::grant::{FailedAttempt, GrantState};

/// Handles a failed cloud call: forgets rejected credentials, releases deleted grants of a missing bucket, and
/// writes the error to the other grants. The first expiry of an STS session is retried without a status write.
/// Returns the time until the retry.
pub(super) async fn on_cloud_error(
    set: &GrantSet<'_>,
    batch: Vec<GrantWork>,
    error: &CloudError,
    cache: &mut GrantSetCache,
) -> Duration {
    if error.rejects_credentials() {
        set.context.credentials.forget(&set.identity);
    }
    // A session that expired early is requested again, or read again from its source; the statuses report the error
    // only if that fails too.
    if error.kind == CloudErrorKind::CredentialsExpired && cache.failures == 0 {
        cache.failures = 1;
        return Duration::from_secs(1);
    }
    cache.answered(Some(error));
    let interval = drift_interval(&batch);
    cache.asked = error.retry_after;
    let gone = error.kind == CloudErrorKind::NoSuchBucket && is_bucket_gone(set, &batch, cache).await;
    for work in batch {
        if work.grant.deleting && gone {
            publish_grant_event(set.context, &work.grant, bucket_gone()).await;
            set.release(work.grant, 0).await;
            continue;
        }
        write_state(set, work, GrantState::CloudFailed(error.clone()), None).await;
    }
    cache.failures = cache.failures.saturating_add(1);
    let attempt = FailedAttempt {
        error,
        failures: cache.failures,
        interval,
    };
    attempt.retry_after(&set.identity.jitter_seed())
}
