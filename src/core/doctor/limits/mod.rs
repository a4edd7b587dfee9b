//! The questions that only many billed calls answer: with which errors IMM refuses calls, and how it throttles them. This
//! module decides the next step; the policy goes back afterwards in any case.

pub(super) mod checks;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::probe::step::{LimitCase, ProbeAnswer, ProbePlan, ProbeStep};
use super::waiting::{
    CALLS_OF_WAITING, MOST_TRIES, PATIENCE, RETRY_PAUSE, is_about_the_image, not_written, pause_after,
};
use crate::api::Grantee;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::is_item_code;

/// How long the burst lasts: a window of one second is inside it, wherever it starts.
const BURST_SECONDS: u32 = 2;
/// Calls of the burst of `GetProject`, whose limit is not documented, and how long it lasts.
const PROJECT_BURST: u32 = 450;
const PROJECT_BURST_SECONDS: u64 = 3;

/// The answer to a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseAnswer {
    /// The case.
    pub case: LimitCase,
    /// Status and code.
    pub answer: String,
    /// Code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether the operator takes it for what it is.
    pub is_known: bool,
}

/// The answers to a burst.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BurstAnswers {
    /// Calls that were sent.
    pub sent: u32,
    /// Calls that were throttled.
    pub throttled: u32,
    /// Status and code of a throttled call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_with: Option<String>,
    /// Delay that a throttled call requests, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_millis: Option<u64>,
    /// Calls that failed in another way.
    pub failed: u32,
    /// Status and code of such a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_with: Option<String>,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsFindings {
    /// The answers, in the order of the calls.
    pub answers: Vec<CaseAnswer>,
    /// The answers to the burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<BurstAnswers>,
    /// The value of `--max-billed` that the burst needs, if it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_needs: Option<u32>,
    /// The answers to the burst of `GetProject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_burst: Option<BurstAnswers>,
    /// The value of `--max-billed` that this burst needs, if it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_burst_needs: Option<u32>,
    /// Requests per second that the project reports.
    pub limit: u32,
    /// Calls that may be billed.
    pub billed: u32,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Decides which step is next.
#[derive(Clone, Debug)]
pub struct LimitsProbe {
    grantee: Grantee,
    open: VecDeque<LimitCase>,
    behind_write: VecDeque<LimitCase>,
    current: Option<LimitCase>,
    tries: u32,
    next: ProbeStep,
    most_billed: u32,
    findings: LimitsFindings,
}

impl LimitsProbe {
    /// Starts with the grantee of a grant, the requests per second of the project, and the keys of other objects to
    /// score.
    pub fn new(grantee: &Grantee, limit: u32, objects: &[String], most_billed: u32) -> Self {
        let mut behind_write = VecDeque::from([LimitCase::Image, LimitCase::MissingObject]);
        behind_write.extend(objects.iter().cloned().map(LimitCase::Object));
        let mut probe = Self {
            grantee: grantee.clone(),
            open: VecDeque::from([
                LimitCase::MissingProject,
                LimitCase::MissingBucket,
                LimitCase::MissingRole,
                LimitCase::NoStatement,
            ]),
            behind_write,
            current: None,
            tries: 0,
            next: ProbeStep::Finish,
            most_billed,
            findings: LimitsFindings {
                limit,
                ..LimitsFindings::default()
            },
        };
        probe.begin_next();
        probe
    }

    /// Adds a case that can be asked only with what a flag or the credentials provide.
    #[must_use]
    pub fn also(mut self, case: LimitCase) -> Self {
        self.open.push_front(case);
        self
    }

    /// Returns the most calls that may be billed, if there were no `--max-billed`.
    pub fn planned_calls(&self) -> u32 {
        // Waiting for access to the image takes more calls than another case.
        let others = self.open.len().saturating_add(self.behind_write.len());
        u32::try_from(others)
            .unwrap_or(u32::MAX)
            .saturating_mul(MOST_TRIES)
            .saturating_add(CALLS_OF_WAITING)
            .saturating_add(burst_calls(self.findings.limit))
            .saturating_add(PROJECT_BURST)
    }

    /// Returns what was found out so far.
    pub fn findings(&self) -> &LimitsFindings {
        &self.findings
    }

    fn begin_next(&mut self) {
        self.tries = 0;
        self.current = self.open.pop_front();
        if self.current.is_some() {
            self.try_current();
        } else if !self.behind_write.is_empty() {
            self.open = std::mem::take(&mut self.behind_write);
            self.next = ProbeStep::Write(self.grantee.clone());
        } else {
            self.begin_burst();
        }
    }

    fn try_current(&mut self) {
        let Some(case) = self.current.clone() else {
            return self.begin_next();
        };
        if self.findings.billed < self.most_billed {
            self.next = ProbeStep::Try(case);
        } else {
            self.stop("--max-billed is reached");
        }
    }

    fn begin_burst(&mut self) {
        let calls = burst_calls(self.findings.limit);
        let needed = self.findings.billed.saturating_add(calls);
        if needed <= self.most_billed {
            let spacing = Duration::from_secs(u64::from(BURST_SECONDS)) / calls;
            self.next = ProbeStep::Burst { calls, spacing };
        } else {
            self.findings.burst_needs = Some(needed);
            self.begin_project_burst();
        }
    }

