//! Policies of unusual forms, of which a probe asks what OSS answers. None of them gives access to anybody: the only
//! principal is the account that owns the bucket, each resource is below a prefix without objects, and the effect is
//! Deny, or the spelling of Allow that is asked about.

use serde::Serialize;

/// Bytes of the statement that is longer than one language version of the documentation allows, and of such a field.
const TOO_LONG: usize = 4096;
/// Most bytes of a policy.
const LARGEST: usize = 16_384;
/// Bytes of a statement of a large policy, about: neither it nor its key is longer than OSS allows.
const OF_LARGE: usize = 1000;

/// A form of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyForm {
    /// One statement, as the operator writes it.
    Usual,
    /// A statement with a `Sid`.
    Sid,
    /// A statement with a member that no page documents.
    UnknownMember,
    /// An empty object in place of the list of statements.
    EmptyStatement,
    /// A statement in place of the list of statements.
    StatementAsObject,
    /// The effect in lower case.
    EffectInLowerCase,
    /// A policy of the largest documented size.
    LargestPolicy,
    /// A policy of one byte more.
    TooLargePolicy,
    /// A field of 4,096 bytes.
    LongField,
    /// A statement of 4,096 bytes, whose fields are shorter.
    LongStatement,
    /// Two asterisks in a row.
    Asterisks,
    /// A condition on the address without one on the VPC.
    SourceIpAlone,
}

impl PolicyForm {
    /// All forms; the usual one first.
    pub(crate) const ALL: [Self; 12] = [
        Self::Usual,
        Self::Sid,
        Self::UnknownMember,
        Self::EmptyStatement,
        Self::StatementAsObject,
        Self::EffectInLowerCase,
        Self::LargestPolicy,
        Self::TooLargePolicy,
        Self::LongField,
        Self::LongStatement,
        Self::Asterisks,
        Self::SourceIpAlone,
    ];

