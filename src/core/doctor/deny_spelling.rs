//! The question of whether a Deny matches although its action is spelled in another way: in lower case, or with a
//! `?`. A Deny in the documented spelling comes first: only if that one denies access, a score beside another one
//! says something. After each Deny that matched, access must be back before the next one is written, or the earlier
//! one could get the credit.

use std::time::Duration;

use serde::Serialize;

use super::check::Check;
use super::probe::step::{ProbeAnswer, ProbeStep};
use super::waiting::{PATIENCE, RETRY_PAUSE, is_about_the_image, not_scored, pause_after};
use crate::api::Grantee;
use crate::core::error::CloudError;

/// The documented spelling, and those that are asked about.
const SPELLINGS: [&str; 3] = ["oss:GetObject", "oss:getobject", "oss:Get?bject"];
/// Least time that a Deny is given to take effect before the first score.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// What was found out about each spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DenyFindings {
    /// The spellings with which a Deny denied access.
    pub matching: Vec<&'static str>,
    /// Those with which the image was scored four minutes after the write, although the documented one denies access.
    pub ignored: Vec<&'static str>,
    /// Those that OSS rejected, or without an answer, with the code.
    pub unknown: Vec<(&'static str, String)>,
    /// Those without an answer.
    pub open: Vec<&'static str>,
}

impl DenyFindings {
    /// Before the first Deny.
    pub(super) fn not_asked() -> Self {
        Self {
            open: SPELLINGS.to_vec(),
            ..Self::default()
        }
    }
}

/// What the next score is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DenyQuestion {
    /// Whether this Deny denies access.
    Deny(&'static str),
    /// Whether access is back after a Deny.
    Access,
}

/// Decides which step is next, after a score.
#[derive(Clone, Debug)]
pub(super) struct DenyProbe {
    grantee: Grantee,
    asked: DenyQuestion,
    pause: Duration,
    pub(super) next: ProbeStep,
    pub(super) billed: u32,
    pub(super) findings: DenyFindings,
    pub(super) stopped: Option<String>,
}

impl DenyProbe {
    /// Starts with the grantee of a score. The first score beside a Deny follows after twice the time that access
    /// took to begin.
    pub(super) fn after(lag_millis: u64, grantee: &Grantee) -> Self {
        let lag = Duration::from_millis(lag_millis);
        let mut probe = Self {
            grantee: grantee.clone(),
            asked: DenyQuestion::Access,
            pause: lag.saturating_mul(2).clamp(LEAST_PAUSE, PATIENCE),
            next: ProbeStep::Finish,
            billed: 0,
            findings: DenyFindings::not_asked(),
            stopped: None,
        };
        probe.begin_next();
        probe
    }

    fn begin_next(&mut self) {
        self.next = ProbeStep::Finish;
        if let Some(spelling) = self.findings.open.first() {
            self.asked = DenyQuestion::Deny(spelling);
            self.next = ProbeStep::WriteWithDeny(self.grantee.clone(), spelling);
        }
    }

    fn answered(&mut self, spelling: &'static str) {
        self.findings.open.retain(|open| *open != spelling);
    }

    fn stop(&mut self, why: String) {
        self.stopped = Some(why);
        self.next = ProbeStep::Finish;
    }

    pub(super) fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written { .. } => {
                self.next = match self.asked {
                    DenyQuestion::Deny(_) => ProbeStep::Pause(self.pause),
                    DenyQuestion::Access => ProbeStep::Score,
                }
            }
            ProbeAnswer::WriteFailed(error) => self.on_failed_write(error),
            ProbeAnswer::Paused | ProbeAnswer::Burst(_) | ProbeAnswer::ReadBack(_) | ProbeAnswer::Put(_) => {
                self.next = ProbeStep::Score;
            }
            ProbeAnswer::Scored(after) => {
                self.billed += 1;
                match self.asked {
                    DenyQuestion::Access => self.begin_next(),
                    DenyQuestion::Deny(_) if after < PATIENCE => {
                        self.next = ProbeStep::Pause(PATIENCE.saturating_sub(after));
                    }
                    DenyQuestion::Deny(spelling) if spelling == SPELLINGS[0] => {
                        self.stop(format!("a Deny of {spelling} had no effect within four minutes"));
                    }
                    DenyQuestion::Deny(spelling) => {
                        self.answered(spelling);
                        self.findings.ignored.push(spelling);
                        self.begin_next();
                    }
                }
            }
            ProbeAnswer::ScoreFailed(error, after) => {
                self.billed += 1;
                self.on_failed_score(error, after);
            }
        }
    }

    fn on_failed_write(&mut self, error: CloudError) {
        match self.asked {
            DenyQuestion::Deny(spelling)
                if spelling != SPELLINGS[0] && error.had_no_effect() && error.rejects_content() =>
            {
                self.answered(spelling);
                self.findings.unknown.push((spelling, error.code));
                self.begin_next();
            }
            DenyQuestion::Deny(_) | DenyQuestion::Access => {
                let code = error.code_and_refusal();
                self.stop(format!("a policy of the probe could not be written ({code})"));
            }
        }
    }

    fn on_failed_score(&mut self, error: CloudError, after: Duration) {
        let denied = is_about_the_image(&error);
        match self.asked {
            DenyQuestion::Deny(spelling) if denied => {
                self.answered(spelling);
                if spelling != SPELLINGS[0] {
                    self.findings.matching.push(spelling);
                }
                self.next = if self.findings.open.is_empty() {
                    ProbeStep::Finish
                } else {
                    self.asked = DenyQuestion::Access;
                    ProbeStep::Write(self.grantee.clone())
                };
            }
            DenyQuestion::Access if denied && after < PATIENCE => {
                self.next = ProbeStep::Pause(pause_after(after));
            }
            DenyQuestion::Deny(_) | DenyQuestion::Access if error.is_transient() && after < PATIENCE => {
                self.next = ProbeStep::Pause(RETRY_PAUSE);
            }
            DenyQuestion::Access if denied => {
                self.stop("access was not back four minutes after a Deny was removed".to_owned());
            }
            DenyQuestion::Deny(spelling) if spelling != SPELLINGS[0] => {
                self.answered(spelling);
                self.findings.unknown.push((spelling, error.code));
                self.begin_next();
            }
            DenyQuestion::Deny(_) | DenyQuestion::Access => self.stop(not_scored(&error)),
        }
    }
}

