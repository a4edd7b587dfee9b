//! One pass over one bucket: all its grants, each identity in a lane of its own.
//!
//! Always gather → plan → act → report, the same on the first day and after a crash. The next pass is the retry.

mod lane;
mod letting_go;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::lane::{Lane, LaneMemory};
use super::context::Context;
use super::queue::Next;
use crate::core::delay;
use crate::core::grant::GrantObject;
use crate::core::identity::Identity;

/// An identity in one region: what is read and written together.
type LaneKey = (Identity, String);

/// What is remembered of a bucket between passes: back-off and the answer expected from our last write. Losing it
/// costs a few calls, never a statement.
#[derive(Default)]
pub struct BucketMemory {
    lanes: BTreeMap<LaneKey, LaneMemory>,
    failures: u32,
}

/// Makes one pass over a bucket.
pub async fn pass(context: &Context, bucket: &Arc<str>) -> Next {
    let memory = context.memory_of(bucket);
    let mut memory = memory.lock().await;
    let grants = match context.effects.list_grants(bucket).await {
        Ok(grants) => grants,
        Err(failure) => {
            tracing::warn!(bucket = &**bucket, %failure, "the grants of the bucket cannot be listed");
            memory.failures = memory.failures.saturating_add(1);
            return Next::After(retry_soon(memory.failures, bucket));
        }
    };
    memory.failures = 0;
    // A grant that is being deleted and is not held by us any more owns nothing.
    let grants: Vec<GrantObject> = grants
        .into_iter()
        .filter(|g| !g.deleting || g.guarded())
        .collect();
    if grants.is_empty() {
        context.forget(bucket);
        return Next::WhenChanged;
    }
    let unsettled = unsettled_until(&grants);
    let mut lanes: BTreeMap<LaneKey, Vec<GrantObject>> = BTreeMap::new();
    let mut wait = Duration::from_secs(3600);
    for grant in grants {
        match lane_of(&grant) {
            Some(key) => lanes.entry(key).or_default().push(grant),
            // Nothing of such a grant can be looked at; it is told so, and its ledger stays.
            None => wait = wait.min(letting_go::without_identity(context, grant).await),
        }
    }
    memory.lanes.retain(|key, _| lanes.contains_key(key));
    for (key, grants) in lanes {
        let remembered = memory.lanes.entry(key.clone()).or_default();
        let lane = Lane {
            context,
            identity: key.0,
            unsettled,
        };
        wait = wait.min(lane.pass(grants, remembered).await);
    }
    // A statement that one identity took out may be wanted by another, which puts it back with its own credentials.
    let writers = memory.lanes.values().filter(|lane| lane.wrote).count();
    if writers > 0 && memory.lanes.len() > 1 {
        memory
            .lanes
            .values_mut()
            .filter(|lane| !lane.wrote || writers > 1)
            .for_each(LaneMemory::look_now);
        return Next::After(Duration::ZERO);
    }
    Next::After(wait)
}

fn lane_of(grant: &GrantObject) -> Option<LaneKey> {
    let region = grant.place.as_ref()?.region.clone();
    Some((grant.identity.clone()?, region))
}

/// Until when a write that some ledger of the bucket records could still take effect.
fn unsettled_until(grants: &[GrantObject]) -> Option<Timestamp> {
    let times = grants
        .iter()
        .flat_map(|g| &g.status.owned)
        .filter_map(|e| e.unsettled_until.as_ref());
    times.map(|time| time.0).max()
}

fn retry_soon(failures: u32, seed: &str) -> Duration {
    delay::after_failures(failures, Duration::from_secs(1), Duration::from_secs(30), seed)
}

/// How long until `time`, at least a moment.
fn until(now: Timestamp, time: Timestamp) -> Duration {
    let left = time.duration_since(now).max(SignedDuration::from_millis(100));
    Duration::try_from(left).unwrap_or(Duration::from_millis(100))
}
