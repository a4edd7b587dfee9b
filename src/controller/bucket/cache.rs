//! What is remembered of a bucket between passes: back-off, and the writes whose answers may still surprise us. Losing it
//! costs a few calls and half a minute, never a statement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::GrantSetKey;
use crate::api::EntryState;
use crate::controller::digest::ChangeDigest;
use crate::core::grant::{GrantObject, Plan, WRITE_LIFE_SECONDS};
use crate::core::tenancy::TenancyRules;
use crate::ports::AccessKeys;

/// How long an answer of OSS may be older than a write of ours.
const LAG: SignedDuration = SignedDuration::from_secs(30);
const WRITE_LIFE: SignedDuration = SignedDuration::from_secs(WRITE_LIFE_SECONDS);

/// A document as read or written: `None` when there is none.
pub(super) type PolicyBytes = Option<Vec<u8>>;

/// A write of ours, recorded before it is sent.
struct RecentWrite {
    before: PolicyBytes,
    after: PolicyBytes,
    at: Timestamp,
}

/// What is remembered of a bucket.
#[derive(Default)]
pub struct BucketCache {
    pub(super) grant_sets: BTreeMap<GrantSetKey, GrantSetCache>,
    pub(super) failures: u32,
    pub(super) writes: WriteHistory,
}

/// The latest writes of all lanes of a bucket.
#[derive(Default)]
pub(super) struct WriteHistory {
    recent: Vec<RecentWrite>,
    /// Until when a write without an answer could still take effect.
    unsettled: Option<Timestamp>,
    /// Until when answers may be from before a write of an earlier process.
    cold_until: Option<Timestamp>,
    /// Fingerprints of what answered writes have taken out and none has added since.
    pub(super) confirmed_removed: BTreeSet<String>,
}

impl WriteHistory {
    /// Takes note of what the ledgers say of earlier processes. A time that no write of ours can have is cut down: whoever
    /// may write status must not be able to hold up a bucket for ever.
    pub(super) fn read_ledgers(&mut self, grants: &[GrantObject], now: Timestamp) {
        let entries = grants.iter().flat_map(|g| &g.status.owned);
        let recorded = entries
            .filter_map(|e| e.unsettled_until.as_ref())
            .map(|t| t.0.min(now + WRITE_LIFE))
            .max();
        if self.recent.is_empty() {
            self.cold_until = recorded.map(|until| until - WRITE_LIFE + LAG);
        }
        self.unsettled = self.unsettled.max(recorded).filter(|until| *until > now);
    }

    /// Until when an unanswered write could still take effect.
    pub(super) fn unsettled(&self) -> Option<Timestamp> {
        self.unsettled
    }

    /// A write is about to be sent.
    pub(super) fn attempted(&mut self, before: PolicyBytes, after: PolicyBytes, now: Timestamp) {
        self.recent.retain(|w| now.duration_since(w.at) < LAG);
        self.recent.push(RecentWrite {
            before,
            after,
            at: now,
        });
    }

    /// It was answered: it is done.
    pub(super) fn confirmed(&mut self, plan: &Plan, now: Timestamp) {
        if let Some(last) = self.recent.last_mut() {
            last.at = now;
        }
        for entry in plan.ledgers.iter().flatten() {
            // Of several copies one may be left, and it may be ours.
            if entry.state == EntryState::Removing && entry.copies.is_none() {
                self.confirmed_removed.insert(entry.fingerprint.clone());
            } else {
                self.confirmed_removed.remove(&entry.fingerprint);
            }
        }
    }

    /// It was refused for certain: it never was.
    pub(super) fn rejected(&mut self) {
        self.recent.pop();
    }

    /// It was not answered: it may come any time until the server refuses it.
    pub(super) fn unanswered(&mut self, now: Timestamp) {
        self.unsettled = self.unsettled.max(Some(now + WRITE_LIFE));
    }

    /// Whether an answer is the document from before a late write of ours, so that nothing may be planned from it.
    pub(super) fn is_stale_read(&self, read: &PolicyBytes, now: Timestamp) -> bool {
        let mut recent = self
            .recent
            .iter()
            .filter(|w| now.duration_since(w.at) < LAG)
            .peekable();
        recent.peek().is_some()
            && self.recent.last().is_some_and(|w| w.after != *read)
            && recent.any(|w| w.before == *read)
    }

    /// Whether an absence may be due to an old answer.
    pub(super) fn absence_untrusted(&self, read: &PolicyBytes, now: Timestamp) -> bool {
        let cold = self.cold_until.is_some_and(|until| now < until);
        let last = self.recent.last().filter(|w| now.duration_since(w.at) < LAG);
        last.map_or(cold, |w| w.after != *read)
    }

    /// Whether a write is so young that the memory of it must be kept although nobody is left.
    pub(super) fn has_recent(&self, now: Timestamp) -> bool {
        self.recent.iter().any(|w| now.duration_since(w.at) < LAG)
    }
}

/// What is remembered of a lane.
#[derive(Default)]
pub(super) struct GrantSetCache {
    pub(super) failures: u32,
    pub(super) not_before: Option<Timestamp>,
    /// What the grants asked for when they were last looked at: a change makes the next pass due at once.
    pub(super) last_inputs: Option<ChangeDigest>,
    /// The tenancy rules as of then: others make the next pass due at once as well.
    pub(super) rules: Option<Arc<TenancyRules>>,
    /// OSS refused a write as public: Block Public Access has to be read again, and is presumed on.
    pub(super) public_refused: bool,
    /// When the live policy is due for a look although nothing changed.
    pub(super) next_drift_check: Option<Timestamp>,
    /// Whether the last pass wrote the policy.
    pub(super) wrote: bool,
    /// The last keys that read the policy. They go with the lane, so not after its last grant.
    pub(super) last_credentials: Option<AccessKeys>,
}

impl GrantSetCache {
    /// Somebody else's write may have taken away what this lane wants: its next pass is not put off.
    pub(super) fn clear_backoff(&mut self) {
        self.not_before = None;
    }
}
