//! Builds the conditions of a status from those of the previous one. `lastTransitionTime` changes only with the status
//! of a condition.

use std::marker::PhantomData;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Condition, ConditionStatus, ConditionType};
use crate::core::text::truncate;
use crate::core::time::whole_seconds;

/// Content of the Ready condition, with a reason of the object's kind.
pub struct ReadySummary<R> {
    /// Why the object is in this state.
    pub reason: R,
    /// What happened and what to do.
    pub message: String,
    /// Whether the object cannot continue without action by a user.
    pub stalled: bool,
    /// Whether nothing remains to be done.
    pub ready: bool,
}

impl<R> ReadySummary<R> {
    /// The operator continues by itself.
    pub fn progressing(reason: R, message: impl Into<String>) -> Self {
        let (message, stalled, ready) = (message.into(), false, false);
        Self {
            reason,
            message,
            stalled,
            ready,
        }
    }

    /// Action by a user is required.
    pub fn stalled(reason: R, message: impl Into<String>) -> Self {
        Self {
            stalled: true,
            ..Self::progressing(reason, message)
        }
    }

    /// Nothing remains to be done.
    pub fn at_rest(reason: R, message: impl Into<String>) -> Self {
        Self {
            ready: true,
            ..Self::progressing(reason, message)
        }
    }
}

/// [`ReadySummary::progressing`] with a message that is formatted.
macro_rules! progressing {
    ($reason:expr, $($text:tt)+) => {
        $crate::core::condition_builder::ReadySummary::progressing($reason, format!($($text)+))
    };
}
pub(crate) use progressing;

/// [`ReadySummary::stalled`] with a message that is formatted.
macro_rules! stalled {
    ($reason:expr, $($text:tt)+) => {
        $crate::core::condition_builder::ReadySummary::stalled($reason, format!($($text)+))
    };
}
pub(crate) use stalled;

/// Collects the conditions of one status, based on those of the previous status.
#[derive(Debug)]
pub struct ConditionsBuilder<'a, T> {
    before: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
    types: PhantomData<T>,
}

impl<'a, T: ConditionType> ConditionsBuilder<'a, T> {
    /// Starts with no conditions, for `generation`. Conditions of `before` that are neither set nor carried are dropped.
    pub fn new(before: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
            list: Vec::new(),
            types: PhantomData,
        }
    }

    /// Sets a condition. The previous message is kept if it differs only in the request id.
    pub fn set(&mut self, kind: T, status: ConditionStatus, reason: T::Reason, message: impl AsRef<str>) {
        let reason = reason.as_ref();
        let last = self.before.iter().find(|c| c.is(kind) && c.status == status);
        let message = truncate(message.as_ref(), 1024);
        // The same failure with another request id is no change: it must not cause a status write each time.
        let same = last
            .filter(|c| c.reason == reason && without_request_id(&c.message) == without_request_id(&message));
        self.list.push(Condition {
            kind: kind.as_ref().to_owned(),
            status,
            observed_generation: Some(self.generation),
            last_transition_time: last
                .map_or_else(|| whole_seconds(self.now), |c| c.last_transition_time.clone()),
            reason: reason.to_owned(),
            message: same.map_or(message, |c| c.message.clone()),
        });
    }

    /// Sets a condition to True.
    pub fn set_true(&mut self, kind: T, reason: T::Reason, message: impl AsRef<str>) {
        self.set(kind, ConditionStatus::True, reason, message);
    }

    /// Sets a condition to False.
    pub fn set_false(&mut self, kind: T, reason: T::Reason, message: impl AsRef<str>) {
        self.set(kind, ConditionStatus::False, reason, message);
    }

    /// Sets Ready.
    pub fn set_ready(&mut self, summary: &ReadySummary<T::Reason>) {
        let reason = summary.reason;
        let (text, anchor) = (&summary.message, reason.as_ref().to_lowercase());
        let message = if summary.stalled {
            format!("{text} (docs/src/troubleshoot/reasons.md#{anchor})")
        } else {
            text.clone()
        };
        self.set(T::READY, condition_flag(summary.ready), reason, message);
    }

    /// Sets Stalled or Reconciling, or neither for an object at rest.
    pub fn set_progress(&mut self, summary: &ReadySummary<T::Reason>) {
        if summary.stalled {
            let message = "Action required: see the Ready condition";
            self.set_true(T::STALLED, summary.reason, message);
        } else if !summary.ready {
            let message = "No action needed: the operator continues automatically";
            self.set_true(T::RECONCILING, summary.reason, message);
        }
    }

    /// Copies a condition of the previous status unchanged, including its generation: it was not evaluated for this one.
    pub fn carry(&mut self, kind: T) {
        self.list.extend(self.before.iter().find(|c| c.is(kind)).cloned());
    }

    /// Copies a condition of the previous status unless it is False: what was wrong no longer applies.
    pub fn carry_unless_false(&mut self, kind: T) {
        let holds = |c: &&Condition| c.is(kind) && c.status != ConditionStatus::False;
        self.list.extend(self.before.iter().find(holds).cloned());
    }

    /// Copies all conditions of the previous status but those of some types.
    pub fn carry_except(&mut self, kinds: &[T]) {
        let others = |c: &&Condition| !kinds.iter().any(|kind| c.is(*kind));
        self.list.extend(self.before.iter().filter(others).cloned());
    }

    /// Returns the conditions in the order in which they were set.
    pub fn finish(self) -> Vec<Condition> {
        self.list
    }
}

