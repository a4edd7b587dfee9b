//! The questions about the `ram:PassRole` statement of Alibaba Cloud's procedure: does OSS count it as public, and
//! does IMM need it? It is written only where the caller has allowed a public statement.

use std::collections::VecDeque;
use std::time::Duration;

use super::probe::findings::{PassRoleFindings, ProbeFindings};
use super::probe::step::{ProbeAnswer, ProbeStep};
use super::waiting::{PATIENCE, is_about_the_image, no_answer, not_scored, not_written, pause_after};
use crate::api::Grantee;
use crate::core::error::{CloudError, CloudErrorKind};

/// Decides which step is next, after the question of access.
#[derive(Clone, Debug)]
pub(super) struct PassRoleProbe {
    open: VecDeque<Grantee>,
    /// Whether an image was scored without the statement.
    works_without: bool,
    wildcard_is_public: bool,
    current: Option<Grantee>,
    pub(super) next: ProbeStep,
    pub(super) billed: u32,
    pub(super) findings: PassRoleFindings,
    pub(super) works: Option<(Grantee, Duration)>,
    pub(super) stopped: Option<String>,
}

impl PassRoleProbe {
    /// Starts with the grantee of the last score, or with those whose access was denied.
    pub(super) fn after(access: &ProbeFindings) -> Self {
        let works = access.works.iter();
        let open: VecDeque<Grantee> = if access.works.is_some() {
            works.cloned().collect()
        } else {
            access.denied.iter().cloned().collect()
        };
        let mut probe = Self {
            open,
            works_without: access.works.is_some(),
            wildcard_is_public: access.session_wildcard_is_public == Some(true),
            current: None,
            next: ProbeStep::Finish,
            billed: 0,
            findings: PassRoleFindings {
                is_needed: access.works.is_some().then_some(false),
                ..PassRoleFindings::default()
            },
            works: None,
            stopped: None,
        };
        probe.begin_next();
        probe
    }

    fn begin_next(&mut self) {
        self.current = self.open.pop_front();
        self.next = match &self.current {
            Some(grantee) => ProbeStep::WriteWithPassRole(grantee.clone()),
            None => ProbeStep::Finish,
        };
    }

    pub(super) fn take(&mut self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Written { policy_is_public, .. } => {
                // The other statement would make the policy public too.
                if !self.wildcard_is_public {
                    self.findings.is_public = self.findings.is_public.or(policy_is_public);
                }
                if self.works_without {
                    self.next = ProbeStep::Finish;
                } else {
                    self.next = ProbeStep::Score;
                }
            }
            ProbeAnswer::WriteFailed(error) => self.on_failed_write(&error),
            ProbeAnswer::Scored(after) => {
                self.billed += 1;
                self.findings.is_needed = Some(true);
                self.works = self.current.take().map(|grantee| (grantee, after));
                self.next = ProbeStep::Finish;
            }
            ProbeAnswer::ScoreFailed(error, after) => {
                self.billed += 1;
                if !is_about_the_image(&error) && !error.is_transient() {
                    self.stopped = Some(not_scored(&error));
                    self.next = ProbeStep::Finish;
                } else if after < PATIENCE {
                    self.next = ProbeStep::Pause(pause_after(after));
                } else if is_about_the_image(&error) {
                    self.begin_next();
                } else {
                    self.stopped = Some(no_answer(&error));
                    self.next = ProbeStep::Finish;
                }
            }
            ProbeAnswer::Paused | ProbeAnswer::Burst(_) | ProbeAnswer::ReadBack(_) | ProbeAnswer::Put(_) => {
                self.next = ProbeStep::Score;
            }
        }
    }

    fn on_failed_write(&mut self, error: &CloudError) {
        self.next = ProbeStep::Finish;
        if error.kind == CloudErrorKind::PublicAccessBlocked {
            // OSS accepted the policy without the statement.
            self.findings.is_public = Some(true);
            self.findings.is_blocked = true;
        } else if error.had_no_effect() && !error.is_transient() {
            self.findings.rejected_with = Some(error.code.clone());
        } else {
            self.stopped = Some(not_written(error));
        }
    }
}
