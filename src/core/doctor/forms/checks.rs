//! Checks of the probe of unusual policies: one for each form, for the other account, for two writes at once, and
//! whether the policy is back.

use crate::core::doctor::forms::policy_form::PolicyForm;
use crate::core::doctor::forms::{FormsFindings, PairAnswers, PutAnswer};
use crate::core::doctor::probe::checks::{restore_check, stopped_check};
use crate::core::doctor::{Check, FormsFacts};

/// What to do about an answer that the operator takes for another one.
const REPORT: &str = "report this line in an issue, because the operator does not expect this answer";

/// All checks of unusual policies.
pub(crate) fn forms_checks(forms: &FormsFacts) -> Vec<Check> {
    let found = &forms.findings;
    let mut checks: Vec<Check> = found
        .answers
        .iter()
        .map(|(form, answer)| form_check(*form, answer))
        .collect();
    checks.extend(found.other_account.as_ref().map(account_check));
    checks.extend(pair_check(found));
    checks.extend(stopped_check(found.stopped.as_ref()));
    checks.push(restore_check(&forms.outcome, &forms.file));
    checks
}

fn form_check(form: PolicyForm, answer: &PutAnswer) -> Check {
    let (name, what) = form.described();
    let seen = format!("{what}: {}", verdict(answer));
    if form == PolicyForm::LargestPolicy && !answer.is_accepted {
        let change =
            "report this line in an issue, because the operator takes policies of this size for allowed";
        return Check::warning(name, seen, change);
    }
    Check::ok(name, seen)
}

fn verdict(answer: &PutAnswer) -> String {
    if answer.is_accepted {
        "accepted".to_owned()
    } else {
        format!("refused with {}", answer.answer)
    }
}

/// The check of a write by an account that does not own the bucket.
fn account_check(answer: &PutAnswer) -> Check {
    let name = "forms-other-account";
    let seen = format!("a policy from the account of the job: {}", verdict(answer));
    if answer.is_accepted {
        return Check::failed(
            name,
            format!(
                "{seen}, although the bucket belongs to another account and had no policy that allows it"
            ),
            "find out who else may write policies of your buckets before you continue: ask Alibaba Cloud, with this report",
        );
    }
    if answer.is_known {
        return Check::ok(name, seen);
    }
    Check::warning(
        name,
        format!("{seen}, so that it is not known whether OSS would refuse it"),
        "give the job credentials that OSS accepts and whose own policies allow oss:PutBucketPolicy on the probe bucket, then run the probe again",
    )
}

/// The check of two writes at once; none without an answer.
fn pair_check(found: &FormsFindings) -> Option<Check> {
    let name = "forms-two-writes";
    let last = found.pairs.last()?;
    let refused: Vec<usize> = positions(last, |answer| !answer.is_accepted);
    let live = last.live.map_or_else(
        || "afterwards no five reads in a row showed the same one of the two policies".to_owned(),
        |live| format!("the policy of the {} is live afterwards", ordinal(live)),
    );
    let Some(first_refused) = refused.first() else {
        let times = found.pairs.len();
        return Some(Check::ok(
            name,
            format!("both accepted in each of {times} attempts: {live}, so the other one is lost"),
        ));
    };
    let with: Vec<&str> = refused
        .iter()
        .filter_map(|position| last.answers.get(*position))
        .map(|answer| answer.answer.as_str())
        .collect();
    let which = if refused.len() == 2 {
        "both".to_owned()
    } else {
        format!("the {}", ordinal(*first_refused))
    };
    let seen = format!("{which} refused with {}: {live}", with.join(" and "));
    if last.live.is_some_and(|live| refused.contains(&live)) {
        let change =
            "report this line in an issue, because the operator takes a refused write for one without effect";
        return Some(Check::warning(name, seen, change));
    }
    if last.answers.iter().all(|answer| answer.is_known) {
        Some(Check::ok(name, seen))
    } else {
        Some(Check::warning(name, seen, REPORT))
    }
}

fn positions(pair: &PairAnswers, which: impl Fn(&PutAnswer) -> bool) -> Vec<usize> {
    let answers = pair.answers.iter().enumerate();
    answers
        .filter(|(_, answer)| which(answer))
        .map(|(position, _)| position)
        .collect()
}

/// Name of a write, by the order in which both were sent.
fn ordinal(position: usize) -> &'static str {
    if position == 0 { "first" } else { "second" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Level;

    fn answer(refused_with: Option<&str>, is_known: bool) -> PutAnswer {
        PutAnswer {
            is_accepted: refused_with.is_none(),
            answer: refused_with.unwrap_or("200").to_owned(),
            is_known,
        }
    }

    #[test]
    fn an_answer_is_ok_unless_the_operator_relies_on_another_one() {
        for (form, refused_with, is_known, level) in [
            (PolicyForm::Sid, None, true, Level::Ok),
            (PolicyForm::Sid, Some("400 Code"), true, Level::Ok),
            (PolicyForm::TooLargePolicy, None, true, Level::Ok),
            (PolicyForm::LargestPolicy, None, true, Level::Ok),
            (PolicyForm::LargestPolicy, Some("400 Code"), true, Level::Warning),
        ] {
            let check = form_check(form, &answer(refused_with, is_known));
            assert_eq!(check.level, level, "{check:?}");
        }
        assert_eq!(account_check(&answer(None, true)).level, Level::Failed);
        assert_eq!(account_check(&answer(Some("403 Code"), true)).level, Level::Ok);
        let by_own_policy = account_check(&answer(Some("403 Code"), false));
        assert_eq!(by_own_policy.level, Level::Warning);
        assert!(by_own_policy.seen.contains("not known"), "{by_own_policy:?}");
    }

    #[test]
    fn two_writes_are_judged_by_the_answers_and_by_what_is_live() {
        let locked = || answer(Some("409 Locked"), true);
        let done = || answer(None, true);
        for (answers, live, level, seen) in [
            (
                [done(), locked()],
                Some(0),
                Level::Ok,
                "the second refused with 409 Locked: the policy of the first is live afterwards",
            ),
            (
                [locked(), done()],
                Some(0),
                Level::Warning,
                "the first refused with 409 Locked: the policy of the first is live afterwards",
            ),
            (
                [done(), answer(Some("400 Code"), false)],
                Some(0),
                Level::Warning,
                "the second refused with 400 Code: the policy of the first is live afterwards",
            ),
            (
                [locked(), locked()],
                None,
                Level::Ok,
                "both refused with 409 Locked and 409 Locked: afterwards no five reads in a row showed the same one of the two policies",
            ),
            (
                [done(), done()],
                Some(1),
                Level::Ok,
                "both accepted in each of 1 attempts: the policy of the second is live afterwards, so the other one is lost",
            ),
        ] {
            let found = FormsFindings {
                pairs: vec![PairAnswers { answers, live }],
                ..FormsFindings::default()
            };
            let check = pair_check(&found).unwrap();
            assert_eq!((check.level, check.seen.as_str()), (level, seen));
        }
        assert_eq!(pair_check(&FormsFindings::default()), None);
    }
}
