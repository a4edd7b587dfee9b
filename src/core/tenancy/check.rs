//! Checks rules for the operator's own identity when they are loaded: a rule that would allow less than it seems to is
//! reported, not read narrowly in silence.

use super::{RuleKind, TenancyRule, TenancyRules};
use crate::api::CredentialSource;

impl TenancyRules {
    /// Checks that each rule with source Operator says what it is for.
    ///
    /// # Errors
    /// The first rule with a missing field, by its position in the list.
    pub fn check(&self) -> Result<(), String> {
        for (position, rule) in self.rules.iter().enumerate() {
            if let Some(field) = rule.missing_field() {
                return Err(format!(
                    "rules[{position}]: {field} is required with credentialSources: [Operator] and must not be empty; \"*\" means any"
                ));
            }
        }
        Ok(())
    }
}

impl TenancyRule {
    /// Returns the first field that the rule needs for the operator's own identity and does not have.
    fn missing_field(&self) -> Option<&'static str> {
        if !self.credential_sources.contains(&CredentialSource::Operator) {
            return None;
        }
        let (grants, jobs) = (
            self.kinds.contains(&RuleKind::ImmBucketGrant),
            self.kinds.contains(&RuleKind::ImageScoreJob),
        );
        let fields = [
            ("kinds", self.kinds.is_empty()),
            ("ownerUIDs", grants && self.owner_uids.is_empty()),
            ("projects", jobs && self.projects.is_empty()),
            ("buckets", jobs && self.buckets.is_empty()),
            ("granteeUIDs", jobs && self.grantee_uids.is_empty()),
        ];
        fields
            .into_iter()
            .find_map(|(field, missing)| missing.then_some(field))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_rule_for_the_operators_identity_must_say_what_it_is_for() {
        let fault = |rule: &Value| {
            let rules: TenancyRules =
                serde_json::from_value(json!({ "rules": [{"namespaces": {}}, rule] })).unwrap();
            rules.check().err()
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
    fn rules_are_required() {
        for text in ["{}", r#"{"strict": true}"#] {
            assert!(serde_json::from_str::<TenancyRules>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<TenancyRules>(r#"{"rules": []}"#).is_ok());
    }
}
