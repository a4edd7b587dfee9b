//! Reads the policy of a probe back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::pre_image::read_policy;
use super::probe_keys::RenewedKeys;
use crate::cloud::Cloud;
use crate::core::doctor::{PreImage, ReadBack};
use crate::core::place::BucketPlace;

/// Pause after a read that showed the written policy, and after another one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// Reads the policy until it is the last written one often enough in a row, or was read too often.
///
/// # Errors
/// Returns why there are no credentials for it.
pub(super) async fn read_back(
    (cloud, bucket): (&Cloud, &BucketPlace),
    keys: &RenewedKeys<'_>,
    image: &PreImage,
    clock: &dyn ProbeClock,
    stop: &CancellationToken,
) -> Result<ReadBack, String> {
    let mut found = ReadBack::default();
    while !found.is_enough() && !stop.is_cancelled() {
        let current = keys.get(clock.now()).await?;
        let live = read_policy(cloud, bucket, &current, clock).await;
        let live = live.map_err(drop);
        let is_written = found.add(live.as_ref().map(Option::as_deref), image);
        let pause = if is_written { PAUSES.0 } else { PAUSES.1 };
        tokio::select! {
            () = clock.pause(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(found)
}
