//! OSS signature V4 in the `Authorization` header (`OSS4-HMAC-SHA256`).
//!
//! The bucket is part of the canonical path in every address style, an empty query value is signed without its `=`, and
//! the payload is never signed. The date scope is rebuilt from the credential in the header.

use super::{SignatureFault, field, fields};
use crate::digest::{hmac_sha256, same, sha256_hex};
use crate::encoding::{hex, percent_encode};
use crate::request::Request;

const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The parsed `Authorization` header.
#[derive(Clone, Debug)]
pub struct ParsedSignature {
    /// The access key id in the header.
    pub access_key_id: String,
    /// The date of the scope, `YYYYMMDD`.
    pub day: String,
    /// The region of the scope.
    pub region: String,
    additional: Vec<String>,
    signature: String,
}

impl ParsedSignature {
    /// Parses the header. `None` if it is of another scheme. Fails if it is malformed.
    pub fn read(request: &Request) -> Result<Option<Self>, SignatureFault> {
        let Some(rest) = request
            .header("authorization")
            .and_then(|value| value.strip_prefix(ALGORITHM))
        else {
            return Ok(None);
        };
        let fields = fields(rest);
        let credential = field(&fields, "Credential")?;
        let mut parts = credential.rsplitn(5, '/');
        let (terminator, product, region, day, id) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        );
        let (Some("aliyun_v4_request"), Some("oss"), Some(region), Some(day), Some(id)) =
            (terminator, product, region, day, id)
        else {
            return Err(SignatureFault::Malformed(
                "The credential scope is not of the V4 form.".to_owned(),
            ));
        };
        let mut additional: Vec<String> = field(&fields, "AdditionalHeaders")
            .unwrap_or_default()
            .split(';')
            .filter(|name| !name.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        additional.sort();
        Ok(Some(Self {
            access_key_id: id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            additional,
            signature: field(&fields, "Signature")?.to_owned(),
        }))
    }

    /// Returns the canonical request. `bucket` and `key` are decoded.
    pub fn canonical_request(&self, request: &Request, bucket: Option<&str>, key: Option<&str>) -> String {
        let path = match (bucket, key) {
            (None, _) => "/".to_owned(),
            (Some(bucket), None) => format!("/{bucket}/"),
            (Some(bucket), Some(key)) => format!("/{bucket}/{key}"),
        };
        let mut query: Vec<(String, String)> = request
            .oss_query()
            .iter()
            .map(|(name, value)| {
                (
                    percent_encode(name.as_bytes(), false),
                    percent_encode(value.as_bytes(), false),
                )
            })
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    name
                } else {
                    format!("{name}={value}")
                }
            })
            .collect();
        let mut headers: Vec<String> = request
            .headers
            .iter()
            .filter(|(name, _)| {
                name.starts_with("x-oss-")
                    || matches!(name.as_str(), "content-type" | "content-md5")
                    || self.additional.contains(name)
            })
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        headers.sort_by(|left, right| left.split(':').next().cmp(&right.split(':').next()));
        format!(
            "{}\n{}\n{}\n{}\n{}\n{UNSIGNED}",
            request.method,
            percent_encode(path.as_bytes(), true),
            query.join("&"),
            headers.concat(),
            self.additional.join(";"),
        )
    }

    /// Returns the string to sign.
    pub fn string_to_sign(&self, request: &Request, canonical_request: &str) -> String {
        format!(
            "{ALGORITHM}\n{}\n{}/{}/oss/aliyun_v4_request\n{}",
            request.header("x-oss-date").unwrap_or_default(),
            self.day,
            self.region,
            sha256_hex(canonical_request.as_bytes()),
        )
    }

    /// Verifies the form, then the signature.
    pub fn verify(
        &self,
        request: &Request,
        bucket: Option<&str>,
        key: Option<&str>,
        secret: &str,
    ) -> Result<(), SignatureFault> {
        let date = request.header("x-oss-date").ok_or_else(|| {
            SignatureFault::Date("x-oss-date is required with signature version 4.".to_owned())
        })?;
        if !date.starts_with(&self.day) {
            return Err(SignatureFault::Date(
                "x-oss-date and the credential scope name different days.".to_owned(),
            ));
        }
        if request.header("x-oss-content-sha256") != Some(UNSIGNED) {
            return Err(SignatureFault::Malformed(format!(
                "x-oss-content-sha256 must be {UNSIGNED}."
            )));
        }
        let canonical_request = self.canonical_request(request, bucket, key);
        let string_to_sign = self.string_to_sign(request, &canonical_request);
        let day = hmac_sha256(format!("aliyun_v4{secret}").as_bytes(), self.day.as_bytes());
        let region = hmac_sha256(&day, self.region.as_bytes());
        let signing_key = hmac_sha256(&hmac_sha256(&region, b"oss"), b"aliyun_v4_request");
        if same(
            &hex(&hmac_sha256(&signing_key, string_to_sign.as_bytes())),
            &self.signature,
        ) {
            Ok(())
        } else {
            Err(SignatureFault::Mismatch {
                string_to_sign,
                canonical_request,
            })
        }
    }
}
