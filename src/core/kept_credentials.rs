//! The credentials that are kept between uses, and for how long. A rotated Secret is used within 60 s and without a
//! restart, an STS session is used until 5 min before its expiry, and many objects of one identity share one request.
//!
//! Credentials serve an object only while its reference (the Secret, or tokens of the ServiceAccount) is open to the
//! operator: it was read or issued since the object appeared, and less than [`CHECK_LIFE`] ago. Without that, a session
//! would outlive the Role that opened the reference, and even the namespace.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::bounded_map::BoundedMap;
use super::error::CloudError;
use super::hash::sha256;
use super::identity::{AccessKeys, CredentialOrigin, Identity, SessionScope};
use super::time;

/// How long credentials from a Secret are used before the Secret is read again.
const SECRET_TTL: SignedDuration = SignedDuration::from_secs(60);
/// How long before its expiry an STS session is no longer used.
const SESSION_RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// How long a reference counts as open after it was read. A running job looks every 10 s, so no call starts more than a
/// minute after the reference was closed.
const CHECK_LIFE: SignedDuration = SignedDuration::from_secs(50);
/// How long an object that uses no credentials is remembered.
const UNUSED_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Bytes of an entry without its texts.
const ENTRY_BYTES: usize = 512;

/// The most bytes of kept credentials. Everybody who may create an object can have a session for each name that it
/// writes, and a session is kept for most of an hour.
struct KeptLimits {
    namespace: usize,
    all: usize,
}

const LIMITS: KeptLimits = KeptLimits {
    namespace: 4 * 1024 * 1024,
    all: 16 * 1024 * 1024,
};

/// Credentials of one identity and scope.
struct Entry {
    keys: AccessKeys,
    /// The end of their use.
    until: Timestamp,
    /// Digest of the credentials with which a session was opened; empty for a token.
    opened_with: String,
}

impl Entry {
    /// The bytes of an entry, with those of its key.
    fn bytes(&self, (identity, scope): &EntryKey) -> usize {
        let keys = [self.keys.id.as_str(), self.keys.secret.expose_secret()];
        let token = self
            .keys
            .token
            .as_ref()
            .map_or(0, |token| token.expose_secret().len());
        let texts = keys.iter().map(|text| text.len()).sum::<usize>() + token;
        ENTRY_BYTES + texts + identity.bytes() + scope.as_ref().map_or(0, SessionScope::bytes)
    }
}

/// Static credentials serve every scope; a session serves the scope of its session policy.
type EntryKey = (Identity, Option<SessionScope>);

/// A reference that was open at the last check.
struct OpenReference {
    checked_at: Timestamp,
    /// Uids of the objects that existed at a check, and when each last used the reference.
    users: BTreeMap<String, Timestamp>,
}

/// Recently obtained credentials.
#[derive(Default)]
pub struct KeptCredentials {
    entries: BTreeMap<EntryKey, Entry>,
    references: BTreeMap<CredentialOrigin, OpenReference>,
    /// Digests of credentials that IMM rejected, with the error: a job must not be billed for the same rejection again.
    rejected: BoundedMap<Identity, (String, CloudError)>,
}

impl KeptCredentials {
    /// Returns the credentials of an identity for one scope and the objects with the uids `users`; `None` if the
    /// reference has to be opened.
    pub fn usable(
        &mut self,
        identity: &Identity,
        scope: &SessionScope,
        users: &[&str],
        now: Timestamp,
    ) -> Option<AccessKeys> {
        if !self.is_open(identity, users, now) {
            return None;
        }
        self.kept(&key_of(identity, scope), None, now)
    }

    /// Records at `now`, for objects that existed before, that the reference is open and contains credentials with this
    /// digest. Returns the session that was opened with the same ones and stays open: only the check was due.
    pub fn opened(
        &mut self,
        identity: &Identity,
        scope: &SessionScope,
        users: &[&str],
        opened_with: &str,
        now: Timestamp,
    ) -> Option<AccessKeys> {
        self.record_check(identity, users, now);
        if !identity.uses_sts_session() {
            return None;
        }
        self.kept(&key_of(identity, scope), Some(opened_with), now)
    }

    /// Keeps credentials that were obtained at `now`.
    pub fn obtained(
        &mut self,
        identity: &Identity,
        scope: &SessionScope,
        keys: &AccessKeys,
        opened_with: String,
        now: Timestamp,
    ) {
        let entry = Entry {
            keys: keys.clone(),
            until: usable_until(keys.expires_at, now),
            opened_with,
        };
        keep(&mut self.entries, key_of(identity, scope), entry, &LIMITS);
    }

    /// Returns cached credentials that are still usable, and that were opened with `opened_with` if that is known.
    fn kept(&mut self, key: &EntryKey, opened_with: Option<&str>, now: Timestamp) -> Option<AccessKeys> {
        self.entries.retain(|_, entry| entry.until > now);
        let entry = self.entries.get(key)?;
        let same = opened_with.is_none_or(|digest| entry.opened_with == digest);
        same.then(|| entry.keys.clone())
    }

