//! A record of every call that reached the cloud: caller, action, response and whether the call is billed.
//! An entry is written when its call ends. Tests derive costs from it, so unclear cases count as billed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::traffic::ProjectCount;

/// One call. An entry never contains a secret, a token or a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Call {
    /// The position in the ledger, from 1. A number is never reused, not even after the ledger was cleared.
    pub seq: u64,
    /// The arrival time of the call, RFC 3339.
    pub time: String,
    /// `oss`, `imm` or `sts`.
    pub service: String,
    /// `GetBucketPolicy`, `DetectImageScore`, ...
    pub action: String,
    /// The access key id in the request, verified or not.
    pub access_key_id: Option<String>,
    /// The account of the key. Set once the signature was accepted.
    pub account_uid: Option<String>,
    /// The UID or role-session ARN of the key. Set once the signature was accepted.
    pub principal: Option<String>,
    /// The bucket of the request. For IMM, the bucket of the source URI.
    pub bucket: Option<String>,
    /// The object key of the request, decoded.
    pub key: Option<String>,
    /// The session as which IMM read the object. Set once the read was allowed.
    pub read_as: Option<String>,
    /// The IMM project.
    pub project: Option<String>,
    /// The requested region, if the request states one.
    pub region: Option<String>,
    /// The response status. Absent if the connection was closed before the call had an effect.
    pub status: Option<u16>,
    /// The error code of the response.
    pub code: Option<String>,
    /// Whether the call is billed: `DetectImageScore` answered with 2xx or 4xx.
    pub billed: bool,
    /// The request id of the response.
    pub request_id: String,
    /// The body. Recorded for `PutBucketPolicy` only.
    pub body: Option<String>,
    /// The fault that was applied: `dropBefore`, `dropAfter`, `answer`, `truncateBody`.
    pub fault: Option<String>,
}

/// The counts of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionCount {
    /// All calls.
    pub calls: u64,
    /// The billed calls.
    pub billed: u64,
    /// The number of responses by status. Connections closed before the call had an effect are not included.
    pub statuses: BTreeMap<u16, u64>,
}

/// The ledger's counts, updated with each recorded call, so that frequent requests for them are cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All calls.
    pub calls: u64,
    /// The billed calls.
    pub billed: u64,
    /// The counts by action name.
    pub actions: BTreeMap<String, ActionCount>,
    /// The traffic by account and project.
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
struct CallLog {
    last: u64,
    calls: Vec<Call>,
    counts: Counts,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    book: Mutex<CallLog>,
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

    fn book(&self) -> MutexGuard<'_, CallLog> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.book().counts.clone()
    }

    /// Returns the number of billed calls of each image. Scans every call, so it is meant for the end of a run.
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
