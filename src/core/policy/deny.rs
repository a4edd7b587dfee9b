//! Evaluates whether the Deny statements of a policy override a grant. Only what is certain counts as denied: a
//! statement without a Condition and without exceptions, whose principal covers all sessions of the service role. RAM
//! policies of either account are not visible here. Source of the grammar: OSS page "Policy syntax and elements".

use serde_json::{Map, Value};

use super::coverage::{Coverage, GrantedAccess, action_coverage, principal_coverage, resource_coverage};
use super::document::Document;
use super::statement::parse_strictly;
use super::wildcard::pattern_matches;

/// Maximum number of the patterns in [`Denies::objects`]: they are stored in the status.
pub const DENIED_PATTERNS: usize = 16;

/// The elements of a statement.
const ELEMENTS: [&str; 8] = [
    "Effect",
    "Action",
    "NotAction",
    "Principal",
    "NotPrincipal",
    "Resource",
    "NotResource",
    "Condition",
];

/// Effect of the Deny statements of a document on a grant, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenyVerdict {
    /// No Deny covers the grant.
    NoDeny,
    /// A Deny may cover the grant and uses elements that are not evaluated.
    NotEvaluated,
    /// A Deny with a condition may cover the grant.
    ConditionalDeny,
    /// A Deny covers a part of the objects or of the sessions.
    PartialDeny,
    /// A Deny certainly covers every object and every session.
    ExplicitDeny,
}

/// The Deny statements of a document, as far as they concern a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denies {
    /// The most severe verdict.
    pub verdict: DenyVerdict,
    /// Patterns `BUCKET/KEY` of the objects that are certainly denied, with verdict `PartialDeny`. Not all of them, if
    /// there are too many: the others count as not denied.
    pub objects: Vec<String>,
    /// Whether Alibaba Cloud has written a statement with this verdict.
    pub by_alibaba_cloud: bool,
}

/// What Alibaba Cloud writes into the Deny statements that it adds to a policy on its own, for example after an abuse
/// report.
pub const SECURITY_DENY: &str = "Created by Alibaba Cloud Security";

/// Evaluates all Deny statements of a document.
pub fn evaluate_denies(document: Option<&Document>, given: &GrantedAccess<'_>) -> Denies {
    let mut denies = Denies {
        verdict: DenyVerdict::NoDeny,
        objects: Vec::new(),
        by_alibaba_cloud: false,
    };
    let mut covered = vec![false; given.paths.len()];
    let statements = document.map_or(&[][..], Document::statements);
    for text in statements.iter().filter_map(|s| document.map(|d| d.text_of(s))) {
        let verdict = evaluate(text, given, &mut covered, &mut denies.objects);
        if verdict != DenyVerdict::NoDeny && verdict >= denies.verdict {
            let same = verdict == denies.verdict && denies.by_alibaba_cloud;
            denies.by_alibaba_cloud = same || text.contains(SECURITY_DENY);
            denies.verdict = verdict;
        }
    }
    // Several statements can deny all paths together.
    if !covered.is_empty() && covered.iter().all(|path| *path) {
        denies.verdict = DenyVerdict::ExplicitDeny;
    }
    if denies.verdict != DenyVerdict::PartialDeny {
        denies.objects.clear();
    }
    denies.objects.sort_unstable();
    denies.objects.dedup();
    denies.objects.truncate(DENIED_PATTERNS);
    denies
}

/// Returns `true` if one of the patterns of [`Denies::objects`] matches the URI of an object.
pub fn is_denied(patterns: &[String], uri: &str) -> bool {
    let path = uri.strip_prefix("oss://");
    path.is_some_and(|path| patterns.iter().any(|pattern| pattern_matches(pattern, path)))
}

