//! Validates names from specs. The schema of the CRDs contains the same grammar, and both must agree: a stored object
//! can be older than the schema.

use thiserror::Error;

mod role;

pub use role::{check_role, check_session};

/// A name that violates its grammar.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field} {rule}")]
pub struct ValidationError {
    /// Path of the field, for example `spec.bucket.name`.
    pub field: &'static str,
    /// The grammar, as a sentence fragment that follows the path.
    pub rule: &'static str,
}

fn ensure(holds: bool, field: &'static str, rule: &'static str) -> Result<(), ValidationError> {
    if holds {
        Ok(())
    } else {
        Err(ValidationError { field, rule })
    }
}

pub(super) fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether a text has characters that `accepts` allows, with those of `inner` only between them. An empty text has none.
pub(super) fn is_word(text: &str, accepts: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.into_iter().all(|end| end.is_some_and(|byte| accepts(*byte)))
        && bytes.iter().all(|byte| accepts(*byte) || inner.contains(byte))
}

/// Checks an OSS bucket name: 3 to 63 of `a-z 0-9 -`, without a hyphen at either end.
pub fn check_bucket(field: &'static str, name: &str) -> Result<(), ValidationError> {
    ensure(
        (3..=63).contains(&name.len()) && is_word(name, is_lower_or_digit, b"-"),
        field,
        "must be 3 to 63 lower-case letters, digits and hyphens, without a hyphen at either end",
    )
}

/// Checks an account UID: 5 to 20 digits.
pub fn check_uid(field: &'static str, uid: &str) -> Result<(), ValidationError> {
    let digits = uid.bytes().all(|b| b.is_ascii_digit());
    ensure(
        (5..=20).contains(&uid.len()) && digits,
        field,
        "must be 5 to 20 digits",
    )
}

/// Checks the region of a bucket or a project, such as `cn-hangzhou`.
pub fn check_region(field: &'static str, region: &str) -> Result<(), ValidationError> {
    check_region_id(field, region)?;
    ensure(
        !region.contains("-finance"),
        field,
        "must not be a finance region: IMM is not available there, and OSS has other endpoints",
    )
}

/// Checks a region id. Finance regions are regions too.
pub fn check_region_id(field: &'static str, region: &str) -> Result<(), ValidationError> {
    let mut parts = region.split('-');
    let country = parts
        .next()
        .is_some_and(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_lowercase()));
    let rest: Vec<&str> = parts.collect();
    let named = rest
        .iter()
        .all(|p| !p.is_empty() && p.bytes().all(is_lower_or_digit));
    let sized = (1..=4).contains(&rest.len()) && region.len() <= 40;
    ensure(
        country && named && sized,
        field,
        "must be a region id such as cn-hangzhou, without the oss- prefix",
    )?;
    // An internal endpoint does not answer from outside of its network, and would occupy a worker until the deadline.
    ensure(
        rest.last() != Some(&"internal"),
        field,
        "must be a region id such as cn-hangzhou, without the -internal suffix",
    )
}

/// Checks an IMM project name: 1 to 128 of letters, digits, `-`, `_`, starting with a letter or `_`.
pub fn check_project(field: &'static str, name: &str) -> Result<(), ValidationError> {
    let start = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    ensure(
        start && ok && name.len() <= 128,
        field,
        "must be 1 to 128 letters, digits, hyphens and underscores, starting with a letter or underscore",
    )
}

/// Checks a prefix of object keys: no wildcard, no variable, no control or invisible character, no leading slash.
pub fn check_prefix(field: &'static str, prefix: &str) -> Result<(), ValidationError> {
    ensure(
        (1..=512).contains(&prefix.chars().count()),
        field,
        "must be 1 to 512 characters",
    )?;
    ensure(!prefix.starts_with('/'), field, "must not start with /")?;
    let bad = |c: char| matches!(c, '*' | '?' | '$' | '{' | '}' | '\\') || is_invisible(c);
    ensure(
        !prefix.chars().any(bad),
        field,
        "must not contain * ? $ { } \\ or control or invisible characters",
    )
}

/// Returns `true` for control and formatting characters (Unicode categories Cc and Cf, line and paragraph separator).
/// Characters that a reader cannot see must not decide what a policy grants.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Returns `true` if an object of Kubernetes can have this name (RFC 1123 subdomain): it can be a part of a path.
pub fn is_object_name(name: &str) -> bool {
    let part = |part| is_word(part, is_lower_or_digit, b"-");
    name.len() <= 253 && name.split('.').all(part)
}

/// Returns `true` if a namespace can have this name (RFC 1123 label).
pub fn is_namespace_name(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_object_name(name)
}

