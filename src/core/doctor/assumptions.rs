//! The assumptions of Alibaba Cloud's documentation that were seen to be wrong. What was not asked is not listed.

use serde::Serialize;

use super::limits::LimitsFindings;
use super::limits::checks::{described, rate};
use super::probe::findings::{ProbeFindings, RevocationLag};
use super::probe::step::LimitCase;
use super::{
    AccessLogFacts, ConditionFindings, DenyFindings, Facts, FormsFindings, ListedKeys, QuestionFacts,
    SessionDates, SignatureAnswers,
};
use crate::core::text::counted;

/// Time from which a change counts as delayed: the shortest pause after a call that did not show it yet.
const DELAY_MILLIS: u64 = 2000;

/// Page on Block Public Access.
const BLOCK_PAGE: &str = "OSS: Block Public Access";
/// Page with the policy for IMM.
const PROCEDURE: &str = "IMM: cross-account access";
/// Pages on bucket policies.
const POLICY_PAGE: &str = "OSS: bucket policy";
/// Pages on the errors of OSS.
const ERRORS_PAGE: &str = "OSS: error codes";
/// Page on listing objects.
const LIST_PAGE: &str = "OSS: ListObjectsV2";
/// Page on the signature of IMM and STS.
const SIGNATURE_PAGE: &str = "OpenAPI: signature V3";
/// Page on the signature of OSS.
const OSS_SIGNATURE_PAGE: &str = "OSS: signature V4";
/// Page on sessions.
const SESSION_PAGE: &str = "STS: AssumeRole";
/// Pages on the calls of IMM.
const IMM_PAGE: &str = "IMM: API reference";

/// An assumption that was seen to be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongAssumption {
    /// What the documentation says, or what follows from it.
    pub assumption: String,
    /// Where it says so.
    pub source: &'static str,
    /// What was seen.
    pub seen: String,
}

fn wrong(source: &'static str, assumption: &str, seen: impl Into<String>) -> WrongAssumption {
    WrongAssumption {
        assumption: assumption.to_owned(),
        source,
        seen: seen.into(),
    }
}

/// Returns all assumptions that were seen to be wrong.
pub(super) fn wrong_assumptions(facts: &Facts) -> Vec<WrongAssumption> {
    let mut found = Vec::new();
    if let Some(probe) = &facts.probe {
        found.extend(about_principals(&probe.findings));
        found.extend(about_pass_role(&probe.findings));
        found.extend(about_delays(&probe.findings));
        found.extend(probe.findings.deny.iter().flat_map(about_deny));
    }
    found.extend(facts.access_log.iter().filter_map(about_spelling));
    found.extend(about_questions(&facts.questions));
    if let Some(limits) = &facts.limits {
        found.extend(about_limits(&limits.findings));
    }
    if let Some(ways) = &facts.ways {
        found.extend(ways.findings.conditions.as_ref().and_then(about_conditions));
    }
    if let Some(forms) = &facts.forms {
        found.extend(about_forms(&forms.findings));
    }
    found
}

fn about_principals(found: &ProbeFindings) -> Vec<WrongAssumption> {
    let mut list = Vec::new();
    // The two pages contradict each other, so one of them is wrong.
    match found.session_wildcard_is_public {
        Some(true) => list.push(wrong(
            PROCEDURE,
            "Block Public Access accepts the policy of the procedure",
            "OSS counts the * for the sessions of a role as public",
        )),
        Some(false) => list.push(wrong(
            BLOCK_PAGE,
            "every principal with a * is public",
            "OSS does not count the * for the sessions of a role as public",
        )),
        None => {}
    }
    let lower = found
        .works
        .as_ref()
        .filter(|works| !works.role_name.chars().any(char::is_uppercase));
    let denied = found.denied.iter().find(|denied| {
        lower.is_some_and(|works| {
            works.principal == denied.principal && works.role_name.eq_ignore_ascii_case(&denied.role_name)
        })
    });
    if let (Some(works), Some(denied)) = (lower, denied) {
        list.push(wrong(
            PROCEDURE,
            "the role is spelled in the policy as in RAM",
            format!(
                "access was denied with {} and given with {}",
                denied.role_name, works.role_name
            ),
        ));
    }
    list
}