/// Evaluates one statement. Adds what it certainly denies to `covered` (by path) and `objects`.
fn evaluate(
    text: &str,
    given: &GrantedAccess<'_>,
    covered: &mut [bool],
    objects: &mut Vec<String>,
) -> DenyVerdict {
    let statement = match parse_strictly(text) {
        Some(Value::Object(statement)) if !has_unclear_member(&statement) => statement,
        _ => return unclear_verdict(text),
    };
    match statement.get("Effect").and_then(Value::as_str) {
        Some(effect) if effect.eq_ignore_ascii_case("Deny") => {}
        Some(effect) if effect.eq_ignore_ascii_case("Allow") => return DenyVerdict::NoDeny,
        Some(_) | None => return unclear_verdict(text),
    }
    let action = action_coverage(&statement);
    let principal = principal_coverage(&statement, given);
    let (resource, paths, patterns) = resource_coverage(&statement, given);
    let least = action.min(principal).min(resource);
    match least {
        Coverage::None => return DenyVerdict::NoDeny,
        _ if statement.contains_key("Condition") => return DenyVerdict::ConditionalDeny,
        Coverage::Unknown => return DenyVerdict::NotEvaluated,
        Coverage::Part | Coverage::All => {}
    }
    if principal == Coverage::All {
        covered.iter_mut().zip(&paths).for_each(|(all, one)| *all |= one);
        objects.extend(patterns);
    }
    if least == Coverage::All {
        DenyVerdict::ExplicitDeny
    } else {
        DenyVerdict::PartialDeny
    }
}

/// The verdict about a statement with a duplicate member or in a spelling of its own, which OSS may read as a Deny.
fn unclear_verdict(text: &str) -> DenyVerdict {
    let escapes = text.contains("\\u");
    if escapes || text.to_ascii_lowercase().contains("deny") {
        DenyVerdict::NotEvaluated
    } else {
        DenyVerdict::NoDeny
    }
}

/// Whether a member differs from an element only in case: OSS may read it as that element, or ignore it.
fn has_unclear_member(statement: &Map<String, Value>) -> bool {
    let unclear = |name: &String| {
        let mut elements = ELEMENTS.iter();
        elements.any(|element| name != element && name.eq_ignore_ascii_case(element))
    };
    statement.keys().any(unclear)
}

#[cfg(test)]
mod tests {
    use super::DenyVerdict::{ConditionalDeny, ExplicitDeny, NoDeny, NotEvaluated, PartialDeny};
    use super::*;

    const ROLE: &str = "arn:sts::1234:assumed-role/R/*";

    fn denies(paths: &[&str], statements: &[String]) -> Denies {
        denies_for(ROLE, paths, statements)
    }

