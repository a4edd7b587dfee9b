//! The questions that only writes answer, and no billed call: which unusual policies OSS accepts, what it answers to two writes at
//! once, and to a write by the account of the project. This module decides the next step; the policy goes back afterwards in any
//! case.

use std::collections::VecDeque;

use serde::Serialize;

use super::answer_head::AnswerHead;
use super::answer_head::Answered;
use super::policy_form::{FormPlace, PolicyForm};
use super::probe_step::{ProbeAnswer, ProbePlan, ProbeStep, PutResult, PutStep};
use crate::core::error::CloudError;

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
    /// Whether the operator takes it for what it is.
    pub is_known: bool,
}

/// The answers to two writes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairAnswers {
    /// The answers, in the order in which they were sent.
    pub answers: [PutAnswer; 2],
    /// Which of the policies a read showed afterwards, from 0.
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
    /// Starts with the usual form. `other_account` says whether the account of the project is another one than that of the
    /// bucket, so that its write must be refused.
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
        let head = match reading(answer) {
            Ok(head) => head,
            Err(why) => return self.stop(&why),
        };
        match self.asked {
            FormQuestion::OtherAccount => {
                let found = put_answer(head, |_| true);
                let is_accepted = found.is_accepted;
                self.findings.other_account = Some(found);
                if is_accepted {
                    // Whoever may write the policy has taken over: nothing else is asked.
                    self.next = ProbeStep::Finish;
                    return;
                }
            }
            FormQuestion::Form(form) => {
                let found = put_answer(head, CloudError::rejects_content);
                let is_refused = !found.is_accepted;
                let why = format!(
                    "OSS refused {} ({}), so that no other answer would say anything",
                    form.described().1,
                    found.answer
                );
                self.findings.answers.push((form, found));
                if is_refused && form == PolicyForm::Usual {
                    return self.stop(&why);
                }
            }
            FormQuestion::Pair => {}
        }
        self.begin_next();
    }

    fn on_two(&mut self, [first, second]: &[Answered; 2], live: Option<usize>) {
        let pair = match (first, second) {
            (Ok(first), Ok(second)) => [first, second].map(|head| put_answer(head, CloudError::is_transient)),
            (Err(error), _) | (_, Err(error)) => return self.stop(&unanswered(error)),
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
}

/// Returns an answer that says something about the policy.
///
/// # Errors
/// Returns why there is none.
fn reading(answer: &Answered) -> Result<&AnswerHead, String> {
    let head = answer.as_ref().map_err(unanswered)?;
    match &head.error {
        Some(error) if error.is_transient() => Err(unanswered(error)),
        Some(_) | None => Ok(head),
    }
}

fn unanswered(error: &CloudError) -> String {
    format!("the policy could not be written ({})", error.code_and_refusal())
}

fn put_answer(head: &AnswerHead, is_known: impl Fn(&CloudError) -> bool) -> PutAnswer {
    PutAnswer {
        is_accepted: head.error.is_none(),
        answer: head.describe(),
        is_known: head.error.as_ref().is_none_or(is_known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::AnswerFormat;
    use crate::core::error::CloudErrorKind;

    fn head(status: u16, kind: Option<CloudErrorKind>) -> AnswerHead {
        AnswerHead {
            status,
            error: kind.map(|kind| CloudError::new(kind, "Code")),
            ec: None,
            named_region: None,
            format: AnswerFormat::Xml,
        }
    }

    fn probe(other_account: bool) -> FormsProbe {
        let place = FormPlace {
            bucket: "probe-2026".to_owned(),
            owner_uid: "65432".to_owned(),
            prefix: "none/".to_owned(),
        };
        FormsProbe::new(place, "12345", other_account)
    }

    /// Plays a probe whose writes are answered so; returns how many policies were sent.
    fn play(
        probe: &mut FormsProbe,
        one: impl Fn(&str) -> Answered,
        by_other: Option<CloudErrorKind>,
        second: Option<CloudErrorKind>,
    ) -> usize {
        let mut sent = 0;
        for _ in 0..100 {
            let ProbeStep::Put(put) = probe.step().clone() else {
                assert_eq!(probe.step(), &ProbeStep::Finish);
                return sent;
            };
            let result = match put {
                PutStep::One(text) => {
                    sent += 1;
                    PutResult::One(one(&text))
                }
                PutStep::ByOther(_) => {
                    sent += 1;
                    PutResult::One(Ok(head(if by_other.is_some() { 403 } else { 200 }, by_other)))
                }
                PutStep::Two(_) => {
                    sent += 2;
                    let second = head(if second.is_some() { 409 } else { 200 }, second);
                    PutResult::Two {
                        answers: Box::new([Ok(head(200, None)), Ok(second)]),
                        live: Some(0),
                    }
                }
            };
            probe.take(ProbeAnswer::Put(result));
        }
        panic!("no end");
    }

    #[test]
    fn every_question_is_asked_with_no_more_writes_than_planned() {
        let denied = Some(CloudErrorKind::AccessDenied);
        for (other_account, second, pairs) in [
            (true, None, 3),
            (false, None, 3),
            (true, Some(CloudErrorKind::BucketLocked), 1),
        ] {
            let mut probe = probe(other_account);
            let planned = probe.planned_writes();
            let sent = play(&mut probe, |_| Ok(head(200, None)), denied, second);
            let found = probe.findings();
            assert_eq!(found.answers.len(), PolicyForm::ALL.len());
            assert_eq!(found.other_account.is_some(), other_account);
            assert_eq!((found.pairs.len(), &found.stopped), (pairs, &None));
            assert_eq!(sent, planned - (PAIRS - pairs) * 2);
            assert!(found.pairs.iter().all(|pair| pair.answers[1].is_known));
        }
    }

    #[test]
    fn a_write_of_the_other_account_that_is_accepted_ends_the_probe() {
        let mut probe = probe(true);
        let sent = play(&mut probe, |_| Ok(head(200, None)), None, None);
        let found = probe.findings();
        assert_eq!((sent, found.answers.len()), (2, 1));
        assert!(found.other_account.as_ref().unwrap().is_accepted);
    }

    #[test]
    fn nothing_follows_without_an_answer_or_if_the_usual_form_is_refused() {
        let refused = |kind| move |_: &str| Ok(head(400, Some(kind)));
        for (kind, answers) in [
            (CloudErrorKind::PolicyRejected, 1),
            (CloudErrorKind::AccessDenied, 1),
            (CloudErrorKind::Throttled, 0),
        ] {
            let mut probe = probe(true);
            assert_eq!(play(&mut probe, refused(kind), None, None), 1);
            let found = probe.findings();
            assert!(
                found.stopped.is_some() && found.answers.len() == answers,
                "{found:?}"
            );
        }
        let silent = |text: &str| {
            if text.contains("sid") {
                return Err(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
            }
            Ok(head(200, None))
        };
        let mut probe = probe(false);
        assert_eq!(play(&mut probe, silent, None, None), 2);
        assert!(probe.findings().stopped.as_ref().unwrap().contains("Timeout"));
    }

    #[test]
    fn an_answer_that_the_operator_takes_for_another_one_is_not_known() {
        let strange = |text: &str| {
            let is_sid = text.contains("Sid");
            Ok(head(
                if is_sid { 403 } else { 200 },
                is_sid.then_some(CloudErrorKind::AccessDenied),
            ))
        };
        let mut probe = probe(false);
        play(&mut probe, strange, None, Some(CloudErrorKind::RequestRejected));
        let found = probe.findings();
        let of = |form| &found.answers.iter().find(|(asked, _)| *asked == form).unwrap().1;
        assert!(!of(PolicyForm::Sid).is_known && of(PolicyForm::Usual).is_known);
        assert!(!found.pairs[0].answers[1].is_known);
    }
}