fn about_pass_role(found: &ProbeFindings) -> Vec<WrongAssumption> {
    let mut list = Vec::new();
    let asked = found.pass_role.as_ref();
    let needed = asked.and_then(|asked| asked.is_needed);
    if found.works.is_some() && needed != Some(true) {
        list.push(wrong(
            PROCEDURE,
            "the policy needs a statement with ram:PassRole",
            "an image was scored without it",
        ));
    }
    if asked.is_some_and(|asked| asked.is_public == Some(false)) {
        list.push(wrong(
            BLOCK_PAGE,
            "a statement with an empty Principal is public",
            "OSS does not count the ram:PassRole statement as public",
        ));
    }
    if let Some(code) = asked.and_then(|asked| asked.rejected_with.as_ref()) {
        list.push(wrong(
            PROCEDURE,
            "OSS accepts the ram:PassRole statement",
            format!("OSS rejected it ({code})"),
        ));
    }
    list
}

/// The documentation of RAM compares actions without their case and knows `?`; that of OSS says neither.
fn about_deny(found: &DenyFindings) -> Vec<WrongAssumption> {
    let ignored = found.ignored.iter().map(|spelling| {
        let assumption = if spelling.contains('?') {
            "a ? in the action of a Deny stands for any character"
        } else {
            "the action of a Deny is compared without its case"
        };
        let seen = format!("the image was scored four minutes after a Deny of {spelling} was written");
        wrong(POLICY_PAGE, assumption, seen)
    });
    ignored.collect()
}

fn about_delays(found: &ProbeFindings) -> Vec<WrongAssumption> {
    let mut list = Vec::new();
    let seconds = |millis: u64| format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    if let Some(millis) = found.lag_millis.filter(|millis| *millis >= DELAY_MILLIS) {
        list.push(wrong(
            POLICY_PAGE,
            "a policy takes effect at once, as no page names a delay",
            format!("access was denied until {} after the write", seconds(millis)),
        ));
    }
    let outlasted = match found.revocation {
        Some(RevocationLag::Millis(millis)) if millis >= DELAY_MILLIS => {
            format!("access ended {} after the removal", seconds(millis))
        }
        Some(RevocationLag::LongerThan(millis)) if millis >= DELAY_MILLIS => {
            format!("the image was still scored {} after the removal", seconds(millis))
        }
        Some(RevocationLag::Millis(_) | RevocationLag::LongerThan(_)) | None => return list,
    };
    list.push(wrong(
        POLICY_PAGE,
        "access ends at once when a statement is removed, as no page names a delay",
        outlasted,
    ));
    list
}

fn about_spelling(facts: &AccessLogFacts) -> Option<WrongAssumption> {
    let spelling = facts.log.spelling().filter(|spelling| **spelling != facts.role)?;
    Some(wrong(
        PROCEDURE,
        "the role is spelled in the policy as in RAM",
        format!("OSS logs {} as {spelling}", facts.role),
    ))
}

fn about_questions(asked: &QuestionFacts) -> Vec<WrongAssumption> {
    let mut list = Vec::new();
    let account = asked.other_account.as_ref();
    if account.and_then(super::OtherAccount::is_hidden) == Some(true) {
        list.push(wrong(
            ERRORS_PAGE,
            "NoSuchBucket says that a bucket does not exist",
            "OSS answers so to another account about a bucket that exists",
        ));
    }
    let region = asked.other_region.as_ref();
    if let Some(head) = region.and_then(super::OtherRegion::unrecognized) {
        list.push(wrong(
            ERRORS_PAGE,
            "an error of another region's host says that the region is wrong",
            head.describe(),
        ));
    }
    if let Some(ListedKeys::Compared(found)) = &asked.listed_keys
        && found.differing > 0
    {
        list.push(wrong(
            LIST_PAGE,
            "encoding-type=url encodes each key once",
            format!(
                "of {} with special characters, a plain listing shows {} differently",
                counted(found.special, "key"),
                found.differing
            ),
        ));
    }
    list.extend(asked.signatures.iter().flat_map(about_signatures));
    list.extend(asked.session_dates.iter().filter_map(about_session));
    list
}

