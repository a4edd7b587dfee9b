//! The recent writes of a bucket's policy, which OSS may not return yet or may still carry out. Losing them costs a few
//! calls and 30 s, never a statement.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{GrantObject, Plan, WRITE_LIFE_SECONDS};
use crate::api::{EntryState, LedgerEntry};
use crate::core::credential_use::is_within_life;
use crate::core::hash::sha256;
use crate::core::time;

/// How long after our write OSS may still return the policy from before (stale read).
const LAG: SignedDuration = SignedDuration::from_secs(30);
const WRITE_LIFE: SignedDuration = SignedDuration::from_secs(WRITE_LIFE_SECONDS);
/// How long a policy that was read ahead of a reconcile can be its first read.
const FRESH: SignedDuration = SignedDuration::from_secs(2);
/// How long a list may be stale: what is known about an entry that a list does not show is kept as long.
const STALE_LIST: SignedDuration = SignedDuration::from_hours(1);
/// Entries of a bucket about which something is kept although no list shows them.
const MAX_UNSEEN: usize = 256;

/// A policy as read or written; `None` when the bucket has none.
type PolicyBytes = Option<Vec<u8>>;

/// SHA-256 of a policy, which is only compared: a policy has up to 16 KB, and a process knows thousands of buckets.
type PolicyDigest = Option<String>;

fn digest(policy: &PolicyBytes) -> PolicyDigest {
    policy.as_ref().map(sha256)
}

/// A policy write, recorded before it is sent.
struct RecentWrite {
    before: PolicyDigest,
    after: PolicyDigest,
    at: Timestamp,
}

/// Recent policy writes of all sets of a bucket.
#[derive(Default)]
pub struct WriteHistory {
    recent: Vec<RecentWrite>,
    /// Until when an unanswered write can still take effect.
    unsettled: Option<Timestamp>,
    /// Until when the write that is being sent can take effect. It stays if a panic ends the reconcile.
    in_flight: Option<Timestamp>,
    /// Until when a read may be stale because of a write of an earlier process, answered or not.
    cold_until: Option<Timestamp>,
    /// Fingerprints of statements that answered writes have removed, and that no write has added or can add since.
    /// With the time of the removal.
    pub confirmed_removed: BTreeMap<String, Timestamp>,
    /// Intended writes that OSS has rejected, by the uid of the grant and the fingerprint.
    rejected_intents: BTreeSet<(String, String)>,
    /// Intended writes that were sent and not rejected: they can have taken effect, also if nobody looked in time, or if
    /// their ledger could not be stored after the answer. With the time of the last write.
    sent_intents: BTreeMap<(String, String), Timestamp>,
    /// Intended writes that this process found when it first read the ledgers of the bucket: they can have taken effect
    /// before.
    inherited_intents: BTreeSet<(String, String)>,
    /// Those whose grant was suspended since then: they count only for the deletion of the grant.
    suspended_intents: BTreeSet<(String, String)>,
    /// When this process first read the ledgers of the bucket.
    first_read: Option<Timestamp>,
    /// The recorded expiries that it found at that time.
    inherited_expiries: BTreeSet<Timestamp>,
    /// When one of them, too late to be plausible then, became plausible: the clock was corrected, or the expiry was
    /// forged.
    corrected: Option<Timestamp>,
}

