//! Backs off when another writer keeps removing our statements: after 3 removals in 1 h, restoring waits 10 min, doubling
//! with each further removal up to 6 h.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::GrantObject;
use crate::api::{DriftPolicy, GrantSpec, Mode, RepeatedDrift};
use crate::core::time;
use crate::core::time::whole_seconds;

const WINDOW: SignedDuration = SignedDuration::from_hours(1);
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_mins(10);
const MAX_BACKOFF: SignedDuration = SignedDuration::from_hours(6);

/// Records a removal of our statements. Returns the updated removal history and backoff.
pub fn on_removed(before: Option<&RepeatedDrift>, now: Timestamp) -> RepeatedDrift {
    let mut repeated_drift = before.cloned().unwrap_or_default();
    repeated_drift
        .removals
        .retain(|time| now.duration_since(time.0).abs() < WINDOW);
    repeated_drift.removals.push(whole_seconds(now));
    let excess = repeated_drift.removals.len().saturating_sub(3);
    repeated_drift.removals.drain(..excess);
    if repeated_drift.level > 0 || repeated_drift.removals.len() >= 3 {
        repeated_drift.level = repeated_drift.level.saturating_add(1).min(10);
        let doublings = u32::try_from(repeated_drift.level - 1).unwrap_or(0);
        let hold = FIRST_BACKOFF
            .checked_mul(2i32.saturating_pow(doublings))
            .unwrap_or(MAX_BACKOFF)
            .min(MAX_BACKOFF);
        repeated_drift.hold_until = Some(whole_seconds(time::after(now, hold)));
    }
    repeated_drift
}

/// Returns `true` from the third removal within an hour until the statements have stayed long enough (see
/// [`on_present`]), also after the wait itself has passed.
pub fn is_backing_off(repeated_drift: Option<&RepeatedDrift>) -> bool {
    repeated_drift.is_some_and(|c| c.level > 0)
}

/// Whether the missing statements of a grant are restored, with a backoff.
pub fn is_restored_later(grant: &GrantObject, repeated_drift: Option<&RepeatedDrift>) -> bool {
    let restores = |spec: &GrantSpec| {
        spec.mode == Mode::Enforce && spec.drift_policy == DriftPolicy::Correct && !spec.suspend
    };
    is_backing_off(repeated_drift) && grant.spec.as_ref().is_ok_and(restores)
}

/// Returns the time until the statements may be restored; `None` if they may be restored now. A wait beyond the longest
/// backoff was not stored by this operator with this clock: it counts as over, because it would never end.
pub fn backoff_left(repeated_drift: Option<&RepeatedDrift>, now: Timestamp) -> Option<Duration> {
    let until = repeated_drift.filter(|c| c.level > 0)?.hold_until.as_ref()?.0;
    let plausible = until <= time::after(now, MAX_BACKOFF);
    Some(time::left_until(until, now)).filter(|left| plausible && !left.is_zero())
}

