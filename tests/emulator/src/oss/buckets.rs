//! Bucket metadata: info, location, ACL, the bucket list of an account, and Block Public Access.
//! The XML satisfies the strictest official client and includes elements that clients read without checking.

use super::AuthenticatedRequest;
use crate::answer::{Answer, OssError};
use crate::clock::iso_millis;
use crate::encoding::{element, element_text};
use crate::hosts;
use crate::request::value_of;
use crate::world::World;
use crate::world::buckets::Bucket;

fn owner(uid: &str) -> String {
    format!(
        "<Owner>{}{}</Owner>",
        element("ID", uid),
        element("DisplayName", uid)
    )
}

fn grants() -> &'static str {
    "<AccessControlList><Grant>private</Grant></AccessControlList>"
}

fn facts(bucket: &Bucket, world: &World) -> String {
    let [public, internal] = hosts::oss_hosts(&bucket.region, world.finance_regions);
    [
        element("Name", &bucket.name),
        element("Location", &format!("oss-{}", bucket.region)),
        element("Region", &bucket.region),
        element("CreationDate", &iso_millis(bucket.created)),
        element("ExtranetEndpoint", &public),
        element("IntranetEndpoint", &internal),
        element("StorageClass", "Standard"),
    ]
    .concat()
}

fn block_answer(on: bool) -> Answer {
    let flag = element("BlockPublicAccess", if on { "true" } else { "false" });
    Answer::xml("PublicAccessBlockConfiguration", &flag)
}

impl AuthenticatedRequest<'_> {
    pub(super) fn bucket_info(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        let block = element(
            "BlockPublicAccess",
            if bucket.block_public_access {
                "true"
            } else {
                "false"
            },
        );
        let inner = [
            &facts(bucket, &world),
            "<DataRedundancyType>LRS</DataRedundancyType>",
            &owner(&bucket.owner),
            grants(),
            &block,
        ];
        Ok(Answer::xml(
            "BucketInfo",
            &format!("<Bucket>{}</Bucket>", inner.concat()),
        ))
    }

    pub(super) fn bucket_acl(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        Ok(Answer::xml(
            "AccessControlPolicy",
            &format!("{}{}", owner(&bucket.owner), grants()),
        ))
    }

    pub(super) fn bucket_location(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        Ok(Answer::xml(
            "LocationConstraint",
            &format!("oss-{}", bucket.region),
        ))
    }

    pub(super) fn list_buckets(&self) -> Result<Answer, OssError> {
        let caller = self.signed_caller()?;
        let query = self.request.oss_query();
        let prefix = value_of(&query, "prefix").unwrap_or_default();
        let world = self.cloud.world();
        let own = world
            .buckets
            .values()
            .filter(|bucket| bucket.owner == caller.account);
        let buckets: Vec<String> = own
            .filter(|bucket| bucket.name.starts_with(prefix))
            .map(|bucket| format!("<Bucket>{}</Bucket>", facts(bucket, &world)))
            .collect();
        let inner = [
            owner(&caller.account),
            format!("<Buckets>{}</Buckets>", buckets.concat()),
            element("IsTruncated", "false"),
        ];
        Ok(Answer::xml("ListAllMyBucketsResult", &inner.concat()))
    }

    fn signed_caller(&self) -> Result<&crate::world::callers::Caller, OssError> {
        let caller = self
            .caller
            .as_ref()
            .ok_or_else(|| OssError::denied("Anonymous access is forbidden."))?;
        let action = format!("oss:{}", self.action);
        if caller.may(&action, "acs:oss:*:*:*") {
            Ok(caller)
        } else {
            Err(OssError::denied("You have no right to do this.")
                .ec("0003-00000202")
                .missing(caller.missing_right(&action)))
        }
    }

    fn wanted_block(&self) -> Result<bool, OssError> {
        let text = std::str::from_utf8(&self.request.body).unwrap_or_default();
        match element_text(text, "BlockPublicAccess")
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) | None => Err(OssError::new(
                400,
                "MalformedXML",
                "The XML you provided was not well-formed.",
            )),
        }
    }

    pub(super) fn bucket_public_access_block(&self) -> Result<Answer, OssError> {
        let mut world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        let wanted = match self.request.method.as_str() {
            "GET" => return Ok(block_answer(bucket.block_public_access)),
            "PUT" => self.wanted_block()?,
            _ => false,
        };
        self.lock_settings(&mut world)?.block_public_access = wanted;
        Ok(Answer::empty(if self.request.method == "PUT" {
            200
        } else {
            204
        }))
    }

    pub(super) fn account_public_access_block(&self) -> Result<Answer, OssError> {
        let caller = self.signed_caller()?;
        let mut world = self.cloud.world();
        let account = world.accounts.get_mut(&caller.account);
        let account = account.ok_or_else(|| OssError::denied("The account does not exist."))?;
        let wanted = match self.request.method.as_str() {
            "GET" => return Ok(block_answer(account.block_public_access)),
            "PUT" => self.wanted_block()?,
            _ => false,
        };
        account.block_public_access = wanted;
        Ok(Answer::empty(if self.request.method == "PUT" {
            200
        } else {
            204
        }))
    }
}
