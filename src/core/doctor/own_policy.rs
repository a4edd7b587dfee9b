//! The policies that a probe writes: a statement for a grantee beside those from before, and a second one if a question needs it.

use serde_json::Value;

use crate::api::{Grantee, OssAction};
use crate::core::policy::{Document, POLICY_LIMIT, access_statement, pass_role_statement};

/// What a probe writes beside the statement of a grantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondStatement {
    /// Nothing.
    Nothing,
    /// The `ram:PassRole` statement.
    PassRole,
    /// A Deny of an action, of the same objects to the same readers.
    Deny(&'static str),
}

/// Returns the policy of a probe for the objects with these prefixes in a bucket of an owner; `None` if the policy from before
/// cannot be edited, or both do not fit into one policy.
pub fn own_policy(
    before: Option<&String>,
    (bucket, owner): (&str, &str),
    grantee: &Grantee,
    prefixes: &[String],
    second: SecondStatement,
) -> Option<String> {
    let allow = access_statement(bucket, owner, grantee, &[OssAction::GetObject], prefixes).text;
    let second = match second {
        SecondStatement::Nothing => None,
        SecondStatement::PassRole => Some(pass_role_statement(grantee).text),
        SecondStatement::Deny(action) => Some(as_deny(&allow, action)?),
    };
    let statements: Vec<String> = std::iter::once(allow).chain(second).collect();
    let text = match before {
        Some(text) => Document::parse(text.as_bytes()).ok()?.splice(&[], &statements),
        None => Document::new_document(&statements),
    };
    text.filter(|text| text.len() <= POLICY_LIMIT)
}

/// Returns the text of an Allow as a Deny of an action.
fn as_deny(allow: &str, action: &str) -> Option<String> {
    let mut statement: Value = serde_json::from_str(allow).ok()?;
    let members = statement.as_object_mut()?;
    members.insert("Effect".to_owned(), "Deny".into());
    members.insert("Action".to_owned(), vec![action].into());
    Some(statement.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PrincipalForm;

    #[test]
    fn a_deny_is_about_the_same_as_the_statement_that_allows() {
        let grantee = Grantee {
            account_uid: "12345".to_owned(),
            role_name: "Reader".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        };
        let written = |second| {
            let text = own_policy(None, ("pics", "65432"), &grantee, &["a.jpg".to_owned()], second);
            let policy: Value = serde_json::from_str(&text.unwrap()).unwrap();
            policy["Statement"].as_array().unwrap().clone()
        };
        let [allow] = written(SecondStatement::Nothing).try_into().unwrap();
        let [first, deny] = written(SecondStatement::Deny("oss:getobject"))
            .try_into()
            .unwrap();
        assert_eq!(first, allow);
        assert_eq!(
            (&deny["Effect"], &deny["Action"][0]),
            (&"Deny".into(), &"oss:getobject".into())
        );
        for same in ["Principal", "Resource"] {
            assert_eq!(deny[same], allow[same]);
        }
        assert_eq!(written(SecondStatement::PassRole).len(), 2);
    }
}