/// The check of all spellings.
pub(super) fn deny_check(found: &DenyFindings) -> Check {
    let name = "probe-deny";
    let mut parts = Vec::new();
    for (spellings, verdict) in [
        (&found.matching, "denies access"),
        (&found.ignored, "had no effect within four minutes"),
    ] {
        if !spellings.is_empty() {
            parts.push(format!("a Deny of {} {verdict}", spellings.join(" and of ")));
        }
    }
    for (spelling, code) in &found.unknown {
        parts.push(format!("not known about a Deny of {spelling} ({code})"));
    }
    if !found.open.is_empty() {
        parts.push(format!(
            "not known about a Deny of {}",
            found.open.join(" and of ")
        ));
        return Check::warning(
            name,
            parts.join("; "),
            "see the other checks of the probe: it asks only after a score without the ram:PassRole statement",
        );
    }
    if parts.is_empty() {
        return Check::warning(name, "not known", "see probe-ended-early");
    }
    Check::ok(name, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PrincipalForm;
    use crate::core::error::CloudErrorKind;

    /// Plays a cloud: whether a Deny of a spelling matches, and how long each Deny outlasts its removal. Returns the
    /// findings and the calls.
    fn play(matches: impl Fn(&str) -> bool, begins: u64, outlasts: u64) -> DenyProbe {
        let grantee = Grantee {
            account_uid: "12345".to_owned(),
            role_name: "r".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        };
        let mut probe = DenyProbe::after(0, &grantee);
        let (begins, outlasts) = (Duration::from_secs(begins), Duration::from_secs(outlasts));
        let (mut deny, mut since, mut lingering) = (None::<&str>, Duration::ZERO, false);
        for _ in 0..1000 {
            let answer = match probe.next.clone() {
                ProbeStep::Finish => return probe,
                ProbeStep::Pause(length) => {
                    since += length;
                    ProbeAnswer::Paused
                }
                ProbeStep::Score => {
                    let now = deny.is_some_and(|spelling| matches(spelling) && since >= begins);
                    if now || (lingering && since < outlasts) {
                        ProbeAnswer::ScoreFailed(
                            CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied"),
                            since,
                        )
                    } else {
                        ProbeAnswer::Scored(since)
                    }
                }
                step @ (ProbeStep::Write(_) | ProbeStep::WriteWithDeny(..)) => {
                    lingering = deny.is_some_and(&matches);
                    deny = if let ProbeStep::WriteWithDeny(_, spelling) = step {
                        Some(spelling)
                    } else {
                        None
                    };
                    since = Duration::ZERO;
                    ProbeAnswer::Written {
                        session_wildcard_is_public: None,
                        policy_is_public: None,
                        by_block: false,
                    }
                }
                other @ (ProbeStep::WriteWithPassRole(_)
                | ProbeStep::WriteWithConditions(_)
                | ProbeStep::Put(_)
                | ProbeStep::ScoreByChain(_)
                | ProbeStep::ReadBack
                | ProbeStep::Remove
                | ProbeStep::Try(_)
                | ProbeStep::Burst { .. }
                | ProbeStep::ProjectBurst { .. }) => panic!("{other:?}"),
            };
            probe.take(answer);
        }
        panic!("no end: {probe:?}");
    }

    #[test]
    fn a_deny_that_ends_late_does_not_decide_about_the_next_one() {
        for (begins, outlasts) in [(0, 0), (0, 60), (100, 200)] {
            let probe = play(|spelling| spelling != "oss:Get?bject", begins, outlasts);
            assert_eq!(probe.findings.matching, ["oss:getobject"], "{begins} {outlasts}");
            assert_eq!(probe.findings.ignored, ["oss:Get?bject"]);
            assert_eq!(probe.stopped, None);
        }
    }

    #[test]
    fn a_spelling_is_ignored_only_if_the_documented_one_denies_access() {
        let probe = play(|_| false, 0, 0);
        assert_eq!((probe.findings.ignored.len(), probe.findings.open.len()), (0, 3));
        assert!(probe.stopped.unwrap().contains("oss:GetObject"));
        let probe = play(|_| true, 0, 0);
        assert_eq!(probe.findings.matching, ["oss:getobject", "oss:Get?bject"]);
        // Three beside a Deny, and one after each of the first two.
        assert_eq!(probe.billed, 5);
    }
}
