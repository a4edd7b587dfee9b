//! What an error body says about a refusal: `EC` of OSS and `AccessDeniedDetail` of all services. Only known values are
//! kept. Source: RAM page "How do I troubleshoot an access denied error?", OSS pages on the error codes named here.

use serde::Deserialize;

use crate::core::refusal::{CallerType, Refusal, RefusedBy};

/// Actions that the operator uses, and those that IMM uses for it.
const ACTIONS: [&str; 14] = [
    "imm:DetectImageScore",
    "imm:GetProject",
    "oss:DeleteBucketPolicy",
    "oss:GetBucketInfo",
    "oss:GetBucketPolicy",
    "oss:GetBucketPolicyStatus",
    "oss:GetBucketPublicAccessBlock",
    "oss:GetObject",
    "oss:GetPublicAccessBlock",
    "oss:ListObjects",
    "oss:PutBucketPolicy",
    "ram:PassRole",
    "sts:AssumeRole",
    "sts:AssumeRoleWithOIDC",
];

/// The members in use. They are read apart from the code, so that a value of another type costs nothing else.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RefusalBody {
    #[serde(rename = "EC")]
    ec: Option<String>,
    access_denied_detail: Option<AccessDeniedDetail>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct AccessDeniedDetail {
    policy_type: Option<String>,
    no_permission_type: Option<String>,
    auth_action: Option<String>,
    auth_principal_type: Option<String>,
}

impl RefusalBody {
    /// Returns what is known about the refusal. `header` is the `EC` of a header.
    pub(super) fn refusal(self, header: Option<&str>) -> Refusal {
        let detail = self.access_denied_detail.unwrap_or_default();
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        let by_code = side_of_code(self.ec.as_deref().map(str::trim).or(header).unwrap_or_default());
        let by_type = match text(&detail.policy_type).as_str() {
            "AccountLevelIdentityBasedPolicy" | "ResourceGroupLevelIdentityBasedPolicy" => {
                Some(RefusedBy::RamPolicy)
            }
            "SessionPolicy" => Some(RefusedBy::SessionPolicy),
            "AssumeRolePolicy" => Some(RefusedBy::TrustPolicy),
            "ControlPolicy" => Some(RefusedBy::ControlPolicy),
            _ => None,
        };
        let by = match (by_code, by_type) {
            // One code stands for all policies but that of the bucket; the type of the policy is more exact.
            (Some((RefusedBy::RamPolicy, _)) | None, Some(side)) => Some(side),
            (code, _) => code.map(|(side, _)| side),
        };
        let by_deny = match text(&detail.no_permission_type).as_str() {
            "ExplicitDeny" => true,
            "ImplicitDeny" => false,
            _ => by_code.is_some_and(|(_, deny)| deny),
        };
        let action = text(&detail.auth_action);
        let caller = match text(&detail.auth_principal_type).as_str() {
            "SubUser" => Some(CallerType::RamUser),
            "AssumedRoleUser" => Some(CallerType::RoleSession),
            "Federated" => Some(CallerType::FederatedUser),
            _ => None,
        };
        Refusal {
            by,
            by_deny,
            caller,
            action: ACTIONS
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(&action)),
        }
    }
}

/// Returns the side that an `EC` names, and whether a Deny statement refused the call.
fn side_of_code(ec: &str) -> Option<(RefusedBy, bool)> {
    match ec {
        "0003-00000101" => Some((RefusedBy::BucketPolicy, true)),
        "0003-00000201" => Some((RefusedBy::RamPolicy, true)),
        "0003-00000203" => Some((RefusedBy::RamAndBucketPolicy, true)),
        "0003-00000702" | "0003-00000703" => Some((RefusedBy::RequestPayment, false)),
        "0048-00000401" => Some((RefusedBy::PublicEndpoint, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(policy: &str, deny: &str) -> AccessDeniedDetail {
        AccessDeniedDetail {
            policy_type: Some(policy.to_owned()),
            no_permission_type: Some(deny.to_owned()),
            auth_action: Some("OSS:putbucketpolicy".to_owned()),
            auth_principal_type: Some("SubUser".to_owned()),
        }
    }

    #[test]
    fn code_and_type_of_the_policy_name_the_side_together() {
        use RefusedBy as By;

        for (ec, policy, deny, by, by_deny) in [
            (
                "0003-00000201",
                "AccountLevelIdentityBasedPolicy",
                "ExplicitDeny",
                Some(By::RamPolicy),
                true,
            ),
            (
                "0003-00000201",
                "ControlPolicy",
                "ExplicitDeny",
                Some(By::ControlPolicy),
                true,
            ),
            (
                "0003-00000202",
                "SessionPolicy",
                "ImplicitDeny",
                Some(By::SessionPolicy),
                false,
            ),
            ("0003-00000101", "", "", Some(By::BucketPolicy), true),
            (
                "0003-00000203",
                "AccountLevelIdentityBasedPolicy",
                "ExplicitDeny",
                Some(By::RamAndBucketPolicy),
                true,
            ),
            ("0048-00000401", "", "", Some(By::PublicEndpoint), false),
            ("0003-00000702", "", "", Some(By::RequestPayment), false),
            ("0003-00000703", "", "", Some(By::RequestPayment), false),
            (
                "",
                "AssumeRolePolicy",
                "ImplicitDeny",
                Some(By::TrustPolicy),
                false,
            ),
            (
                "",
                "ResourceGroupLevelIdentityBasedPolicy",
                "",
                Some(By::RamPolicy),
                false,
            ),
            ("0003-00000001", "SomethingNew", "SomethingNew", None, false),
        ] {
            for in_header in [false, true] {
                let body = RefusalBody {
                    ec: (!in_header).then(|| ec.to_owned()),
                    access_denied_detail: Some(detail(policy, deny)),
                };
                let refusal = body.refusal(in_header.then_some(ec));
                assert_eq!((refusal.by, refusal.by_deny), (by, by_deny), "{ec} {policy}");
                assert_eq!(refusal.action, Some("oss:PutBucketPolicy"));
                assert_eq!(refusal.caller, Some(CallerType::RamUser));
            }
        }
        assert_eq!(RefusalBody::default().refusal(None), Refusal::default());
    }
}
