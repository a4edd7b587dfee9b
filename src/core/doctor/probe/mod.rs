//! The questions that only a write or a billed call answers: which principal OSS accepts, how it compares the role,
//! and how soon it enforces a policy. This module decides the next step; the policy goes back afterwards in any case.

pub(super) mod checks;
pub(super) mod findings;
pub(super) mod sequence;
pub(super) mod step;

use std::collections::VecDeque;
use std::time::Duration;

use super::waiting::{
    PATIENCE, SCORED_WITHOUT_STATEMENT, is_about_the_image, no_answer, not_scored, not_written, pause_after,
};
use crate::api::{Grantee, PrincipalForm};
use crate::core::error::{CloudError, CloudErrorKind};
use findings::ProbeFindings;
use step::{ProbeAnswer, ProbePlan, ProbeStep};

/// Decides which step is next.
#[derive(Clone, Debug)]
pub struct Probe {
    account: String,
    open: VecDeque<Grantee>,
    /// The grantee whose statement is written; `None` before the first one.
    current: Option<Grantee>,
    next: ProbeStep,
    most_billed: u32,
    findings: ProbeFindings,
}

impl Probe {
    /// Starts with the grantee of a grant, whose role is spelled as the project does.
    pub fn new(grantee: &Grantee, project_role: Option<&str>, most_billed: u32) -> Self {
        let role = project_role.unwrap_or(&grantee.role_name).to_owned();
        let first = Grantee {
            role_name: role.clone(),
            ..grantee.clone()
        };
        let lower = Grantee {
            role_name: role.to_ascii_lowercase(),
            ..grantee.clone()
        };
        let mut open = VecDeque::from([first.clone()]);
        if lower.role_name != role && grantee.principal != PrincipalForm::Account {
            open.push_back(lower);
        }
        Self {
            account: grantee.account_uid.clone(),
            open,
            current: None,
            // Without a statement access must be denied: else no later score says anything about one.
            next: ProbeStep::Score,
            most_billed,
            findings: ProbeFindings::default(),
        }
    }

    /// Returns what was found out so far.
    pub fn findings(&self) -> &ProbeFindings {
        &self.findings
    }

    fn begin_next(&mut self) {
        self.current = self.open.pop_front();
        match &self.current {
            Some(grantee) if self.findings.billed < self.most_billed => {
                self.next = ProbeStep::Write(grantee.clone());
            }
            Some(_) => self.stop("--max-billed is reached"),
            None => self.next = ProbeStep::Finish,
        }
    }

    fn score_next(&mut self) {
        if self.findings.billed < self.most_billed {
            self.next = ProbeStep::Score;
        } else {
            self.stop("--max-billed is reached");
        }
    }

    fn on_failed_write(&mut self, error: &CloudError) {
        if error.kind != CloudErrorKind::PublicAccessBlocked {
            self.stop(&not_written(error));
            return;
        }
        let Some(rejected) = self.current.take() else {
            return;
        };
        if rejected.principal == PrincipalForm::ServiceRole {
            self.findings.session_wildcard_is_public = Some(true);
            // Every spelling has the wildcard. An account has none.
            self.open = VecDeque::from([Grantee {
                principal: PrincipalForm::Account,
                session_name: None,
                ..rejected.clone()
            }]);
        }
        self.findings.rejected.push(rejected);
        self.begin_next();
    }

    fn on_failed_score(&mut self, error: &CloudError, after: Duration) {
        // Each answer of IMM may be billed, and a call without an answer too.
        self.findings.billed += 1;
        if self.current.is_none() && is_about_the_image(error) {
            self.begin_next();
        } else if !is_about_the_image(error) && !error.is_transient() {
            self.stop(&not_scored(error));
        } else if after < PATIENCE {
            self.next = ProbeStep::Pause(pause_after(after));
        } else if is_about_the_image(error) {
            self.findings.denied.extend(self.current.take());
            self.begin_next();
        } else {
            self.stop(&no_answer(error));
        }
    }
}

impl ProbePlan for Probe {
    fn step(&self) -> &ProbeStep {
        &self.next
    }

    fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written {
                session_wildcard_is_public: public @ Some(_),
                by_block,
                ..
            } if self.findings.session_wildcard_is_public.is_none() => {
                self.findings.session_wildcard_is_public = public;
                self.findings.wildcard_by_block = by_block;
                self.score_next();
            }
            ProbeAnswer::Written { .. } => {
                self.score_next();
            }
            ProbeAnswer::WriteFailed(error) => self.on_failed_write(&error),
            ProbeAnswer::Scored(_) if self.current.is_none() => {
                self.findings.billed += 1;
                self.stop(SCORED_WITHOUT_STATEMENT);
            }
            ProbeAnswer::Scored(after) => {
                self.findings.billed += 1;
                self.findings.works = self.current.take();
                self.findings.lag_millis = u64::try_from(after.as_millis()).ok();
                self.next = ProbeStep::Finish;
            }
            ProbeAnswer::ScoreFailed(error, after) => self.on_failed_score(&error, after),
            ProbeAnswer::Paused | ProbeAnswer::Burst(_) | ProbeAnswer::ReadBack(_) | ProbeAnswer::Put(_) => {
                self.score_next();
            }
        }
    }

    fn stop(&mut self, why: &str) {
        self.findings.stopped = Some(why.to_owned());
        self.next = ProbeStep::Finish;
    }

    fn account(&self) -> &str {
        &self.account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::refusal::{Refusal, RefusedBy};

    fn grantee(role: &str) -> Grantee {
        Grantee {
            account_uid: "12345".to_owned(),
            role_name: role.to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        }
    }

    fn error(kind: CloudErrorKind) -> CloudError {
        CloudError {
            kind,
            status: Some(403),
            code: "AccessDenied".to_owned(),
            request_id: None,
            retry_after: None,
            refusal: Refusal::default(),
        }
    }

    /// A probe whose first call was denied.
    fn begun(role: &str) -> Probe {
        let mut probe = Probe::new(&grantee(role), None, 60);
        assert_eq!(probe.step(), &ProbeStep::Score);
        let denied = error(CloudErrorKind::AccessDenied);
        probe.take(ProbeAnswer::ScoreFailed(denied, Duration::ZERO));
        probe
    }

    /// A cloud that enforces a policy after a time, and knows one spelling of the role.
    struct ScriptedCloud {
        spelling: &'static str,
        lag: u64,
        wildcard_is_public: bool,
        account_reads: bool,
    }

    impl ScriptedCloud {
        fn run(&self, most_billed: u32) -> ProbeFindings {
            let mut probe = Probe::new(&grantee("AliyunIMMDefaultRole"), None, most_billed);
            let (mut written, mut clock) = (grantee(""), Duration::ZERO);
            let without = error(CloudErrorKind::AccessDenied);
            probe.take(ProbeAnswer::ScoreFailed(without, Duration::ZERO));
            for _ in 0..1000 {
                let answer = match probe.step().clone() {
                    ProbeStep::Finish => return probe.findings().clone(),
                    ProbeStep::Write(next) => {
                        clock = Duration::ZERO;
                        written = next;
                        if self.wildcard_is_public && written.principal == PrincipalForm::ServiceRole {
                            ProbeAnswer::WriteFailed(error(CloudErrorKind::PublicAccessBlocked))
                        } else {
                            ProbeAnswer::Written {
                                session_wildcard_is_public: Some(false).filter(|_| !self.wildcard_is_public),
                                policy_is_public: None,
                                by_block: false,
                            }
                        }
                    }
                    ProbeStep::Pause(pause) => {
                        clock += pause;
                        ProbeAnswer::Paused
                    }
                    ProbeStep::WriteWithPassRole(_)
                    | ProbeStep::WriteWithDeny(..)
                    | ProbeStep::WriteWithConditions(_)
                    | ProbeStep::Put(_)
                    | ProbeStep::ScoreByChain(_)
                    | ProbeStep::ReadBack
                    | ProbeStep::Remove
                    | ProbeStep::Try(_)
                    | ProbeStep::Burst { .. }
                    | ProbeStep::ProjectBurst { .. } => {
                        panic!("no step of this probe")
                    }
                    ProbeStep::Score => {
                        let named = match written.principal {
                            PrincipalForm::Account => self.account_reads,
                            PrincipalForm::ServiceRole | PrincipalForm::ServiceRoleSession => {
                                written.role_name == self.spelling
                            }
                        };
                        if named && clock >= Duration::from_secs(self.lag) {
                            ProbeAnswer::Scored(clock)
                        } else {
                            ProbeAnswer::ScoreFailed(error(CloudErrorKind::AccessDenied), clock)
                        }
                    }
                };
                probe.take(answer);
            }
            panic!("no end");
        }
    }

    #[test]
    fn the_lag_is_measured_and_never_rounded_down() {
        for (lag, millis, settle) in [(0, 0, 10), (20, 20_000, 40), (21, 25_000, 50), (90, 90_000, 180)] {
            let cloud = ScriptedCloud {
                spelling: "AliyunIMMDefaultRole",
                lag,
                wildcard_is_public: false,
                account_reads: false,
            };
            let found = cloud.run(60);
            assert_eq!(found.lag_millis, Some(millis), "{lag}");
            assert_eq!(found.settle_seconds(), Some(settle));
            assert_eq!(found.session_wildcard_is_public, Some(false));
            assert!(found.billed <= 30 && found.stopped.is_none(), "{found:?}");
        }
    }

    #[test]
    fn the_other_spelling_is_tried_within_the_budget() {
        let cloud = ScriptedCloud {
            spelling: "aliyunimmdefaultrole",
            lag: 20,
            wildcard_is_public: false,
            account_reads: false,
        };
        let found = cloud.run(60);
        assert_eq!(found.works, Some(grantee("aliyunimmdefaultrole")));
        assert_eq!(found.denied, [grantee("AliyunIMMDefaultRole")]);
        let short = cloud.run(5);
        assert_eq!((short.billed, short.works.is_none()), (5, true));
        assert!(short.stopped.unwrap().contains("--max-billed"));
    }

    #[test]
    fn a_rejected_wildcard_leads_to_the_account() {
        for account_reads in [true, false] {
            let cloud = ScriptedCloud {
                spelling: "AliyunIMMDefaultRole",
                lag: 0,
                wildcard_is_public: true,
                account_reads,
            };
            let found = cloud.run(60);
            assert_eq!(found.session_wildcard_is_public, Some(true));
            assert_eq!(found.rejected, [grantee("AliyunIMMDefaultRole")]);
            let works = found.works.map(|grantee| grantee.principal);
            assert_eq!(works, account_reads.then_some(PrincipalForm::Account));
        }
    }

    #[test]
    fn an_error_that_waiting_does_not_change_ends_it_after_one_call() {
        let unpermitted = CloudError {
            refusal: Refusal {
                by: Some(RefusedBy::RamPolicy),
                action: Some("imm:DetectImageScore"),
                ..Refusal::default()
            },
            ..error(CloudErrorKind::AccessDenied)
        };
        for failure in [error(CloudErrorKind::RequestRejected), unpermitted] {
            let mut probe = begun("R");
            probe.take(ProbeAnswer::Written {
                session_wildcard_is_public: None,
                policy_is_public: None,
                by_block: false,
            });
            probe.take(ProbeAnswer::ScoreFailed(failure, Duration::ZERO));
            assert_eq!(probe.step(), &ProbeStep::Finish);
            assert_eq!(probe.findings().billed, 2);
            assert!(
                probe
                    .findings()
                    .stopped
                    .as_ref()
                    .unwrap()
                    .contains("AccessDenied")
            );
        }
    }

    #[test]
    fn a_score_without_a_statement_ends_it_before_a_write() {
        let mut probe = Probe::new(&grantee("Role"), None, 60);
        let unavailable = error(CloudErrorKind::Unavailable);
        probe.take(ProbeAnswer::ScoreFailed(unavailable, Duration::ZERO));
        assert!(matches!(probe.step(), ProbeStep::Pause(_)));
        probe.take(ProbeAnswer::Paused);
        assert_eq!(probe.step(), &ProbeStep::Score);
        probe.take(ProbeAnswer::Scored(Duration::ZERO));
        let found = probe.findings();
        assert_eq!((probe.step(), found.billed), (&ProbeStep::Finish, 2));
        assert!(found.works.is_none() && found.lag_millis.is_none() && found.stopped.is_some());
        // The only allowed call is not followed by a write that no call could judge.
        let mut probe = Probe::new(&grantee("Role"), None, 1);
        let denied = error(CloudErrorKind::AccessDenied);
        probe.take(ProbeAnswer::ScoreFailed(denied, Duration::ZERO));
        assert_eq!(probe.step(), &ProbeStep::Finish);
    }

    #[test]
    fn a_cloud_that_does_not_answer_says_nothing_about_the_grantee() {
        let unspecific = CloudError {
            code: "NoPermission".to_owned(),
            ..error(CloudErrorKind::AccessDenied)
        };
        let late = PATIENCE;
        for (failure, after, why) in [
            (error(CloudErrorKind::Unavailable), late, "did not say"),
            (error(CloudErrorKind::Unanswered), late, "did not say"),
            (unspecific, Duration::ZERO, "could not be scored"),
        ] {
            let mut probe = begun("Role");
            probe.take(ProbeAnswer::Written {
                session_wildcard_is_public: None,
                policy_is_public: None,
                by_block: false,
            });
            probe.take(ProbeAnswer::ScoreFailed(failure, after));
            let found = probe.findings();
            assert!(
                found.denied.is_empty() && found.stopped.as_ref().unwrap().contains(why),
                "{found:?}"
            );
        }
    }
}
