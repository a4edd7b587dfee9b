//! Every call that reached the cloud: who, what, how it was answered, and whether it costs money.
//! Entries are written when a call ends. Tests count money with it, so it errs on the expensive side.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

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

#[derive(Debug, Default)]
struct Book {
    last: u64,
    calls: Vec<Call>,
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
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.last += 1;
        call.seq = book.last;
        book.calls.push(call);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .calls
            .clone()
    }

    pub(crate) fn billed(&self) -> u64 {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.calls.iter().map(|call| u64::from(call.billed)).sum()
    }

    pub(crate) fn clear(&self) {
        self.book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .calls
            .clear();
    }
}