    fn begin_project_burst(&mut self) {
        let needed = self.findings.billed.saturating_add(PROJECT_BURST);
        if needed <= self.most_billed {
            self.next = ProbeStep::ProjectBurst {
                calls: PROJECT_BURST,
                spacing: Duration::from_secs(PROJECT_BURST_SECONDS) / PROJECT_BURST,
            };
        } else {
            self.findings.project_burst_needs = Some(needed);
            self.next = ProbeStep::Finish;
        }
    }

    fn on_answer(&mut self, answer: &Result<(), CloudError>, after: Duration) {
        // Each answer of IMM may be billed, and a call without an answer too.
        self.findings.billed += 1;
        self.tries += 1;
        let Some(case) = self.current.clone() else {
            return;
        };
        if let Err(error) = answer {
            let is_waiting = case == LimitCase::Image && is_about_the_image(error) && after < PATIENCE;
            if is_waiting {
                self.tries = 0;
                self.next = ProbeStep::Pause(pause_after(after));
                return;
            }
            if error.is_transient() && self.tries < MOST_TRIES {
                self.next = ProbeStep::Pause(RETRY_PAUSE);
                return;
            }
        }
        self.findings.answers.push(CaseAnswer {
            is_known: is_known(&case, answer),
            answer: shown(answer),
            code: answer.as_ref().err().map(|error| error.code.clone()),
            case: case.clone(),
        });
        match answer {
            Err(error) if case == LimitCase::Image => self.stop(&format!(
                "the image could not be scored ({}), and the other calls follow from that",
                error.code_and_refusal()
            )),
            Ok(()) | Err(_) => self.begin_next(),
        }
    }

    fn on_burst(&mut self, answers: &[Result<(), CloudError>]) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
        let is_throttled = |error: &&CloudError| error.kind == CloudErrorKind::Throttled;
        let throttled = errors().filter(is_throttled);
        let failed = errors().filter(|error| !is_throttled(error));
        let waits = throttled.clone().filter_map(|error| error.retry_after);
        let sent = count(answers.len());
        let found = BurstAnswers {
            sent,
            throttled: count(throttled.clone().count()),
            throttled_with: throttled.clone().map(status_and_code).next(),
            retry_after_millis: waits.max().and_then(|wait| u64::try_from(wait.as_millis()).ok()),
            failed: count(failed.clone().count()),
            failed_with: failed.map(status_and_code).next(),
        };
        if matches!(self.next, ProbeStep::ProjectBurst { .. }) {
            self.findings.project_burst = Some(found);
            self.next = ProbeStep::Finish;
        } else {
            self.findings.billed = self.findings.billed.saturating_add(sent);
            self.findings.burst = Some(found);
            self.begin_project_burst();
        }
    }
}

impl ProbePlan for LimitsProbe {
    fn step(&self) -> &ProbeStep {
        &self.next
    }

    fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written { .. } => self.begin_next(),
            ProbeAnswer::WriteFailed(error) => self.stop(&not_written(&error)),
            ProbeAnswer::Scored(after) => self.on_answer(&Ok(()), after),
            ProbeAnswer::ScoreFailed(error, after) => self.on_answer(&Err(error), after),
            ProbeAnswer::Burst(answers) => self.on_burst(&answers),
            ProbeAnswer::Paused | ProbeAnswer::ReadBack(_) | ProbeAnswer::Put(_) => self.try_current(),
        }
    }

    fn stop(&mut self, why: &str) {
        self.findings.stopped = Some(why.to_owned());
        self.next = ProbeStep::Finish;
    }

    fn account(&self) -> &str {
        &self.grantee.account_uid
    }
}

/// Returns the calls of a burst that exceeds a limit by a fifth, as long as it lasts.
fn burst_calls(limit: u32) -> u32 {
    let calls = limit.saturating_mul(BURST_SECONDS);
    calls.saturating_add(calls / 5).max(1)
}

/// Whether the operator takes an answer for what it is.
fn is_known(case: &LimitCase, answer: &Result<(), CloudError>) -> bool {
    match (case, answer) {
        (LimitCase::Image | LimitCase::Object(_), Ok(())) => true,
        (LimitCase::Image, Err(_)) | (_, Ok(())) => false,
        (LimitCase::MissingProject, Err(error)) => error.kind == CloudErrorKind::NoSuchProject,
        // OSS can hide whether a bucket exists.
        (LimitCase::MissingBucket, Err(error)) => {
            is_item_code(&error.code)
                || is_about_the_image(error)
                || error.kind == CloudErrorKind::NoSuchBucket
        }
        (LimitCase::NoStatement, Err(error)) => is_about_the_image(error),
        (LimitCase::MissingRole, Err(error)) => error.kind == CloudErrorKind::AccessDenied,
        (LimitCase::NarrowSession, Err(error)) => {
            error.kind == CloudErrorKind::AccessDenied && !is_about_the_image(error)
        }
        // IMM can look at the policy first.
        (LimitCase::OtherRegion, Err(error)) => {
            error.kind == CloudErrorKind::WrongRegion || is_about_the_image(error)
        }
        (LimitCase::MissingObject | LimitCase::Object(_), Err(error)) => {
            error.kind == CloudErrorKind::RequestRejected && is_item_code(&error.code)
        }
    }
}

fn shown(answer: &Result<(), CloudError>) -> String {
    answer
        .as_ref()
        .map_or_else(status_and_code, |()| "a score".to_owned())
}

/// Returns status and code of a refusal.
pub(super) fn status_and_code(error: &CloudError) -> String {
    match error.status {
        Some(status) => format!("{status} {}", error.code),
        None => error.code.clone(),
    }
}
