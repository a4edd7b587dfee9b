//! When the grants of a grant set are reconciled again.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::plan::PlanInput;
use super::work::GrantWork;
use super::{GrantObject, RejectedAdditions};
use crate::api::{EntryState, LedgerEntry};
use crate::core::time::time_left;
use crate::core::{requeue, time};

/// How long before the expiry of an unanswered write the policy is checked. The write can take effect only until the
/// duration of a call before that expiry, so the check sees its effect.
const RECHECK_BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(5);

/// Interval at which a grant is reconciled whose spec cannot be used.
pub const RECHECK_UNUSABLE: Duration = Duration::from_secs(600);

/// Time until the next attempt to write what was held back, because OSS has rejected it together with other additions.
pub const NEXT_ADDITION: Duration = Duration::from_secs(1);

/// Returns the number of failures in a row, and the delay before the next attempt, after `before` failures and a
/// reconcile that could not prepare all grants of a set.
pub fn retry_preparation(before: u32, seed: &str) -> (u32, Duration) {
    let failures = before.saturating_add(1);
    (failures, requeue::short_backoff(failures, seed))
}

/// What decides about the next reconcile.
pub struct PlanResult {
    /// Whether a grant waits for OSS to return the last write.
    pub waiting: bool,
    /// Whether the policy was written in this reconcile.
    pub wrote: bool,
    /// Time until the next check for the effect of an unanswered write.
    pub expiry_check: Option<Duration>,
    /// Time until the statements of a grant may be restored.
    pub restoration: Option<Duration>,
    /// Time until what was held back is written.
    pub next_addition: Option<Duration>,
}

/// Returns the time until the next reconcile after one that changed nothing in the policy, without the drift interval.
pub fn next_reconcile(result: &PlanResult, seed: &str) -> Duration {
    let wait = if result.waiting {
        Duration::from_secs(5)
    } else if result.wrote {
        // A second check finds the effect of another writer who read the policy before our write and wrote after it.
        requeue::uniform(Duration::from_secs(15), Duration::from_secs(45), seed)
    } else {
        let checks = [result.expiry_check, result.restoration];
        let next = checks.into_iter().flatten().min();
        next.unwrap_or(Duration::from_secs(3600))
            .max(Duration::from_secs(1))
    };
    result.next_addition.into_iter().fold(wait, Duration::min)
}

/// Returns the time until the next reconcile after one that could not store the ledgers between which a statement moves.
pub fn retry_transfer(interval: Duration, next_addition: Option<Duration>) -> Duration {
    next_addition.into_iter().fold(interval, Duration::min)
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

/// Returns the time until the next attempt to write what has to wait, because OSS has rejected a write with it; `None` if
/// nothing waits. `wrote` says whether this reconcile has written the policy.
pub fn next_addition(
    batch: &[GrantWork],
    rejected: &mut RejectedAdditions,
    wrote: bool,
    seed: &str,
) -> Option<Duration> {
    let held = batch.iter().filter(|work| work.held_back);
    let held: Vec<&GrantObject> = held.map(|work| &work.grant).collect();
    if held.is_empty() {
        return None;
    }
    if wrote {
        return Some(NEXT_ADDITION);
    }
    // What had its turn has to wait for what was held back.
    let all: Vec<&GrantObject> = batch.iter().map(|work| &work.grant).collect();
    let times = rejected.nothing_written(&held, &all);
    Some(requeue::short_backoff(times, seed))
}

/// Returns the shortest drift interval of the grants, with ±10 % jitter.
pub fn drift_interval(batch: &[GrantWork]) -> Duration {
    let (interval, seed) = shortest_drift_interval(batch);
    requeue::jittered(interval, seed)
}

/// Returns the shortest drift interval of the grants, from 60 s to 24 h (600 s without a readable spec), and a seed
/// for jitter.
fn shortest_drift_interval(batch: &[GrantWork]) -> (Duration, &str) {
    let specs = batch.iter().filter_map(|work| work.grant.spec.as_ref().ok());
    let seconds = specs.map(|spec| spec.drift_interval_seconds).min();
    let seconds = u64::try_from(seconds.unwrap_or(600))
        .unwrap_or(600)
        .clamp(60, 86_400);
    let seed = batch.first().map_or("", |work| work.grant.uid.as_str());
    (Duration::from_secs(seconds), seed)
}

/// Returns whether a drift check is due, and when the next one is. `due` is when it should be: `None` in the first
/// reconcile of a process, which is no scheduled check, so that restarting a healthy operator writes no status. The
/// first check of a process is spread over 10 to 100 % of the interval: all buckets are reconciled at start, and
/// would otherwise be checked at the same time in every interval.
pub fn drift_check(due: Option<Timestamp>, batch: &[GrantWork], now: Timestamp) -> (bool, Timestamp) {
    let after = |wait| time::after(now, time::signed(wait));
    match due {
        Some(due) if now >= due => (true, after(drift_interval(batch))),
        // The interval may have become shorter.
        Some(due) => (false, due.min(after(drift_interval(batch)))),
        None => {
            let (interval, seed) = shortest_drift_interval(batch);
            (false, after(requeue::initial_jitter(interval, seed)))
        }
    }
}

/// When a set is due, and when that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    decided: Timestamp,
    at: Timestamp,
}

