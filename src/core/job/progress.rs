//! Progress of a job as a value: which item goes next, what an answer means, and what is durable.
//!
//! The first item of every run goes alone (the canary): a wrong project, role or grant then costs one billed request.
//! Requests are reserved in status before they leave, so that a crash can never spend more than was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Score;
use crate::api::{Cursor, Deferred, ItemResult, JobStatus, Requests};
use crate::core::delay;
use crate::core::failure::{CallFailure, FailureKind};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store status first: more requests must be reserved.
    Reserve,
    /// Send this item.
    Send(usize),
    /// Wait for an answer, or until a retry is due.
    Wait(Option<Timestamp>),
    /// The budget is used up; calls in flight are still awaited.
    OutOfBudget,
    /// Every item is done.
    Done,
}

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
    NoProject(CallFailure),
}

#[derive(Clone, Debug)]
struct Retry {
    attempts: i32,
    /// Refusals because of a rate limit in a row: they lengthen the wait and cost no attempt.
    throttles: i32,
    due: Timestamp,
}

/// Where a job stands.
#[derive(Clone, Debug)]
pub struct Progress {
    uris: Vec<String>,
    results: BTreeMap<usize, ItemResult>,
    retries: BTreeMap<usize, Retry>,
    in_flight: BTreeSet<usize>,
    /// Items whose retries ran out on failures that may pass.
    exhausted: usize,
    requests: Requests,
    /// Reserved in status and not yet used by this process.
    allowance: i64,
    canary_passed: bool,
    backoff_limit: i32,
    seed: String,
}

impl Progress {
    /// Takes up a job where its status left it. What was reserved then counts as spent.
    pub fn resume(
        uris: &[String],
        status: &JobStatus,
        backoff_limit: i32,
        now: Timestamp,
        seed: &str,
    ) -> Self {
        let index = |i: i32| usize::try_from(i).unwrap_or(usize::MAX);
        let mut requests = status.requests.clone().unwrap_or_default();
        requests.sent = requests.sent.max(requests.reserved);
        requests.reserved = requests.sent;
        Self {
            uris: uris.to_vec(),
            results: status
                .results
                .iter()
                .map(|r| (index(r.index), r.clone()))
                .collect(),
            retries: status
                .deferred
                .iter()
                .map(|d| {
                    (
                        index(d.index),
                        Retry {
                            attempts: d.attempts,
                            throttles: 0,
                            due: now,
                        },
                    )
                })
                .collect(),
            in_flight: BTreeSet::new(),
            exhausted: 0,
            requests,
            allowance: 0,
            canary_passed: false,
            backoff_limit,
            seed: seed.to_owned(),
        }
    }

    /// What to do next, with at most `ceiling` calls in flight and `budget` requests in all.
    pub fn next(&self, now: Timestamp, ceiling: usize, budget: Option<i64>) -> Step {
        if self.results.len() == self.uris.len() {
            return Step::Done;
        }
        let ceiling = if self.canary_passed { ceiling } else { 1 };
        let due = self.candidate(now);
        if self.in_flight.len() >= ceiling || due.is_none() {
            return Step::Wait(self.retries.values().map(|r| r.due).filter(|t| *t > now).min());
        }
        if self.allowance > 0 {
            return due.map_or(Step::Wait(None), Step::Send);
        }
        match budget {
            Some(limit) if self.requests.reserved >= limit && self.in_flight.is_empty() => Step::OutOfBudget,
            Some(limit) if self.requests.reserved >= limit => Step::Wait(None),
            _ => Step::Reserve,
        }
    }

    /// The next item: the first due retry that is not under way already, else the first that was never sent. A canary
    /// that failed goes first again.
    fn candidate(&self, now: Timestamp) -> Option<usize> {
        let retry = self
            .retries
            .iter()
            .find(|(index, r)| r.due <= now && !self.in_flight.contains(index))
            .map(|(index, _)| *index);
        let fresh = || (0..self.uris.len()).find(|i| !self.settled(*i) && !self.in_flight.contains(i));
        let waiting_canary = !self.canary_passed && !self.retries.is_empty();
        retry.or_else(|| if waiting_canary { None } else { fresh() })
    }

    fn settled(&self, index: usize) -> bool {
        self.results.contains_key(&index) || self.retries.contains_key(&index)
    }

    /// Reserves up to `rate` requests, one for the canary; the caller stores the status before it sends any.
    pub fn reserve(&mut self, rate: i64, budget: Option<i64>) {
        let open = self
            .uris
            .len()
            .saturating_sub(self.results.len() + self.in_flight.len());
        let left = i64::try_from(open).unwrap_or(i64::MAX);
        let wish = if self.canary_passed {
            rate.min(left).max(1)
        } else {
            1
        };
        let room = budget.map_or(i64::MAX, |limit| (limit - self.requests.reserved).max(0));
        let granted = wish.min(room);
        self.requests.reserved += granted;
        self.allowance += granted;
    }

    /// Gives back what was reserved and not used: this process is about to stop cleanly.
    pub fn release(&mut self) {
        self.requests.reserved -= self.allowance;
        self.allowance = 0;
    }

    /// An item leaves.
    pub fn sent(&mut self, index: usize) {
        self.allowance -= 1;
        self.requests.sent += 1;
        if self.retries.get(&index).is_some_and(|r| r.attempts > 0) {
            self.requests.retried += 1;
        }
        self.in_flight.insert(index);
    }

