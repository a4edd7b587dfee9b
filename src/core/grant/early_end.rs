//! Why a reconcile of a grant set ends before a plan shows that the policy is as desired: what its grants report, and
//! when the grant set is reconciled again.

use std::time::Duration;

use super::failed_attempt::retry_after_failure;
use super::next_reconcile::{NEXT_ADDITION, drift_interval};
use super::work::GrantWork;
use super::{GrantOutcome, GrantState};
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::policy::{PlanFault, PolicyParseError};
use crate::core::requeue::short_backoff;

/// Interval of a set for which nothing is left to do.
const NOTHING_LEFT: Duration = Duration::from_secs(3600);
/// How long a set waits for the first read of its bucket before the read is requested again.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// Interval at which the tenancy rules are applied again to what they have denied.
const DENIED: Duration = Duration::from_secs(60);
/// Delay before credentials are fetched again that need action first.
const CREDENTIALS: Duration = Duration::from_secs(30);
/// Delay before a policy is read again that OSS returned as it was before a write.
const STALE_READ: Duration = Duration::from_secs(2);
/// Interval at which a policy is read again that cannot be edited.
const UNREADABLE: Duration = Duration::from_secs(3600);
/// Delay before that is reported again if it could not be.
const UNREPORTED: Duration = Duration::from_secs(30);

/// Why a reconcile of a set ends early.
#[derive(Debug)]
pub enum EarlyEnd {
    /// All grants of the set are released.
    NothingLeft,
    /// A ledger could not be stored, and nothing may be done before it is.
    NotStored,
    /// The first read of the bucket is not done. Its end triggers the bucket.
    Probing,
    /// Every grant has a state without the policy.
    AllDecided,
    /// The credentials may not be used or cannot be obtained.
    Refused(CredentialRefusal),
    /// The operator's own identity reads no policy of a bucket whose owner is not the one that a grant names.
    OwnerUnverified,
    /// The policy cannot be edited.
    Unreadable(PolicyParseError),
    /// OSS returned the policy from before a recent write.
    StaleRead,
    /// The policy still changed after the last round.
    WriteConflict,
    /// The planned policy failed the check before its write.
    InvalidPlan(PlanFault),
    /// A call failed.
    CallFailed(CloudError),
    /// The write failed.
    WriteFailed {
        /// The error.
        error: CloudError,
        /// Whether something is planned again at once, without what was rejected.
        plan_again: bool,
    },
}

/// What the delay after an early end depends on, besides its cause.
#[derive(Clone, Copy, Debug)]
pub struct EndFacts<'a> {
    /// Consecutive failures of the set, this one included.
    pub failures: u32,
    /// The drift interval.
    pub interval: Duration,
    /// Whether a tenancy rule denies one of the grants, or cannot be evaluated.
    pub denied: bool,
    /// Whether all statuses were stored.
    pub all_stored: bool,
    /// Seed of the jitter.
    pub seed: &'a str,
}

/// What follows from an early end.
#[derive(Clone, Debug)]
pub struct AfterEnd<'a> {
    /// The state that the grants without one of their own report; `None` if nothing is reported.
    pub state: Option<GrantState>,
    /// Whether the credentials are obtained again for the next call.
    pub forget_credentials: bool,
    /// Whether OSS does not find the bucket.
    pub no_bucket: bool,
    /// What the delay depends on.
    pub facts: EndFacts<'a>,
}