impl WriteHistory {
    /// Reads the unanswered writes of earlier processes from the ledgers.
    pub fn read_ledgers(&mut self, grants: &[GrantObject], now: Timestamp) {
        self.limit_to(now);
        let first = self.first_read.is_none();
        let first_read = *self.first_read.get_or_insert(now);
        let entries = || grants.iter().flat_map(|g| &g.status.owned);
        if first {
            let expiries = entries().filter_map(|e| e.unsettled_until.as_ref());
            self.inherited_expiries = expiries.map(|until| until.0).collect();
        }
        let recorded = self.expiry_of(entries(), now);
        if self.recent.is_empty() {
            let unanswered = recorded.map(|until| time::before(until, WRITE_LIFE));
            // A status can hold a time in the future: no write of an earlier process is later than the first read.
            let answered = grants.iter().filter_map(last_write).max();
            let last = unanswered.max(answered.map(|at| at.min(first_read)));
            self.cold_until = last.map(|at| time::after(at, LAG));
        }
        let known = self.unsettled.max(self.in_flight.take());
        self.unsettled = known.max(recorded).filter(|until| *until > now);
        self.read_intents(grants, first, now);
    }

    /// Dates nothing later than now: if the clock was set back, what is known must not count until it has caught up.
    fn limit_to(&mut self, now: Timestamp) {
        for write in &mut self.recent {
            write.at = write.at.min(now);
        }
        for at in self
            .confirmed_removed
            .values_mut()
            .chain(self.sent_intents.values_mut())
        {
            *at = (*at).min(now);
        }
        let limits = [
            (&mut self.first_read, SignedDuration::ZERO),
            (&mut self.corrected, SignedDuration::ZERO),
            (&mut self.cold_until, LAG),
            (&mut self.unsettled, WRITE_LIFE),
            (&mut self.in_flight, WRITE_LIFE),
        ];
        for (time, limit) in limits {
            *time = time.map(|time| time.min(time::after(now, limit)));
        }
    }

    /// Drops what is known about entries that are gone, and finds the intended writes of earlier processes at the first
    /// look at the bucket. Those of a suspended grant count only for its deletion: suspending a grant must not keep them
    /// for ever.
    fn read_intents(&mut self, grants: &[GrantObject], first: bool, now: Timestamp) {
        let intents = |g: &GrantObject| {
            let entries = g.status.owned.iter().filter(|e| e.state == EntryState::Intended);
            entries.map(|e| intent(&g.uid, e)).collect::<Vec<_>>()
        };
        let suspended = |g: &GrantObject| g.spec.as_ref().is_ok_and(|spec| spec.suspend);
        let known: BTreeSet<(String, String)> = grants.iter().flat_map(intents).collect();
        let active = grants.iter().filter(|g| !suspended(g));
        let active: BTreeSet<(String, String)> = active.flat_map(intents).collect();
        self.rejected_intents.retain(|rejected| known.contains(rejected));
        forget_unseen(&mut self.sent_intents, |sent| known.contains(sent), now);
        let recorded: BTreeSet<&String> = grants
            .iter()
            .flat_map(|g| &g.status.owned)
            .map(|e| &e.fingerprint)
            .collect();
        let removed = &mut self.confirmed_removed;
        forget_unseen(removed, |fingerprint| recorded.contains(fingerprint), now);
        self.suspended_intents.retain(|found| known.contains(found));
        if first {
            self.suspended_intents = known.difference(&active).cloned().collect();
            self.inherited_intents = active;
        } else {
            let found = std::mem::take(&mut self.inherited_intents);
            let found = found.into_iter().filter(|found| known.contains(found));
            let (kept, suspended) = found.partition(|found| active.contains(found));
            self.inherited_intents = kept;
            self.suspended_intents.extend::<BTreeSet<_>>(suspended);
        }
    }

    /// Returns the fingerprints of the intended writes of a grant that do not count as taken effect: OSS has rejected
    /// them, or they were never sent and have expired.
    pub fn unproven_intents(&self, grant: &GrantObject, now: Timestamp) -> BTreeSet<String> {
        let proven = |e: &LedgerEntry| {
            let intent = intent(&grant.uid, e);
            let possible = self.sent_intents.contains_key(&intent)
                || self.inherited_intents.contains(&intent)
                || grant.deleting && self.suspended_intents.contains(&intent);
            !self.rejected_intents.contains(&intent) && (possible || is_within_life(e, now))
        };
        let intents = grant
            .status
            .owned
            .iter()
            .filter(|e| e.state == EntryState::Intended);
        intents
            .filter(|e| !proven(e))
            .map(|e| e.fingerprint.clone())
            .collect()
    }

