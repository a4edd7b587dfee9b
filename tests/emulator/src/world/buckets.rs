//! Buckets: their objects, and their policy with its history, because reads and decisions may lag behind writes.
//! Old versions are kept with the time at which they were replaced, which is sufficient to emulate lag.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lag, StorageClass};
use crate::digest::md5_hex_upper;
use crate::policy::{Document, PrincipalReading, with_security_deny};
use crate::score::{self, Score};
use crate::seed::{BucketSeed, ManySeed};

/// Bytes that many objects may share, with values computed from them at most once.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    computed: OnceLock<Option<Score>>,
}

impl Content {
    pub(crate) fn new(bytes: Bytes) -> Arc<Self> {
        let etag = md5_hex_upper(&bytes);
        Arc::new(Self {
            bytes,
            etag,
            computed: OnceLock::new(),
        })
    }

    /// Returns the score of the pixels, or `None` if the bytes are not a picture. The first call is slow.
    pub(crate) fn score(&self) -> Option<String> {
        let computed = self
            .computed
            .get_or_init(|| score::undecoded(&self.bytes).or_else(|| score::score(&self.bytes).ok()));
        computed.map(|score| score.to_string())
    }
}

/// The source of an object's score.
#[derive(Clone, Debug)]
pub(crate) enum Scoring {
    Pixels,
    Pinned(Arc<str>),
    Key,
}

impl Scoring {
    pub(crate) fn pinned(score: Option<&str>) -> Self {
        score.map_or(Self::Pixels, |score| Self::Pinned(score.into()))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) content: Arc<Content>,
    pub(crate) content_type: Option<String>,
    pub(crate) modified: jiff::Timestamp,
    pub(crate) scoring: Scoring,
    pub(crate) storage_class: StorageClass,
    /// Whether an archived object has been restored.
    pub(crate) restored: bool,
    /// The account whose KMS key encrypts the object.
    pub(crate) kms_key_of: Option<String>,
}

impl Object {
    pub(crate) fn new(bytes: Bytes, modified: jiff::Timestamp, scoring: Scoring) -> Self {
        Self {
            content: Content::new(bytes),
            content_type: None,
            modified,
            scoring,
            storage_class: StorageClass::Standard,
            restored: false,
            kms_key_of: None,
        }
    }

    /// Returns whether the content can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.restored || !self.storage_class.is_archived()
    }

    /// Returns the score if it need not be computed from the pixels, otherwise `None`.
    pub(crate) fn known_score(&self, key: &str) -> Option<String> {
        match &self.scoring {
            Scoring::Pixels => None,
            Scoring::Pinned(score) => Some(score.to_string()),
            Scoring::Key => Some(score::of_key(key).to_string()),
        }
    }
}

/// The bytes of a policy as written, and the parsed policy if they can be parsed.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) bytes: Bytes,
    pub(crate) document: Option<Document>,
}

impl From<Bytes> for Policy {
    fn from(bytes: Bytes) -> Self {
        let document = Document::from_bytes(&bytes);
        Self { bytes, document }
    }
}

/// December 2023: older than any job, so that only objects added later are newer than a job's start.
const CREATED: jiff::Timestamp = jiff::Timestamp::constant(1_702_944_000, 0);

/// A policy and its previous versions, newest last.
#[derive(Debug, Default)]
pub(crate) struct PolicyHistory {
    versions: Vec<(Instant, Option<Policy>)>,
    seeded: Option<Policy>,
    /// The number of versions that can be enforced. Absent means all.
    enforceable: Option<usize>,
    /// The least time until a change is enforced, in milliseconds.
    enforcement_ms: u64,
}

impl PolicyHistory {
    /// Replaces or removes the policy.
    pub(crate) fn set(&mut self, policy: Option<Bytes>) {
        self.versions.push((Instant::now(), policy.map(Policy::from)));
    }

    /// Enforces neither the newest versions nor any later one; none means that all are enforced again.
    pub(crate) fn enforce_without_newest(&mut self, versions: usize) {
        let held = self.versions.len().saturating_sub(versions);
        self.enforceable = (versions > 0).then_some(held);
    }

