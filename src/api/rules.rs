//! Messages in words for the patterns of the schemas: editors and validators use the pattern, and people read the message.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};

/// A rule in CEL besides that the pattern matches, its message, and an expression for a message about the value.
type Hint = (&'static str, &'static str, Option<&'static str>);

/// A time in the form that the API server and the operator both read.
pub(super) const TIME: &str = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// Each pattern of a spec, its message, and hints for what people write instead.
const PATTERNS: &[(&str, &str, &[Hint])] = &[
    (
        r"^[0-9]{5,20}$",
        "must be the UID of an account: 5 to 20 digits in quotes, for example \"1234567890123456\"",
        &[],
    ),
    (
        r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$",
        "must be the name of a bucket: lower-case letters, digits and hyphens, without a hyphen at either end",
        &[(
            "!self.contains('/') && !self.contains('.')",
            "write the name of the bucket alone, without oss:// and without a host",
            None,
        )],
    ),
    (
        r"^[a-z]{2}(-[a-z0-9]+){1,4}$",
        "must be the ID of a region, for example cn-hangzhou",
        &[
            (
                "!self.startsWith('oss-')",
                "write the region without oss-, for example cn-hangzhou",
                Some("'write ' + self.split('.')[0].replace('oss-', '') + ', without oss-'"),
            ),
            (
                "!self.endsWith('-internal')",
                "write the region without -internal, for example cn-hangzhou",
                None,
            ),
            (
                "!self.contains('-finance')",
                "IMM is not available in finance regions, and OSS has other endpoints there: use a bucket and a project of another region",
                None,
            ),
        ],
    ),
    (
        r"^[A-Za-z0-9._-]{1,64}$",
        "must be the name of a RAM role: letters, digits, ., _ and -",
        &[(
            "!self.contains('/') && !self.contains(':')",
            "write the name of the role alone, without acs:ram::UID:role/",
            None,
        )],
    ),
    (
        r"^[A-Za-z0-9.@_-]{2,64}$",
        "must be the name of a role session: 2 to 64 letters, digits, ., @, _ and -",
        &[
            (
                "!self.contains('*')",
                "write the name of one session; principal: ServiceRole is for all sessions",
                None,
            ),
            (
                "!self.contains('/')",
                "write the name of the session alone, without arn:sts::UID:assumed-role/NAME/",
                None,
            ),
        ],
    ),
    (
        r"^[a-zA-Z_][a-zA-Z0-9_-]{0,127}$",
        "must be the name of an IMM project: letters, digits, _ and -, starting with a letter or _",
        &[],
    ),
    (
        r"^[A-Za-z0-9._-]+$",
        "must be an error code such as ResourceNotFound: letters, digits, ., _ and -",
        &[],
    ),
    (
        r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$",
        "must be a decimal from 0 to 1 with at most six places, in quotes, for example \"0.60\"",
        &[],
    ),
    (
        r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
        "must be the name of an object in this namespace: lower-case letters, digits, - and .",
        &[(
            "!self.contains('/')",
            "write the name alone: the object is in this namespace",
            None,
        )],
    ),
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of an object: lower-case letters, digits, - and .",
        &[(
            "!self.contains('/')",
            "write the name alone, and the namespace in the field namespace",
            None,
        )],
    ),
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be the name of a namespace: lower-case letters, digits and -",
        &[(
            "!self.contains('*')",
            "write the name of each namespace: wildcards are not supported",
            None,
        )],
    ),
    (
        r"^acs:ram::[0-9]{5,20}:role/[A-Za-z0-9._-]{1,64}$",
        "must be the ARN of a RAM role, acs:ram::UID:role/NAME: copy it from the RAM console",
        &[],
    ),
    (
        r"^acs:ram::[0-9]{5,20}:oidc-provider/[A-Za-z0-9._-]{1,128}$",
        "must be the ARN of an OIDC provider, acs:ram::UID:oidc-provider/NAME: copy it from the RAM console",
        &[],
    ),
    (
        r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$",
        "must be oss://BUCKET/KEY, with the name of a bucket and a key",
        &[
            (
                "self.startsWith('oss://')",
                "write oss://BUCKET/KEY, not the https:// address or the path of the object",
                None,
            ),
            (
                r"!self.matches(r'\p{Cc}')",
                "must not have control characters",
                None,
            ),
            (
                r"!self.matches(r'^oss://[^/]*/[/\\]')",
                "a key must not start with / or a backslash: object keys have no leading slash",
                None,
            ),
        ],
    ),
    (
        r"^[^\x00-\x1f\x7f-\x{9f}]*$",
        "must not have control characters",
        &[(
            r"!self.matches(r'^[/\\]')",
            "a prefix must not start with / or a backslash: object keys have no leading slash",
            None,
        )],
    ),
    (
        TIME,
        "must be a time such as 2026-01-31T00:00:00Z, with a capital T, and Z or an offset such as +08:00",
        &[(
            // The conversion of a day that does not exist fails, and so does the rule.
            "!self.matches('^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9:]{5})$') || timestamp(self).getFullYear() > 0",
            "must be a day that exists",
            None,
        )],
    ),
];

/// Shorter expressions for the messages of patterns: the cost of a rule grows with its expression, and a thousand URIs are
/// checked.
const CHEAPER: &[(&str, &str)] = &[(
    r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$",
    r"^oss://[a-z0-9][a-z0-9-]+[a-z0-9]/.",
)];

/// Adds the messages to every pattern of a schema.
pub(super) fn add_messages(schema: &mut JSONSchemaProps) {
    if let Some((pattern, message, hints)) = PATTERNS
        .iter()
        .find(|(pattern, ..)| schema.pattern.as_deref() == Some(*pattern))
    {
        let rules = schema.x_kubernetes_validations.get_or_insert_default();
        rules.extend(hints.iter().map(|(rule, message, expression)| ValidationRule {
            rule: (*rule).to_owned(),
            message: Some((*message).to_owned()),
            message_expression: expression.map(ToOwned::to_owned),
            ..ValidationRule::default()
        }));
        let checked = CHEAPER
            .iter()
            .find(|(long, _)| long == pattern)
            .map_or(*pattern, |(_, short)| *short);
        rules.push(ValidationRule {
            rule: format!("self.matches(r'{checked}')"),
            message: Some((*message).to_owned()),
            ..ValidationRule::default()
        });
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        add_messages(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        add_messages(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crds;

    fn without_message(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
        if schema.pattern.is_some() && schema.x_kubernetes_validations.is_none() {
            found.push(path.to_owned());
        }
        for (name, property) in schema.properties.iter().flatten() {
            without_message(property, &format!("{path}.{name}"), found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            without_message(items, &format!("{path}[]"), found);
        }
    }

    #[test]
    fn every_pattern_of_a_spec_has_a_message_in_words() {
        let mut found = Vec::new();
        for definition in crds() {
            let versions = definition.spec.versions.iter();
            for root in versions.filter_map(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref()) {
                if let Some(spec) = root.properties.as_ref().and_then(|p| p.get("spec")) {
                    without_message(spec, "spec", &mut found);
                }
            }
        }
        assert!(found.is_empty(), "{found:?}");
    }
}
