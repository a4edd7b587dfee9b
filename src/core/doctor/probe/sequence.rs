//! The questions of a probe in their order: access first, then reading the policy back, the spelling of a Deny, if it
//! is asked for, the `ram:PassRole` statement, if it is allowed, and the end of access, if it is asked for.

use crate::core::doctor::deny_spelling::{DenyFindings, DenyProbe};
use crate::core::doctor::pass_role::PassRoleProbe;
use crate::core::doctor::probe::Probe;
use crate::core::doctor::probe::findings::ProbeFindings;
use crate::core::doctor::probe::step::{ProbeAnswer, ProbePlan, ProbeStep};
use crate::core::doctor::read_back::ReadBack;
use crate::core::doctor::revocation::RevocationProbe;

/// Which questions follow that of access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FurtherQuestions {
    /// Write the `ram:PassRole` statement, which may make the policy public.
    pub pass_role: bool,
    /// Measure how soon access ends.
    pub revocation: bool,
    /// Write a Deny in other spellings, and score the image once with each.
    pub deny: bool,
}

/// The question of what reads of the policy show.
#[derive(Clone, Copy, Debug)]
enum ReadBackQuestion {
    Open,
    Asked,
    Answered(ReadBack),
}

/// Decides the steps of all questions.
#[derive(Clone, Debug)]
pub struct ProbeSequence {
    access: Probe,
    questions: FurtherQuestions,
    most_billed: u32,
    reading: ReadBackQuestion,
    deny: Option<DenyProbe>,
    pass_role: Option<PassRoleProbe>,
    revocation: Option<RevocationProbe>,
    stopped: Option<String>,
}

impl ProbeSequence {
    /// Starts with the question of access.
    pub fn new(access: Probe, questions: FurtherQuestions, most_billed: u32) -> Self {
        let mut sequence = Self {
            access,
            questions,
            most_billed,
            reading: ReadBackQuestion::Open,
            deny: None,
            pass_role: None,
            revocation: None,
            stopped: None,
        };
        sequence.begin_next();
        sequence
    }

    /// Returns what was found out so far, by all questions.
    pub fn findings(&self) -> ProbeFindings {
        let mut found = self.access.findings().clone();
        if let ReadBackQuestion::Answered(read) = &self.reading {
            found.read_back = Some(*read);
        }
        if let Some(probe) = &self.deny {
            found.billed = found.billed.saturating_add(probe.billed);
            found.stopped = found.stopped.or_else(|| probe.stopped.clone());
        }
        if self.questions.deny {
            let asked = self.deny.as_ref().map(|probe| probe.findings.clone());
            found.deny = Some(asked.unwrap_or_else(DenyFindings::not_asked));
        }
        if let Some(probe) = &self.pass_role {
            found.billed = found.billed.saturating_add(probe.billed);
            found.stopped = found.stopped.or_else(|| probe.stopped.clone());
            if let Some((grantee, after)) = &probe.works {
                found.denied.retain(|denied| denied != grantee);
                found.works = Some(grantee.clone());
                found.lag_millis = u64::try_from(after.as_millis()).ok();
            }
            found.pass_role = Some(probe.findings.clone());
        }
        if let Some(probe) = &self.revocation {
            found.billed = found.billed.saturating_add(probe.billed);
            found.stopped = found.stopped.or_else(|| probe.stopped.clone());
            found.revocation = probe.lag;
        }
        found.stopped = self.stopped.clone().or(found.stopped);
        found
    }

    /// Begins the next question, once the one before has an answer.
    fn begin_next(&mut self) {
        if self.step() != &ProbeStep::Finish || self.findings().stopped.is_some() {
            return;
        }
        let found = self.findings();
        if let Some(grantee) = &found.works {
            if matches!(self.reading, ReadBackQuestion::Open) {
                self.reading = ReadBackQuestion::Asked;
                return;
            }
            // Where IMM needs the other statement too, a denied call would not be due to the Deny.
            if self.questions.deny && self.deny.is_none() && self.pass_role.is_none() {
                let lag = found.lag_millis.unwrap_or_default();
                self.deny = Some(DenyProbe::after(lag, grantee));
                return;
            }
        }
        if self.questions.pass_role && self.pass_role.is_none() {
            self.pass_role = Some(PassRoleProbe::after(&found));
            // It may have nothing to ask.
            return self.begin_next();
        }
        if self.questions.revocation && self.revocation.is_none() && found.works.is_some() {
            self.revocation = Some(RevocationProbe::new());
        }
    }

    /// Ends before a call that is not allowed.
    fn check_price(&mut self) {
        // A Deny without a call after it would deny access for nothing.
        let is_billed = matches!(self.step(), ProbeStep::Score | ProbeStep::WriteWithDeny(..));
        if is_billed && self.findings().billed >= self.most_billed {
            self.stop("--max-billed is reached");
        }
    }
}

impl ProbePlan for ProbeSequence {
    fn step(&self) -> &ProbeStep {
        if self.stopped.is_some() {
            return &ProbeStep::Finish;
        }
        if matches!(self.reading, ReadBackQuestion::Asked) {
            return &ProbeStep::ReadBack;
        }
        match (&self.revocation, &self.pass_role, &self.deny) {
            (Some(probe), _, _) => &probe.next,
            (None, Some(probe), _) => &probe.next,
            (None, None, Some(probe)) => &probe.next,
            (None, None, None) => self.access.step(),
        }
    }

    fn take(&mut self, answer: ProbeAnswer) {
        match (&mut self.revocation, &mut self.pass_role, &mut self.deny, answer) {
            (_, _, _, ProbeAnswer::ReadBack(read)) => self.reading = ReadBackQuestion::Answered(read),
            (Some(probe), _, _, answer) => probe.take(answer),
            (None, Some(probe), _, answer) => probe.take(answer),
            (None, None, Some(probe), answer) => probe.take(answer),
            (None, None, None, answer) => self.access.take(answer),
        }
        self.begin_next();
        self.check_price();
    }

    fn stop(&mut self, why: &str) {
        self.stopped = Some(why.to_owned());
    }

    fn account(&self) -> &str {
        self.access.account()
    }
}
