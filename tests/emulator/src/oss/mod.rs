//! OSS: determines the bucket, object and operation of a request, and answers it.
//! Every bucket operation is authorized by `allowed_bucket`; no operation has an authorization of its own.

mod address;
mod authentication;
mod buckets;
mod list;
mod objects;
mod policies;

pub use address::Address;

use crate::answer::{Answer, OssError};
use crate::cloud::Cloud;
use crate::denial::{AccessDeniedDetail, CONTROL_POLICY, Denial, RAM_POLICY, SESSION_POLICY};
use crate::digest::md5_base64;
use crate::hosts;
use crate::ledger::Call;
use crate::policy::Context;
use crate::request::{Request, value_of};
use crate::world::World;
use crate::world::buckets::Bucket;
use crate::world::callers::Caller;

/// Returns the operation's name in the OSS documentation.
pub(crate) fn action(address: &Address, request: &Request) -> String {
    let query = request.oss_query();
    let has = |name: &str| value_of(&query, name).is_some();
    let verb = match request.method.as_str() {
        "GET" => "Get",
        "PUT" => "Put",
        "DELETE" => "Delete",
        "HEAD" => "Head",
        _ => "Post",
    };
    match (&address.bucket, &address.key) {
        (None, _) if has("publicAccessBlock") => format!("{verb}PublicAccessBlock"),
        (None, _) => "ListBuckets".to_owned(),
        (Some(_), Some(_)) if has("acl") => format!("{verb}ObjectAcl"),
        (Some(_), Some(_)) => format!("{verb}Object"),
        (Some(_), None) => {
            let sub_resources = [
                ("policyStatus", "PolicyStatus"),
                ("policy", "Policy"),
                ("publicAccessBlock", "PublicAccessBlock"),
                ("acl", "Acl"),
                ("bucketInfo", "Info"),
                ("location", "Location"),
                ("stat", "Stat"),
            ];
            match sub_resources.iter().find(|(name, _)| has(name)) {
                Some((_, name)) => format!("{verb}Bucket{name}"),
                None if verb == "Get" && value_of(&query, "list-type") == Some("2") => {
                    "ListObjectsV2".to_owned()
                }
                None if verb == "Get" => "ListObjects".to_owned(),
                None => format!("{verb}Bucket"),
            }
        }
    }
}

/// Returns the RAM action that authorizes an operation.
fn right(action: &str) -> String {
    match action {
        "HeadObject" => "oss:GetObject".to_owned(),
        "ListObjectsV2" => "oss:ListObjects".to_owned(),
        other => format!("oss:{other}"),
    }
}

/// Records the request's own claims in the ledger entry, before any verification.
pub(crate) fn describe(address: &Address, request: &Request, call: &mut Call) {
    "oss".clone_into(&mut call.service);
    call.action = action(address, request);
    call.bucket.clone_from(&address.bucket);
    call.key.clone_from(&address.key);
    let (id, region) = authentication::presented(request);
    call.access_key_id = id;
    call.region = address.region.clone().or(region);
    if call.action == "PutBucketPolicy" {
        call.body = Some(String::from_utf8_lossy(&request.body).into_owned());
    }
}

/// An authenticated request with everything the operations need.
pub(crate) struct AuthenticatedRequest<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) request: &'a Request,
    pub(crate) caller: Option<Caller>,
    pub(crate) action: String,
    pub(crate) bucket: String,
    pub(crate) key: Option<String>,
    region: Option<String>,
}

pub(crate) fn perform(
    cloud: &Cloud,
    address: &Address,
    request: &Request,
    call: &mut Call,
) -> Result<Answer, OssError> {
    let caller = authentication::authenticate(cloud, address, request)?;
    if let Some(caller) = &caller {
        call.account_uid = Some(caller.account.clone());
        call.principal = Some(caller.principal());
    }
    check_body(request)?;
    let visit = AuthenticatedRequest {
        cloud,
        request,
        caller,
        action: call.action.clone(),
        bucket: address.bucket.clone().unwrap_or_default(),
        key: address.key.clone(),
        region: call.region.clone(),
    };
    match call.action.as_str() {
        "ListBuckets" => visit.list_buckets(),
        "GetPublicAccessBlock" | "PutPublicAccessBlock" | "DeletePublicAccessBlock" => {
            visit.account_public_access_block()
        }
        "GetBucketPolicy" => visit.get_policy(),
        "PutBucketPolicy" => visit.put_policy(),
        "DeleteBucketPolicy" => visit.delete_policy(),
        "GetBucketPolicyStatus" => visit.policy_status(),
        "GetBucketPublicAccessBlock" | "PutBucketPublicAccessBlock" | "DeleteBucketPublicAccessBlock" => {
            visit.bucket_public_access_block()
        }
        "GetBucketInfo" => visit.bucket_info(),
        "GetBucketAcl" => visit.bucket_acl(),
        "GetBucketLocation" => visit.bucket_location(),
        "ListObjects" | "ListObjectsV2" => visit.list_objects(),
        "GetObject" | "HeadObject" => visit.get_object(),
        "PutObject" => visit.put_object(),
        "DeleteObject" => visit.delete_object(),
        other => Err(OssError::new(
            501,
            "NotImplemented",
            format!("The emulator does not have {other}."),
        )),
    }
}

fn no_such_bucket() -> OssError {
    OssError::new(404, "NoSuchBucket", "The specified bucket does not exist.").ec("0015-00000101")
}

