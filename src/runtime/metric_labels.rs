//! Labels with a closed set of values. Their types let no other value into a metric, and list the series that exist
//! from the start of the process.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::core::error::{CloudError, CloudErrorKind};

/// A label with a closed set of values.
pub(super) trait ClosedSet: Sized + 'static {
    /// Every value.
    const ALL: &'static [Self];
}

/// Defines the values of a label.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($value:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each value is what its name says")]
        pub enum $name { $($value),+ }

        impl ClosedSet for $name {
            const ALL: &'static [Self] = &[$(Self::$value),+];
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
                let text = match self { $(Self::$value => $text),+ };
                text.encode(encoder)
            }
        }
    };
}

values! {
    /// The kind of a key that is reconciled.
    KeyKind {
        Bucket = "bucket",
        Job = "job",
        Finalizer = "finalizer",
        Probe = "probe",
    }
}

values! {
    /// An operation of OSS, STS or IMM. Score requests are counted in a series of their own.
    CloudApi {
        GetBucketInfo = "GetBucketInfo",
        GetBucketPolicy = "GetBucketPolicy",
        PutBucketPolicy = "PutBucketPolicy",
        DeleteBucketPolicy = "DeleteBucketPolicy",
        GetBucketPolicyStatus = "GetBucketPolicyStatus",
        GetBucketPublicAccessBlock = "GetBucketPublicAccessBlock",
        ListObjectsV2 = "ListObjectsV2",
        GetObject = "GetObject",
        AssumeRole = "AssumeRole",
        AssumeRoleWithOidc = "AssumeRoleWithOIDC",
        GetCallerIdentity = "GetCallerIdentity",
        GetProject = "GetProject",
        DetectImageScore = "DetectImageScore",
    }
}

values! {
    /// How a call ended.
    CallOutcome {
        Ok = "ok",
        Failed = "failed",
    }
}

values! {
    /// What a policy write was for.
    WriteDirection {
        Added = "added",
        Removed = "removed",
    }
}

values! {
    /// How a score request ended.
    ScoreOutcome {
        Scored = "scored",
        Throttled = "throttled",
        Unavailable = "unavailable",
        Unanswered = "unanswered",
        Denied = "denied",
        CredentialsRejected = "credentials_rejected",
        NoProject = "no_project",
        Rejected = "rejected",
    }
}

impl ScoreOutcome {
    /// The outcome of an answer.
    pub fn of<T>(answer: &Result<T, CloudError>) -> Self {
        let Err(error) = answer else {
            return Self::Scored;
        };
        match error.kind {
            CloudErrorKind::Throttled => Self::Throttled,
            CloudErrorKind::Unavailable | CloudErrorKind::BucketLocked => Self::Unavailable,
            CloudErrorKind::Unanswered => Self::Unanswered,
            CloudErrorKind::AccessDenied => Self::Denied,
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
                Self::CredentialsRejected
            }
            CloudErrorKind::NoSuchProject => Self::NoProject,
            CloudErrorKind::RequestRejected
            | CloudErrorKind::PublicAccessBlocked
            | CloudErrorKind::NoSuchBucket
            | CloudErrorKind::WrongRegion
            | CloudErrorKind::PolicyRejected => Self::Rejected,
        }
    }
}

values! {
    /// What became of the statements of a grant that was deleted without its finalizer.
    DeletionOutcome {
        Started = "started",
        Finished = "finished",
        Expired = "expired",
        Restored = "restored",
        Dropped = "dropped",
    }
}