    fn denies_for(readers: &str, paths: &[&str], statements: &[String]) -> Denies {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let given = GrantedAccess {
            readers,
            account_uid: "1234",
            owner_uid: "6543",
            paths: &paths,
        };
        let text = format!(r#"{{"Statement":[{}]}}"#, statements.join(","));
        let document = Document::parse(text.as_bytes()).unwrap();
        evaluate_denies(Some(&document), &given)
    }

    fn deny(rest: &str) -> String {
        format!(r#"{{"Effect":"Deny",{rest}}}"#)
    }

    #[test]
    fn a_deny_is_explicit_only_if_it_certainly_covers_the_whole_grant() {
        let everything = r#""Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:pics/*"]"#;
        let by = |principal: &str| format!(r#""Action":"oss:*","Principal":[{principal}],"Resource":"*""#);
        let of = |resource: &str| format!(r#""Action":"oss:*","Principal":["*"],"Resource":"{resource}""#);
        let action = |action: &str| format!(r#""Action":{action},"Principal":["*"],"Resource":"*""#);
        for (rest, expected) in [
            (everything.to_owned(), ExplicitDeny),
            (format!(r#"{everything},"Condition":{{}}"#), ConditionalDeny),
            // Principals.
            (
                r#""Action":"oss:*","NotPrincipal":["1"],"Resource":"*""#.to_owned(),
                NotEvaluated,
            ),
            (
                r#""Action":["oss:GetObject"],"Resource":"*""#.to_owned(),
                ExplicitDeny,
            ),
            (by(""), ExplicitDeny),
            (by(&format!(r#""{ROLE}""#)), ExplicitDeny),
            (by(r#""arn:sts::*:assumed-role/*/*""#), ExplicitDeny),
            (by(r#""arn:sts::1234:assumed-role/*""#), PartialDeny),
            (by(r#""arn:sts::1234:assumed-role/R/one""#), PartialDeny),
            (by(r#""arn:sts::1234:assumed-role/R/on?""#), NotEvaluated),
            (by(r#""arn:sts::1234:assumed-role/S/*""#), NoDeny),
            (by(r#""arn:sts::1234:assumed-role/r/*""#), NotEvaluated),
            (by(r#""arn:sts::1234:assumed-role/s/*""#), NoDeny),
            (by(r#""1234""#), NotEvaluated),
            (by(r#""999""#), NoDeny),
            (by(r#""999","*""#), ExplicitDeny),
            (by("7"), NotEvaluated),
            // Actions.
            (action(r#""*""#), ExplicitDeny),
            (action(r#"["oss:getobject"]"#), ExplicitDeny),
            (action(r#"["OSS:GET*"]"#), ExplicitDeny),
            (action(r#"["oss:GetObjec?"]"#), NotEvaluated),
            (action(r#"["oss:PutObject"]"#), NoDeny),
            (action(r#"["oss:PutObjec?"]"#), NoDeny),
            (action("{}"), NotEvaluated),
            (
                r#""NotAction":["oss:Put*"],"Principal":"*","Resource":"*""#.to_owned(),
                NotEvaluated,
            ),
            (
                r#""NotAction":["oss:get*"],"Principal":"*","Resource":"*""#.to_owned(),
                NoDeny,
            ),
            (
                r#""Action":"oss:PutObject","NotPrincipal":["1"],"Resource":"*""#.to_owned(),
                NoDeny,
            ),
            // Resources.
            (of("*"), ExplicitDeny),
            (of("acs:oss:*:6543:pics/*"), ExplicitDeny),
            (of("acs:oss:*:6543:pics*"), ExplicitDeny),
            (of("acs:oss:*:999:pics/*"), NoDeny),
            (of("acs:oss:*:*:pics/p/*"), ExplicitDeny),
            (of("acs:oss:*:*:pics/p/private/*"), PartialDeny),
            (of("acs:oss:*:*:pics/*.jpg"), PartialDeny),
            (of("acs:oss:*:*:pics/q/*"), NoDeny),
            (of("acs:oss:*:*:pics"), NoDeny),
            (of("acs:oss:oss-cn-hangzhou:*:pics/*"), NotEvaluated),
            (of("acs:oss:*:*:pics/?/*"), NotEvaluated),
            (of("acs:oss:*:*:${name}/*"), NotEvaluated),
            (of("acs:oss:*:*:pics/q/?/*"), NoDeny),
            (of("acs:oss:*"), NotEvaluated),
            (
                r#""Action":"oss:*","Principal":"*","NotResource":"x""#.to_owned(),
                NotEvaluated,
            ),
            (r#""Action":"oss:*","Principal":"*""#.to_owned(), NotEvaluated),
            // Spellings that OSS may read in another way.
            (format!(r#""Effect":"Allow",{everything}"#), NotEvaluated),
            (format!(r#"{everything},"condition":{{}}"#), NotEvaluated),
            (
                r#""Action":"oss:PutObject","action":"*","Principal":"*","Resource":"*""#.to_owned(),
                NotEvaluated,
            ),
        ] {
            assert_eq!(denies(&["pics/p/"], &[deny(&rest)]).verdict, expected, "{rest}");
        }
        let all = r#""Action":"*","Principal":"*","Resource":"*""#;
        for (effect, expected) in [
            (r#""Effect":"DENY""#, ExplicitDeny),
            (r#""Effect":"Den\u0079""#, ExplicitDeny),
            (r#""Effect":["Deny"]"#, NotEvaluated),
            (r#""Effect":"Deny ""#, NotEvaluated),
            (r#""effect":"Deny""#, NotEvaluated),
            (r#""Effect":"Allow","Effect":"Den\u0079""#, NotEvaluated),
            (r#""Effect":"ALLOW""#, NoDeny),
        ] {
            let statement = format!("{{{effect},{all}}}");
            assert_eq!(denies(&["pics/p/"], &[statement]).verdict, expected, "{effect}");
        }
        let allow = r#"{"Effect":"Allow","Action":"*","Principal":"*","Resource":"*"}"#.to_owned();
        let named = allow.replace('}', r#","Sid":"Exception to the Deny"}"#);
        assert_eq!(
            denies(&["pics/"], &[allow, named, "7".to_owned()]).verdict,
            NoDeny
        );
    }

    #[test]
    fn the_objects_of_a_partial_deny_are_known_only_if_all_sessions_are_denied() {
        let private = |principal: &str| {
            deny(&format!(
                r#""Action":"*","Principal":["{principal}"],"Resource":["acs:oss:*:*:pics/private/*","acs:oss:*:*:other/*"]"#
            ))
        };
        let found = denies(&["pics/"], &[private("*")]);
        assert_eq!((found.verdict, found.objects.len()), (PartialDeny, 1));
        for (uri, expected) in [
            ("oss://pics/private/a.jpg", true),
            ("oss://pics/a.jpg", false),
            ("oss://pics/privat", false),
            ("oss://other/a.jpg", false),
            ("no uri", false),
        ] {
            assert_eq!(is_denied(&found.objects, uri), expected, "{uri}");
        }
        let one_session = private("arn:sts::1234:assumed-role/R/one");
        let found = denies(&["pics/"], &[one_session]);
        assert_eq!((found.verdict, found.objects.len()), (PartialDeny, 0));
    }

    #[test]
    fn a_deny_is_judged_for_the_one_session_that_reads() {
        let one = "arn:sts::1234:assumed-role/R/imm.one@x";
        for (session, expected) in [
            ("R/*", ExplicitDeny),
            ("R/imm.one@x", ExplicitDeny),
            ("R/imm*", ExplicitDeny),
            ("R/imm.two", NoDeny),
            ("r/imm.one@x", NotEvaluated),
            ("S/imm.one@x", NoDeny),
        ] {
            let statement = deny(&format!(
                r#""Action":"*","Principal":["arn:sts::1234:assumed-role/{session}"],"Resource":"*""#
            ));
            let found = denies_for(one, &["pics/"], &[statement]);
            assert_eq!(found.verdict, expected, "{session}");
        }
    }

    #[test]
    fn a_deny_by_alibaba_cloud_is_recognised_if_it_decides() {
        let everything = r#""Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:pics/*"]"#;
        let theirs = deny(&format!(
            r#""Sid":"{SECURITY_DENY}, do not modify this action",{everything}"#
        ));
        let part = deny(r#""Action":"*","Principal":"*","Resource":"acs:oss:*:*:pics/private/*""#);
        for (statements, expected) in [
            (vec![theirs.clone()], true),
            (vec![part.clone(), theirs.clone()], true),
            (vec![theirs.clone(), part], true),
            (vec![deny(everything)], false),
            (vec![theirs, deny(everything)], true),
        ] {
            assert_eq!(
                denies(&["pics/"], &statements).by_alibaba_cloud,
                expected,
                "{statements:?}"
            );
        }
    }

    #[test]
    fn several_denies_can_cover_a_grant_together() {
        let of = |prefix: &str| {
            deny(&format!(
                r#""Action":"*","Principal":["*"],"Resource":"acs:oss:*:*:pics/{prefix}*""#
            ))
        };
        let paths = ["pics/a/", "pics/b/"];
        assert_eq!(denies(&paths, &[of("a/")]).verdict, PartialDeny);
        assert_eq!(denies(&paths, &[of("a/"), of("b/")]).verdict, ExplicitDeny);
        let many: Vec<String> = (0..40).map(|n| of(&format!("a/{n}/"))).collect();
        assert_eq!(denies(&paths, &many).objects.len(), DENIED_PATTERNS);
    }
}