    /// Whether the reference of an identity is known to be open to all of these objects. The operator's own identity
    /// has no reference.
    fn is_open(&mut self, identity: &Identity, users: &[&str], now: Timestamp) -> bool {
        if identity.is_operator() {
            return true;
        }
        let Some(reference) = self.references.get_mut(&identity.origin) else {
            return false;
        };
        let age = now.duration_since(reference.checked_at);
        // A check in the future was made before the clock was set back: its age is unknown.
        let fresh = age >= SignedDuration::ZERO && age < CHECK_LIFE;
        let open = fresh && users.iter().all(|uid| reference.users.contains_key(*uid));
        if open {
            for uid in users {
                reference.users.insert((*uid).to_owned(), now);
            }
        }
        open
    }

    /// Records a check at `now`, before which the objects existed.
    fn record_check(&mut self, identity: &Identity, users: &[&str], now: Timestamp) {
        if identity.is_operator() {
            return;
        }
        self.references
            .retain(|_, reference| now.duration_since(reference.checked_at) < UNUSED_LIFE);
        let reference = self
            .references
            .entry(identity.origin.clone())
            .or_insert_with(|| OpenReference {
                checked_at: now,
                users: BTreeMap::new(),
            });
        reference.checked_at = now;
        reference
            .users
            .retain(|_, used| now.duration_since(*used) < UNUSED_LIFE);
        reference
            .users
            .extend(users.iter().map(|uid| ((*uid).to_owned(), now)));
    }

    /// Forgets everything that a closed reference has opened.
    pub fn close(&mut self, identity: &Identity) {
        self.references.remove(&identity.origin);
        self.entries
            .retain(|(known, _), _| known.origin != identity.origin);
    }

    /// Records that IMM rejected these credentials: the next use obtains them again, and uses them only if they have
    /// changed.
    pub fn mark_rejected(&mut self, identity: &Identity, keys: &AccessKeys, error: CloudError) {
        self.forget(identity);
        self.rejected.insert(identity.clone(), (key_digest(keys), error));
    }

    /// Returns the error with which IMM rejected exactly these credentials before; `None` otherwise.
    pub fn rejected_before(&mut self, identity: &Identity, keys: &AccessKeys) -> Option<CloudError> {
        let known = self.rejected.get(identity);
        let same = known.filter(|(old, _)| *old == key_digest(keys));
        let error = same.map(|(_, error)| error.clone());
        if error.is_none() {
            self.rejected.remove(identity);
        }
        error
    }

    /// Drops the credentials of an identity, so that the next use obtains them again.
    pub fn forget(&mut self, identity: &Identity) {
        self.entries.retain(|(known, _), _| known != identity);
    }
}

/// Returns the key of credentials.
fn key_of(identity: &Identity, scope: &SessionScope) -> EntryKey {
    let scope = identity.uses_sts_session().then(|| scope.clone());
    (identity.clone(), scope)
}

/// Adds an entry. As long as a namespace has more bytes than its limit, or all have more than theirs, the namespace
/// that has most loses the entry that ends first.
fn keep(entries: &mut BTreeMap<EntryKey, Entry>, key: EntryKey, entry: Entry, limits: &KeptLimits) {
    entries.insert(key, entry);
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for (key, entry) in entries.iter() {
        *used.entry(key.0.namespace().to_owned()).or_default() += entry.bytes(key);
    }
    let mut total = used.values().sum::<usize>();
    while let Some((namespace, most)) = used.iter_mut().max_by_key(|(_, bytes)| **bytes) {
        if *most <= limits.namespace && total <= limits.all {
            return;
        }
        let here = entries.iter().filter(|(key, _)| key.0.namespace() == namespace);
        let Some(first) = here
            .min_by_key(|(_, entry)| entry.until)
            .map(|(key, _)| key.clone())
        else {
            return;
        };
        if let Some(dropped) = entries.remove(&first) {
            let bytes = dropped.bytes(&first);
            (*most, total) = (most.saturating_sub(bytes), total.saturating_sub(bytes));
        }
    }
}

/// Returns until when credentials are used: 60 s for static ones, because a Secret may be rotated any time; for a
/// session until 5 min before its expiry, but at least 1 s.
fn usable_until(expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
    expires.map_or(time::after(now, SECRET_TTL), |end| {
        time::before(end, SESSION_RENEW_BEFORE).max(time::after(now, SignedDuration::from_secs(1)))
    })
}

/// Digest that identifies credentials without storing them.
pub fn key_digest(keys: &AccessKeys) -> String {
    let token = keys.token.as_ref().map_or("", |t| t.expose_secret());
    sha256(format!("{}\n{}\n{token}", keys.id, keys.secret.expose_secret()))
}

#[cfg(test)]
mod tests;
