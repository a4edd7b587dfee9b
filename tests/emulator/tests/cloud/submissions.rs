//! Validation of submitted bucket policies, the precedence of violations, and publicity.
//! Each table row has a document and its expected result.

use imm_emulator::policy::{Document, SessionWildcard, is_public, read_submission};

fn statement(extra: &str) -> String {
    format!(
        r#"{{"Effect":"Allow","Action":"oss:GetObject","Principal":["274"],"Resource":["acs:oss:*:1:b/*"]{extra}}}"#
    )
}

fn policy(statements: &str) -> String {
    format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)
}

/// Returns `accepted`, `refused` or the last two digits of the `EC`.
fn verdict(body: &[u8]) -> &'static str {
    match read_submission(body) {
        Ok(_) => "accepted",
        Err(refusal) => refusal
            .ec
            .map_or("refused", |ec| ec.strip_prefix("0030-000000").unwrap()),
    }
}

#[test]
fn violations_are_reported_in_the_documented_order() {
    let long = "x".repeat(4096);
    let source_ip = statement(r#","Condition":{"IpAddress":{"acs:SourceIp":["10.0.0.0/8"]}}"#);
    let padded = format!("{}{}", policy(&statement("")), " ".repeat(16 * 1024));
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "larger than 16 KB: nothing else is checked",
            [0xff; 16 * 1024 + 1].to_vec(),
            "01",
        ),
        ("white space counts", padded.into_bytes(), "01"),
        (
            "exactly 16 KB of invalid text is checked as text",
            vec![b'x'; 16 * 1024],
            "05",
        ),
        ("not UTF-8", vec![b'{', 0xff, b'}'], "04"),
        ("not JSON", b"policy".to_vec(), "05"),
        (
            "a byte order mark",
            [b"\xef\xbb\xbf", policy(&statement("")).as_bytes()].concat(),
            "05",
        ),
        ("a list", b"[]".to_vec(), "05"),
        ("no statements", policy("").into_bytes(), "05"),
        (
            "Statement is not a list",
            br#"{"Version":"1","Statement":{}}"#.to_vec(),
            "05",
        ),
        (
            "Version is a number",
            policy(&statement("")).replace("\"1\"", "1").into_bytes(),
            "05",
        ),
        (
            "another Version",
            policy(&statement("")).replace("\"1\"", "\"2\"").into_bytes(),
            "02",
        ),
        (
            "no Version",
            policy(&statement(""))
                .replace("\"Version\":\"1\",", "")
                .into_bytes(),
            "02",
        ),
        (
            "grammar before Version",
            br#"{"Version":"2","Statement":[{}]}"#.to_vec(),
            "05",
        ),
        (
            "Effect in lower case",
            policy(&statement("")).replace("Allow", "allow").into_bytes(),
            "05",
        ),
        (
            "no Action",
            policy(r#"{"Effect":"Deny","Principal":["1"],"Resource":"*"}"#).into_bytes(),
            "05",
        ),
        (
            "an empty Resource",
            policy(&statement(""))
                .replace(r#"["acs:oss:*:1:b/*"]"#, "[]")
                .into_bytes(),
            "05",
        ),
        (
            "the principal form of RAM",
            policy(&statement(""))
                .replace(r#"["274"]"#, r#"{"RAM":[]}"#)
                .into_bytes(),
            "05",
        ),
        (
            "an unknown operator",
            policy(&statement(r#","Condition":{"Maybe":{"a":"b"}}"#)).into_bytes(),
            "05",
        ),
        (
            "a field too long",
            policy(&statement("").replace("oss:GetObject", &long)).into_bytes(),
            "03",
        ),
        (
            "length before asterisks",
            policy(&statement("").replace("274", &format!("{long}**"))).into_bytes(),
            "03",
        ),
        (
            "two asterisks",
            policy(&statement("").replace("b/*", "b/**")).into_bytes(),
            "07",
        ),
        (
            "SourceIp without SourceVpc",
            policy(&source_ip).into_bytes(),
            "refused",
        ),
        ("fine", policy(&statement("")).into_bytes(), "accepted"),
        (
            "no Principal",
            policy(&statement(""))
                .replace(r#""Principal":["274"],"#, "")
                .into_bytes(),
            "accepted",
        ),
        (
            "an unknown member",
            policy(&statement(r#","Sid":"a""#)).into_bytes(),
            "accepted",
        ),
        (
            "an action of another product",
            policy(&statement(""))
                .replace("oss:GetObject", "ram:PassRole")
                .into_bytes(),
            "accepted",
        ),
    ];
    for (name, body, expected) in table {
        assert_eq!(verdict(&body), expected, "{name}");
    }
}

#[test]
fn publicity() {
    use SessionWildcard::{Fixed, Public};
    let role = r#"["arn:sts::1:assumed-role/R/*"]"#;
    let with = |principal: &str, extra: &str| policy(&statement(extra).replace(r#"["274"]"#, principal));
    let condition = |operator: &str, key: &str, value: &str| {
        with(
            r#"["*"]"#,
            &format!(r#","Condition":{{"{operator}":{{"{key}":["{value}"]}}}}"#),
        )
    };
    let deny = with(r#"["*"]"#, "").replace("Allow", "Deny");
    for (name, body, fixed, public) in [
        ("a UID", with(r#"["274"]"#, ""), false, false),
        ("everyone", with(r#"["*"]"#, ""), true, true),
        ("an empty list means everyone", with("[]", ""), true, true),
        ("a UID and everyone", with(r#"["274","*"]"#, ""), true, true),
        ("any session of a role", with(role, ""), false, true),
        (
            "any session of any role",
            with(r#"["arn:sts::1:assumed-role/*/*"]"#, ""),
            true,
            true,
        ),
        (
            "any account",
            with(r#"["arn:sts::*:assumed-role/R/*"]"#, ""),
            true,
            true,
        ),
        (
            "part of a session",
            with(r#"["arn:sts::1:assumed-role/R/imm-*"]"#, ""),
            true,
            true,
        ),
        ("denying everyone", deny, false, false),
        (
            "a fixed network",
            condition("StringEquals", "acs:SourceVpc", "vpc-1"),
            false,
            false,
        ),
        (
            "any network",
            condition("StringLike", "acs:SourceVpc", "vpc-*"),
            true,
            true,
        ),
        (
            "every network but one",
            condition("StringNotEquals", "acs:SourceVpc", "vpc-1"),
            true,
            true,
        ),
        (
            "a large range",
            condition("IpAddress", "acs:SourceIp", "10.0.0.0/8"),
            false,
            false,
        ),
        (
            "half the world",
            condition("IpAddress", "acs:SourceIp", "128.0.0.0/1"),
            true,
            true,
        ),
        (
            "an IPv6 range",
            condition("IpAddress", "acs:SourceIp", "2001:db8::/32"),
            false,
            false,
        ),
        (
            "too large an IPv6 range",
            condition("IpAddress", "acs:SourceIp", "2001::/16"),
            true,
            true,
        ),
        (
            "another key",
            condition("StringEquals", "acs:UserAgent", "curl"),
            true,
            true,
        ),
    ] {
        let document = Document::from_bytes(body.as_bytes()).expect(name);
        assert_eq!(
            (is_public(&document, Fixed), is_public(&document, Public)),
            (fixed, public),
            "{name}"
        );
    }
}
