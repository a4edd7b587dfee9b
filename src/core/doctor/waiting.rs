//! Waiting for a change of a policy to be enforced: how long, how often, and what an answer says about it.

use std::time::Duration;

use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::names_caller;
use crate::core::refusal::RefusedBy;

/// How long a change of access is waited for after a write. Only after that is a policy taken for one that has no
/// effect: what is written next could otherwise get the credit for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);
/// Pauses between the calls, and until when after the write: first short, then long ones. The last call is at the end.
const SHORT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
const LONG: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));
/// Most scoring calls that waiting for access takes.
pub(super) const CALLS_OF_WAITING: u32 = 29;
/// How often a question is asked whose answer says nothing about it.
pub(super) const MOST_TRIES: u32 = 3;
/// Why a probe ends whose first call, before it wrote anything, gave a score.
pub(super) const SCORED_WITHOUT_STATEMENT: &str = "the image was scored before the probe wrote a statement: a policy from before may still be in effect, or IMM may read the bucket by other means; run the probe again in five minutes, and if that does not help, name another bucket";
/// Pause before a call is repeated that got no answer about its question.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Returns the pause before the next call, this long after the write.
pub(super) fn pause_after(after: Duration) -> Duration {
    for (pause, until) in [SHORT, LONG] {
        if after < until {
            return pause;
        }
    }
    PATIENCE.saturating_sub(after)
}

/// Whether access to the image is denied, which a policy of the bucket can change.
pub(super) fn is_about_the_image(error: &CloudError) -> bool {
    error.kind == CloudErrorKind::AccessDenied && !is_about_the_caller(error)
}

/// Whether a refusal is about the call to IMM, and not about the image: no policy of a bucket changes that.
fn is_about_the_caller(error: &CloudError) -> bool {
    let by_policy_of_caller = matches!(
        error.refusal.by,
        Some(RefusedBy::RamPolicy | RefusedBy::SessionPolicy | RefusedBy::ControlPolicy)
    );
    by_policy_of_caller || names_caller(error)
}

/// Why a probe ends with a call that gave no score.
pub(super) fn not_scored(error: &CloudError) -> String {
    format!("the image could not be scored ({})", error.code_and_refusal())
}

/// Why a probe ends with a write that was not accepted.
pub(super) fn not_written(error: &CloudError) -> String {
    format!("the policy could not be written ({})", error.code_and_refusal())
}

/// Why a probe ends whose calls got no answer about the image.
pub(super) fn no_answer(error: &CloudError) -> String {
    format!(
        "IMM did not say within four minutes whether it can read the image ({})",
        error.code_and_refusal()
    )
}
