//! Who can read with a grant besides the sessions of the service role, and what OSS counts as public: the words for
//! messages, events and `imm-operator plan`.

use super::PassRoleDecision;
use crate::api::{GrantSpec, Grantee, PrincipalForm};
use crate::core::policy::{Denies, Document, GrantedAccess, evaluate_denies, readers};

/// Says that the `ram:PassRole` statement is public, and how to leave it out; `None` if it is not written.
pub fn public_statement(pass_role: Option<PassRoleDecision>) -> Option<&'static str> {
    pass_role.is_some_and(PassRoleDecision::is_written).then_some(
        "the ram:PassRole statement counts as public, because its empty Principal means everyone: to leave it out, set access.passRoleStatement to Omit",
    )
}

/// Says that OSS counts the whole policy as public although the `ram:PassRole` statement is not part of it, and what
/// to do.
pub(super) fn public_policy(principal: PrincipalForm) -> String {
    let instead = way_around_public_access_block(principal);
    format!("OSS counts the policy as public after the last write: {instead}")
}

/// Says that the grant is for a whole account; `None` for another principal.
pub fn whole_account(grantee: &Grantee) -> Option<String> {
    (grantee.principal == PrincipalForm::Account).then(|| {
        format!(
            "grantee.principal is Account, so the whole account {} may read",
            grantee.account_uid
        )
    })
}

/// Evaluates the Deny statements of a policy for what a grant asks for.
pub fn denies_of(spec: &GrantSpec, document: Option<&Document>) -> Denies {
    let bucket = &spec.bucket.name;
    let prefixes = spec.access.prefixes.iter();
    let mut paths: Vec<String> = prefixes.map(|prefix| format!("{bucket}/{prefix}")).collect();
    if paths.is_empty() {
        paths.push(format!("{bucket}/"));
    }
    let given = GrantedAccess {
        readers: &readers(&spec.grantee),
        account_uid: &spec.grantee.account_uid,
        owner_uid: &spec.bucket.owner_uid,
        paths: &paths,
    };
    evaluate_denies(document, &given)
}

/// What to do when OSS counts the policy as public although the `ram:PassRole` statement is not part of it.
pub(super) fn way_around_public_access_block(principal: PrincipalForm) -> &'static str {
    match principal {
        PrincipalForm::ServiceRole => {
            "OSS may count the * of the principal as public: score with access.mode RoleChain of the job, which needs no bucket policy, or set grantee.principal to ServiceRoleSession or Account; if another statement is public, ask the owner of the bucket to remove it"
        }
        PrincipalForm::ServiceRoleSession | PrincipalForm::Account => {
            "another statement of the policy is public: ask the owner of the bucket to remove it, or score with access.mode RoleChain of the job, which needs no bucket policy"
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_grant_for_an_account_is_for_the_whole_account() {
        for (principal, whole) in [
            ("ServiceRole", false),
            ("ServiceRoleSession", false),
            ("Account", true),
        ] {
            let grantee = json!({"accountUID": "12345", "principal": principal});
            let said = whole_account(&serde_json::from_value(grantee).unwrap());
            assert_eq!(
                said.is_some_and(|text| text.contains("12345")),
                whole,
                "{principal}"
            );
        }
    }
}