/// Records that our statements are present. Returns the history that is still needed, or `None` if there is none: the
/// backoff ends once the statements have stayed for one `interval` after `hold_until`.
pub fn on_present(
    before: Option<&RepeatedDrift>,
    interval: Duration,
    now: Timestamp,
) -> Option<RepeatedDrift> {
    let mut repeated_drift = before?.clone();
    repeated_drift
        .removals
        .retain(|time| now.duration_since(time.0).abs() < WINDOW);
    let interval = SignedDuration::try_from(interval).unwrap_or(FIRST_BACKOFF);
    if repeated_drift.hold_until.as_ref().is_some_and(|until| {
        now.duration_since(until.0) >= interval || until.0 > time::after(now, MAX_BACKOFF)
    }) {
        return None;
    }
    (repeated_drift.level > 0 || !repeated_drift.removals.is_empty()).then_some(repeated_drift)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::grant::spec_with;

    #[test]
    fn the_third_removal_within_an_hour_starts_the_backoff_and_each_further_one_doubles_the_wait() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let minutes = SignedDuration::from_mins;
        let mut repeated_drift = None;
        for (at, level, hold_minutes) in [
            (0, 0, None),
            (10, 0, None),
            (20, 1, Some(10)),
            (31, 2, Some(20)),
            (60, 3, Some(40)),
        ] {
            let now = start + minutes(at);
            repeated_drift = Some(on_removed(repeated_drift.as_ref(), now));
            assert_eq!(repeated_drift.as_ref().unwrap().level, level, "minute {at}");
            let left = backoff_left(repeated_drift.as_ref(), now).map(|d| d.as_secs() / 60);
            assert_eq!(left, hold_minutes, "minute {at}");
        }
        for _ in 0..10 {
            repeated_drift = Some(on_removed(repeated_drift.as_ref(), start));
        }
        assert_eq!(
            backoff_left(repeated_drift.as_ref(), start).unwrap(),
            Duration::from_secs(6 * 3600)
        );
    }

    #[test]
    fn the_backoff_ends_when_the_statements_have_stayed_for_an_interval() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let repeated_drift = (0..3).fold(None, |c: Option<RepeatedDrift>, _| {
            Some(on_removed(c.as_ref(), start))
        });
        let interval = Duration::from_secs(600);
        let after = |m: i64| {
            on_present(
                repeated_drift.as_ref(),
                interval,
                start + SignedDuration::from_mins(m),
            )
        };
        assert!(is_backing_off(after(11).as_ref()));
        assert_eq!(after(20), None);
        let slow = on_removed(None, start);
        assert!(!is_backing_off(Some(&on_removed(
            Some(&slow),
            start + SignedDuration::from_mins(61)
        ))));
    }

    #[test]
    fn only_removals_within_one_hour_are_counted() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let after = |minutes: i64| start + SignedDuration::from_mins(minutes);
        let seldom = (0..5).fold(None, |c: Option<RepeatedDrift>, n| {
            Some(on_removed(c.as_ref(), after(30 * n)))
        });
        assert!(!is_backing_off(seldom.as_ref()), "never three within one hour");
        let often = (0..3).fold(None, |c: Option<RepeatedDrift>, n| {
            Some(on_removed(c.as_ref(), after(29 * n)))
        });
        assert!(is_backing_off(often.as_ref()));
    }

    #[test]
    fn a_backoff_lasts_until_the_statements_have_stayed_although_the_removals_are_old() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let hours = |hours: i64| start + SignedDuration::from_hours(hours);
        let mut backoff = (0..3)
            .fold(None, |c: Option<RepeatedDrift>, _| {
                Some(on_removed(c.as_ref(), start))
            })
            .unwrap();
        assert_eq!(
            on_removed(Some(&backoff), hours(2)).level,
            2,
            "a further removal doubles the wait, however late"
        );
        let day = Duration::from_secs(24 * 3600);
        assert!(is_backing_off(on_present(Some(&backoff), day, hours(2)).as_ref()));
        let end = backoff.hold_until.as_ref().unwrap().0;
        assert_eq!(backoff_left(Some(&backoff), end), None, "the wait is over");
        let unused = RepeatedDrift {
            level: 0,
            ..backoff.clone()
        };
        assert_eq!(backoff_left(Some(&unused), start), None, "no backoff, no wait");
        backoff.hold_until = Some(whole_seconds(hours(6)));
        assert_eq!(
            backoff_left(Some(&backoff), start),
            Some(Duration::from_secs(6 * 3_600)),
            "the longest"
        );
        backoff.hold_until = Some(whole_seconds(hours(7)));
        assert_eq!(backoff_left(Some(&backoff), start), None);
        assert_eq!(
            on_present(Some(&backoff), day, start),
            None,
            "no wait is that long"
        );
    }
    #[test]
    fn missing_statements_are_restored_only_by_an_enforced_grant_that_corrects_drift() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let drift = (0..3).fold(None, |c: Option<RepeatedDrift>, _| {
            Some(on_removed(c.as_ref(), start))
        });
        for (changes, restored) in [
            (json!({}), true),
            (json!({"driftPolicy": "Report"}), false),
            (json!({"mode": "Preview"}), false),
            (json!({"suspend": true}), false),
        ] {
            let mut fields = json!({"credentials": {"source": "Operator"}});
            fields
                .as_object_mut()
                .unwrap()
                .extend(changes.as_object().unwrap().clone());
            let mut grant = GrantObject::bare("media", "grant");
            grant.spec = Ok(spec_with(&fields));
            assert_eq!(is_restored_later(&grant, drift.as_ref()), restored, "{changes}");
            assert!(!is_restored_later(&grant, None));
        }
    }
}
