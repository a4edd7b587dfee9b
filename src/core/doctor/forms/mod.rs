//! The questions that only writes answer, and no billed call: which unusual policies OSS accepts, what it answers to
//! two writes at once, and to a write by the account of the project. This module decides the next step; the policy
//! goes back afterwards in any case.

pub(super) mod checks;
pub(super) mod policy_form;

use std::collections::VecDeque;

use serde::Serialize;

use super::answer_head::AnswerHead;
use super::answer_head::Answered;
use super::probe::step::{ProbeAnswer, ProbePlan, ProbeStep, PutResult, PutStep};
use crate::core::error::{CloudError, CloudErrorKind};
use policy_form::{FormPlace, PolicyForm};

/// How often two writes are sent at once, unless one of them is refused before: they need not meet.
const PAIRS: usize = 3;

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PutAnswer {
    /// Whether OSS accepted it.
    pub is_accepted: bool,
    /// Status, code and `EC`.
    pub answer: String,
    /// Whether the operator takes it for what it is. Of the other account: whether OSS itself refused it.
    pub is_known: bool,
}

/// The answers to two writes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairAnswers {
    /// The answers, in the order in which they were sent.
    pub answers: [PutAnswer; 2],
    /// Which of the policies is live afterwards, from 0; `None` if too few reads in a row showed the same one.
    pub live: Option<usize>,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormsFindings {
    /// The answers to the forms.
    pub answers: Vec<(PolicyForm, PutAnswer)>,
    /// The answer to the account of the project, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_account: Option<PutAnswer>,
    /// The answers to two writes at once, of each attempt.
    pub pairs: Vec<PairAnswers>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// What the next write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormQuestion {
    Form(PolicyForm),
    OtherAccount,
    Pair,
}

/// Decides which step is next.
#[derive(Clone, Debug)]
pub struct FormsProbe {
    place: FormPlace,
    account: String,
    open: VecDeque<FormQuestion>,
    asked: FormQuestion,
    next: ProbeStep,
    findings: FormsFindings,
}

impl FormsProbe {
    /// Starts with the usual form. `other_account` says whether the account of the project is another one than that
    /// of the bucket, so that its write must be refused.
    pub fn new(place: FormPlace, account: &str, other_account: bool) -> Self {
        let usual = FormQuestion::Form(PolicyForm::Usual);
        let mut open = VecDeque::from([usual]);
        if other_account {
            open.push_back(FormQuestion::OtherAccount);
        }
        let others = PolicyForm::ALL.into_iter().map(FormQuestion::Form);
        open.extend(others.filter(|form| *form != usual));
        open.push_back(FormQuestion::Pair);
        let mut probe = Self {
            place,
            account: account.to_owned(),
            open,
            asked: usual,
            next: ProbeStep::Finish,
            findings: FormsFindings::default(),
        };
        probe.begin_next();
        probe
    }

    /// Returns the most policies that are written.
    pub fn planned_writes(&self) -> usize {
        // The first question is not open any more, and the last one takes several pairs.
        self.open.len() + PAIRS * 2
    }

    /// Returns what was found out so far.
    pub fn findings(&self) -> &FormsFindings {
        &self.findings
    }

    fn begin_next(&mut self) {
        let Some(question) = self.open.pop_front() else {
            self.next = ProbeStep::Finish;
            return;
        };
        self.asked = question;
        self.ask();
    }

    fn ask(&mut self) {
        self.next = ProbeStep::Put(match self.asked {
            FormQuestion::Form(form) => PutStep::One(form.text(&self.place)),
            FormQuestion::OtherAccount => PutStep::ByOther(self.place.named("other-account")),
            FormQuestion::Pair => {
                let number = self.findings.pairs.len() + 1;
                PutStep::Two([1, 2].map(|of| self.place.named(&format!("pair-{number}-{of}"))))
            }
        });
    }

    fn on_one(&mut self, answer: &Answered) {
        match self.asked {
            FormQuestion::OtherAccount => self.on_other_account(answer),
            FormQuestion::Form(form) => self.on_form(form, answer),
            FormQuestion::Pair => self.begin_next(),
        }
    }

