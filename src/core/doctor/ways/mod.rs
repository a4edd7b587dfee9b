//! The questions of two other ways to access, by a few billed calls: does IMM read through the role chain of the job
//! without a bucket policy, and is a statement with conditions on the network a grant that does not count as public?
//! This module decides the next step; the policy goes back afterwards in any case.

pub(super) mod checks;
pub(super) mod findings;

use std::time::Duration;

use super::limits::status_and_code;
use super::probe::step::{ProbeAnswer, ProbePlan, ProbeStep};
use super::waiting::{
    MOST_TRIES, PATIENCE, RETRY_PAUSE, SCORED_WITHOUT_STATEMENT, is_about_the_image, no_answer, not_scored,
    not_written,
};
use crate::api::{Grantee, RoleChain, RoleType};
use crate::core::error::{CloudError, CloudErrorKind};
use findings::{ChainAnswer, ConditionFindings, WaysFindings};

/// First pause of the wait for the statement with conditions. Each one is as long as the time until then and this one
/// together.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Scoring calls of that wait.
const CALLS_OF_CONDITIONS: u32 = 7;

/// What the next score is about.
#[derive(Clone, Debug, PartialEq)]
enum WayQuestion {
    /// Whether access is denied without any statement: else no later score says anything about one.
    Nothing,
    Chain(RoleChain),
    Conditions,
}

/// Decides which step is next.
#[derive(Clone, Debug)]
pub struct WaysProbe {
    grantee: Grantee,
    /// The chains that were not asked yet, the next one last.
    open: Vec<RoleChain>,
    asked: WayQuestion,
    tries: u32,
    next: ProbeStep,
    most_billed: u32,
    findings: WaysFindings,
}

impl WaysProbe {
    /// Starts with the grantee of a grant, whose role is spelled as the project does, and the role chain of the job.
    pub fn new(
        grantee: &Grantee,
        project_role: Option<&str>,
        chain: Option<&RoleChain>,
        most_billed: u32,
    ) -> Self {
        let role_name = project_role.unwrap_or(&grantee.role_name).to_owned();
        let mut open: Vec<RoleChain> = Vec::new();
        for asked in chain.into_iter().flat_map(of_each_type) {
            if !open.contains(&asked) {
                open.push(asked);
            }
        }
        open.reverse();
        Self {
            grantee: Grantee {
                role_name,
                ..grantee.clone()
            },
            open,
            asked: WayQuestion::Nothing,
            tries: 0,
            next: ProbeStep::Score,
            most_billed,
            findings: WaysFindings {
                has_chain: chain.is_some(),
                ..WaysFindings::default()
            },
        }
    }

    /// Returns the most calls that may be billed, if there were no `--max-billed`.
    pub fn planned_calls(&self) -> u32 {
        let chains = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        chains
            .saturating_add(1)
            .saturating_mul(MOST_TRIES)
            .saturating_add(CALLS_OF_CONDITIONS)
    }

    /// Returns what was found out so far.
    pub fn findings(&self) -> &WaysFindings {
        &self.findings
    }

    fn begin_next(&mut self) {
        self.tries = 0;
        if let Some(chain) = self.open.pop() {
            self.asked = WayQuestion::Chain(chain);
            self.score();
        } else if self.findings.billed < self.most_billed {
            self.asked = WayQuestion::Conditions;
            self.next = ProbeStep::WriteWithConditions(self.grantee.clone());
        } else {
            self.stop("--max-billed is reached");
        }
    }

    fn score(&mut self) {
        if self.findings.billed >= self.most_billed {
            return self.stop("--max-billed is reached");
        }
        self.next = match &self.asked {
            WayQuestion::Nothing | WayQuestion::Conditions => ProbeStep::Score,
            WayQuestion::Chain(chain) => ProbeStep::ScoreByChain(chain.clone()),
        };
    }

