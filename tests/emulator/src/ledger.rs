//! Every call that reached the cloud: who, what, how it was answered, and whether it costs money.
//! Entries are written when a call ends. Tests count money with it, so it errs on the expensive side.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::traffic::ProjectCount;

/// One call. It never holds a secret, a token or a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Call {
    /// Position in the ledger, from 1; never given twice, also not after the ledger was cleared.
    pub seq: u64,
    /// When the call was taken in, RFC 3339.
    pub time: String,
    /// `oss`, `imm` or `sts`.
    pub service: String,
    /// `GetBucketPolicy`, `DetectImageScore`, ...
    pub action: String,
    /// The key the request names, verified or not.
    pub access_key_id: Option<String>,
    /// The account behind the key, once the signature was accepted.
    pub account_uid: Option<String>,
    /// The UID or role-session ARN behind the key, once the signature was accepted.
    pub principal: Option<String>,
    /// The bucket concerned; for IMM that of the source.
    pub bucket: Option<String>,
    /// The object concerned, decoded.
    pub key: Option<String>,
    /// The session as which IMM read the object, once it was allowed to.
    pub read_as: Option<String>,
    /// The IMM project.
    pub project: Option<String>,
    /// The region asked, as far as the request says it.
    pub region: Option<String>,
    /// The status of the answer; absent if the connection was closed before any effect.
    pub status: Option<u16>,
    /// The error code of the answer.
    pub code: Option<String>,
    /// Whether it costs money: `DetectImageScore` answered with 2xx or 4xx.
    pub billed: bool,
    /// The request id of the answer.
    pub request_id: String,
    /// The body, of `PutBucketPolicy` only.
    pub body: Option<String>,
    /// The fault that was applied: `dropBefore`, `dropAfter`, `answer`, `truncateBody`.
    pub fault: Option<String>,
}

/// The calls of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionCount {
    /// All of them.
    pub calls: u64,
    /// Those that cost money.
    pub billed: u64,
    /// How many were answered with each status; connections closed before any effect are not among them.
    pub statuses: BTreeMap<u16, u64>,
}

/// The ledger in numbers, kept while calls are recorded, so that it may be asked for often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All calls.
    pub calls: u64,
    /// Those that cost money.
    pub billed: u64,
    /// By the action's name.
    pub actions: BTreeMap<String, ActionCount>,
    /// By account and project.
    pub projects: Vec<ProjectCount>,
}

impl Counts {
    fn count(&mut self, call: &Call) {
        if !self.actions.contains_key(&call.action) {
            self.actions.insert(call.action.clone(), ActionCount::default());
        }
        self.calls += 1;
        self.billed += u64::from(call.billed);
        if let Some(action) = self.actions.get_mut(&call.action) {
            action.calls += 1;
            action.billed += u64::from(call.billed);
            if let Some(status) = call.status {
                *action.statuses.entry(status).or_default() += 1;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    calls: Vec<Call>,
    counts: Counts,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
}

impl Ledger {
    pub(crate) fn record(&self, mut call: Call) {
        let costs = call
            .status
            .is_some_and(|status| matches!(status, 200..=299 | 400..=499));
        call.billed = call.service == "imm" && call.action == "DetectImageScore" && costs;
        let mut book = self.book();
        book.last += 1;
        call.seq = book.last;
        book.counts.count(&call);
        book.calls.push(call);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.book().counts.clone()
    }

    /// How often each image was paid for. This looks at every call: it is for the end of a run.
    pub(crate) fn billed_images(&self) -> BTreeMap<String, u64> {
        let book = self.book();
        let mut images: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for call in book.calls.iter().filter(|call| call.billed) {
            if let (Some(bucket), Some(key)) = (&call.bucket, &call.key) {
                *images.entry((bucket, key)).or_default() += 1;
            }
        }
        let uri = |((bucket, key), billed)| (format!("oss://{bucket}/{key}"), billed);
        images.into_iter().map(uri).collect()
    }

    pub(crate) fn clear(&self) {
        let mut book = self.book();
        book.calls.clear();
        book.counts = Counts::default();
    }
}