    /// Name of the check, and what is asked about.
    pub(crate) fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Usual => ("forms-usual", "a policy of the usual form"),
            Self::Sid => ("forms-sid", "a statement with a Sid"),
            Self::UnknownMember => ("forms-unknown-member", "a statement with an unknown member"),
            Self::EmptyStatement => ("forms-empty-statement", "Statement: {} in place of a list"),
            Self::StatementAsObject => ("forms-object", "one statement in place of a list of one"),
            Self::EffectInLowerCase => ("forms-effect-case", "Effect: allow"),
            Self::LargestPolicy => ("forms-largest", "a policy of 16384 bytes"),
            Self::TooLargePolicy => ("forms-too-large", "a policy of 16385 bytes"),
            Self::LongField => ("forms-long-field", "a field of 4096 bytes"),
            Self::LongStatement => (
                "forms-long-statement",
                "a statement of 4096 bytes with shorter fields",
            ),
            Self::Asterisks => ("forms-asterisks", "** in a resource"),
            Self::SourceIpAlone => (
                "forms-source-ip",
                "a condition on acs:SourceIp without one on acs:SourceVpc",
            ),
        }
    }

    /// What the documentation says, and whether OSS accepts the form by it; `None` if no page says so, or two
    /// contradict each other.
    pub(crate) fn documented(self) -> Option<(&'static str, bool)> {
        match self {
            Self::Usual | Self::Sid | Self::UnknownMember | Self::LongStatement => None,
            Self::EmptyStatement | Self::StatementAsObject => {
                Some(("Statement is a list of one or more statements", false))
            }
            Self::EffectInLowerCase => Some(("Effect is Allow or Deny", false)),
            Self::LargestPolicy => Some(("a policy may have 16 KB", true)),
            Self::TooLargePolicy => Some(("a policy has at most 16 KB", false)),
            Self::LongField => Some(("a field has at most 4,095 bytes", false)),
            Self::Asterisks => Some(("no field has two asterisks in a row", false)),
            Self::SourceIpAlone => Some(("a condition on acs:SourceIp needs one on acs:SourceVpc", false)),
        }
    }

    /// Returns the policy.
    pub(crate) fn text(self, place: &FormPlace) -> String {
        let key = |key: &str| vec![key.to_owned()];
        let deny = |name: &str, more: &str| place.statement("Deny", &key(name), more);
        match self {
            Self::Usual => of_list(&[deny("usual", "")]),
            Self::Sid => of_list(&[deny("sid", r#","Sid":"imm-operator-doctor""#)]),
            Self::UnknownMember => of_list(&[deny("member", r#","Comment":"imm-operator-doctor""#)]),
            Self::EmptyStatement => r#"{"Version":"1","Statement":{}}"#.to_owned(),
            Self::StatementAsObject => {
                format!(r#"{{"Version":"1","Statement":{}}}"#, deny("object", ""))
            }
            Self::EffectInLowerCase => of_list(&[place.statement("allow", &key("effect"), "")]),
            Self::LargestPolicy => place.large(LARGEST),
            Self::TooLargePolicy => place.large(LARGEST + 1),
            Self::LongField => {
                let key = padded(0, TOO_LONG - place.resource("").len());
                of_list(&[place.statement("Deny", &[key], "")])
            }
            Self::LongStatement => {
                let empty = vec![String::new(); 6];
                let rest = TOO_LONG - place.statement("Deny", &empty, "").len();
                of_list(&[place.statement("Deny", &keys(rest, empty.len()), "")])
            }
            Self::Asterisks => of_list(&[deny("asterisks**", "")]),
            Self::SourceIpAlone => {
                // A range for documentation, from which no request comes.
                let condition = r#","Condition":{"IpAddress":{"acs:SourceIp":["192.0.2.0/24"]}}"#;
                of_list(&[deny("address", condition)])
            }
        }
    }
}

/// What the policies are about.
#[derive(Clone, Debug)]
pub struct FormPlace {
    /// The bucket.
    pub bucket: String,
    /// The account that owns it.
    pub owner_uid: String,
    /// A prefix without objects.
    pub prefix: String,
}

impl FormPlace {
    /// Returns a policy of the usual form, whose text differs from all others by the name.
    pub(crate) fn named(&self, name: &str) -> String {
        of_list(&[self.statement("Deny", &[name.to_owned()], "")])
    }

    fn resource(&self, key: &str) -> String {
        let Self {
            bucket,
            owner_uid,
            prefix,
        } = self;
        format!("acs:oss:*:{owner_uid}:{bucket}/{prefix}{key}")
    }

    fn statement(&self, effect: &str, keys: &[String], more: &str) -> String {
        let resources: Vec<String> = keys
            .iter()
            .map(|key| format!(r#""{}""#, self.resource(key)))
            .collect();
        format!(
            r#"{{"Effect":"{effect}","Action":["oss:GetObject"],"Principal":["{}"],"Resource":[{}]{more}}}"#,
            self.owner_uid,
            resources.join(",")
        )
    }

    /// Returns a policy of so many bytes, of which no statement and no field is long.
    fn large(&self, bytes: usize) -> String {
        let count = bytes / OF_LARGE + 1;
        let empty = vec![self.statement("Deny", &[String::new()], ""); count];
        let rest = bytes.saturating_sub(of_list(&empty).len());
        let statements: Vec<String> = keys(rest, count)
            .into_iter()
            .map(|key| self.statement("Deny", &[key], ""))
            .collect();
        of_list(&statements)
    }
}

fn of_list(statements: &[String]) -> String {
    format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(","))
}

/// Returns so many keys, which have so many bytes together.
fn keys(bytes: usize, count: usize) -> Vec<String> {
    let length = |number| bytes / count + usize::from(number < bytes % count);
    (0..count).map(|number| padded(number, length(number))).collect()
}

/// Returns a key of this length.
fn padded(number: usize, length: usize) -> String {
    format!("{number:0>length$}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::core::policy::{Document, PolicyPublicity, STATEMENT_LIMIT};

    fn place() -> FormPlace {
        FormPlace {
            bucket: "probe-2026".to_owned(),
            owner_uid: "6543210987654321".to_owned(),
            prefix: "imm-operator-doctor-0123456789abcdef/".to_owned(),
        }
    }

    fn statements(text: &str) -> Vec<Value> {
        let policy: Value = serde_json::from_str(text).unwrap();
        let given = &policy["Statement"];
        let one = std::slice::from_ref(given);
        let all = given.as_array().map_or(one, Vec::as_slice);
        let filled = all.iter().filter(|one| !one.as_object().unwrap().is_empty());
        filled.cloned().collect()
    }

    #[test]
    fn no_form_gives_access_to_anybody() {
        let place = place();
        let below = format!("acs:oss:*:{}:{}/{}", place.owner_uid, place.bucket, place.prefix);
        let mut texts: Vec<String> = PolicyForm::ALL.iter().map(|form| form.text(&place)).collect();
        texts.push(place.named("two"));
        for text in &texts {
            for statement in statements(text) {
                assert_eq!(statement["Principal"], serde_json::json!([place.owner_uid]));
                assert_ne!(statement["Effect"], "Allow", "{statement}");
                let resources = statement["Resource"].as_array().unwrap();
                assert!(!resources.is_empty());
                for resource in resources {
                    assert!(resource.as_str().unwrap().starts_with(&below), "{resource}");
                }
            }
            if let Ok(document) = Document::parse(text.as_bytes()) {
                let publicity = PolicyPublicity::of(Some(&document));
                assert!(
                    publicity.public.is_empty() && publicity.session_wildcards.is_empty(),
                    "{text}"
                );
            }
        }
        let different: BTreeSet<&String> = texts.iter().collect();
        assert_eq!(different.len(), texts.len(), "a read tells which one is live");
    }

    #[test]
    fn sizes_are_exact_and_nothing_else_is_too_long() {
        let place = place();
        let longest = |text: &str| {
            let statements = statements(text);
            let fields = statements
                .iter()
                .flat_map(|one| one["Resource"].as_array().unwrap().clone());
            let fields = fields.map(|field| field.as_str().unwrap().len());
            let written = Document::parse(text.as_bytes()).unwrap();
            let spans = written.statements().iter();
            let of_statements = spans.map(|span| written.text_of(span).len());
            (fields.max().unwrap(), of_statements.max().unwrap())
        };
        for (form, bytes) in [
            (PolicyForm::LargestPolicy, 16_384),
            (PolicyForm::TooLargePolicy, 16_385),
        ] {
            let text = form.text(&place);
            assert_eq!(text.len(), bytes);
            let (field, statement) = longest(&text);
            assert!(field <= 1023 && statement <= STATEMENT_LIMIT);
        }
        assert_eq!(longest(&PolicyForm::LongField.text(&place)).0, 4096);
        let (field, statement) = longest(&PolicyForm::LongStatement.text(&place));
        assert!(field <= 1023);
        assert_eq!(statement, 4096);
    }
}
