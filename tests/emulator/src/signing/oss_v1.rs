//! OSS signature V1 in the `Authorization` header (`OSS id:signature`), which ali-oss still sends by default.
//!
//! Only sub-resource parameters are signed, and the key is signed unencoded.

use super::SignatureFault;
use crate::digest::{hmac_sha1, same};
use crate::encoding::base64_text;
use crate::request::Request;

/// The parameters that V1 signs; all others are unprotected.
#[rustfmt::skip]
const SUB_RESOURCES: [&str; 89] = [
    "accessPoint", "accessPointPolicy", "acl", "append", "asyncFetch", "bucketArchiveDirectRead",
    "bucketInfo", "callback", "callback-var", "cloudboxes", "cname", "comp", "continuation-token",
    "cors", "delete", "encryption", "endTime", "group", "httpsConfig", "img", "inventory", "inventoryId",
    "lifecycle", "link", "live", "location", "logging", "metaQuery", "objectInfo", "objectMeta",
    "partNumber", "policy", "policyStatus", "position", "publicAccessBlock", "qos", "qosInfo",
    "qosRequester", "redundancyTransition", "referer", "regionList", "replication",
    "replicationLocation", "replicationProgress", "requestPayment", "requesterQosInfo", "resourceGroup",
    "resourcePool", "resourcePoolBuckets", "resourcePoolInfo", "response-cache-control",
    "response-content-disposition", "response-content-encoding", "response-content-language",
    "response-content-type", "response-expires", "restore", "security-token", "sequential", "startTime",
    "stat", "status", "style", "styleName", "symlink", "tagging", "transferAcceleration", "uploadId",
    "uploads", "versionId", "versioning", "versions", "vod", "website", "worm", "wormExtend", "wormId",
    "x-oss-ac-forward-allow", "x-oss-ac-source-ip", "x-oss-ac-subnet-mask", "x-oss-ac-vpc-id",
    "x-oss-access-point-name", "x-oss-async-process", "x-oss-process",
    "x-oss-redundancy-transition-taskid", "x-oss-request-payer", "x-oss-target-redundancy-type",
    "x-oss-traffic-limit", "x-oss-write-get-object-response",
];

/// The parsed `Authorization` header.
#[derive(Clone, Debug)]
pub struct ParsedSignature {
    /// The access key id in the header.
    pub access_key_id: String,
    signature: String,
}

impl ParsedSignature {
    /// Parses the header. `None` if it is of another scheme. Fails if it is malformed.
    pub fn read(request: &Request) -> Result<Option<Self>, SignatureFault> {
        let Some(rest) = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("OSS "))
        else {
            return Ok(None);
        };
        let (id, signature) = rest.split_once(':').ok_or_else(|| {
            SignatureFault::Malformed("The Authorization header is not OSS id:signature.".to_owned())
        })?;
        Ok(Some(Self {
            access_key_id: id.trim().to_owned(),
            signature: signature.trim().to_owned(),
        }))
    }

    /// Returns the string to sign. `bucket` and `key` are decoded.
    pub fn string_to_sign(request: &Request, bucket: Option<&str>, key: Option<&str>) -> String {
        let header = |name| request.header(name).unwrap_or_default();
        let date = request.header("x-oss-date").unwrap_or_else(|| header("date"));
        let mut oss_headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-oss-"))
            .map(|(name, value)| (name.as_str(), value.trim()))
            .collect();
        oss_headers.sort_unstable();
        let oss_headers: Vec<String> = oss_headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let mut parameters: Vec<(String, String)> = request
            .oss_query()
            .into_iter()
            .filter(|(name, _)| SUB_RESOURCES.contains(&name.as_str()))
            .collect();
        parameters.sort();
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    name
                } else {
                    format!("{name}={value}")
                }
            })
            .collect();
        let resource = match bucket {
            None => "/".to_owned(),
            Some(bucket) => format!("/{bucket}/{}", key.unwrap_or_default()),
        };
        let separator = if parameters.is_empty() { "" } else { "?" };
        format!(
            "{}\n{}\n{}\n{date}\n{}{resource}{separator}{}",
            request.method,
            header("content-md5"),
            header("content-type"),
            oss_headers.concat(),
            parameters.join("&"),
        )
    }

    /// Verifies the signature. Fails if it does not match.
    pub fn verify(
        &self,
        request: &Request,
        bucket: Option<&str>,
        key: Option<&str>,
        secret: &str,
    ) -> Result<(), SignatureFault> {
        let string_to_sign = Self::string_to_sign(request, bucket, key);
        if same(
            &base64_text(&hmac_sha1(secret.as_bytes(), string_to_sign.as_bytes())),
            &self.signature,
        ) {
            Ok(())
        } else {
            Err(SignatureFault::Mismatch {
                string_to_sign,
                canonical_request: String::new(),
            })
        }
    }
}
