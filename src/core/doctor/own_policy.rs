//! The policies that a probe writes: a statement for a grantee beside those from before, with conditions or a second
//! one if a question needs that.

use serde_json::{Value, json};

use crate::api::{Grantee, OssAction};
use crate::core::policy::{Document, POLICY_LIMIT, STATEMENT_LIMIT, access_statement, pass_role_statement};

/// What a probe writes for a grantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyVariant {
    /// The statement of the grantee.
    Plain,
    /// The same and the `ram:PassRole` statement.
    WithPassRole,
    /// The same and a Deny of an action, of the same objects to the same readers.
    WithDeny(&'static str),
    /// The statement with conditions on the network that every request over IPv4 from a VPC meets.
    WithConditions,
}

/// Returns the policy of a probe for the objects with these prefixes in a bucket of an owner; `None` if the policy
/// from before cannot be edited, both do not fit into one policy, or a statement is longer than OSS accepts.
pub fn own_policy(
    before: Option<&String>,
    (bucket, owner): (&str, &str),
    grantee: &Grantee,
    prefixes: &[String],
    variant: PolicyVariant,
) -> Option<String> {
    let allow = access_statement(bucket, owner, grantee, &[OssAction::GetObject], prefixes).text;
    let statements: Vec<String> = match variant {
        PolicyVariant::Plain => vec![allow],
        PolicyVariant::WithPassRole => vec![allow, pass_role_statement(grantee).text],
        PolicyVariant::WithDeny(action) => {
            let deny = as_deny(&allow, action)?;
            vec![allow, deny]
        }
        PolicyVariant::WithConditions => vec![with_conditions(&allow)?],
    };
    if statements.iter().any(|text| text.len() > STATEMENT_LIMIT) {
        return None;
    }
    let before = before.map(|text| Document::parse(text.as_bytes()));
    let text = Document::edited(before.transpose().ok()?.as_ref(), &[], &statements);
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

/// Returns the text of a statement with conditions. By the documentation a range of /8 makes it non-public; the other
/// condition must accompany it.
fn with_conditions(allow: &str) -> Option<String> {
    let mut statement: Value = serde_json::from_str(allow).ok()?;
    // All addresses of IPv4 from which a host can send.
    let ranges: Vec<String> = (1..=223).map(|first| format!("{first}.0.0.0/8")).collect();
    let conditions = json!({"IpAddress": {"acs:SourceIp": ranges}, "StringLike": {"acs:SourceVpc": ["*"]}});
    let members = statement.as_object_mut()?;
    members.insert("Condition".to_owned(), conditions);
    Some(statement.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PrincipalForm;
    use crate::core::policy::{Publicity, publicity};

    #[test]
    fn a_deny_is_about_the_same_as_the_statement_that_allows() {
        let grantee = Grantee {
            account_uid: "12345".to_owned(),
            role_name: "Reader".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        };
        let written = |variant| {
            let text = own_policy(None, ("pics", "65432"), &grantee, &["a.jpg".to_owned()], variant);
            let policy: Value = serde_json::from_str(&text.unwrap()).unwrap();
            policy["Statement"].as_array().unwrap().clone()
        };
        let [allow] = written(PolicyVariant::Plain).try_into().unwrap();
        let [first, deny] = written(PolicyVariant::WithDeny("oss:getobject"))
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
        assert_eq!(written(PolicyVariant::WithPassRole).len(), 2);
    }

    #[test]
    fn no_statement_is_longer_than_oss_accepts() {
        let grantee = Grantee {
            account_uid: "12345".to_owned(),
            role_name: "Reader".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        };
        let written = |length: usize, variant| {
            let prefixes: Vec<String> = (0..8).map(|number| format!("{number:0>length$}")).collect();
            own_policy(None, ("pics", "65432"), &grantee, &prefixes, variant)
        };
        let longest = |text: String| {
            let document = Document::parse(text.as_bytes()).unwrap();
            let spans = document.statements().iter();
            spans.map(|span| document.text_of(span).len()).max().unwrap()
        };
        for variant in [PolicyVariant::Plain, PolicyVariant::WithDeny("oss:GetObject")] {
            let lengths: Vec<Option<usize>> = (440..520)
                .map(|length| written(length, variant).map(longest))
                .collect();
            assert!(lengths.iter().flatten().all(|length| *length <= STATEMENT_LIMIT));
            assert!(lengths[0].is_some() && lengths[79].is_none(), "{lengths:?}");
        }
        // The policy itself would have room for the statement.
        assert!(written(520, PolicyVariant::WithPassRole).is_none());
    }

    #[test]
    fn conditions_only_narrow_the_statement_and_make_it_non_public() {
        let grantee = Grantee {
            account_uid: "1234567890123456".to_owned(),
            role_name: "AliyunIMMDefaultRole".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        };
        let place = ("pics", "6543210987654321");
        let written = |variant| own_policy(None, place, &grantee, &["a.jpg".to_owned()], variant).unwrap();
        let (plain, narrowed) = (
            written(PolicyVariant::Plain),
            written(PolicyVariant::WithConditions),
        );
        let [plain, mut narrowed] = [plain, narrowed].map(|text| {
            let policy: Value = serde_json::from_str(&text).unwrap();
            policy["Statement"][0].clone()
        });
        assert!(narrowed.to_string().len() <= STATEMENT_LIMIT);
        assert_eq!(publicity(&plain.to_string()), Publicity::SessionWildcard);
        assert_eq!(publicity(&narrowed.to_string()), Publicity::Fixed);
        let conditions = narrowed.as_object_mut().unwrap().remove("Condition").unwrap();
        let ranges = conditions["IpAddress"]["acs:SourceIp"].as_array().unwrap();
        assert_eq!((ranges.len(), &ranges[9]), (223, &"10.0.0.0/8".into()));
        assert_eq!(plain, narrowed);
    }
}
