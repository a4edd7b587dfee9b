//! Buckets: their objects, and their policy with its past, since reads and decisions may lag behind writes.
//! Old versions are kept with the time they were replaced, which is all that lag needs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Lag;
use crate::digest::md5_hex_upper;
use crate::score::{self, Score};
use crate::seed::BucketSeed;

/// An object with what is computed from its bytes at most once.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    pub(crate) content_type: Option<String>,
    pub(crate) modified: jiff::Timestamp,
    pinned: Option<String>,
    computed: Arc<OnceLock<Option<Score>>>,
}

impl Object {
    pub(crate) fn new(bytes: Bytes, modified: jiff::Timestamp, pinned: Option<String>) -> Self {
        let etag = md5_hex_upper(&bytes);
        Self {
            bytes,
            etag,
            content_type: None,
            modified,
            pinned,
            computed: Arc::default(),
        }
    }

    /// The pinned score, else the one of the pixels; `None` if it is no picture. Slow the first time.
    pub(crate) fn score(&self) -> Option<String> {
        let computed = || *self.computed.get_or_init(|| score::score(&self.bytes).ok());
        self.pinned
            .clone()
            .or_else(|| computed().map(|score| score.to_string()))
    }
}

/// A policy and its past versions, newest last.
#[derive(Debug, Default)]
pub(crate) struct PolicyHistory {
    versions: Vec<(Instant, Option<Bytes>)>,
    seeded: Option<Bytes>,
}

impl PolicyHistory {
    /// Replaces the policy, or takes it away.
    pub(crate) fn set(&mut self, policy: Option<Bytes>) {
        self.versions.push((Instant::now(), policy));
    }

    pub(crate) fn newest(&self) -> Option<Bytes> {
        self.versions
            .last()
            .map_or(&self.seeded, |(_, policy)| policy)
            .clone()
    }

    fn as_of(&self, lag_ms: u64) -> Option<Bytes> {
        let lag = Duration::from_millis(lag_ms);
        let settled = self
            .versions
            .iter()
            .rev()
            .find(|(written, _)| written.elapsed() >= lag);
        settled.map_or(&self.seeded, |(_, policy)| policy).clone()
    }

    pub(crate) fn read(&self, lag: Lag) -> Option<Bytes> {
        self.as_of(lag.policy_read_ms)
    }

    pub(crate) fn enforced(&self, lag: Lag) -> Option<Bytes> {
        self.as_of(lag.policy_enforcement_ms)
    }
}

#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) owner: String,
    pub(crate) block_public_access: bool,
    pub(crate) created: jiff::Timestamp,
    pub(crate) policy: PolicyHistory,
    pub(crate) objects: BTreeMap<String, Object>,
}

impl Bucket {
    pub(crate) fn new(seed: BucketSeed) -> Self {
        // Older than any job, so that "objects newer than the job's start" are only those put later.
        let created = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 54);
        let objects = seed
            .objects
            .into_iter()
            .map(|object| (object.key, Object::new(object.bytes, created, object.score)))
            .collect();
        Self {
            name: seed.name,
            region: seed.region,
            owner: seed.owner,
            block_public_access: seed.block_public_access,
            created,
            policy: PolicyHistory {
                versions: Vec::new(),
                seeded: seed.policy.map(Bytes::from),
            },
            objects,
        }
    }
}

/// 3 to 63 of `a-z 0-9 -`, no hyphen at either end.
pub(crate) fn is_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
