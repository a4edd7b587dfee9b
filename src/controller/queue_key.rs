//! What is reconciled: the keys of the queues.

use std::fmt;
use std::sync::Arc;

use crate::core::grant::{GrantSetKey, ObjectKey};

/// Key of a reconcile: a bucket with all its grants, or a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueueKey {
    /// A bucket by name; bucket names are unique across OSS.
    Bucket(Arc<str>),
    /// A job by namespace and name.
    Job(ObjectKey),
    /// A grant whose finalizer is missing, by namespace and name.
    Finalizer(ObjectKey),
    /// The first read of a bucket by an identity.
    Probe(Arc<ProbeKey>),
}

/// An identity and the bucket that it is to read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey {
    pub(super) set: GrantSetKey,
    pub(super) bucket: String,
}

impl fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "probe of {} in {}", self.bucket, self.set.region)
    }
}
