//! The source of an object's cloud credentials: the same block in both kinds.
//! A reference has no namespace field, because it never leaves the namespace of the object.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Source of credentials.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialSource {
    /// A Secret in the namespace of the object.
    Secret,
    /// A token of a ServiceAccount in the namespace of the object, exchanged at STS (RRSA).
    ServiceAccount,
    /// The operator's own identity.
    Operator,
}

/// A Secret in the namespace of the object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of a Secret in the namespace of this object, with the keys accessKeyId, accessKeySecret and optionally
    /// securityToken, for example oss-policy-admin.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A ServiceAccount in the namespace of the object, and the RAM role that its tokens assume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of a ServiceAccount in the namespace of this object, for example media-oss-admin.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// ARN of the RAM role to assume, for example acs:ram::6543210987654321:role/oss-policy-admin.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:role/[A-Za-z0-9._-]{1,64}$")
    )]
    pub role_arn: String,
    /// ARN of the OIDC provider that RAM trusts for this cluster, for example
    /// acs:ram::6543210987654321:oidc-provider/ack-rrsa-c123.
    #[serde(rename = "oidcProviderARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:oidc-provider/[A-Za-z0-9._-]{1,128}$")
    )]
    pub oidc_provider_arn: String,
}

/// A role that is assumed with the credentials of the source.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the RAM role to assume, for example acs:ram::6543210987654321:role/oss-policy-admin.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:role/[A-Za-z0-9._-]{1,64}$")
    )]
    pub role_arn: String,
    /// External ID that the trust policy of the role requires, 2 to 1,224 characters.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    pub external_id: Option<String>,
}

/// Credentials for the cloud calls of an object.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) == (self.source == 'Secret')")
        .message("secretRef is required with source: Secret, and not allowed otherwise: set secretRef, or remove it"),
    validation = Rule::new("has(self.serviceAccount) == (self.source == 'ServiceAccount')")
        .message("serviceAccount is required with source: ServiceAccount, and not allowed otherwise: set serviceAccount, or remove it"),
    validation = Rule::new("!has(self.assumeRole) || self.source != 'ServiceAccount'")
        .message("assumeRole requires source Secret or Operator: with ServiceAccount, set serviceAccount.roleARN instead").field_path(".assumeRole")
)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Source of the credentials.
    /// - Secret: an AccessKey pair or temporary credentials in a Secret of this namespace.
    /// - ServiceAccount: a token of a ServiceAccount of this namespace, exchanged at STS (RRSA).
    /// - Operator: the operator's own identity. Requires a tenancy rule that allows it.
    pub source: CredentialSource,
    /// Secret with the credentials, in the namespace of this object. Only with source Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// ServiceAccount whose tokens are exchanged, in the namespace of this object. Only with source ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// RAM role to assume with the credentials. Only with source Secret or Operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}