/// Checks the name of an object of Kubernetes.
pub fn check_object_name(field: &'static str, name: &str) -> Result<(), ValidationError> {
    ensure(
        is_object_name(name),
        field,
        "must be 1 to 253 lower-case letters, digits, hyphens and dots, each part between letters or digits",
    )
}

/// Checks the name of a namespace.
pub fn check_namespace_name(field: &'static str, name: &str) -> Result<(), ValidationError> {
    ensure(
        is_namespace_name(name),
        field,
        "must be 1 to 63 lower-case letters, digits and hyphens, without a hyphen at either end",
    )
}

/// Bucket and key of `oss://BUCKET/KEY`. The key is not decoded or normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUri {
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object, 1 to 1,023 bytes.
    pub key: String,
}

impl ObjectUri {
    /// Parses `oss://BUCKET/KEY`.
    ///
    /// # Errors
    /// The rule that `uri` violates, with `field` as its path.
    pub fn parse(field: &'static str, uri: &str) -> Result<Self, ValidationError> {
        let (bucket, key) = Self::split(field, uri)?;
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Splits `oss://BUCKET/KEY` into bucket and key.
    ///
    /// # Errors
    /// The rule that `uri` violates, with `field` as its path.
    pub fn split<'a>(field: &'static str, uri: &'a str) -> Result<(&'a str, &'a str), ValidationError> {
        let rule = "must be oss://BUCKET/KEY with a key of 1 to 1,023 bytes and no control characters";
        let (bucket, key) = uri
            .strip_prefix("oss://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(ValidationError { field, rule })?;
        check_bucket(field, bucket)?;
        ensure(
            (1..=1023).contains(&key.len()) && !key.chars().any(char::is_control),
            field,
            rule,
        )?;
        Ok((bucket, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_oss_rejects_are_rejected() {
        for good in ["abc", "test-bucket-2024", "0a0"] {
            assert_eq!(check_bucket("f", good), Ok(()), "{good}");
        }
        for bad in ["ab", "-ab", "ab-", "Abc", "a_b", "a.b", "", "a/b", "a*c"] {
            assert!(check_bucket("f", bad).is_err(), "{bad}");
        }
        for bad in ["", "1234", "123456789012345678901", "12345a", "*"] {
            assert!(check_uid("f", bad).is_err(), "{bad}");
        }
        for (region, fine) in [
            ("cn-hangzhou", true),
            ("us-east-1", true),
            ("cn-north-2-gov-1", true),
            ("cn-a-b-c-d-e", false),
            ("cn-shanghai-finance-1", false),
            ("cn-hangzhou-finance", false),
            ("cn", false),
            ("oss-cn-x", false),
            ("cn-", false),
            ("cn-hangzhou-internal", false),
            ("cn-internal", false),
        ] {
            assert_eq!(check_region("f", region).is_ok(), fine, "{region}");
            let id = fine || region.contains("finance");
            assert_eq!(check_region_id("f", region).is_ok(), id, "{region}");
        }
    }

    #[test]
    fn a_name_that_is_not_one_part_of_a_path_names_no_object() {
        for good in ["a", "open", "photos-to-analytics", "a.b-c.d", "0"] {
            assert!(is_object_name(good), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            ".",
            "..",
            "../..",
            "?limit=500",
            "a/b",
            "a?b",
            "a#b",
            "a%2fb",
            "A",
            "-a",
            "a-",
            "a..b",
            "a\n",
            "\u{fc}",
            &long,
        ] {
            assert!(!is_object_name(bad) && !is_namespace_name(bad), "{bad:?}");
        }
        assert!(is_namespace_name("media-1") && is_namespace_name("0") && !is_namespace_name("a.b"));
    }

    #[test]
    fn a_prefix_has_no_wildcards_variables_or_invisible_characters() {
        for good in ["a/", "photos/2024/", "ä b+c%20", "..", "a//b"] {
            assert_eq!(check_prefix("f", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a*",
            "a?",
            "${x}",
            "a\\",
            "a\nb",
            "a\u{202e}b",
            "a\u{feff}",
            "a{",
        ] {
            assert!(check_prefix("f", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_uri_keeps_its_key_unchanged() {
        let uri = ObjectUri::parse("f", "oss://test-bucket-2024/a b/%2F+ü/../x.jpg").unwrap();
        assert_eq!(
            (uri.bucket.as_str(), uri.key.as_str()),
            ("test-bucket-2024", "a b/%2F+ü/../x.jpg")
        );
        for bad in [
            "oss://b/k",
            "http://bucket/k",
            "oss://bucket",
            "oss://bucket/",
            "oss://bucket/a\nb",
        ] {
            assert!(ObjectUri::parse("f", bad).is_err(), "{bad:?}");
        }
    }
}
