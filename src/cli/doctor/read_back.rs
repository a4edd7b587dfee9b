//! Reads the policy of a probe back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::error::DoctorError;
use super::pre_image::read_policy;
use super::probe_keys::RenewedKeys;
use crate::cloud::Cloud;
use crate::core::doctor::{PreImage, ReadBack, TwoReads};
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
) -> Result<ReadBack, DoctorError> {
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

/// Reads the policy until the same one of two that were written at once is live often enough in a row, or was read
/// too often. Returns which one, if one is.
///
/// # Errors
/// Returns that the probe was stopped before, or why there are no credentials.
pub(super) async fn read_two(
    (cloud, bucket): (&Cloud, &BucketPlace),
    keys: &RenewedKeys<'_>,
    texts: &[String; 2],
    clock: &dyn ProbeClock,
    stop: &CancellationToken,
) -> Result<Option<usize>, DoctorError> {
    let mut found = TwoReads::default();
    while !found.is_enough() {
        if stop.is_cancelled() {
            return Err(DoctorError::Interrupted);
        }
        let current = keys.get(clock.now()).await?;
        let live = read_policy(cloud, bucket, &current, clock).await.ok().flatten();
        let is_one = found.add(live.as_deref(), texts);
        let pause = if is_one { PAUSES.0 } else { PAUSES.1 };
        tokio::select! {
            () = clock.pause(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(found.live())
}
