//! The common part of IMM and STS: action, parameters and signer of a call.
//! The action is sent in a header, in the query or in a form, with one of two signatures.

use jiff::Timestamp;

use crate::answer::RpcError;
use crate::clock::{apart, read_date};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::request::{Request, value_of};
use crate::signing::{SignatureFault, acs3, rpc};
use crate::world::accounts::KeyFault;
use crate::world::callers::Caller;

const LARGEST_SKEW_SECONDS: i64 = 15 * 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Imm,
    Sts,
}

/// One IMM or STS call, as received and not yet verified.
#[derive(Clone, Debug)]
pub(crate) struct RpcRequest {
    pub(crate) service: Service,
    pub(crate) action: String,
    pub(crate) version: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl RpcRequest {
    /// Returns `None` if the request is not a call of these services.
    pub(crate) fn read(request: &Request) -> Option<Self> {
        if request.path != "/" {
            return None;
        }
        let parameters = request.rpc_parameters();
        let given = |header, parameter| {
            request
                .header(header)
                .or_else(|| value_of(&parameters, parameter))
                .map(str::to_owned)
        };
        let action = given("x-acs-action", "Action")?;
        let version = given("x-acs-version", "Version").unwrap_or_default();
        let sts = version == "2015-04-01" || request.host().starts_with("sts");
        let service = if sts { Service::Sts } else { Service::Imm };
        Some(Self {
            service,
            action,
            version,
            parameters,
        })
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        value_of(&self.parameters, name).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, RpcError> {
        self.parameter(name).ok_or_else(|| {
            RpcError::new(
                400,
                &format!("Missing{name}"),
                format!("{name} is mandatory for this action."),
            )
        })
    }

    /// Returns whether the gateway answers in XML: the call has no ACS3 signature, and its parameters do not ask for
    /// JSON.
    pub(crate) fn is_answered_in_xml(&self, request: &Request) -> bool {
        let json = self
            .parameter("Format")
            .is_some_and(|format| format.eq_ignore_ascii_case("json"));
        !json && matches!(acs3::ParsedSignature::read(request), Ok(None))
    }

    /// Records the request's own claims in the ledger entry, before any verification.
    pub(crate) fn describe(&self, request: &Request, call: &mut Call) {
        let service = if self.service == Service::Imm {
            "imm"
        } else {
            "sts"
        };
        service.clone_into(&mut call.service);
        call.action.clone_from(&self.action);
        call.access_key_id = presented_key(request);
        call.project = self.parameter("ProjectName").map(str::to_owned);
        call.region = region_of_host(request.host());
        if let Some((bucket, key)) = self.parameter("SourceURI").and_then(source) {
            call.bucket = Some(bucket.to_owned());
            call.key = Some(key.to_owned());
        }
    }
}

/// Returns bucket and key of `oss://bucket/key`, or `None` for any other form.
pub(crate) fn source(uri: &str) -> Option<(&str, &str)> {
    let (bucket, key) = uri.strip_prefix("oss://")?.split_once('/')?;
    (!bucket.is_empty() && !key.is_empty()).then_some((bucket, key))
}

/// Returns `cn-hangzhou` for `imm.cn-hangzhou.aliyuncs.com`.
fn region_of_host(host: &str) -> Option<String> {
    let (product, region) = host.strip_suffix(".aliyuncs.com")?.split_once('.')?;
    matches!(product, "imm" | "imm-vpc" | "sts" | "sts-vpc").then(|| region.to_owned())
}

fn presented_key(request: &Request) -> Option<String> {
    if let Ok(Some(claim)) = acs3::ParsedSignature::read(request) {
        return Some(claim.access_key_id);
    }
    rpc::ParsedSignature::read(request)
        .ok()
        .flatten()
        .map(|claim| claim.access_key_id)
}

fn key_error(fault: KeyFault) -> RpcError {
    match fault {
        KeyFault::Unknown => RpcError::new(
            404,
            "InvalidAccessKeyId.NotFound",
            "Specified access key is not found.",
        ),
        KeyFault::Token => RpcError::new(
            400,
            "InvalidSecurityToken.Malformed",
            "Specified SecurityToken is malformed.",
        ),
        KeyFault::Mismatch => RpcError::new(
            400,
            "InvalidSecurityToken.MismatchWithAccessKey",
            "Specified SecurityToken mismatch with the AccessKey.",
        ),
        KeyFault::Expired => RpcError::new(
            400,
            "InvalidSecurityToken.Expired",
            "Specified SecurityToken is expired.",
        ),
    }
}

fn signature_error(fault: SignatureFault) -> RpcError {
    match fault {
        SignatureFault::Malformed(message) => RpcError::new(400, "IncompleteSignature", message),
        SignatureFault::Date(message) => RpcError::new(400, "InvalidTimeStamp.Format", message),
        SignatureFault::Body => RpcError::new(
            400,
            "InvalidContentSha256",
            "x-acs-content-sha256 is not the digest of the body.",
        ),
        // The old signature scheme signs the token itself, so the signed text is not shown.
        SignatureFault::Mismatch { string_to_sign, .. } if string_to_sign.contains("SecurityToken") => {
            RpcError::new(
                400,
                "SignatureDoesNotMatch",
                "Specified signature does not match our calculation.",
            )
        }
        SignatureFault::Mismatch { string_to_sign, .. } => RpcError::new(
            400,
            "SignatureDoesNotMatch",
            format!(
                "Specified signature does not match our calculation. server string to sign is:{string_to_sign}"
            ),
        ),
    }
}

fn check_date(text: Option<&str>, now: Timestamp) -> Result<(), RpcError> {
    let date = text.and_then(read_date).ok_or_else(|| {
        RpcError::new(
            400,
            "InvalidTimeStamp.Format",
            "Specified time stamp or date value is not well formatted.",
        )
    })?;
    if apart(date, now, LARGEST_SKEW_SECONDS) {
        return Err(RpcError::new(
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ));
    }
    Ok(())
}

/// Returns the signer. Rejects an unsigned call.
pub(crate) fn authenticate(
    cloud: &Cloud,
    order: &RpcRequest,
    request: &Request,
    call: &mut Call,
) -> Result<Caller, RpcError> {
    let caller = signer(cloud, order, request).map_err(|error| RpcError {
        of_gateway: true,
        ..error
    })?;
    call.account_uid = Some(caller.account.clone());
    call.principal = Some(caller.principal());
    Ok(caller)
}

fn signer(cloud: &Cloud, order: &RpcRequest, request: &Request) -> Result<Caller, RpcError> {
    let now = cloud.clock.now();
    let caller = if let Some(claim) = acs3::ParsedSignature::read(request).map_err(signature_error)? {
        let token = request.header("x-acs-security-token");
        let (secret, caller) = cloud
            .world()
            .credential(&claim.access_key_id, token, now)
            .map_err(key_error)?;
        check_date(request.header("x-acs-date"), now)?;
        claim.verify(request, &secret.0).map_err(signature_error)?;
        use_nonce(cloud, request.header("x-acs-signature-nonce"), now)?;
        caller
    } else if let Some(claim) = rpc::ParsedSignature::read(request).map_err(signature_error)? {
        let token = order.parameter("SecurityToken");
        let (secret, caller) = cloud
            .world()
            .credential(&claim.access_key_id, token, now)
            .map_err(key_error)?;
        check_date(order.parameter("Timestamp"), now)?;
        claim.verify(request, &secret.0).map_err(signature_error)?;
        use_nonce(cloud, order.parameter("SignatureNonce"), now)?;
        caller
    } else {
        return Err(RpcError::new(
            400,
            "MissingAccessKeyId",
            "AccessKeyId is mandatory for this action.",
        ));
    };
    Ok(caller)
}

fn use_nonce(cloud: &Cloud, nonce: Option<&str>, now: Timestamp) -> Result<(), RpcError> {
    let nonce = nonce
        .ok_or_else(|| RpcError::new(400, "MissingSignatureNonce", "The signature nonce is mandatory."))?;
    if cloud.nonces.is_fresh(nonce, now) {
        Ok(())
    } else {
        Err(RpcError::new(
            400,
            "SignatureNonceUsed",
            "Specified signature nonce was used already.",
        ))
    }
}
