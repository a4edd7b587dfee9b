//! When a grant set is reconciled again after a failed call to the cloud.

use std::time::Duration;

use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::requeue::exponential_backoff;

/// Returns the delay before the next attempt after `failures` in a row, this one included. A failure that may pass is
/// retried with a backoff, and not before the service asks for it; one that needs action waits for the next check,
/// after `interval`.
pub fn retry_after_failure(error: &CloudError, failures: u32, interval: Duration, seed: &str) -> Duration {
    let least = |wait: Duration| error.retry_after.map_or(wait, |asked| asked.max(wait));
    let backoff = |cap: u64| {
        let (first, cap) = (Duration::from_secs(1), Duration::from_secs(cap));
        exponential_backoff(failures, first, cap, seed)
    };
    match error.kind {
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered => {
            least(backoff(420))
        }
        CloudErrorKind::BucketLocked => backoff(30),
        // An expired session is requested again after 1 s; credentials that stay rejected are tried every 60 s.
        CloudErrorKind::CredentialsExpired if failures <= 1 => Duration::from_secs(1),
        CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => Duration::from_secs(60),
        CloudErrorKind::AccessDenied
        | CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::NoSuchBucket
        | CloudErrorKind::NoSuchProject
        | CloudErrorKind::WrongRegion
        | CloudErrorKind::PolicyRejected
        | CloudErrorKind::RequestRejected => interval,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::refusal::Refusal;

    #[test]
    fn what_may_pass_is_retried_soon_and_what_needs_action_waits_for_the_next_check() {
        let interval = Duration::from_secs(600);
        let secs = Duration::from_secs;
        let after = |kind, failures, asked: Option<u64>| {
            let error = CloudError {
                kind,
                status: None,
                code: String::new(),
                request_id: None,
                retry_after: asked.map(Duration::from_secs),
                refusal: Refusal::default(),
            };
            retry_after_failure(&error, failures, interval, "seed")
        };
        for kind in [
            CloudErrorKind::Throttled,
            CloudErrorKind::Unavailable,
            CloudErrorKind::Unanswered,
        ] {
            assert!(after(kind, 1, None) <= secs(1), "{kind:?}");
            assert!(
                (secs(210)..=secs(420)).contains(&after(kind, 30, None)),
                "{kind:?}"
            );
            assert_eq!(after(kind, 1, Some(90)), secs(90), "{kind:?}");
        }
        assert!((secs(15)..=secs(30)).contains(&after(CloudErrorKind::BucketLocked, 30, None)));
        assert_eq!(after(CloudErrorKind::CredentialsExpired, 1, None), secs(1));
        assert_eq!(after(CloudErrorKind::CredentialsExpired, 2, None), secs(60));
        assert_eq!(after(CloudErrorKind::CredentialsRejected, 1, None), secs(60));
        assert_eq!(after(CloudErrorKind::AccessDenied, 3, Some(90)), interval);
    }
}
