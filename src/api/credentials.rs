//! Where an object's cloud credentials come from: the same block in both kinds.
//! There is deliberately no namespace field: a reference never leaves the object's own namespace.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the keys come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialSource {
    /// A Secret in the object's own namespace.
    Secret,
    /// A ServiceAccount of the object's own namespace, exchanged at STS (RRSA).
    ServiceAccount,
    /// The operator's own identity.
    Operator,
}

/// A Secret of the object's own namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of a Secret in this object's namespace with the keys accessKeyId, accessKeySecret and optionally
    /// securityToken, for example oss-policy-admin.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A ServiceAccount of the object's own namespace and the RAM role that its tokens may assume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of a ServiceAccount in this object's namespace, for example media-oss-admin.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// RAM role to assume, for example acs:ram::6543210987654321:role/oss-policy-admin.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:role/[A-Za-z0-9._-]{1,64}$")
    )]
    pub role_arn: String,
    /// OIDC provider that RAM trusts for this cluster, for example
    /// acs:ram::6543210987654321:oidc-provider/ack-rrsa-c123.
    #[serde(rename = "oidcProviderARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:oidc-provider/[A-Za-z0-9._-]{1,128}$")
    )]
    pub oidc_provider_arn: String,
}

/// A role assumed after the first identity.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// RAM role to assume, for example acs:ram::6543210987654321:role/oss-policy-admin.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^acs:ram::[0-9]{5,20}:role/[A-Za-z0-9._-]{1,64}$")
    )]
    pub role_arn: String,
    /// External id that the role's trust policy asks for, 2 to 1,224 characters.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    pub external_id: Option<String>,
}

/// Who calls the cloud for this object.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) == (self.source == 'Secret')")
        .message("secretRef must be given exactly when source is Secret"),
    validation = Rule::new("has(self.serviceAccount) == (self.source == 'ServiceAccount')")
        .message("serviceAccount must be given exactly when source is ServiceAccount: remove the block that does not match source"),
    validation = Rule::new("!has(self.assumeRole) || self.source != 'ServiceAccount'")
        .message("assumeRole follows Secret or Operator: with ServiceAccount the role is serviceAccount.roleARN").field_path(".assumeRole")
)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Secret: static keys or an STS triple in a Secret of this namespace. ServiceAccount: a token of a ServiceAccount of
    /// this namespace, exchanged at STS (RRSA). Operator: the operator's own identity, only where a tenancy rule allows it.
    pub source: CredentialSource,
    /// The Secret that holds the keys; in this object's own namespace. Only with source Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// The ServiceAccount whose tokens are exchanged; in this object's own namespace. Only with source ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// A RAM role to assume after Secret or Operator, for example in the account that owns the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}
