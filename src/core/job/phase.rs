//! The phase of a job, and how it finishes.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{EnforcementWait, JobReason, ObservedSource};
use crate::core::error::{CloudError, CredentialsError};

/// How a job finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All items are done, and no more of them failed than allowed.
    Complete,
    /// The job failed: reason and message.
    Failed(JobReason, String),
}

/// Returns the end of a cancelled job.
pub fn cancelled() -> End {
    let message = "spec.cancel is true, and the results so far are kept: create another job to score the remaining items";
    End::Failed(JobReason::Cancelled, message.to_owned())
}

/// Phase of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the grant: the message.
    Waiting(String),
    /// Waiting to repeat the first call, because OSS may not enforce the grant yet: the message and the repeat.
    Unenforced(String, EnforcementWait),
    /// Counting the items of the source, or just finished counting them: what is known of the source, and the number
    /// of items so far.
    Counting(ObservedSource, i32),
    /// The source cannot be read.
    SourceUnreadable {
        /// What happened and what to do.
        message: String,
        /// Whether action is required.
        stalled: bool,
    },
    /// This many jobs of the namespace, the maximum, are running, or the lists of the jobs that run use all memory
    /// for lists; the job starts when one of them finishes.
    Queued(Option<usize>),
    /// Calls are in progress: items finished per second, 0 when that is not known.
    Scoring(u32),
    /// Suspended by `spec.suspend`.
    Suspended,
    /// No tenancy rule permits the job: the message.
    Denied(String),
    /// The credentials cannot be used: the error and the message.
    CredentialsFailed(CredentialsError, String),
    /// The cloud rejected the credentials: the error and the name of the identity.
    CredentialsRejected(CloudError, String),
    /// The budget is used.
    OutOfBudget,
    /// The object was restored from a backup.
    RestoredFromBackup,
    /// Reports with this number of stored results are missing.
    ResultsMissing(usize),
    /// The API server rejects annotation `immops.dev/started`: its error.
    NotStarted(String),
    /// Action is required: reason and message.
    Stalled(JobReason, String),
    /// A field of the spec is invalid: the message.
    Invalid(String),
    /// The job has finished.
    Ended(End),
}

/// Converts a count or a percentage of all items to a count.
pub(super) fn allowed_count(allowed: &IntOrString, total: usize) -> usize {
    match allowed {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        IntOrString::String(percent) => {
            let percent: usize = percent.trim_end_matches('%').parse().unwrap_or(0);
            // A stored total can be any number: the product alone could overflow.
            let of_hundreds = (total / 100).saturating_mul(percent);
            of_hundreds.saturating_add((total % 100).saturating_mul(percent) / 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_down_and_does_not_overflow() {
        let whole = usize::MAX;
        for (allowed, total, expected) in [
            ("0%", 7, 0),
            ("5%", 119, 5),
            ("33%", 250, 82),
            ("100%", 7, 7),
            ("1%", whole, whole / 100),
            ("100%", whole, whole),
            ("18446744073709551615%", whole, whole),
        ] {
            let allowed = IntOrString::String(allowed.to_owned());
            assert_eq!(allowed_count(&allowed, total), expected, "{allowed:?} of {total}");
        }
    }
}
