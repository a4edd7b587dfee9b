//! Reads what earlier versions stored in the status of a job under other names.

use crate::api::{Condition, ConditionStatus, JobCondition, JobStatus, SuspendCause};

/// Derives members that earlier versions kept in the reasons of conditions. A member with a value keeps it.
pub fn upgraded_job_status(mut status: JobStatus) -> JobStatus {
    let reason_of = |kind: JobCondition, holds: ConditionStatus| {
        let condition = |c: &&Condition| c.is(kind) && c.status == holds;
        status
            .conditions
            .iter()
            .find(condition)
            .map(|c| c.reason.as_str())
    };
    let suspended_by = match reason_of(JobCondition::Suspended, ConditionStatus::True) {
        Some("Suspended") => Some(SuspendCause::Requested),
        Some("BudgetExceeded") => Some(SuspendCause::BudgetUsed),
        Some(_) | None => None,
    };
    let not_started = reason_of(JobCondition::Ready, ConditionStatus::False) == Some("NotStarted");
    let start_error = not_started.then(|| "rejected".to_owned());
    status.suspended_by = status.suspended_by.or(suspended_by);
    status.start_error = status.start_error.or(start_error);
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cause_of_a_suspension_is_read_once_from_the_reason_of_the_condition() {
        for (status, reason, cause) in [
            ("True", "Suspended", Some(SuspendCause::Requested)),
            ("True", "BudgetExceeded", Some(SuspendCause::BudgetUsed)),
            ("False", "Suspended", None),
        ] {
            let condition = |kind: &str, status: &str, reason: &str| {
                json!({"type": kind, "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2026-10-01T09:58:11Z"})
            };
            let others = condition("Allowed", "True", "Permitted");
            let stored = json!({"conditions": [others, condition("Suspended", status, reason)]});
            let stored: JobStatus = serde_json::from_value(stored).unwrap();
            assert_eq!(
                upgraded_job_status(stored).suspended_by,
                cause,
                "{status} {reason}"
            );
        }
        assert_eq!(upgraded_job_status(JobStatus::default()), JobStatus::default());
    }
}
