//! Checks rules when they are loaded: a rule that would allow less than it seems to is reported, not read narrowly in
//! silence. That is a rule that selects no namespace, a rule for the operator's own identity that does not say what it is
//! for, and an entry that nothing can match.

use super::{RuleKind, TenancyRule, TenancyRules};
use crate::api::CredentialSource;
use crate::core::validate::{check_role, check_uid, is_lower_or_digit, is_word};

/// Checks that each rule selects namespaces, that each rule with source Operator says what it is for, and that something
/// can match each entry.
///
/// # Errors
/// The first rule with a missing field or an impossible entry, by its position in the list.
pub fn check_rules(rules: &TenancyRules) -> Result<(), String> {
    for (position, rule) in rules.rules.iter().enumerate() {
        if rule.namespaces.names.is_empty() && rule.namespaces.match_labels.is_empty() {
            return Err(format!(
                "rules[{position}]: namespaces selects none, so the rule allows nothing: set names or matchLabels; \
                 names: [\"*\"] means any"
            ));
        }
        if let Some(field) = missing_field(rule) {
            return Err(format!(
                "rules[{position}]: {field} is required with credentialSources: [Operator] and must not be empty; \"*\" means any"
            ));
        }
        if let Some((field, entry, expected)) = impossible_entry(rule) {
            return Err(format!(
                "rules[{position}]: {field} has {entry:?}: it must be {expected}"
            ));
        }
    }
    Ok(())
}

/// Returns the first field that the rule needs for the operator's own identity and does not have.
fn missing_field(rule: &TenancyRule) -> Option<&'static str> {
    if !rule.credential_sources.contains(&CredentialSource::Operator) {
        return None;
    }
    let (grants, jobs) = (
        rule.kinds.contains(&RuleKind::ImmBucketGrant),
        rule.kinds.contains(&RuleKind::ImageScoreJob),
    );
    let fields = [
        ("kinds", rule.kinds.is_empty()),
        ("ownerUIDs", grants && rule.owner_uids.is_empty()),
        ("projects", jobs && rule.projects.is_empty()),
        ("buckets", jobs && rule.buckets.is_empty()),
        ("granteeUIDs", jobs && rule.grantee_uids.is_empty()),
    ];
    fields
        .into_iter()
        .find_map(|(field, missing)| missing.then_some(field))
}

/// Returns the first entry that nothing can match: its field, the entry, and what the field takes.
fn impossible_entry(rule: &TenancyRule) -> Option<(&'static str, &str, &'static str)> {
    const ACCOUNT: &str = "the UID of an account, 5 to 20 digits, or \"*\"";
    const NAME: &str = "1 to 63 lower-case letters, digits, hyphens and *, without a hyphen at either end";
    const ROLE: &str = "the name of a RAM role, without acs:ram::UID:role/, or \"*\"";
    const PROJECT: &str = "1 to 128 letters, digits, _, - and *";
    const ROLE_ARN: &str = "the ARN of a RAM role, acs:ram::UID:role/NAME";
    type Check = fn(&str) -> bool;
    let fields: [(_, &[String], Check, _); 8] = [
        ("namespaces.names", &rule.namespaces.names, is_name_pattern, NAME),
        ("ownerUIDs", &rule.owner_uids, is_account_or_any, ACCOUNT),
        ("buckets", &rule.buckets, is_name_pattern, NAME),
        ("granteeUIDs", &rule.grantee_uids, is_account_or_any, ACCOUNT),
        ("roleNames", &rule.role_names, is_role_or_any, ROLE),
        ("projects", &rule.projects, is_project_pattern, PROJECT),
        (
            "chainRoleARNs",
            &rule.chain_role_arns,
            is_role_arn_or_any,
            ROLE_ARN,
        ),
        ("assumeRoleARNs", &rule.assume_role_arns, is_role_arn, ROLE_ARN),
    ];
    fields
        .into_iter()
        .find_map(|(field, entries, possible, expected)| {
            let impossible = entries.iter().find(|entry| !possible(entry))?;
            Some((field, impossible.as_str(), expected))
        })
}

fn is_account(text: &str) -> bool {
    check_uid("uid", text).is_ok()
}

fn is_account_or_any(text: &str) -> bool {
    text == "*" || is_account(text)
}

fn is_name_pattern(text: &str) -> bool {
    text.len() <= 63 && is_word(text, |byte| is_lower_or_digit(byte) || byte == b'*', b"-")
}

fn is_project_pattern(text: &str) -> bool {
    let accepts = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(accepts)
}

fn is_role(text: &str) -> bool {
    check_role("role", text).is_ok()
}

fn is_role_or_any(text: &str) -> bool {
    text == "*" || is_role(text)
}

