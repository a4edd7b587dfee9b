//! One pass over one bucket: all its grants, each identity in a lane of its own.
//!
//! Always gather → plan → act → report, the same on the first day and after a crash. The next pass is the retry.

mod cache;
mod converge;
mod finish;
mod grant_set;
mod observation;
mod prepare;
mod release;
mod write_outcome;
mod write_status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

pub use self::cache::BucketMemory;

use self::cache::LaneMemory;
use self::grant_set::Lane;
use super::context::Context;
use crate::api::{EntryState, LedgerEntry};
use crate::core::grant::GrantObject;
use crate::core::identity::Identity;
use crate::core::requeue;
use crate::runtime::queue::Action;

/// An identity in one region: what is read and written together.
type LaneKey = (Identity, String);

/// Statements that grants have put into the policy: fingerprints by the uid of the grant.
type Held = BTreeMap<String, BTreeSet<String>>;

/// Makes one pass over a bucket.
pub async fn pass(context: &Context, bucket: &Arc<str>) -> Action {
    let memory = context.bucket_cache(bucket);
    let mut memory = memory.lock().await;
    let memory = &mut *memory;
    let grants = match context.ports.list_grants(bucket).await {
        Ok(grants) => grants,
        Err(failure) => {
            tracing::warn!(bucket = &**bucket, %failure, "the grants of the bucket cannot be listed");
            memory.failures = memory.failures.saturating_add(1);
            return Action::Requeue(retry_soon(memory.failures, bucket));
        }
    };
    memory.failures = 0;
    let now = context.ports.now();
    // A grant that is being deleted and is not held by us any more owns nothing.
    let grants: Vec<GrantObject> = grants
        .into_iter()
        .filter(|g| !g.deleting || g.has_finalizer())
        .collect();
    if grants.is_empty() {
        context.recheck_done(bucket);
        // A grant made again within moments must not take an old answer for the truth.
        if memory.writes.young(now) {
            return Action::Requeue(Duration::from_secs(30));
        }
        context.forget_bucket(bucket);
        return Action::AwaitChange;
    }
    memory.writes.read_ledgers(&grants, now);
    // What is asked for while this pass goes on is for the next one.
    let desired = context.recheck_requested(bucket);
    if desired {
        memory.lanes.values_mut().for_each(LaneMemory::look_now);
    }
    let mut lanes: BTreeMap<LaneKey, Vec<GrantObject>> = BTreeMap::new();
    let mut wait = Duration::from_secs(3600);
    for grant in grants {
        match lane_of(&grant) {
            Some(key) => lanes.entry(key).or_default().push(grant),
            // Nothing of such a grant can be looked at; it is told so, and its ledger stays.
            None => wait = wait.min(release::without_identity(context, grant).await),
        }
    }
    memory.lanes.retain(|key, _| lanes.contains_key(key));
    let put_there_by = |grants: &[GrantObject]| -> Held {
        grants
            .iter()
            .map(|g| (g.uid.clone(), put_there(g.deleting, &g.status.owned)))
            .collect()
    };
    let mut held: BTreeMap<LaneKey, Held> = lanes
        .iter()
        .map(|(key, grants)| (key.clone(), put_there_by(grants)))
        .collect();
    for (key, grants) in lanes {
        let own = held.remove(&key).unwrap_or_default();
        let elsewhere = held.values().flat_map(BTreeMap::values).flatten();
        let remembered = memory.lanes.entry(key.clone()).or_default();
        let mut lane = Lane {
            context,
            identity: key.0.clone(),
            writes: &mut memory.writes,
            elsewhere: elsewhere.cloned().collect(),
            held: Mutex::new(own),
        };
        wait = wait.min(lane.pass(grants, remembered).await);
        // What this lane has let go is not its any more: of two that let the same go, the later one takes it out.
        held.insert(
            key,
            lane.held.into_inner().unwrap_or_else(PoisonError::into_inner),
        );
    }
    if desired {
        context.recheck_done(bucket);
    }
    // A statement that one identity took out may be wanted by another, which puts it back with its own credentials.
    let writers = memory.lanes.values().filter(|lane| lane.wrote).count();
    if writers > 0 && memory.lanes.len() > 1 {
        memory
            .lanes
            .values_mut()
            .filter(|lane| !lane.wrote || writers > 1)
            .for_each(LaneMemory::look_now);
        return Action::Requeue(Duration::ZERO);
    }
    Action::Requeue(wait)
}

/// Statements that a grant has put into the policy, by fingerprint; one that is being deleted holds none for others.
fn put_there(deleting: bool, ledger: &[LedgerEntry]) -> BTreeSet<String> {
    let entries = ledger.iter().filter(|_| !deleting);
    let held =
        entries.filter(|e| !e.pre_existing && matches!(e.state, EntryState::Intended | EntryState::Applied));
    held.map(|e| e.fingerprint.clone()).collect()
}

fn lane_of(grant: &GrantObject) -> Option<LaneKey> {
    let region = grant.bucket.as_ref()?.region.clone();
    Some((grant.identity.clone()?, region))
}

fn retry_soon(failures: u32, seed: &str) -> Duration {
    requeue::exponential_backoff(failures, Duration::from_secs(1), Duration::from_secs(30), seed)
}

/// How long until `time`, at least a moment.
fn until(now: Timestamp, time: Timestamp) -> Duration {
    let left = time.duration_since(now).max(SignedDuration::from_millis(100));
    Duration::try_from(left).unwrap_or(Duration::from_millis(100))
}