    /// Records that the write of entries was sent and not rejected. They are forgotten an hour later, unless a stored
    /// ledger still has them as intended: an earlier list can be stale, and not show yet that it has.
    pub fn write_sent<'a>(
        &mut self,
        uid: &str,
        entries: impl Iterator<Item = &'a LedgerEntry>,
        now: Timestamp,
    ) {
        self.sent_intents.extend(entries.map(|e| (intent(uid, e), now)));
    }

    /// Records that OSS rejected the write of the planned entries. An entry whose earlier write can still take effect
    /// keeps its proof.
    pub fn write_rejected(
        &mut self,
        uid: &str,
        planned: &[LedgerEntry],
        earlier: &[LedgerEntry],
        now: Timestamp,
    ) {
        let sent_before = |fingerprint: &str| {
            let mut entries = earlier.iter().filter(|e| e.fingerprint == fingerprint);
            entries.any(|e| {
                e.state == EntryState::Intended
                    && (is_within_life(e, now) || self.sent_intents.contains_key(&intent(uid, e)))
            })
        };
        let rejected = planned
            .iter()
            .filter(|e| e.state == EntryState::Intended && !sent_before(&e.fingerprint))
            .map(|e| intent(uid, e))
            .collect::<Vec<_>>();
        self.rejected_intents.extend(rejected);
    }

    /// Forgets the rejections of the entries that a new write adds; `uids` are those of the grants in the plan.
    pub fn forget_rejections<'a>(&mut self, uids: impl Iterator<Item = &'a str>, plan: &Plan) {
        for (uid, grant) in uids.zip(&plan.grants).filter(|(_, grant)| grant.added > 0) {
            for entry in grant.ledger.iter().filter(|e| e.state == EntryState::Intended) {
                self.rejected_intents.remove(&intent(uid, entry));
            }
        }
    }

    /// Returns until when a write of an earlier process that ledger entries record can take effect. No such write is sent
    /// after the first look of this process, which knows its own writes. Whatever is written into a status, it can
    /// block a bucket for minutes, and not again and again. An expiry that was there at the first look counts as it
    /// is once it is plausible, for the life of a write: the clock may have been behind then. A later one that was
    /// not there is that of a write of this process; it stays in the ledger if the status after the answer could not
    /// be stored, as when a user deletes the grant meanwhile.
    fn expiry_of<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a LedgerEntry>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let latest = time::after(self.first_read?, WRITE_LIFE);
        let plausible = time::after(now, WRITE_LIFE);
        let recorded = entries.filter_map(|entry| entry.unsettled_until.as_ref());
        let counts = recorded.filter_map(|until| {
            if until.0 <= latest {
                return Some(until.0);
            }
            if !self.inherited_expiries.contains(&until.0) {
                return None;
            }
            if until.0 > plausible {
                return Some(latest);
            }
            let corrected = *self.corrected.get_or_insert(now);
            Some(until.0.min(time::after(corrected, WRITE_LIFE)))
        });
        counts.max()
    }

    /// Returns until when an unanswered write can still take effect; `None` without one.
    pub fn unsettled(&self) -> Option<Timestamp> {
        self.unsettled
    }

    /// Records a write that is about to be sent.
    pub fn attempted(&mut self, before: &PolicyBytes, after: &PolicyBytes, now: Timestamp) {
        self.in_flight = Some(time::after(now, WRITE_LIFE));
        self.recent.retain(|w| now.duration_since(w.at) < LAG);
        self.recent.push(RecentWrite {
            before: digest(before),
            after: digest(after),
            at: now,
        });
    }

    /// Records that OSS answered the last write: the write took effect.
    pub fn confirmed(&mut self, plan: &Plan, now: Timestamp) {
        self.in_flight = None;
        if let Some(last) = self.recent.last_mut() {
            last.at = now;
        }
        // An earlier write without an answer can bring back what this one has removed.
        let for_good = self.unsettled.is_none_or(|until| until <= now);
        for entry in plan.entries() {
            // One of several identical copies may be left, and the copy may be ours.
            if entry.state == EntryState::Removing && entry.copies.is_none() && for_good {
                self.confirmed_removed.insert(entry.fingerprint.clone(), now);
            } else {
                self.confirmed_removed.remove(&entry.fingerprint);
            }
        }
    }

    /// Records that OSS rejected the last write: the write had no effect.
    pub fn rejected(&mut self) {
        self.in_flight = None;
        self.recent.pop();
    }

    /// Records that OSS did not answer the last write: the write can take effect until OSS rejects its signature, and
    /// bring back what an earlier one has removed.
    pub fn unanswered(&mut self, plan: &Plan, now: Timestamp) {
        for entry in plan.entries().filter(|e| e.state == EntryState::Intended) {
            self.confirmed_removed.remove(&entry.fingerprint);
        }
        self.unsettled = self.unsettled.max(Some(time::after(now, WRITE_LIFE)));
    }

    /// Whether a read returned the policy from before a recent write. Nothing may be planned from such a read.
    pub fn is_stale_read(&self, read: &PolicyBytes, now: Timestamp) -> bool {
        let mut recent = self
            .recent
            .iter()
            .filter(|w| now.duration_since(w.at) < LAG)
            .peekable();
        if recent.peek().is_none() {
            return false;
        }
        let read = digest(read);
        self.recent.last().is_some_and(|w| w.after != read) && recent.any(|w| w.before == read)
    }

    /// Whether a statement may be missing only because the read is stale.
    pub fn absence_untrusted(&self, read: &PolicyBytes, now: Timestamp) -> bool {
        let cold = self.cold_until.is_some_and(|until| now < until);
        let last = self.recent.last().filter(|w| now.duration_since(w.at) < LAG);
        last.map_or(cold, |w| w.after != digest(read))
    }

    /// Whether a policy that was read at a time can serve as the first read of a reconcile: it is recent, and no
    /// write was sent or answered since.
    pub fn is_fresh_read(&self, read_at: Timestamp, now: Timestamp) -> bool {
        now.duration_since(read_at) < FRESH && !self.recent.iter().any(|w| w.at >= read_at)
    }

    /// Whether a write is younger than 30 s, so that the history must be kept although no grant is left.
    pub fn has_recent(&self, now: Timestamp) -> bool {
        self.recent.iter().any(|w| now.duration_since(w.at) < LAG)
    }
}

/// Returns when a grant's statements were last written, as its status says.
fn last_write(grant: &GrantObject) -> Option<Timestamp> {
    let policy = grant.status.policy.as_ref()?;
    policy.last_write_time.as_ref().map(|time| time.0)
}

/// An intended write of a grant.
fn intent(uid: &str, entry: &LedgerEntry) -> (String, String) {
    (uid.to_owned(), entry.fingerprint.clone())
}

/// Forgets what no list shows: after an hour, and the oldest if there is much, because a grant that is edited all the
/// time adds to it every second.
fn forget_unseen<K: Ord>(known: &mut BTreeMap<K, Timestamp>, is_shown: impl Fn(&K) -> bool, now: Timestamp) {
    let unseen = known.iter().filter(|(key, _)| !is_shown(key));
    let mut times: Vec<Timestamp> = unseen.map(|(_, at)| *at).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let forgotten = times.get(MAX_UNSEEN).copied();
    known.retain(|key, at| {
        let recent =
            now.duration_since(*at) < STALE_LIST && forgotten.is_none_or(|forgotten| *at > forgotten);
        is_shown(key) || recent
    });
}