impl Due {
    /// Returns when a set is due after `wait`.
    pub fn after(wait: Duration, now: Timestamp) -> Self {
        Self {
            decided: now,
            at: time::after(now, time::signed(wait)),
        }
    }

    /// Returns the time left; `None` if the set is due, or if the clock was set back since that was decided.
    pub fn left(self, now: Timestamp) -> Option<Duration> {
        let waits = (self.decided..self.at).contains(&now);
        waits.then(|| time_left(now, self.at))
    }
}

/// Consecutive reconciles in which the API server rejected a status or the removal of a finalizer.
#[derive(Debug, Default)]
pub struct ApiWrites {
    failures: u32,
}

impl ApiWrites {
    /// Records whether all writes of a reconcile succeeded. Returns the time until the failed ones are tried again;
    /// `None` when there are none.
    pub fn retry_after(&mut self, all_stored: bool, seed: &str) -> Option<Duration> {
        self.failures = if all_stored {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        (!all_stored).then(|| requeue::exponential_backoff(self.failures, first, most, seed))
    }
}

/// Returns the time until the next reconcile of a set, at most `wait`: writes to the API server that failed are tried
/// again after `retry`, but not before OSS asks for it (`asked`), because that calls OSS again; and a drift check is
/// due at `next_check`. A check that is overdue could not be run, and is run by the next reconcile that reads the
/// policy.
pub fn wait_of_set(
    wait: Duration,
    retry: Option<Duration>,
    asked: Option<Duration>,
    next_check: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    let retry = retry.map(|retry| retry.max(asked.unwrap_or_default()));
    let check = next_check.filter(|time| *time > now);
    let check = check.map(|time| time_left(now, time));
    [retry, check].into_iter().flatten().fold(wait, Duration::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::grant::{entry_of, work_of};

    #[test]
    fn the_first_thing_that_is_open_decides() {
        let mut result = PlanResult {
            waiting: true,
            wrote: true,
            expiry_check: Some(Duration::ZERO),
            restoration: Some(Duration::from_secs(9)),
            next_addition: None,
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
        assert_eq!(next(|result| result.expiry_check = None), 9);
        assert_eq!(next(|result| result.restoration = None), 3600);
        assert_eq!(next(|result| result.next_addition = Some(NEXT_ADDITION)), 1);
        result.waiting = true;
        assert_eq!(next_reconcile(&result, "seed"), NEXT_ADDITION, "it is the first");
        assert_eq!(
            retry_transfer(Duration::from_secs(600), result.next_addition),
            NEXT_ADDITION
        );
        assert_eq!(retry_transfer(Duration::ZERO, None), Duration::ZERO);
    }

    #[test]
    fn an_unanswered_write_is_looked_for_before_and_at_its_expiry() {
        let now = k8s_openapi::jiff::Timestamp::constant(1_790_000_000, 0);
        let entry = |state| entry_of("sha256:1", state);
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
        assert_eq!(check(EntryState::Intended, 6), Some(1));
        assert_eq!(check(EntryState::Intended, 5), Some(5), "the first check is now");
        assert_eq!(check(EntryState::Intended, 0), None);
        assert_eq!(check(EntryState::Applied, 60), None);
    }

    #[test]
    fn the_first_drift_check_of_a_process_is_not_scheduled_and_a_shorter_interval_counts_at_once() {
        let now = Timestamp::constant(1_790_000_000, 0);
        let after = |seconds: i64| now + SignedDuration::from_secs(seconds);
        let batch = |seconds| {
            let mut works = [work_of("a", None), work_of("b", None)];
            if let Ok(spec) = &mut works[1].grant.spec {
                spec.drift_interval_seconds = seconds;
            }
            works
        };
        let (scheduled, next) = drift_check(None, &batch(600), now);
        assert!(!scheduled && (after(60)..=after(600)).contains(&next));
        let (scheduled, next) = drift_check(Some(after(-1)), &batch(600), now);
        assert!(scheduled && (after(540)..=after(660)).contains(&next));
        assert_eq!(drift_check(Some(after(30)), &batch(600), now), (false, after(30)));
        let (_, next) = drift_check(Some(after(500)), &batch(1), now);
        assert!(
            (after(54)..=after(66)).contains(&next),
            "60 s is the shortest interval"
        );
        let longest = drift_interval(&batch(86_400)[1..]).as_secs();
        assert!((77_760..=95_040).contains(&longest), "{longest}");
        assert!(
            (540..=660).contains(&drift_interval(&[]).as_secs()),
            "the default"
        );
    }

    #[test]
    fn a_set_is_due_after_its_wait_and_when_the_clock_was_set_back() {
        let now = Timestamp::constant(1_790_000_000, 0);
        let due = Due::after(Duration::from_secs(60), now);
        let left = |seconds: i64| due.left(now + SignedDuration::from_secs(seconds));
        assert_eq!(left(0), Some(Duration::from_secs(60)));
        assert_eq!(left(59), Some(Duration::from_secs(1)));
        assert_eq!((left(60), left(-1)), (None, None));
    }

    #[test]
    fn a_failed_write_to_the_api_server_is_tried_again_but_not_before_oss_asks_for_it() {
        let now = Timestamp::constant(1_790_000_000, 0);
        let secs = Duration::from_secs;
        let mut writes = ApiWrites::default();
        assert_eq!(writes.retry_after(true, "seed"), None);
        let first = writes.retry_after(false, "seed").unwrap();
        assert!((Duration::from_millis(500)..=secs(1)).contains(&first));
        let later = (0..10).filter_map(|_| writes.retry_after(false, "seed")).last();
        assert!(later >= Some(secs(30)));
        writes.retry_after(true, "seed");
        assert_eq!(writes.retry_after(false, "seed"), Some(first));

        let check = |seconds| Some(now + SignedDuration::from_secs(seconds));
        let wait = |retry, asked, check| wait_of_set(secs(600), retry, asked, check, now).as_secs();
        assert_eq!(wait(None, Some(secs(7)), None), 600);
        assert_eq!(wait(Some(secs(1)), None, None), 1);
        assert_eq!(wait(Some(secs(1)), Some(secs(7)), None), 7);
        assert_eq!(wait(None, None, check(30)), 30);
        assert_eq!(
            wait(None, None, check(0)),
            600,
            "an overdue check is run by the next read"
        );
    }

    #[test]
    fn what_was_held_back_is_written_next_and_later_if_nothing_could_be_written() {
        let mut rejected = RejectedAdditions::default();
        let mut batch = [work_of("a", None), work_of("b", None)];
        assert_eq!(next_addition(&batch, &mut rejected, false, "seed"), None);
        batch[1].held_back = true;
        assert_eq!(
            next_addition(&batch, &mut rejected, true, "seed"),
            Some(NEXT_ADDITION)
        );
        for times in 1..4 {
            let wait = next_addition(&batch, &mut rejected, false, "seed");
            assert_eq!(wait, Some(requeue::short_backoff(times, "seed")));
        }
    }
    #[test]
    fn a_preparation_that_fails_again_is_retried_later() {
        let (failures, first) = retry_preparation(0, "seed");
        assert_eq!((failures, first), (1, requeue::short_backoff(1, "seed")));
        let (failures, later) = retry_preparation(u32::MAX, "seed");
        assert_eq!(failures, u32::MAX);
        assert!(later > first);
    }
}