    fn on_form(&mut self, form: PolicyForm, answer: &Answered) {
        let (_, what) = form.described();
        // Another error is about the caller, the bucket or the service: it says nothing about the form.
        let head = match reading(answer, CloudError::rejects_content) {
            Ok(head) => head,
            Err(error) => return self.stop(&unsaid(what, error)),
        };
        let found = put_answer(head, CloudError::rejects_content);
        let is_refused = !found.is_accepted;
        let why = format!(
            "OSS refused {what} ({}), so that no other answer would say anything",
            found.answer
        );
        self.findings.answers.push((form, found));
        if is_refused && form == PolicyForm::Usual {
            return self.stop(&why);
        }
        self.begin_next();
    }

    fn on_other_account(&mut self, answer: &Answered) {
        let what = "a policy from the account of the job";
        let head = match reading(answer, |error| !error.is_transient()) {
            Ok(head) => head,
            Err(error) => return self.stop(&unsaid(what, error)),
        };
        // The account's own policies may refuse what OSS would accept, and rejected credentials are of no account.
        let by_oss = head.is_of_kind(CloudErrorKind::AccessDenied) && !head.is_by_callers_policy();
        let found = put_answer(head, |_| by_oss);
        let is_accepted = found.is_accepted;
        self.findings.other_account = Some(found);
        if is_accepted {
            // Another writer of the policy has taken over: nothing else is requested.
            self.next = ProbeStep::Finish;
        } else {
            self.begin_next();
        }
    }

    fn on_two(&mut self, [first, second]: &[Answered; 2], live: Option<usize>) {
        // Neither a failure of the service, after which the write may be in effect, nor a refusal of the caller is
        // about two writes.
        let is_said =
            |error: &CloudError| error.had_no_effect() && (error.is_transient() || error.rejects_content());
        let pair = match (reading(first, is_said), reading(second, is_said)) {
            (Ok(first), Ok(second)) => [first, second].map(|head| put_answer(head, CloudError::is_transient)),
            (Err(error), _) | (_, Err(error)) => {
                return self.stop(&unsaid("two policies at once", error));
            }
        };
        let is_refused = pair.iter().any(|answer| !answer.is_accepted);
        self.findings.pairs.push(PairAnswers { answers: pair, live });
        if is_refused || self.findings.pairs.len() >= PAIRS {
            self.begin_next();
        } else {
            self.ask();
        }
    }
}

impl ProbePlan for FormsProbe {
    fn step(&self) -> &ProbeStep {
        &self.next
    }

    fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Put(PutResult::One(answer)) => self.on_one(&answer),
            ProbeAnswer::Put(PutResult::Two { answers, live }) => self.on_two(&answers, live),
            ProbeAnswer::Written { .. }
            | ProbeAnswer::WriteFailed(_)
            | ProbeAnswer::Scored(_)
            | ProbeAnswer::ScoreFailed(..)
            | ProbeAnswer::Burst(_)
            | ProbeAnswer::ReadBack(_)
            | ProbeAnswer::Paused => self.ask(),
        }
    }

    fn stop(&mut self, why: &str) {
        self.findings.stopped = Some(why.to_owned());
        self.next = ProbeStep::Finish;
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn refuses_policy(&self) -> Option<&'static str> {
        Some("this probe would replace it")
    }

    fn own_prefix(&self) -> Option<&str> {
        Some(&self.place.prefix)
    }
}

/// Returns an answer that is an acceptance, or an error that says something about the question.
///
/// # Errors
/// Returns the error that says nothing about it.
fn reading(answer: &Answered, is_said: impl Fn(&CloudError) -> bool) -> Result<&AnswerHead, &CloudError> {
    let head = answer.as_ref()?;
    match &head.error {
        Some(error) if !is_said(error) => Err(error),
        Some(_) | None => Ok(head),
    }
}

fn unsaid(what: &str, error: &CloudError) -> String {
    format!(
        "OSS did not say whether it accepts {what} ({})",
        error.code_and_refusal()
    )
}

fn put_answer(head: &AnswerHead, is_known: impl Fn(&CloudError) -> bool) -> PutAnswer {
    PutAnswer {
        is_accepted: head.error.is_none(),
        answer: head.describe(),
        is_known: head.error.as_ref().is_none_or(is_known),
    }
}

#[cfg(test)]
mod tests;
