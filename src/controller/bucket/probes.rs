//! The requested probes, and what they have read.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};

use crate::api::BucketRef;
use crate::controller::queue_key::ProbeKey;
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::CloudError;
use crate::core::grant::{GrantSetKey, ProbeRead, ProbingGrant};
use crate::runtime::queue::Flow;

/// Why a probe failed.
#[derive(Debug)]
pub(super) enum ProbeFailure {
    Credentials(CredentialRefusal),
    Cloud(CloudError),
}

pub(super) enum ProbeState {
    Requested {
        place: BucketRef,
        flow: Flow,
        ask_bucket: bool,
        grant: Box<ProbingGrant>,
    },
    Done(Result<ProbeRead, ProbeFailure>),
}

/// The requested probes and the results that no reconcile has taken yet.
#[derive(Default)]
pub struct Probes {
    all: Mutex<BTreeMap<ProbeKey, ProbeState>>,
}

impl Probes {
    /// Whether a result waits for the set.
    pub(super) fn is_done(&self, bucket: &str, set: &GrantSetKey) -> bool {
        matches!(self.lock().get(&key_of(bucket, set)), Some(ProbeState::Done(_)))
    }

    /// Drops what no set of the bucket needs any more.
    pub(super) fn retain(&self, bucket: &str, needed: impl Fn(&GrantSetKey) -> bool) {
        self.lock()
            .retain(|key, _| key.bucket != bucket || needed(&key.set));
    }

    /// Takes the result of a probe; `None` if it is not done.
    pub(super) fn take(&self, key: &ProbeKey) -> Option<Result<ProbeRead, ProbeFailure>> {
        let mut all = self.lock();
        match all.remove(key)? {
            ProbeState::Done(result) => Some(result),
            requested @ ProbeState::Requested { .. } => {
                all.insert(key.clone(), requested);
                None
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<ProbeKey, ProbeState>> {
        self.all.lock()
    }
}

pub(super) fn key_of(bucket: &str, set: &GrantSetKey) -> ProbeKey {
    ProbeKey {
        set: set.clone(),
        bucket: bucket.to_owned(),
    }
}