fn check_body(request: &Request) -> Result<(), OssError> {
    if request.method == "PUT" && request.header("content-length").is_none() {
        return Err(OssError::new(
            411,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        ));
    }
    match request.header("content-md5") {
        Some(digest) if !digest.is_empty() && digest != md5_base64(&request.body) => Err(OssError::new(
            400,
            "InvalidDigest",
            "The Content-MD5 you specified is not that of the body.",
        )),
        Some(_) | None => Ok(()),
    }
}

impl AuthenticatedRequest<'_> {
    /// Returns the bucket for a change of its settings. Fails if another change is in progress.
    pub(crate) fn lock_settings<'w>(&self, world: &'w mut World) -> Result<&'w mut Bucket, OssError> {
        let locked = || {
            let message = "Another request is updating the bucket. Cool down and try again.";
            OssError::new(409, "ConcurrentUpdateBucketFailed", message)
                .detail("BucketName", self.bucket.clone())
        };
        let bucket = world.buckets.get_mut(&self.bucket).ok_or_else(no_such_bucket)?;
        if bucket.settings.take() {
            Ok(bucket)
        } else {
            Err(locked())
        }
    }

    /// Whether the caller belongs to another account than the bucket and does not accept the costs.
    /// Source: OSS pages "Pay-by-requester" and `PutBucketRequestPayment`, which name GET, HEAD and POST.
    fn caller_does_not_pay(&self, bucket: &Bucket) -> bool {
        let reads = matches!(self.request.method.as_str(), "GET" | "HEAD" | "POST");
        let owner = self.caller.as_ref().is_some_and(|c| c.account == bucket.owner);
        reads && !owner && self.request.header("x-oss-request-payer") != Some("requester")
    }

    /// Returns the bucket. Fails if it does not exist, is addressed at another region's endpoint, or the caller is not
    /// allowed the action.
    pub(crate) fn allowed_bucket<'w>(&self, world: &'w World) -> Result<&'w Bucket, OssError> {
        let bucket = world
            .buckets
            .get(&self.bucket)
            .ok_or_else(|| no_such_bucket().detail("BucketName", self.bucket.clone()))?;
        let of_object = self.key.is_some() || self.action.starts_with("ListObjects");
        if of_object && bucket.public_endpoint_forbidden && !self.request.host().contains("-internal") {
            let message = "Not allowed using the OSS public endpoint, please use CNAME instead";
            return Err(OssError::new(400, "PublicEndpointForbidden", message).ec("0048-00000401"));
        }
        let elsewhere = self
            .region
            .as_ref()
            .is_some_and(|region| *region != bucket.region);
        if elsewhere && self.action != "GetBucketInfo" {
            let [public, _] = hosts::oss_hosts(&bucket.region, world.finance_regions);
            let message =
                "The bucket you are attempting to access must be addressed using the specified endpoint.";
            return Err(OssError::denied(message)
                .detail("BucketName", self.bucket.clone())
                .detail("Endpoint", public));
        }
        if bucket.requester_pays && self.caller_does_not_pay(bucket) {
            let message = "The bucket is pay-by-requester and requires a valid x-oss-request-payer.";
            return Err(OssError::denied(message)
                .ec("0003-00000703")
                .detail("BucketName", self.bucket.clone()));
        }
        let right = right(&self.action);
        let (key, context) = (self.key.as_deref(), self.context());
        let reading = self.cloud.reading(bucket);
        let caller = self.caller.as_ref();
        let denial = match world.check_access(caller, bucket, key, &right, &context, reading) {
            Ok(()) => return Ok(bucket),
            Err(denial) => denial,
        };
        if bucket.hidden_from_others && caller.is_some_and(|caller| caller.account != bucket.owner) {
            return Err(no_such_bucket().detail("BucketName", self.bucket.clone()));
        }
        let message = if caller.is_none() {
            "Anonymous access is forbidden for this operation."
        } else {
            "You have no right to access this object or bucket because of its policy or your authorization."
        };
        let error = OssError::denied(message).detail("BucketName", self.bucket.clone());
        let lacks = |policy_type| caller.map(|caller| AccessDeniedDetail::new(policy_type, &right, caller));
        let (ec, missing) = match denial {
            Denial::BucketPolicy => ("0003-00000101", None),
            Denial::Session => ("0003-00000202", lacks(SESSION_POLICY)),
            Denial::Ram => ("0003-00000202", lacks(RAM_POLICY)),
            Denial::RamDeny => ("0003-00000201", lacks(RAM_POLICY)),
            Denial::Control => ("0003-00000201", lacks(CONTROL_POLICY)),
            Denial::RamAndBucketPolicy => ("0003-00000203", lacks(RAM_POLICY)),
            Denial::Unnamed => ("0003-00000001", None),
        };
        Err(missing.into_iter().fold(error.ec(ec), OssError::missing))
    }

    fn context(&self) -> Context {
        let query = self.request.oss_query();
        let facts = [
            (
                "acs:SourceIp",
                self.request.source_ip.map(|address| address.to_string()),
            ),
            (
                "acs:UserAgent",
                self.request.header("user-agent").map(str::to_owned),
            ),
            ("acs:AccessId", authentication::presented(self.request).0),
            ("acs:SecureTransport", Some("false".to_owned())),
            ("acs:CurrentTime", Some(self.cloud.clock.now().to_string())),
            ("oss:Prefix", value_of(&query, "prefix").map(str::to_owned)),
            ("oss:Delimiter", value_of(&query, "delimiter").map(str::to_owned)),
        ];
        facts
            .into_iter()
            .filter_map(|(key, fact)| fact.map(|fact| (key.to_owned(), fact)))
            .collect()
    }
}
