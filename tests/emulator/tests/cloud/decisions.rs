//! Policy decisions: principals, actions, resources, conditions, and the precedence of Deny.
//! Each table row has a statement, a caller and the expected decision.

use imm_emulator::policy::{Access, Context, Decision, Document, PrincipalReading, Subject, decide};

const ROLE: &str = "arn:sts::1:assumed-role/AliyunIMMDefaultRole/imm-abc";

fn document(statements: &str) -> Document {
    Document::from_bytes(format!(r#"{{"Version":"1","Statement":[{statements}]}}"#).as_bytes()).unwrap()
}

fn statement(effect: &str, principal: &str, action: &str, resource: &str, condition: &str) -> String {
    let condition = if condition.is_empty() {
        String::new()
    } else {
        format!(r#","Condition":{condition}"#)
    };
    format!(
        r#"{{"Effect":"{effect}","Principal":{principal},"Action":{action},"Resource":{resource}{condition}}}"#
    )
}

fn said(document: &Document, subject: &Subject, context: &Context) -> Decision {
    read_as(document, subject, context, PrincipalReading::default())
}

fn read_as(document: &Document, subject: &Subject, context: &Context, reading: PrincipalReading) -> Decision {
    let resources = [
        "acs:oss:cn-hangzhou:2:bucket/dir/a.jpg".to_owned(),
        "acs:oss:oss-cn-hangzhou:2:bucket/dir/a.jpg".to_owned(),
    ];
    decide(
        document,
        &Access {
            subject,
            action: "oss:GetObject",
            resources: &resources,
            context,
            reading,
        },
    )
}

fn session(arn: &str) -> Subject {
    Subject::Session { arn: arn.to_owned() }
}

fn user(uid: &str, owner: bool) -> Subject {
    Subject::User {
        uid: uid.to_owned(),
        owner,
    }
}

#[test]
fn principals_match_as_documented() {
    use Decision::{Allowed, NotMentioned};
    let role = session(ROLE);
    for (principal, subject, expected) in [
        (
            r#"["arn:sts::1:assumed-role/AliyunIMMDefaultRole/*"]"#,
            &role,
            Allowed,
        ),
        (
            r#""arn:sts::1:assumed-role/AliyunIMMDefaultRole/*""#,
            &role,
            Allowed,
        ),
        (
            r#"["arn:sts::1:assumed-role/AliyunIMMDefaultRole/imm-abc"]"#,
            &role,
            Allowed,
        ),
        (
            r#"["arn:sts::1:assumed-role/AliyunIMMDefaultRole/other"]"#,
            &role,
            NotMentioned,
        ),
        (
            r#"["arn:sts::1:assumed-role/aliyunimmdefaultrole/*"]"#,
            &role,
            NotMentioned,
        ),
        (
            r#"["arn:sts::3:assumed-role/AliyunIMMDefaultRole/*"]"#,
            &role,
            NotMentioned,
        ),
        (r#"["arn:sts::1:assumed-role/*"]"#, &role, NotMentioned),
        (r#"["arn:sts::*:*/*/*"]"#, &role, Allowed),
        (r#"["1"]"#, &role, NotMentioned),
        (r#"["1"]"#, &user("1", false), Allowed),
        (r#"["1","3"]"#, &user("3", false), Allowed),
        (r#"["*"]"#, &role, Allowed),
        ("[]", &role, Allowed),
        (r#"["*"]"#, &Subject::Anonymous, Allowed),
        (r#"["1"]"#, &Subject::Anonymous, NotMentioned),
        (r#"["*"]"#, &user("2", true), NotMentioned),
        (r#"["2"]"#, &user("2", true), Allowed),
    ] {
        let document = document(&statement("Allow", principal, r#""oss:*""#, r#""*""#, ""));
        assert_eq!(
            said(&document, subject, &Context::new()),
            expected,
            "{principal} for {subject:?}"
        );
    }
}

#[test]
fn what_is_not_documented_of_principals_is_a_switch() {
    let role = session(ROLE);
    let closed = PrincipalReading::default();
    let (account, case) = (
        PrincipalReading {
            account_covers_sessions: true,
            ..closed
        },
        PrincipalReading {
            role_case_is_ignored: true,
            ..closed
        },
    );
    for (principal, reading, expected) in [
        ("1", closed, Decision::NotMentioned),
        ("1", account, Decision::Allowed),
        ("2", account, Decision::NotMentioned),
        (
            "arn:sts::1:assumed-role/aliyunimmdefaultrole/*",
            closed,
            Decision::NotMentioned,
        ),
        (
            "arn:sts::1:assumed-role/aliyunimmdefaultrole/*",
            case,
            Decision::Allowed,
        ),
    ] {
        let document = document(&statement(
            "Allow",
            &format!("[\"{principal}\"]"),
            r#""oss:*""#,
            r#""*""#,
            "",
        ));
        let found = read_as(&document, &role, &Context::new(), reading);
        assert_eq!(found, expected, "{principal} {reading:?}");
    }
}

#[test]
fn actions_and_resources_match_as_documented() {
    use Decision::{Allowed, NotMentioned};
    for (action, resource, expected) in [
        (r#"["oss:GetObject"]"#, r#"["acs:oss:*:2:bucket/*"]"#, Allowed),
        (r#""oss:Get*""#, r#""acs:oss:*:*:bucket/dir/?.jpg""#, Allowed),
        (
            r#""oss:getobject""#,
            r#""acs:oss:oss-cn-hangzhou:2:bucket/*""#,
            Allowed,
        ),
        (r#""OSS:GETOBJECT""#, r#""*""#, Allowed),
        (r#""oss:Get?bject""#, r#""*""#, Allowed),
        (r#""oss:GetObjectAcl""#, r#""*""#, NotMentioned),
        (r#""oss:*""#, r#""acs:oss:*:2:bucket""#, NotMentioned),
        (r#""oss:*""#, r#""acs:oss:*:2:bucket/other/*""#, NotMentioned),
        (r#""oss:*""#, r#""acs:oss:cn-shanghai:2:bucket/*""#, NotMentioned),
        (r#""oss:*""#, r#""acs:oss:*:9:bucket/*""#, NotMentioned),
        (r#""ram:PassRole""#, r#""*""#, NotMentioned),
    ] {
        let document = document(&statement("Allow", r#"["*"]"#, action, resource, ""));
        assert_eq!(
            said(&document, &session(ROLE), &Context::new()),
            expected,
            "{action} on {resource}"
        );
    }
}

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let allow = statement("Allow", r#"["*"]"#, r#""oss:*""#, r#""*""#, "");
    let deny = statement("Deny", r#"["*"]"#, r#""oss:GetObject""#, r#""*""#, "");
    for statements in [format!("{allow},{deny}"), format!("{deny},{allow}"), deny.clone()] {
        assert_eq!(
            said(&document(&statements), &session(ROLE), &Context::new()),
            Decision::Denied
        );
    }
    // A wildcard Deny does not apply to the owner, unless it has a condition: then it can lock the owner out.
    assert_eq!(
        said(&document(&deny), &user("2", true), &Context::new()),
        Decision::NotMentioned
    );
    let condition = r#"{"NotIpAddress":{"acs:SourceIp":["10.0.0.0/8"]}}"#;
    let locked = document(&statement("Deny", r#"["*"]"#, r#""oss:*""#, r#""*""#, condition));
    assert_eq!(said(&locked, &user("2", true), &Context::new()), Decision::Denied);
}

#[test]
fn conditions() {
    let facts = [
        ("acs:SourceIp", "10.1.2.3"),
        ("acs:UserAgent", "curl/8"),
        ("acs:SecureTransport", "false"),
        ("acs:CurrentTime", "2026-06-01T00:00:00Z"),
        ("oss:Size", "42"),
    ];
    let context: Context = facts
        .iter()
        .map(|(key, fact)| ((*key).to_owned(), (*fact).to_owned()))
        .collect();
    for (condition, holds) in [
        (r#"{"StringEquals":{"acs:UserAgent":"curl/8"}}"#, true),
        (r#"{"StringEquals":{"acs:useragent":["wget","curl/8"]}}"#, true),
        (r#"{"StringEquals":{"acs:UserAgent":"CURL/8"}}"#, false),
        (r#"{"StringEqualsIgnoreCase":{"acs:UserAgent":"CURL/8"}}"#, true),
        (
            r#"{"StringNotEquals":{"acs:UserAgent":["wget","curl/8"]}}"#,
            false,
        ),
        (r#"{"StringNotEquals":{"acs:UserAgent":"wget"}}"#, true),
        (r#"{"StringLike":{"acs:UserAgent":"curl/*"}}"#, true),
        (r#"{"StringNotLike":{"acs:UserAgent":"curl/*"}}"#, false),
        (
            r#"{"IpAddress":{"acs:SourceIp":["192.168.0.0/16","10.0.0.0/8"]}}"#,
            true,
        ),
        (r#"{"IpAddress":{"acs:SourceIp":"10.1.2.4"}}"#, false),
        (r#"{"IpAddress":{"acs:SourceIp":"0.0.0.0/0"}}"#, true),
        (r#"{"IpAddress":{"acs:SourceIp":"::/0"}}"#, false),
        (r#"{"NotIpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#, false),
        (r#"{"Bool":{"acs:SecureTransport":false}}"#, true),
        (r#"{"Bool":{"acs:SecureTransport":"true"}}"#, false),
        (r#"{"NumericLessThan":{"oss:Size":43}}"#, true),
        (r#"{"NumericGreaterThanEquals":{"oss:Size":"43"}}"#, false),
        (
            r#"{"DateLessThan":{"acs:CurrentTime":"2026-06-02T00:00:00Z"}}"#,
            true,
        ),
        (
            r#"{"DateGreaterThan":{"acs:CurrentTime":"2026-06-02T00:00:00Z"}}"#,
            false,
        ),
        (r#"{"StringEquals":{"acs:SourceVpc":"vpc-1"}}"#, false),
        (r#"{"StringNotEquals":{"acs:SourceVpc":"vpc-1"}}"#, true),
        (
            r#"{"StringEquals":{"acs:UserAgent":"curl/8","acs:SourceVpc":"vpc-1"}}"#,
            false,
        ),
        (
            r#"{"StringEquals":{"acs:UserAgent":"curl/8"},"Bool":{"acs:SecureTransport":"true"}}"#,
            false,
        ),
    ] {
        let document = document(&statement("Allow", r#"["*"]"#, r#""oss:*""#, r#""*""#, condition));
        let expected = if holds {
            Decision::Allowed
        } else {
            Decision::NotMentioned
        };
        assert_eq!(said(&document, &session(ROLE), &context), expected, "{condition}");
    }
}