/// The page lists such a range among what makes a statement non-public.
fn about_conditions(found: &ConditionFindings) -> Option<WrongAssumption> {
    (found.is_public == Some(true)).then(|| {
        wrong(
            BLOCK_PAGE,
            "a condition on acs:SourceIp with ranges of at least /8 makes a statement non-public",
            "OSS counts it as public",
        )
    })
}

fn about_signatures(asked: &SignatureAnswers) -> Vec<WrongAssumption> {
    let tolerance = asked.other_tolerance().map(|seen| {
        wrong(
            SIGNATURE_PAGE,
            "the date of a call may be up to 15 minutes off",
            seen,
        )
    });
    let nonce = asked.accepts_nonce_again() == Some(true);
    let nonce = nonce.then(|| {
        wrong(
            SIGNATURE_PAGE,
            "a nonce is accepted once",
            "IMM answered the same call twice",
        )
    });
    let refusals = asked.unrecognized().into_iter().map(|seen| {
        wrong(
            SIGNATURE_PAGE,
            "the error of a wrong key names the credentials",
            seen,
        )
    });
    tolerance.into_iter().chain(nonce).chain(refusals).collect()
}

fn about_session(asked: &SessionDates) -> Option<WrongAssumption> {
    if asked.is_valid_before() == Some(false) {
        return Some(wrong(
            SESSION_PAGE,
            "a session serves calls that are dated before it was issued",
            "OSS refused one dated ten minutes before",
        ));
    }
    let other = asked.has_documented_limit() == Some(false);
    other.then(|| {
        wrong(
            OSS_SIGNATURE_PAGE,
            "the date of a call may be up to 15 minutes off, and no more",
            asked.check().seen,
        )
    })
}

fn about_forms(found: &FormsFindings) -> Vec<WrongAssumption> {
    let differs = found.answers.iter().filter_map(|(form, answer)| {
        let (assumption, is_accepted) = form.documented()?;
        let (_, what) = form.described();
        let seen = if answer.is_accepted {
            format!("OSS accepted {what}")
        } else {
            format!("OSS refused {what} with {}", answer.answer)
        };
        (answer.is_accepted != is_accepted).then(|| wrong(POLICY_PAGE, assumption, seen))
    });
    differs.collect()
}

fn about_limits(found: &LimitsFindings) -> Vec<WrongAssumption> {
    let unknown = found.answers.iter().filter(|answer| {
        let is_documented = !matches!(answer.case, LimitCase::Image | LimitCase::Object(_));
        is_documented && !answer.is_known
    });
    let mut list: Vec<WrongAssumption> = unknown
        .map(|answer| {
            let (_, what) = described(&answer.case);
            WrongAssumption {
                assumption: format!("the documented code names {what}"),
                source: IMM_PAGE,
                seen: answer.answer.clone(),
            }
        })
        .collect();
    if let Some(burst) = &found.burst {
        let sent = format!(
            "of {} in 2 s at a limit of {}",
            counted(burst.sent, "call"),
            rate(found.limit)
        );
        if burst.failed > 0 {
            let with = burst.failed_with.clone().unwrap_or_default();
            list.push(wrong(
                IMM_PAGE,
                "calls above the limit of a project fail with a code of throttling",
                format!("{} {sent} failed with {with}", burst.failed),
            ));
        } else if burst.throttled == 0 {
            list.push(wrong(
                IMM_PAGE,
                "IMM enforces the limit of a project",
                format!("none {sent} was throttled"),
            ));
        }
    }
    list
}
