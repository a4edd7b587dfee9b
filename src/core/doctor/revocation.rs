//! The question of how soon access ends after a statement was removed.

use std::time::Duration;

use super::probe::findings::RevocationLag;
use super::probe::step::{ProbeAnswer, ProbeStep};
use super::waiting::{PATIENCE, is_about_the_image, not_scored, pause_after};

/// Decides which step is next, after the last score.
#[derive(Clone, Debug)]
pub(super) struct RevocationProbe {
    pub(super) next: ProbeStep,
    pub(super) billed: u32,
    pub(super) lag: Option<RevocationLag>,
    pub(super) stopped: Option<String>,
}

impl RevocationProbe {
    pub(super) fn new() -> Self {
        Self {
            next: ProbeStep::Remove,
            billed: 0,
            lag: None,
            stopped: None,
        }
    }

    pub(super) fn take(&mut self, answer: ProbeAnswer) {
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        match answer {
            ProbeAnswer::Written { .. }
            | ProbeAnswer::Paused
            | ProbeAnswer::Burst(_)
            | ProbeAnswer::ReadBack(_)
            | ProbeAnswer::Put(_) => {
                self.next = ProbeStep::Score;
            }
            ProbeAnswer::WriteFailed(error) => self.stop(&format!(
                "the statement could not be removed ({})",
                error.code_and_refusal()
            )),
            ProbeAnswer::Scored(after) => {
                self.billed += 1;
                self.lag = Some(RevocationLag::LongerThan(millis(after)));
                self.next = if after < PATIENCE {
                    ProbeStep::Pause(pause_after(after))
                } else {
                    ProbeStep::Finish
                };
            }
            ProbeAnswer::ScoreFailed(error, after) => {
                self.billed += 1;
                if is_about_the_image(&error) {
                    self.lag = Some(RevocationLag::Millis(millis(after)));
                    self.next = ProbeStep::Finish;
                } else if error.is_transient() && after < PATIENCE {
                    self.next = ProbeStep::Pause(pause_after(after));
                } else {
                    self.stop(&not_scored(&error));
                }
            }
        }
    }

    fn stop(&mut self, why: &str) {
        self.stopped = Some(why.to_owned());
        self.next = ProbeStep::Finish;
    }
}
