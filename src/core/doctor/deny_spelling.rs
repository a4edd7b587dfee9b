//! The question of whether a Deny matches although its action is spelled in another way: in lower case, or with a `?`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::check::Check;
use super::probe_step::{ProbeAnswer, ProbeStep};
use super::waiting::{PATIENCE, is_about_the_image};
use crate::api::Grantee;

/// The spellings of `oss:GetObject`, with what is special about each.
const SPELLINGS: [&str; 2] = ["oss:getobject", "oss:Get?bject"];
/// Least time that a Deny is given to take effect.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// What was found out about each spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DenyFindings {
    /// The spellings with which a Deny denied access.
    pub matching: Vec<&'static str>,
    /// Those with which the image was scored all the same.
    pub ignored: Vec<&'static str>,
    /// Those that OSS rejected, or without an answer, with the code.
    pub unknown: Vec<(&'static str, String)>,
}

/// Decides which step is next, after a score.
#[derive(Clone, Debug)]
pub(super) struct DenyProbe {
    grantee: Grantee,
    open: VecDeque<&'static str>,
    current: &'static str,
    pause: Duration,
    pub(super) next: ProbeStep,
    pub(super) billed: u32,
    pub(super) findings: DenyFindings,
    pub(super) stopped: Option<String>,
}

impl DenyProbe {
    /// Starts with the grantee of a score. A Deny is waited for twice as long as access took to begin.
    pub(super) fn after(lag_millis: u64, grantee: &Grantee) -> Self {
        let lag = Duration::from_millis(lag_millis);
        let mut probe = Self {
            grantee: grantee.clone(),
            open: VecDeque::from(SPELLINGS),
            current: "",
            pause: lag.saturating_mul(2).clamp(LEAST_PAUSE, PATIENCE),
            next: ProbeStep::Finish,
            billed: 0,
            findings: DenyFindings::default(),
            stopped: None,
        };
        probe.begin_next();
        probe
    }

    fn begin_next(&mut self) {
        self.next = match self.open.pop_front() {
            Some(spelling) => {
                self.current = spelling;
                ProbeStep::WriteWithDeny(self.grantee.clone(), spelling)
            }
            None => ProbeStep::Finish,
        };
    }

    pub(super) fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written { .. } => self.next = ProbeStep::Pause(self.pause),
            ProbeAnswer::WriteFailed(error) if error.had_no_effect() && error.rejects_content() => {
                self.findings.unknown.push((self.current, error.code));
                self.begin_next();
            }
            ProbeAnswer::WriteFailed(error) => {
                self.stopped = Some(format!(
                    "the Deny could not be written ({})",
                    error.code_and_refusal()
                ));
                self.next = ProbeStep::Finish;
            }
            ProbeAnswer::Paused | ProbeAnswer::Burst(_) | ProbeAnswer::ReadBack(_) => {
                self.next = ProbeStep::Score;
            }
            ProbeAnswer::Scored(_) => {
                self.billed += 1;
                self.findings.ignored.push(self.current);
                self.begin_next();
            }
            ProbeAnswer::ScoreFailed(error, _) => {
                self.billed += 1;
                if is_about_the_image(&error) {
                    self.findings.matching.push(self.current);
                } else {
                    self.findings.unknown.push((self.current, error.code));
                }
                self.begin_next();
            }
        }
    }
}

/// The check of all spellings.
pub(super) fn deny_check(found: &DenyFindings) -> Check {
    let name = "probe-deny";
    let mut parts = Vec::new();
    if !found.matching.is_empty() {
        parts.push(format!(
            "a Deny of {} denies access",
            found.matching.join(" and of ")
        ));
    }
    if !found.ignored.is_empty() {
        parts.push(format!(
            "a Deny of {} has no effect",
            found.ignored.join(" and of ")
        ));
    }
    for (spelling, code) in &found.unknown {
        parts.push(format!("not known about a Deny of {spelling} ({code})"));
    }
    if parts.is_empty() {
        return Check::warning(name, "not known", "see probe-ended-early");
    }
    Check::ok(name, parts.join("; "))
}