impl EarlyEnd {
    /// Returns what follows for the grants that the end concerns, after `before` failures in a row without it and
    /// `failures` with it.
    pub fn after<'a>(&self, batch: &[GrantWork], before: u32, failures: u32, seed: &'a str) -> AfterEnd<'a> {
        let failed = self.failed_call().filter(|_| !batch.is_empty());
        let silent = batch.is_empty() || self.is_first_expiry(before);
        AfterEnd {
            state: self.state().filter(|_| !silent),
            forget_credentials: failed.is_some_and(CloudError::rejects_credentials),
            no_bucket: !silent && failed.is_some_and(|error| error.kind == CloudErrorKind::NoSuchBucket),
            facts: EndFacts {
                failures,
                interval: drift_interval(batch),
                denied: is_any_denied(batch),
                all_stored: true,
                seed,
            },
        }
    }

    /// Returns the state of the grants without one of their own; `None` if nothing is reported.
    fn state(&self) -> Option<GrantState> {
        match self {
            Self::NothingLeft | Self::NotStored | Self::Probing => None,
            // Each grant has its own.
            Self::AllDecided => Some(GrantState::Suspended),
            Self::Refused(refusal) => Some(refusal_state(refusal.clone())),
            Self::OwnerUnverified => Some(GrantState::OwnerUnverified),
            Self::Unreadable(why) => Some(GrantState::PolicyUnreadable(why.clone())),
            Self::StaleRead => Some(GrantState::Planned(GrantOutcome::Propagating)),
            Self::WriteConflict => Some(GrantState::WriteConflict),
            Self::InvalidPlan(fault) => Some(GrantState::InvalidPlan(*fault)),
            Self::CallFailed(error) | Self::WriteFailed { error, .. } => {
                Some(GrantState::CloudFailed(error.clone()))
            }
        }
    }

    /// Whether the set backs off: the end counts as a failure.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::WriteConflict | Self::InvalidPlan(_)) || self.failed_call().is_some()
    }

    /// Returns the error of the call that failed.
    pub(super) fn failed_call(&self) -> Option<&CloudError> {
        match self {
            Self::CallFailed(error) | Self::WriteFailed { error, .. } => Some(error),
            Self::NothingLeft
            | Self::NotStored
            | Self::Probing
            | Self::AllDecided
            | Self::Refused(_)
            | Self::OwnerUnverified
            | Self::Unreadable(_)
            | Self::StaleRead
            | Self::WriteConflict
            | Self::InvalidPlan(_) => None,
        }
    }

    /// Whether an STS session expired early, after `failures` failures. It is requested again, or read again from its
    /// source: the statuses report the error only if that fails too.
    fn is_first_expiry(&self, failures: u32) -> bool {
        let expired = |error: &CloudError| error.kind == CloudErrorKind::CredentialsExpired;
        failures == 0 && self.failed_call().is_some_and(expired)
    }

    /// Returns the time until the next reconcile of the set.
    pub fn wait(&self, facts: EndFacts<'_>) -> Duration {
        match self {
            // A ledger that could not be stored is stored earlier: the set retries failed writes to the API server.
            Self::NothingLeft | Self::NotStored => NOTHING_LEFT,
            Self::Probing => READ_AGAIN,
            Self::AllDecided if facts.denied => DENIED,
            Self::AllDecided | Self::OwnerUnverified => facts.interval,
            Self::Refused(refusal) => retry_after_refusal(refusal, facts.seed),
            Self::Unreadable(_) if facts.all_stored => UNREADABLE,
            Self::Unreadable(_) => UNREPORTED,
            Self::StaleRead => STALE_READ,
            Self::WriteConflict | Self::InvalidPlan(_) => short_backoff(facts.failures, facts.seed),
            Self::WriteFailed { plan_again: true, .. } => NEXT_ADDITION,
            Self::CallFailed(error) | Self::WriteFailed { error, .. } => {
                retry_after_failure(error, facts.failures, facts.interval, facts.seed)
            }
        }
    }
}

impl From<CloudError> for EarlyEnd {
    fn from(error: CloudError) -> Self {
        Self::CallFailed(error)
    }
}

/// Returns the state of a grant that may not use its identity, or whose credentials cannot be obtained.
pub fn refusal_state(refusal: CredentialRefusal) -> GrantState {
    match refusal {
        CredentialRefusal::Denied(message) => GrantState::Denied(message),
        CredentialRefusal::NamespaceUnknown => GrantState::NamespaceUnknown,
        CredentialRefusal::Failed(problem) => GrantState::CredentialsFailed(problem),
    }
}

/// Returns the delay before credentials are requested again.
pub(super) fn retry_after_refusal(refusal: &CredentialRefusal, seed: &str) -> Duration {
    match refusal {
        CredentialRefusal::Failed(problem) if problem.is_transient() => short_backoff(2, seed),
        CredentialRefusal::Failed(_) => CREDENTIALS,
        CredentialRefusal::Denied(_) | CredentialRefusal::NamespaceUnknown => DENIED,
    }
}

/// Separates the grants that are not to blame for a failed write, with the state of each, from the others.
pub fn split_unaffected(batch: Vec<GrantWork>) -> (Vec<(GrantWork, GrantState)>, Vec<GrantWork>) {
    let (mut unaffected, mut concerned) = (Vec::new(), Vec::new());
    for mut work in batch {
        match work.unaffected.take() {
            Some(outcome) => unaffected.push((work, GrantState::Planned(outcome))),
            None => concerned.push(work),
        }
    }
    (unaffected, concerned)
}

