//! Bucket policy calls. A read returns exactly the bytes that were written.
//! As in OSS, there is no conditional write: the last writer wins.

use super::AuthenticatedRequest;
use crate::answer::{Answer, OssError};
use crate::encoding::element;
use crate::policy::{is_public, read_submission};

const CONDITIONAL_HEADERS: [&str; 4] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

impl AuthenticatedRequest<'_> {
    pub(super) fn get_policy(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        match bucket.policy.read(world.lag) {
            Some(policy) => Ok(Answer::of(200, "application/json", policy.bytes.clone())),
            None => Err(
                OssError::new(404, "NoSuchBucketPolicy", "The bucket policy does not exist.")
                    .ec("0030-00000006")
                    .detail("BucketName", bucket.name.clone()),
            ),
        }
    }

    pub(super) fn put_policy(&self) -> Result<Answer, OssError> {
        let mut world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        if let Some(header) = CONDITIONAL_HEADERS
            .iter()
            .find(|name| self.request.header(name).is_some())
        {
            let message = "A header you provided implies functionality that is not implemented.";
            return Err(OssError::new(400, "NotImplemented", message).detail("Header", *header));
        }
        let document = read_submission(&self.request.body).map_err(|refusal| {
            let error = OssError::new(400, "InvalidPolicyDocument", refusal.message);
            refusal.ec.into_iter().fold(error, OssError::ec)
        })?;
        if world.blocks_public_access(bucket)
            && is_public(&document, self.cloud.reading(bucket).session_wildcard())
        {
            return Err(OssError::denied("Put public bucket policy is not allowed"));
        }
        let bucket = self.lock_settings(&mut world)?;
        bucket.policy.set(Some(self.request.body.clone()));
        Ok(Answer::empty(200))
    }

    pub(super) fn delete_policy(&self) -> Result<Answer, OssError> {
        let mut world = self.cloud.world();
        self.allowed_bucket(&world)?;
        let bucket = self.lock_settings(&mut world)?;
        if bucket.policy.newest().is_some() {
            bucket.policy.set(None);
        }
        Ok(Answer::empty(204))
    }

    pub(super) fn policy_status(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        let policy = bucket.policy.read(world.lag);
        let document = policy.and_then(|policy| policy.document.as_ref());
        let reading = self.cloud.reading(bucket).session_wildcard();
        let public = document.is_some_and(|document| is_public(document, reading));
        Ok(Answer::xml(
            "PolicyStatus",
            &element("IsPublic", if public { "true" } else { "false" }),
        ))
    }
}
