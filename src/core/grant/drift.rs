//! Quarrels: somebody keeps removing our statements. Three removals within an hour, and they are put back ever more
//! seldom: after 10 minutes, 20, 40, up to 6 hours. Whoever looks at the object sees that a person must find out who it is.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::Contest;
use crate::core::condition_builder::whole_seconds;

const WINDOW: SignedDuration = SignedDuration::from_hours(1);
const FIRST_HOLD: SignedDuration = SignedDuration::from_mins(10);
const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(6);

/// Our statements were found gone: what is remembered from now on.
pub fn removed(before: Option<&Contest>, now: Timestamp) -> Contest {
    let mut contest = before.cloned().unwrap_or_default();
    contest
        .removals
        .retain(|time| now.duration_since(time.0) < WINDOW);
    contest.removals.push(whole_seconds(now));
    let excess = contest.removals.len().saturating_sub(3);
    contest.removals.drain(..excess);
    if contest.level > 0 || contest.removals.len() >= 3 {
        contest.level = contest.level.saturating_add(1).min(10);
        let doublings = u32::try_from(contest.level - 1).unwrap_or(0);
        let hold = FIRST_HOLD
            .checked_mul(2i32.saturating_pow(doublings))
            .unwrap_or(LONGEST_HOLD)
            .min(LONGEST_HOLD);
        contest.hold_until = Some(whole_seconds(now + hold));
    }
    contest
}

/// Whether there is a quarrel.
pub fn contested(contest: Option<&Contest>) -> bool {
    contest.is_some_and(|c| c.level > 0)
}

/// How long the statements are still not put back; `None` when they may be.
pub fn hold(contest: Option<&Contest>, now: Timestamp) -> Option<Duration> {
    let until = contest.filter(|c| c.level > 0)?.hold_until.as_ref()?.0;
    Duration::try_from(until.duration_since(now))
        .ok()
        .filter(|left| !left.is_zero())
}

/// Our statements are in place: what is still remembered. A quarrel is over when they have stayed for an interval.
pub fn in_place(before: Option<&Contest>, interval: Duration, now: Timestamp) -> Option<Contest> {
    let mut contest = before?.clone();
    contest
        .removals
        .retain(|time| now.duration_since(time.0) < WINDOW);
    let interval = SignedDuration::try_from(interval).unwrap_or(FIRST_HOLD);
    if contest
        .hold_until
        .as_ref()
        .is_some_and(|until| now.duration_since(until.0) >= interval)
    {
        return None;
    }
    (contest.level > 0 || !contest.removals.is_empty()).then_some(contest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_removal_within_an_hour_starts_a_quarrel_and_each_further_one_doubles_the_wait() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let minutes = SignedDuration::from_mins;
        let mut contest = None;
        for (at, level, hold_minutes) in [
            (0, 0, None),
            (10, 0, None),
            (20, 1, Some(10)),
            (31, 2, Some(20)),
            (60, 3, Some(40)),
        ] {
            let now = start + minutes(at);
            contest = Some(removed(contest.as_ref(), now));
            assert_eq!(contest.as_ref().unwrap().level, level, "minute {at}");
            let left = hold(contest.as_ref(), now).map(|d| d.as_secs() / 60);
            assert_eq!(left, hold_minutes, "minute {at}");
        }
        for _ in 0..10 {
            contest = Some(removed(contest.as_ref(), start));
        }
        assert_eq!(
            hold(contest.as_ref(), start).unwrap(),
            Duration::from_secs(6 * 3600)
        );
    }

    #[test]
    fn a_quarrel_is_over_when_the_statements_have_stayed_for_an_interval() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let contest = (0..3).fold(None, |c: Option<Contest>, _| Some(removed(c.as_ref(), start)));
        let interval = Duration::from_secs(600);
        let after = |m: i64| in_place(contest.as_ref(), interval, start + SignedDuration::from_mins(m));
        assert!(contested(after(11).as_ref()));
        assert_eq!(after(20), None);
        let slow = removed(None, start);
        assert!(!contested(Some(&removed(
            Some(&slow),
            start + SignedDuration::from_mins(61)
        ))));
    }

    #[test]
    fn only_removals_within_one_hour_are_counted() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let after = |minutes: i64| start + SignedDuration::from_mins(minutes);
        let seldom = (0..5).fold(None, |c: Option<Contest>, n| {
            Some(removed(c.as_ref(), after(31 * n)))
        });
        assert!(!contested(seldom.as_ref()), "two within an hour, again and again");
        let often = (0..3).fold(None, |c: Option<Contest>, n| {
            Some(removed(c.as_ref(), after(29 * n)))
        });
        assert!(contested(often.as_ref()));
    }
}
