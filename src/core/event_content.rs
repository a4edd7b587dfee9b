//! What an event about an object says.

use crate::api::EventReason;

/// An event about an object, for `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventContent {
    /// An [`EventReason`], or the reason of the Ready condition.
    pub reason: String,
    /// What happened, in one sentence.
    pub note: String,
    /// Whether somebody may have to act.
    pub warning: bool,
}

impl EventContent {
    /// An event with a reason of its own.
    pub fn new(reason: EventReason, note: impl Into<String>) -> Self {
        Self {
            reason: reason.as_str().to_owned(),
            note: note.into(),
            warning: matches!(
                reason,
                EventReason::DriftDetected
                    | EventReason::ResidualAccess
                    | EventReason::DeletionBlocked
                    | EventReason::Abandoned
                    | EventReason::BudgetExceeded
                    | EventReason::Failed
            ),
        }
    }

    /// The event of a change of the Ready condition to one that requires action.
    pub fn stalled(reason: &str, message: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            note: message.to_owned(),
            warning: true,
        }
    }
}
