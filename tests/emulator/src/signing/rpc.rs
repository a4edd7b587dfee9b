//! The old STS signature, HMAC-SHA1 over the query: the credentials packages still call `AssumeRole` with it.
//! Form and query parameters are signed alike. The HMAC key is the secret followed by `&`.

use super::SignatureFault;
use crate::digest::{hmac_sha1, same};
use crate::encoding::{base64_text, percent_encode};
use crate::request::{Request, value_of};

/// The parsed signature parameters.
#[derive(Clone, Debug)]
pub struct ParsedSignature {
    /// The access key id in the parameters.
    pub access_key_id: String,
    signature: String,
}

impl ParsedSignature {
    /// Parses the parameters. `None` if they contain no signature. Fails if they are malformed.
    pub fn read(request: &Request) -> Result<Option<Self>, SignatureFault> {
        let parameters = request.rpc_parameters();
        let Some(signature) = value_of(&parameters, "Signature") else {
            return Ok(None);
        };
        if value_of(&parameters, "SignatureMethod") != Some("HMAC-SHA1") {
            return Err(SignatureFault::Malformed(
                "SignatureMethod must be HMAC-SHA1.".to_owned(),
            ));
        }
        let id = value_of(&parameters, "AccessKeyId")
            .ok_or_else(|| SignatureFault::Malformed("AccessKeyId is missing.".to_owned()))?;
        Ok(Some(Self {
            access_key_id: id.to_owned(),
            signature: signature.to_owned(),
        }))
    }

    /// Returns the string to sign.
    pub fn string_to_sign(request: &Request) -> String {
        let mut parameters: Vec<(String, String)> = request
            .rpc_parameters()
            .iter()
            .filter(|(name, _)| name != "Signature")
            .map(|(name, value)| {
                (
                    percent_encode(name.as_bytes(), false),
                    percent_encode(value.as_bytes(), false),
                )
            })
            .collect();
        parameters.sort();
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!(
            "{}&%2F&{}",
            request.method,
            percent_encode(parameters.join("&").as_bytes(), false)
        )
    }

    /// Verifies the signature. Fails if it does not match.
    pub fn verify(&self, request: &Request, secret: &str) -> Result<(), SignatureFault> {
        let string_to_sign = Self::string_to_sign(request);
        let expected = base64_text(&hmac_sha1(
            format!("{secret}&").as_bytes(),
            string_to_sign.as_bytes(),
        ));
        if same(&expected, &self.signature) {
            Ok(())
        } else {
            Err(SignatureFault::Mismatch {
                string_to_sign,
                canonical_request: String::new(),
            })
        }
    }
}