/// Returns the status of a condition that is known.
pub fn condition_flag(yes: bool) -> ConditionStatus {
    if yes {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    }
}

/// The reason of CredentialsValid for an error before any call; `None` for one that may pass: it proves nothing.
macro_rules! credentials_reason {
    ($reason:ident, $error:expr) => {
        match $error {
            CredentialsError::NotFound => Some($reason::SecretMissing),
            CredentialsError::Invalid(_) => Some($reason::SecretInvalid),
            CredentialsError::SecretAccessDenied { .. } => Some($reason::SecretAccessDenied),
            CredentialsError::TokenRequestDenied { .. } => Some($reason::TokenRequestDenied),
            CredentialsError::AssumeRoleDenied(_) => Some($reason::AssumeRoleDenied),
            CredentialsError::NotConfigured => Some($reason::OwnIdentityMissing),
            CredentialsError::OtherAccount { .. } => Some($reason::OtherAccount),
            CredentialsError::AccountUnverified(_)
            | CredentialsError::Unavailable
            | CredentialsError::OwnSourceFailed(_)
            | CredentialsError::StsUnavailable(_) => None,
        }
    };
}
pub(crate) use credentials_reason;

/// The event that a status write owes: `Some` when the object became stalled, or is stalled for another reason than
/// before. Returns the reason and the message of the condition that explains it.
pub fn newly_stalled<'a, T: ConditionType>(
    before: &[Condition],
    after: &'a [Condition],
) -> Option<(&'a str, &'a str)> {
    let stalled = |c: &&Condition| c.is(T::STALLED) && c.status == ConditionStatus::True;
    let now = after.iter().find(stalled)?;
    if before
        .iter()
        .find(stalled)
        .is_some_and(|c| c.reason == now.reason)
    {
        return None;
    }
    let explains = |c: &&Condition| !c.is(T::STALLED) && c.reason == now.reason;
    let message = after.iter().find(explains).map_or(&now.message, |c| &c.message);
    Some((&now.reason, message))
}

/// Returns the status of a condition; `None` if the list does not contain it.
pub fn condition_status(conditions: &[Condition], kind: impl ConditionType) -> Option<ConditionStatus> {
    conditions.iter().find(|c| c.is(kind)).map(|c| c.status)
}

/// Removes the value after "request id" from a message.
fn without_request_id(message: &str) -> String {
    let Some((before, rest)) = message.split_once("request id ") else {
        return message.to_owned();
    };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
    format!("{before}{after}")
}
