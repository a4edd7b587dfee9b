//! The grantee of a grant: an account, its service role, and how the bucket policy names them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn default_role() -> String {
    "AliyunIMMDefaultRole".to_owned()
}

/// The form of the principal in the statement that grants access.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PrincipalForm {
    /// All sessions of the service role.
    #[default]
    ServiceRole,
    /// One session of the service role.
    ServiceRoleSession,
    /// The whole account.
    Account,
}

/// The account and the service role that receive access.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.principal == 'ServiceRoleSession' || !has(self.sessionName)")
        .message("sessionName is allowed with principal: ServiceRoleSession only: remove it, or change principal").field_path(".sessionName"),
    validation = Rule::new("self.principal != 'ServiceRoleSession' || has(self.sessionName)")
        .message("principal: ServiceRoleSession requires sessionName: add the name of the session as which IMM reads").field_path(".sessionName")
)]
#[serde(rename_all = "camelCase")]
pub struct Grantee {
    /// UID of the grantee account, which owns the IMM project: 5 to 20 digits, quoted, for example "1234567890123456".
    #[serde(rename = "accountUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub account_uid: String,
    /// Service role of the IMM project in the grantee account, written to the bucket policy as it is spelled here. OSS may
    /// compare it case-sensitively: if access is denied although the grant is live, try aliyunimmdefaultrole. Default: AliyunIMMDefaultRole.
    #[serde(default = "default_role")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub role_name: String,
    /// How the statement that grants access names the grantee. A change replaces the statement in one write. Default: ServiceRole.
    /// - ServiceRole: all sessions of the service role, as in Alibaba Cloud's cross-account procedure.
    /// - ServiceRoleSession: the session of the service role that sessionName names.
    /// - Account: the whole account. Every RAM user and role of the account that its own RAM policies permit may then read. Requires a tenancy rule that lists Account in principals.
    #[serde(default)]
    pub principal: PrincipalForm,
    /// Name of the session as which IMM reads, for example imm-session: 2 to 64 letters, digits and . @ _ -. Only with principal ServiceRoleSession.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 64), regex(pattern = r"^[A-Za-z0-9.@_-]{2,64}$"))]
    pub session_name: Option<String>,
}
