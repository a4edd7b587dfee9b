//! What a probe works on.

use std::path::PathBuf;

use super::probe_keys::RenewedKeys;
use crate::cloud::Cloud;
use crate::core::place::{BucketPlace, ProjectPlace};

/// What a probe works on.
pub struct ProbeTarget<'a> {
    /// The client.
    pub cloud: Cloud,
    /// The bucket that is named for the probe.
    pub bucket: BucketPlace,
    /// UID of its owner.
    pub owner_uid: String,
    /// Credentials of its owner.
    pub owner_keys: RenewedKeys<'a>,
    /// Credentials of the account of the project for the bucket, if another account owns it.
    pub other_keys: Option<RenewedKeys<'a>>,
    /// The project that scores.
    pub project: ProjectPlace,
    /// Credentials that call IMM.
    pub caller_keys: RenewedKeys<'a>,
    /// The same in a session that may not score, if such a session can be opened.
    pub narrow_keys: Option<RenewedKeys<'a>>,
    /// A bucket in another region, to which nothing is written.
    pub other_bucket: Option<String>,
    /// A project that does not exist, in the same region.
    pub missing_project: ProjectPlace,
    /// Key of an image in the bucket; empty for a probe that scores none.
    pub key: String,
    /// Keys of other objects in the bucket.
    pub objects: Vec<String>,
    /// Whether the bucket may have a policy.
    pub with_policy: bool,
    /// File for the policy from before.
    pub file: PathBuf,
}
