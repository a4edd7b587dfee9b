//! When the grants of a bucket are reconciled again after a reconcile that changed nothing in the policy.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use super::PlanInput;
use crate::api::{EntryState, LedgerEntry};
use crate::core::time::time_left;
use crate::core::{requeue, time};

/// How long before the expiry of an unanswered write the policy is checked. The write can take effect only until the
/// duration of a call before that expiry, so the check sees its effect.
const RECHECK_BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(5);

/// What decides about the next reconcile.
pub struct PlanResult {
    /// Whether a grant waits for OSS to return the last write.
    pub waiting: bool,
    /// Whether the policy was written in this reconcile.
    pub wrote: bool,
    /// Time until the next check that a grant needs.
    pub next_check: Option<Duration>,
}

/// Returns the time until the next reconcile, without the drift interval.
pub fn next_reconcile(result: &PlanResult, seed: &str) -> Duration {
    if result.waiting {
        Duration::from_secs(5)
    } else if result.wrote {
        // A second check finds the effect of another writer who read the policy before our write and wrote after it.
        requeue::uniform(Duration::from_secs(15), Duration::from_secs(45), seed)
    } else {
        let next = result.next_check.unwrap_or(Duration::from_secs(3600));
        next.max(Duration::from_secs(1))
    }
}

/// Returns the time until the next check for the effect of an unanswered write; `None` without one. The first check is
/// shortly before the expiry, because a statement that appears later counts as foreign. The second check is at the
/// expiry, to drop the entry.
pub fn next_expiry_check<'a>(
    mut entries: impl Iterator<Item = &'a LedgerEntry>,
    input: PlanInput<'_>,
) -> Option<Duration> {
    let open = |e: &LedgerEntry| matches!(e.state, EntryState::Intended | EntryState::Removing);
    let expires = input.unsettled_until.filter(|time| *time > input.now)?;
    let last = time::before(expires, RECHECK_BEFORE_EXPIRY);
    let check = if last > input.now { last } else { expires };
    entries.any(open).then(|| time_left(input.now, check))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_open_decides() {
        let mut result = PlanResult {
            waiting: true,
            wrote: true,
            next_check: Some(Duration::ZERO),
        };
        let mut next = |change: fn(&mut PlanResult)| {
            change(&mut result);
            next_reconcile(&result, "seed").as_secs()
        };
        assert_eq!(next(|_| {}), 5, "OSS may return the policy from before");
        assert!(
            (15..=45).contains(&next(|result| result.waiting = false)),
            "another writer may follow"
        );
        assert_eq!(next(|result| result.wrote = false), 1, "never at once");
        assert_eq!(next(|result| result.next_check = None), 3600);
    }

    #[test]
    fn an_unanswered_write_is_looked_for_before_and_at_its_expiry() {
        let now = k8s_openapi::jiff::Timestamp::constant(1_790_000_000, 0);
        let entry = |state| LedgerEntry {
            fingerprint: "sha256:1".to_owned(),
            role: crate::api::StatementRole::Access,
            state,
            pre_existing: false,
            statement: String::new(),
            copies: None,
            unsettled_until: None,
            identity: None,
            other: std::collections::BTreeMap::new(),
        };
        let check = |state, seconds: i64| {
            let input = PlanInput {
                document: None,
                now,
                unsettled_until: Some(now + SignedDuration::from_secs(seconds)),
                absence_untrusted: false,
                placed_by_others: None,
                explained_by_others: None,
                confirmed_removed: None,
                identity: None,
                shared_identity: false,
            };
            next_expiry_check([&entry(state)].into_iter(), input).map(|wait| wait.as_secs())
        };
        assert_eq!(check(EntryState::Intended, 60), Some(55));
        assert_eq!(check(EntryState::Removing, 3), Some(3));
        assert_eq!(check(EntryState::Intended, 0), None);
        assert_eq!(check(EntryState::Applied, 60), None);
    }
}
