//! Checks of the probe of the limits: one for each kind of answer, its price, and whether the policy is back.

use crate::api::FailureAction;
use crate::core::doctor::limits::{BurstAnswers, CaseAnswer, LimitsFindings};
use crate::core::doctor::probe::checks::{billed_check, restore_check, stopped_check};
use crate::core::doctor::probe::step::LimitCase;
use crate::core::doctor::{Check, LimitsFacts, Setting};
use crate::core::text::counted;

/// All checks of the limits.
pub(crate) fn limits_checks(limits: &LimitsFacts) -> Vec<Check> {
    let found = &limits.findings;
    let mut checks: Vec<Check> = found.answers.iter().map(answer_check).collect();
    let needs = |name, question, needed: Option<u32>| {
        let needed = needed?;
        Some(Check::warning(
            name,
            format!("not known: {question} takes more calls than --max-billed allows"),
            format!("run the probe again with --max-billed {needed} or more"),
        ))
    };
    let name = "limits-rate";
    checks.extend(found.burst.as_ref().map(|burst| {
        let at_limit = format!(" at a limit of {}", rate(found.limit));
        let change =
            "report this line in an issue; until then, set failureRules with action Retry for the code";
        burst_check(name, burst, " in 2 s", &at_limit, change)
    }));
    checks.extend(needs(
        name,
        "exceeding the limit of the project",
        found.burst_needs,
    ));
    let name = "limits-project-rate";
    checks.extend(found.project_burst.as_ref().map(|burst| {
        // The limit of GetProject is not documented.
        burst_check(
            name,
            burst,
            " of GetProject in 3 s",
            "",
            "report this line in an issue",
        )
    }));
    checks.extend(needs(name, "the question", found.project_burst_needs));
    checks.extend(stopped_check(found.stopped.as_ref()));
    checks.push(billed_check(found.billed));
    checks.push(restore_check(&limits.outcome, &limits.file));
    checks
}

/// The values that follow from the answers.
pub(crate) fn limits_settings(found: &LimitsFindings) -> Vec<Setting> {
    let mut settings = Vec::new();
    let unknown: Vec<&str> = found
        .answers
        .iter()
        .filter(|answer| matches!(answer.case, LimitCase::Object(_)) && !answer.is_known)
        .filter_map(|answer| answer.code.as_deref())
        .collect();
    if !unknown.is_empty() {
        settings.push(Setting {
            setting: "failureRules",
            value: format!("{:?} for {}", FailureAction::FailItem, unknown.join(", ")),
            confirmed: true,
            why: "IMM refused a single object with it, and a job whose first five calls are refused with it would fail".to_owned(),
        });
    }
    if let Some(burst) = &found.burst {
        settings.push(Setting {
            setting: "rate limit",
            value: rate(found.limit),
            confirmed: burst.throttled > 0,
            why: if burst.throttled > 0 {
                "the project reports it, and IMM throttled calls above it"
            } else {
                "the project reports it, and IMM did not throttle calls above it: the operator still keeps to it"
            }
            .to_owned(),
        });
    }
    settings
}

/// Name and meaning of a case.
pub(crate) fn described(case: &LimitCase) -> (&'static str, String) {
    match case {
        LimitCase::MissingProject => (
            "limits-missing-project",
            "a project that does not exist".to_owned(),
        ),
        LimitCase::MissingBucket => ("limits-missing-bucket", "a bucket that does not exist".to_owned()),
        LimitCase::MissingRole => ("limits-missing-role", "a role that does not exist".to_owned()),
        LimitCase::NarrowSession => (
            "limits-narrow-session",
            "a session whose policy allows no scoring".to_owned(),
        ),
        LimitCase::OtherRegion => (
            "limits-other-region",
            "an image in a bucket of another region".to_owned(),
        ),
        LimitCase::NoStatement => (
            "limits-no-statement",
            "an image that no statement of the policy is about".to_owned(),
        ),
        LimitCase::Image => ("limits-image", "the image".to_owned()),
        LimitCase::MissingObject => (
            "limits-missing-object",
            "an object that does not exist".to_owned(),
        ),
        LimitCase::Object(key) => ("limits-object", format!("object {key}")),
    }
}

fn answer_check(answer: &CaseAnswer) -> Check {
    let (name, what) = described(&answer.case);
    let seen = format!("{what}: {}", answer.answer);
    if answer.is_known {
        return Check::ok(name, seen);
    }
    let change = match answer.case {
        LimitCase::Object(_) => "list the code in failureRules of jobs with such objects",
        LimitCase::Image => "run the probe of access first: --probe access",
        LimitCase::MissingProject
        | LimitCase::MissingBucket
        | LimitCase::MissingRole
        | LimitCase::NarrowSession
        | LimitCase::OtherRegion
        | LimitCase::NoStatement
        | LimitCase::MissingObject => {
            "report this line in an issue, because the operator does not expect this answer"
        }
    };
    Check::warning(name, seen, change)
}

/// A limit of a project as text.
pub(crate) fn rate(limit: u32) -> String {
    format!("{} per second", counted(limit, "request"))
}

/// The check of many calls at once. `of` says which calls and in which time, `at_limit` names their limit if it is known.
fn burst_check(name: &'static str, burst: &BurstAnswers, of: &str, at_limit: &str, change: &str) -> Check {
    let calls = counted(usize::try_from(burst.sent).unwrap_or(usize::MAX), "call") + of;
    if burst.failed > 0 {
        let with = burst.failed_with.as_deref().unwrap_or_default();
        let seen = format!(
            "{} of {calls} failed ({with}){at_limit}, and the operator does not take that for throttling",
            burst.failed
        );
        return Check::warning(name, seen, change);
    }
    let seen = match burst.throttled {
        0 => format!("no: none of {calls} was throttled{at_limit}"),
        throttled => format!(
            "yes: {throttled} of {calls} were throttled ({}){at_limit}",
            throttling(burst)
        ),
    };
    Check::ok(name, seen)
}

/// Status, code and delay of the throttling.
fn throttling(burst: &BurstAnswers) -> String {
    let wait = burst.retry_after_millis.map_or_else(String::new, |millis| {
        format!(", which requests a wait of {millis} ms")
    });
    format!("{}{wait}", burst.throttled_with.clone().unwrap_or_default())
}
