//! Blocks calls that could still have an effect after another process holds the lease.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Blocks calls that could outlast the lease.
#[derive(Clone)]
pub struct Fence {
    until: watch::Receiver<Option<Instant>>,
    billing_from: Option<Instant>,
}

impl Fence {
    /// Creates a fence for a lease that can expire at `until`, without billed calls before `billing_from`.
    pub(super) fn new(until: watch::Receiver<Option<Instant>>, billing_from: Option<Instant>) -> Self {
        Self { until, billing_from }
    }

    /// Returns a fence that blocks nothing, for a process without a lease.
    pub fn disabled() -> Self {
        Self::new(watch::channel(None).1, None)
    }

    /// Returns a fence whose lease has expired.
    #[cfg(test)]
    pub fn expired() -> Self {
        Self::new(watch::channel(Some(Instant::now())).1, None)
    }

    /// Returns as soon as billed calls of the previous holder of the lease have ended, see
    /// [`BILLED_OVERRUN`](crate::core::leader_election::BILLED_OVERRUN).
    pub async fn wait_until_billable(&self) {
        if let Some(time) = self.billing_from {
            sleep_until(time).await;
        }
    }

    /// Returns as soon as a call with this `deadline` would end before the lease expires. Never returns after the
    /// lease is lost, because the process exits then.
    pub async fn wait_until_safe(&self, deadline: Duration) {
        let mut until = self.until.clone();
        loop {
            let Some(end) = *until.borrow_and_update() else {
                return;
            };
            if end.saturating_duration_since(Instant::now()) > deadline {
                return;
            }
            if until.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_starts_only_when_its_whole_deadline_fits_into_the_lease() {
        let seconds = Duration::from_secs;
        let (until, receiver) = watch::channel(Some(Instant::now() + seconds(40)));
        let fence = Fence::new(receiver, None);
        assert!(fence.wait_until_safe(seconds(30)).now_or_never().is_some());
        tokio::time::advance(seconds(10)).await;
        assert!(fence.wait_until_safe(seconds(29)).now_or_never().is_some());
        let mut call = std::pin::pin!(fence.wait_until_safe(seconds(30)));
        assert!(
            call.as_mut().now_or_never().is_none(),
            "the call could outlast the lease"
        );
        until.send_replace(Some(Instant::now() + seconds(20)));
        assert!(call.as_mut().now_or_never().is_none(), "the renewal is too short");
        until.send_replace(Some(Instant::now() + seconds(40)));
        assert!(call.now_or_never().is_some(), "the renewal unblocks the call");

        let mut late = std::pin::pin!(fence.wait_until_safe(seconds(50)));
        assert!(late.as_mut().now_or_never().is_none());
        drop(until);
        let ever = timeout(seconds(3600), late).await;
        assert!(ever.is_err(), "a lost lease never unblocks a call");
        assert!(
            Fence::disabled()
                .wait_until_safe(seconds(30))
                .now_or_never()
                .is_some()
        );
    }
}