    pub(crate) fn newest(&self) -> Option<Bytes> {
        let newest = self.versions.last().map_or(&self.seeded, |(_, policy)| policy);
        newest.as_ref().map(|policy| policy.bytes.clone())
    }

    fn as_of(&self, lag_ms: u64, versions: usize) -> Option<&Policy> {
        let lag = Duration::from_millis(lag_ms);
        let settled = self
            .versions
            .iter()
            .take(versions)
            .rev()
            .find(|(written, _)| written.elapsed() >= lag);
        settled.map_or(&self.seeded, |(_, policy)| policy).as_ref()
    }

    pub(crate) fn read(&self, lag: Lag) -> Option<&Policy> {
        self.as_of(lag.policy_read_ms, usize::MAX)
    }

    pub(crate) fn enforced(&self, lag: Lag) -> Option<&Policy> {
        let millis = lag.policy_enforcement_ms.max(self.enforcement_ms);
        self.as_of(millis, self.enforceable.unwrap_or(usize::MAX))
    }
}

/// The lock that a change of a bucket's settings takes, of the policy too.
#[derive(Debug)]
pub(crate) struct SettingsLock {
    lasts: Duration,
    taken: Option<Instant>,
}

impl SettingsLock {
    /// Takes the lock for a change. Returns `false` if the lock of another change is not over.
    pub(crate) fn take(&mut self) -> bool {
        let free = self.taken.is_none_or(|at| at.elapsed() >= self.lasts);
        if free {
            self.taken = Some(Instant::now());
        }
        free
    }
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a seed")]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) owner: String,
    pub(crate) block_public_access: bool,
    pub(crate) principals: PrincipalReading,
    pub(crate) public_endpoint_forbidden: bool,
    pub(crate) hidden_from_others: bool,
    pub(crate) requester_pays: bool,
    pub(crate) settings: SettingsLock,
    pub(crate) created: jiff::Timestamp,
    pub(crate) policy: PolicyHistory,
    pub(crate) objects: BTreeMap<String, Object>,
}

impl Bucket {
    pub(crate) fn new(seed: BucketSeed) -> Self {
        let named = seed.objects.into_iter().map(|object| {
            let modified = object.modified.unwrap_or(CREATED);
            let scoring = Scoring::pinned(object.score.as_deref());
            let made = Object {
                kms_key_of: object.kms_key_of,
                ..Object::new(object.bytes, modified, scoring)
            };
            (object.key, made)
        });
        let mut objects: BTreeMap<String, Object> = named.collect();
        objects.extend(seed.many.iter().flat_map(many));
        let policy = if seed.security_deny {
            Some(with_security_deny(seed.policy.as_deref(), &seed.name))
        } else {
            seed.policy
        };
        Self {
            name: seed.name,
            region: seed.region,
            owner: seed.owner,
            block_public_access: seed.block_public_access,
            principals: seed.principals,
            public_endpoint_forbidden: seed.public_endpoint_forbidden,
            hidden_from_others: seed.hidden_from_others,
            requester_pays: seed.requester_pays,
            settings: SettingsLock {
                lasts: Duration::from_millis(seed.settings_lock_ms),
                taken: None,
            },
            created: CREATED,
            policy: PolicyHistory {
                versions: Vec::new(),
                seeded: policy.map(|text| Policy::from(Bytes::from(text))),
                enforceable: None,
                enforcement_ms: seed.policy_enforcement_ms,
            },
            objects,
        }
    }
}

/// Creates the objects of a set, which share one content.
pub(crate) fn many(seed: &ManySeed) -> impl Iterator<Item = (String, Object)> {
    let scoring = seed
        .score
        .as_deref()
        .map_or(Scoring::Key, |score| Scoring::Pinned(score.into()));
    let object = Object {
        scoring,
        ..Object::new(seed.bytes.clone(), seed.modified.unwrap_or(CREATED), Scoring::Key)
    };
    (seed.first..seed.first.saturating_add(seed.count)).map(move |number| (seed.key(number), object.clone()))
}

/// Returns whether a name is valid: 3 to 63 of `a-z 0-9 -`, no hyphen at either end.
pub(crate) fn is_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