    /// An answer has come.
    pub fn fold(&mut self, index: usize, answer: Result<String, CallFailure>, now: Timestamp) -> Outcome {
        self.in_flight.remove(&index);
        let canary = !self.canary_passed;
        match answer {
            Ok(text) => {
                let score = Score::parse(&text);
                self.canary_passed |= score.is_some();
                let code = score.is_none().then(|| "ScoreOutOfRange".to_owned());
                self.store(index, score.map(|s| s.to_string()), code);
                Outcome::GoOn
            }
            Err(failure) => self.fold_failure(index, failure, canary, now),
        }
    }

    fn fold_failure(&mut self, index: usize, failure: CallFailure, canary: bool, now: Timestamp) -> Outcome {
        match failure.kind {
            FailureKind::Throttled => {
                self.requests.throttled += 1;
                // A rate limit is our pace, not the item's fault: it never counts against the item.
                let throttles = self.retries.get(&index).map_or(0, |r| r.throttles) + 1;
                self.defer(index, 0, throttles, failure.retry_after, now);
                Outcome::SlowDown
            }
            FailureKind::Unavailable | FailureKind::Unanswered => {
                if failure.kind == FailureKind::Unavailable || failure.code == "ConnectionFailed" {
                    self.requests.server_errors += 1;
                } else {
                    // It may have been carried out, and billed, all the same.
                    self.requests.unanswered += 1;
                }
                let attempts = self.retries.get(&index).map_or(0, |r| r.attempts) + 1;
                if attempts > self.backoff_limit {
                    self.exhausted += 1;
                    self.store(index, None, Some(failure.code));
                } else {
                    self.defer(index, 1, 0, failure.retry_after, now);
                }
                Outcome::GoOn
            }
            FailureKind::KeysRejected | FailureKind::KeysExpired => {
                self.requests.client_errors += 1;
                self.defer(index, 0, 0, None, now);
                Outcome::KeysRefused(failure)
            }
            FailureKind::Denied => {
                self.requests.client_errors += 1;
                self.defer(index, 0, 0, None, now);
                Outcome::Denied { canary, failure }
            }
            FailureKind::NoSuchProject => {
                self.requests.client_errors += 1;
                self.defer(index, 0, 0, None, now);
                Outcome::NoProject(failure)
            }
            FailureKind::Refused
            | FailureKind::PublicBlocked
            | FailureKind::NoSuchBucket
            | FailureKind::WrongRegion
            | FailureKind::DocumentRefused => {
                self.requests.client_errors += 1;
                // Not yet proof that a call can succeed: the next item goes alone as well.
                self.store(index, None, Some(failure.code));
                Outcome::GoOn
            }
        }
    }

    fn store(&mut self, index: usize, score: Option<String>, code: Option<String>) {
        self.retries.remove(&index);
        let uri = self.uris.get(index).cloned().unwrap_or_default();
        let place = i32::try_from(index).unwrap_or(i32::MAX);
        self.results.insert(
            index,
            ItemResult {
                index: place,
                uri,
                score,
                code,
            },
        );
    }

    fn defer(&mut self, index: usize, more: i32, throttles: i32, wait: Option<Duration>, now: Timestamp) {
        let attempts = self.retries.get(&index).map_or(0, |r| r.attempts) + more;
        let seed = format!("{}/{index}", self.seed);
        let grown = delay::after_failures(
            u32::try_from(attempts.max(throttles).max(1)).unwrap_or(1),
            Duration::from_secs(1),
            Duration::from_secs(60),
            &seed,
        );
        let wait = SignedDuration::try_from(wait.unwrap_or(grown)).unwrap_or(SignedDuration::from_secs(1));
        self.retries.insert(
            index,
            Retry {
                attempts,
                throttles,
                due: now + wait,
            },
        );
    }

    /// Results in order of index.
    pub fn results(&self) -> Vec<ItemResult> {
        self.results.values().cloned().collect()
    }

    /// Requests so far.
    pub fn requests(&self) -> Requests {
        let estimated_billable = self.requests.sent - self.requests.server_errors;
        Requests {
            estimated_billable,
            ..self.requests.clone()
        }
    }

    /// Items whose call is in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Items of the job.
    pub fn total(&self) -> usize {
        self.uris.len()
    }

    /// Failed items, and how many of them only ran out of retries.
    pub fn failed(&self) -> (usize, usize) {
        (
            self.results.values().filter(|r| r.code.is_some()).count(),
            self.exhausted,
        )
    }

    /// The text of an item.
    pub fn uri(&self, index: usize) -> &str {
        self.uris.get(index).map_or("", String::as_str)
    }

    /// The durable place: the first item that is neither stored nor deferred, and those deferred before it.
    pub fn cursor(&self) -> (Cursor, Vec<Deferred>) {
        let first = (0..self.uris.len())
            .find(|i| !self.settled(*i))
            .unwrap_or(self.uris.len());
        let place = |i: usize| i32::try_from(i).unwrap_or(i32::MAX);
        let deferred = self
            .retries
            .iter()
            .map(|(index, retry)| Deferred {
                index: place(*index),
                attempts: retry.attempts,
            })
            .collect();
        (Cursor { index: place(first) }, deferred)
    }
}
