//! What an answer of IMM means: a result, a retry, or the end of the run. Decided by the kind and code of a failure, because
//! IMM bills refused requests and a blind repetition would pay again.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Item, Progress, Retry};
use crate::api::FailureAction;
use crate::core::error::{CallFailure, FailureKind};
use crate::core::job::Score;
use crate::core::requeue;

/// What an answer means for the whole job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    GoOn,
    /// Slow down, and go on.
    SlowDown,
    /// The keys are refused; no more calls with them.
    KeysRefused(CallFailure),
    /// A permission is missing; `canary` tells whether the first call of the run found out.
    Denied {
        /// Whether the first call of the run found out.
        canary: bool,
        /// The failure.
        failure: CallFailure,
    },
    /// The project does not exist.
    NoProject {
        /// Whether the first call of the run found out.
        canary: bool,
        /// The failure.
        failure: CallFailure,
    },
    /// The images are in another region than the project.
    OtherRegion(CallFailure),
    /// The cloud refuses the time of the request; no more calls until the clock is right.
    ClockIsOff(CallFailure),
}

impl Progress {
    /// An answer has come.
    pub fn fold(&mut self, index: usize, answer: Result<String, CallFailure>, now: Timestamp) -> Outcome {
        let Some(item) = self.in_flight.remove(&index) else {
            return Outcome::GoOn;
        };
        match answer {
            Ok(text) => {
                let score = Score::parse(&text);
                self.canary_passed |= score.is_some();
                let code = score.is_none().then(|| "ScoreOutOfRange".to_owned());
                self.close(&item.uri);
                self.settle(index, item.uri, score.map(Score::into_text), code);
                Outcome::GoOn
            }
            Err(failure) => self.fold_failure(item, failure, now),
        }
    }

    fn fold_failure(&mut self, item: Item, failure: CallFailure, now: Timestamp) -> Outcome {
        self.count(&failure);
        let canary = !self.canary_passed;
        let passing = match failure.kind {
            FailureKind::Throttled => {
                // A rate limit is our pace, not the item's fault: it never counts against the item.
                let throttles = self.retries.get(&item.index).map_or(0, |r| r.throttles) + 1;
                self.defer(&item, 0, throttles, failure.retry_after, now);
                return Outcome::SlowDown;
            }
            FailureKind::KeysRejected | FailureKind::KeysExpired => {
                self.defer(&item, 0, 0, None, now);
                return Outcome::KeysRefused(failure);
            }
            FailureKind::NoSuchProject => {
                self.defer(&item, 0, 0, None, now);
                return Outcome::NoProject { canary, failure };
            }
            // Once an image was scored, another one of another region is that one's own fault.
            FailureKind::WrongRegion
                if canary && self.tally.succeeded == 0 && self.rules.action(&failure.code).is_none() =>
            {
                self.defer(&item, 0, 0, None, now);
                return Outcome::OtherRegion(failure);
            }
            FailureKind::Unavailable if failure.clock_is_off() => {
                self.defer(&item, 0, 0, None, now);
                return Outcome::ClockIsOff(failure);
            }
            FailureKind::Unavailable | FailureKind::Unanswered => true,
            FailureKind::Denied
            | FailureKind::Refused
            | FailureKind::PublicBlocked
            | FailureKind::NoSuchBucket
            | FailureKind::WrongRegion
            | FailureKind::DocumentRefused => false,
        };
        match self.rules.action(&failure.code) {
            Some(FailureAction::Retry) => self.retry(item, failure, now),
            None if passing => self.retry(item, failure, now),
            None if failure.kind == FailureKind::Denied => {
                self.defer(&item, 0, 0, None, now);
                return Outcome::Denied { canary, failure };
            }
            // Not yet proof that a call can succeed: after a refused canary the next item goes alone as well.
            Some(FailureAction::FailJob | FailureAction::FailItem | FailureAction::IgnoreItem) | None => {
                self.close(&item.uri);
                self.settle(item.index, item.uri, None, Some(failure.code));
            }
        }
        Outcome::GoOn
    }

    /// What is billed follows the status of the answer, not what it means: every request but one that failed in the service.
    fn count(&mut self, failure: &CallFailure) {
        let throttled = failure.kind == FailureKind::Throttled;
        self.requests.throttled += i64::from(throttled);
        match failure.status {
            Some(500..) => self.requests.server_errors += 1,
            Some(400..) if !throttled => self.requests.client_errors += 1,
            // A success without a score was served all the same.
            Some(_) => {}
            None if failure.code == "ConnectionFailed" => self.requests.server_errors += 1,
            // It may have been carried out, and billed, all the same.
            None => self.requests.unanswered += 1,
        }
    }

    /// Tries an item again later, unless it has been tried often enough.
    fn retry(&mut self, item: Item, failure: CallFailure, now: Timestamp) {
        let attempts = self.retries.get(&item.index).map_or(0, |r| r.attempts) + 1;
        if attempts > self.backoff_limit {
            self.exhausted += 1;
            self.close(&item.uri);
            self.settle(item.index, item.uri, None, Some(failure.code));
        } else {
            self.defer(&item, 1, 0, failure.retry_after, now);
        }
    }

    fn defer(&mut self, item: &Item, more: i32, throttles: i32, wait: Option<Duration>, now: Timestamp) {
        let attempts = self.retries.get(&item.index).map_or(0, |r| r.attempts) + more;
        let seed = format!("{}/{}", self.seed, item.index);
        let grown = requeue::after_failures(
            u32::try_from(attempts.max(throttles).max(1)).unwrap_or(1),
            Duration::from_secs(1),
            Duration::from_secs(60),
            &seed,
        );
        let wait = SignedDuration::try_from(wait.unwrap_or(grown)).unwrap_or(SignedDuration::from_secs(1));
        let retry = Retry {
            uri: item.uri.clone(),
            attempts,
            throttles,
            due: now + wait,
        };
        self.retries.insert(item.index, retry);
        self.pass_by(item.index);
    }
}