    fn on_score(&mut self, answer: &Result<(), CloudError>, after: Duration) {
        // Each answer of IMM may be billed, and a call without an answer too.
        self.findings.billed += 1;
        self.tries += 1;
        if !matches!(self.asked, WayQuestion::Conditions)
            && answer.as_ref().is_err_and(CloudError::is_transient)
            && self.tries < MOST_TRIES
        {
            self.next = ProbeStep::Pause(RETRY_PAUSE);
            return;
        }
        match (self.asked.clone(), answer) {
            (WayQuestion::Nothing, Ok(())) => self.stop(SCORED_WITHOUT_STATEMENT),
            (WayQuestion::Nothing, Err(error)) if is_about_the_image(error) => self.begin_next(),
            (WayQuestion::Nothing, Err(error)) => self.stop(&not_scored(error)),
            // Without an answer about the chain it must not count as refused: another type would be taken for the
            // right one.
            (WayQuestion::Chain(_), Err(error)) if error.is_transient() || error.rejects_credentials() => {
                self.stop(&format!(
                    "IMM did not say whether it can read the image through the role chain ({})",
                    error.code_and_refusal()
                ));
            }
            (WayQuestion::Chain(chain), answer) => {
                self.findings.chains.push(ChainAnswer {
                    role_types: chain.chain.iter().map(|link| link.role_type).collect(),
                    is_scored: answer.is_ok(),
                    refused_with: answer.as_ref().err().map(refused_with),
                });
                self.begin_next();
            }
            (WayQuestion::Conditions, Ok(())) => self.on_access(true),
            (WayQuestion::Conditions, Err(error)) => self.on_failed_conditions(error, after),
        }
    }

    fn on_failed_conditions(&mut self, error: &CloudError, after: Duration) {
        if !is_about_the_image(error) && !error.is_transient() {
            self.stop(&not_scored(error));
        } else if after < PATIENCE {
            let pause = after.saturating_add(FIRST_PAUSE);
            self.next = ProbeStep::Pause(pause.min(PATIENCE.saturating_sub(after)));
        } else if is_about_the_image(error) {
            self.on_access(false);
        } else {
            self.stop(&no_answer(error));
        }
    }

    fn on_access(&mut self, given: bool) {
        let found = self.findings.conditions.get_or_insert_default();
        found.gives_access = Some(given);
        self.next = ProbeStep::Finish;
    }

    fn on_failed_write(&mut self, error: &CloudError) {
        self.next = ProbeStep::Finish;
        let found = self.findings.conditions.get_or_insert_default();
        if error.kind == CloudErrorKind::PublicAccessBlocked {
            (found.is_public, found.by_block) = (Some(true), true);
        } else if error.had_no_effect() && error.rejects_content() {
            found.rejected_with = Some(error.code.clone());
        } else {
            self.findings.conditions = None;
            self.stop(&not_written(error));
        }
    }
}

impl ProbePlan for WaysProbe {
    fn step(&self) -> &ProbeStep {
        &self.next
    }

    fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written {
                policy_is_public: is_public,
                by_block,
                ..
            } => {
                self.findings.conditions = Some(ConditionFindings {
                    is_public,
                    by_block,
                    ..ConditionFindings::default()
                });
                self.score();
            }
            ProbeAnswer::WriteFailed(error) => self.on_failed_write(&error),
            ProbeAnswer::Scored(after) => self.on_score(&Ok(()), after),
            ProbeAnswer::ScoreFailed(error, after) => self.on_score(&Err(error), after),
            ProbeAnswer::Paused | ProbeAnswer::Burst(_) | ProbeAnswer::ReadBack(_) | ProbeAnswer::Put(_) => {
                self.score();
            }
        }
    }

    fn stop(&mut self, why: &str) {
        self.findings.stopped = Some(why.to_owned());
        self.next = ProbeStep::Finish;
    }

    fn account(&self) -> &str {
        &self.grantee.account_uid
    }

    fn refuses_policy(&self) -> Option<&'static str> {
        Some("it could decide what this probe asks")
    }
}

/// Returns a chain as it is given, and with each type for all of its roles.
fn of_each_type(given: &RoleChain) -> [RoleChain; 3] {
    let with_type = |role_type| {
        let mut chain = given.clone();
        for link in &mut chain.chain {
            link.role_type = role_type;
        }
        chain
    };
    [
        given.clone(),
        with_type(RoleType::User),
        with_type(RoleType::Service),
    ]
}

fn refused_with(error: &CloudError) -> String {
    let code = status_and_code(error);
    match error.refusal.describe() {
        Some(refusal) => format!("{code}, {refusal}"),
        None => code,
    }
}

#[cfg(test)]
mod tests;