fn is_role_arn(text: &str) -> bool {
    text.strip_prefix("acs:ram::")
        .and_then(|rest| rest.split_once(":role/"))
        .is_some_and(|(account, role)| is_account(account) && is_role(role))
}

fn is_role_arn_or_any(text: &str) -> bool {
    text == "*" || is_role_arn(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_rule_for_the_operators_identity_must_say_what_it_is_for() {
        let fault = |rule: &Value| {
            let rules: TenancyRules =
                serde_json::from_value(json!({ "rules": [{"namespaces": {"names": ["*"]}}, rule] })).unwrap();
            check_rules(&rules).err()
        };
        let complete = json!({"namespaces": {"names": ["a"]}, "credentialSources": ["Operator"],
            "kinds": ["ImmBucketGrant", "ImageScoreJob"], "ownerUIDs": ["*"], "projects": ["*"], "buckets": ["*"],
            "granteeUIDs": ["*"]});
        assert_eq!(fault(&complete), None);
        for field in ["kinds", "ownerUIDs", "projects", "buckets", "granteeUIDs"] {
            let mut rule = complete.clone();
            rule[field] = json!([]);
            let message = fault(&rule).unwrap();
            assert!(
                message.contains("rules[1]") && message.contains(field),
                "{message}"
            );
            rule["credentialSources"] = json!(["Secret"]);
            assert_eq!(fault(&rule), None, "{field}");
        }
        let mut grants = complete.clone();
        grants["kinds"] = json!(["ImmBucketGrant"]);
        for field in ["projects", "buckets", "granteeUIDs"] {
            grants[field] = json!([]);
        }
        assert_eq!(fault(&grants), None);
        let mut jobs = complete;
        jobs["kinds"] = json!(["ImageScoreJob"]);
        jobs["ownerUIDs"] = json!([]);
        assert_eq!(fault(&jobs), None);
    }

    #[test]
    fn a_rule_that_selects_no_namespace_is_an_error() {
        let fault = |namespaces: &Value| {
            let rules = json!({ "rules": [{"namespaces": {"names": ["a"]}}, {"namespaces": namespaces}] });
            check_rules(&serde_json::from_value(rules).unwrap()).err()
        };
        for none in [
            json!({}),
            json!({"names": []}),
            json!({"names": [], "matchLabels": {}}),
        ] {
            let message = fault(&none).unwrap();
            assert!(
                message.contains("rules[1]") && message.contains("names or matchLabels"),
                "{message}"
            );
        }
        for some in [
            json!({"names": ["*"]}),
            json!({"names": [], "matchLabels": {"a": ""}}),
        ] {
            assert_eq!(fault(&some), None, "{some}");
        }
    }

    #[test]
    fn an_entry_that_nothing_can_match_is_an_error() {
        let fault = |field: &str, entry: &str| {
            let mut rule = json!({"namespaces": {"names": ["a"]}});
            if field == "names" {
                rule["namespaces"]["names"] = json!([entry]);
            } else {
                rule[field] = json!(["*", entry]);
                if field == "assumeRoleARNs" {
                    rule[field] = json!([entry]);
                }
            }
            let rules: TenancyRules = serde_json::from_value(json!({ "rules": [rule] })).unwrap();
            check_rules(&rules).err()
        };
        let role = "acs:ram::1234567890123456:role/reader";
        for (field, possible) in [
            ("names", "team-*"),
            ("ownerUIDs", "12345"),
            ("buckets", "photos-*"),
            ("granteeUIDs", "1234567890123456"),
            ("roleNames", "AliyunIMMDefaultRole"),
            ("projects", "imm_Test-*"),
            ("chainRoleARNs", role),
            ("assumeRoleARNs", role),
        ] {
            assert_eq!(fault(field, possible), None, "{field}");
            for impossible in ["", "a b", "arn:aws:iam::123456789012:role/reader", "\u{e4}"] {
                let message = fault(field, impossible).unwrap();
                assert!(
                    message.starts_with("rules[0]: ") && message.contains(field),
                    "{message}"
                );
            }
        }
        for (field, impossible) in [
            ("ownerUIDs", "12a"),
            ("granteeUIDs", "1234*"),
            ("names", "Media"),
            ("buckets", "-a"),
            ("assumeRoleARNs", "*"),
            ("chainRoleARNs", "acs:ram::123:role/reader"),
        ] {
            assert!(fault(field, impossible).is_some(), "{field}: {impossible}");
        }
    }

    #[test]
    fn rules_are_required() {
        for text in ["{}", r#"{"strict": true}"#] {
            assert!(serde_json::from_str::<TenancyRules>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<TenancyRules>(r#"{"rules": []}"#).is_ok());
    }
}
