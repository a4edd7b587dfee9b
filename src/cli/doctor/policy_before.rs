//! Whether a probe can have an answer beside the policy that its bucket has already.

use super::error::DoctorError;
use crate::api::{Grantee, PrincipalForm};
use crate::core::policy::{DenyVerdict, Document, GrantedAccess, PolicyPublicity, evaluate_denies, readers};

/// Checks a policy that stays beside the statement of the probe, which is about the paths.
///
/// # Errors
/// Returns why no answer would follow from a probe beside it.
pub(super) fn check_before(
    text: &str,
    account: &str,
    owner_uid: &str,
    paths: &[String],
) -> Result<(), DoctorError> {
    let document = Document::parse(text.as_bytes())?;
    let publicity = PolicyPublicity::of(Some(&document));
    if !publicity.public.is_empty() || !publicity.unclear.is_empty() {
        return Err(
            "the policy of the probe bucket may be public because of its own statements: name another bucket"
                .into(),
        );
    }
    if text.contains(account) {
        return Err(
            "the policy of the probe bucket already names the account of the project: name another bucket"
                .into(),
        );
    }
    // No role of the account is named, so that all of them are denied the same.
    let any_role = Grantee {
        account_uid: account.to_owned(),
        role_name: "any".to_owned(),
        principal: PrincipalForm::ServiceRole,
        session_name: None,
    };
    let given = GrantedAccess {
        readers: &readers(&any_role),
        account_uid: account,
        owner_uid,
        paths,
    };
    if evaluate_denies(Some(&document), &given).verdict != DenyVerdict::NoDeny {
        return Err("a Deny statement in the policy of the probe bucket may deny the image: name another bucket or image".into());
    }
    Ok(())
}