/// Whether a tenancy rule denies one of the grants, or cannot be evaluated.
fn is_any_denied(batch: &[GrantWork]) -> bool {
    batch.iter().any(|work| {
        matches!(
            work.decided,
            Some(GrantState::Denied(_) | GrantState::NamespaceUnknown)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::CredentialsError;
    use crate::core::grant::work_of;

    const INTERVAL: Duration = Duration::from_secs(600);

    fn facts(failures: u32) -> EndFacts<'static> {
        EndFacts {
            failures,
            interval: INTERVAL,
            denied: false,
            all_stored: true,
            seed: "seed",
        }
    }

    fn call(kind: CloudErrorKind) -> CloudError {
        CloudError::new(kind, "Code")
    }

    #[test]
    fn each_cause_has_its_state_and_its_delay() {
        let fault = PlanFault::Size;
        let denied = || CredentialRefusal::Denied("no rule".to_owned());
        for (end, state, seconds) in [
            (EarlyEnd::NothingLeft, None, 3600),
            (EarlyEnd::NotStored, None, 3600),
            (EarlyEnd::Probing, None, 60),
            (EarlyEnd::AllDecided, Some(GrantState::Suspended), 600),
            (EarlyEnd::OwnerUnverified, Some(GrantState::OwnerUnverified), 600),
            (
                EarlyEnd::Refused(denied()),
                Some(GrantState::Denied("no rule".to_owned())),
                60,
            ),
            (
                EarlyEnd::Refused(CredentialRefusal::NamespaceUnknown),
                Some(GrantState::NamespaceUnknown),
                60,
            ),
            (
                EarlyEnd::StaleRead,
                Some(GrantState::Planned(GrantOutcome::Propagating)),
                2,
            ),
        ] {
            assert_eq!(end.state(), state, "{end:?}");
            assert_eq!(end.wait(facts(0)).as_secs(), seconds, "{end:?}");
            assert!(!end.is_failure() && end.failed_call().is_none(), "{end:?}");
        }
        for (end, state) in [
            (EarlyEnd::WriteConflict, GrantState::WriteConflict),
            (EarlyEnd::InvalidPlan(fault), GrantState::InvalidPlan(fault)),
        ] {
            assert_eq!(end.state(), Some(state));
            assert!(end.is_failure(), "{end:?} backs off");
            assert_eq!(end.wait(facts(3)), short_backoff(3, "seed"));
        }
    }

    #[test]
    fn what_could_not_be_reported_or_may_change_soon_is_tried_earlier() {
        let unreadable = EarlyEnd::Unreadable(PolicyParseError::NotUtf8);
        assert_eq!(unreadable.wait(facts(0)).as_secs(), 3600);
        let unstored = EndFacts {
            all_stored: false,
            ..facts(0)
        };
        assert_eq!(unreadable.wait(unstored).as_secs(), 30);
        let denied = EndFacts {
            denied: true,
            ..facts(0)
        };
        assert_eq!(EarlyEnd::AllDecided.wait(denied).as_secs(), 60);
        let missing = CredentialRefusal::Failed(CredentialsError::Unavailable);
        assert_eq!(retry_after_refusal(&missing, "seed"), short_backoff(2, "seed"));
        let wrong = CredentialRefusal::Failed(CredentialsError::NotFound);
        assert_eq!(
            retry_after_refusal(&wrong, "seed"),
            CREDENTIALS,
            "it needs action"
        );
    }

    #[test]
    fn a_failed_call_backs_off_and_the_first_expiry_of_a_session_is_silent() {
        let denied = EarlyEnd::from(call(CloudErrorKind::AccessDenied));
        assert!(denied.is_failure() && !denied.is_first_expiry(0));
        assert_eq!(denied.wait(facts(1)), INTERVAL);
        assert_eq!(
            denied.state(),
            Some(GrantState::CloudFailed(call(CloudErrorKind::AccessDenied)))
        );
        let expired = EarlyEnd::from(call(CloudErrorKind::CredentialsExpired));
        assert!(expired.is_first_expiry(0) && !expired.is_first_expiry(1));
        let write = |plan_again| EarlyEnd::WriteFailed {
            error: call(CloudErrorKind::PolicyRejected),
            plan_again,
        };
        assert_eq!(write(true).wait(facts(1)), NEXT_ADDITION);
        assert_eq!(write(false).wait(facts(1)), INTERVAL);
    }

    #[test]
    fn an_early_end_concerns_the_grants_that_are_not_unaffected() {
        let gone = EarlyEnd::from(call(CloudErrorKind::NoSuchBucket));
        let mut batch = vec![work_of("a", None), work_of("b", None)];
        batch[0].unaffected = Some(GrantOutcome::Writing);
        let (unaffected, concerned) = split_unaffected(batch);
        assert_eq!(unaffected[0].0.grant.uid, "a");
        assert_eq!(unaffected[0].1, GrantState::Planned(GrantOutcome::Writing));
        let after = gone.after(&concerned, 0, 1, "seed");
        assert!(after.no_bucket && !after.forget_credentials && after.state == gone.state());
        let nobody = gone.after(&[], 0, 0, "seed");
        assert!(!nobody.no_bucket && nobody.state.is_none());
        let expired = EarlyEnd::from(call(CloudErrorKind::CredentialsExpired));
        for (before, silent) in [(0, true), (1, false)] {
            let after = expired.after(&concerned, before, before + 1, "seed");
            assert!(after.forget_credentials && after.state.is_none() == silent);
        }
        assert!(!expired.after(&[], 1, 1, "seed").forget_credentials);
    }

    #[test]
    fn a_set_is_denied_if_a_rule_denies_one_of_its_grants() {
        let states = [
            (None, false),
            (Some(GrantState::Suspended), false),
            (Some(GrantState::NamespaceUnknown), true),
            (Some(GrantState::Denied(String::new())), true),
        ];
        for (state, denied) in states {
            let mut batch = [work_of("a", None), work_of("b", None)];
            batch[1].decided = state;
            assert_eq!(is_any_denied(&batch), denied, "{:?}", batch[1].decided);
        }
    }
}
