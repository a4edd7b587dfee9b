//! When a run stores its results, what it stores, and how many requests it reserves.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{JobObject, Phase, Progress, ReportBuffer};
use crate::api::REPORT_ITEMS;
use crate::core::time;

/// Interval of stores: a crash repeats the calls of one interval, or of the time in which the API server stores nothing or does
/// not return the object.
pub const PERSIST_EVERY: Duration = Duration::from_secs(1);

/// Longest age of the counters in status while results are stored in reports.
const STATUS_EVERY: Duration = Duration::from_secs(3);

/// The sizes of the reservations of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReservationSize {
    /// The last size, and when it was reserved.
    last: Option<(i64, Duration)>,
}

impl ReservationSize {
    /// Returns how many requests to reserve, `elapsed` after the start of the run: at most 1.25 s of traffic at the
    /// project's rate, for the second until the next store and the duration of that store. Not more, because after a crash
    /// the whole reservation counts as spent. A job with `parallelism` starts with that number, and doubles it while a
    /// reservation lasts less than a second.
    pub fn next(&mut self, rate: i64, parallelism: Option<i32>, elapsed: Duration) -> i64 {
        let most = rate.saturating_add(rate / 4);
        let few = parallelism.map_or(most, i64::from);
        let size = match self.last {
            Some((last, at)) if elapsed.saturating_sub(at) < PERSIST_EVERY => last.saturating_mul(2),
            Some((last, _)) => last,
            None => few,
        };
        let size = size.clamp(few.min(most), most);
        self.last = Some((size, elapsed));
        size
    }
}

/// Whether a store is due: every second, and as soon as the unstored results fill a report or the memory for results.
pub fn is_store_due(progress: &Progress, since_last: Duration) -> bool {
    let full = progress.results().reports().is_some_and(|reports| {
        let unstored = reports.unpersisted();
        unstored >= REPORT_ITEMS || (unstored > 0 && reports.is_full())
    });
    full || since_last >= PERSIST_EVERY
}

/// Whether a store needs no new status: results and reservations in reports are counted in the status 3 s later. A stored
/// status that shows calls in flight may be out of date; one that shows none must be replaced first.
pub fn needs_reports_only(job: &JobObject, progress: &Progress, since_status: Duration) -> bool {
    let reports = progress.results().reports();
    let carries = reports.is_some_and(ReportBuffer::can_carry_reservation);
    carries && job.has_started() && since_status < STATUS_EVERY
}

/// The phase of a running job. The stored `NotStarted` phase stays until the started annotation is added: another attempt
/// alone does not change the status.
pub fn running_phase(job: &JobObject, per_second: u32) -> Phase {
    let error = job.status.start_error.as_ref();
    let error = error.filter(|_| job.started.is_none());
    error.map_or(Phase::Scoring(per_second), |error| {
        Phase::NotStarted(error.clone())
    })
}

/// Whether a run has anything to store: nothing until its first call, which changes the phase. `done_before` is the number
/// of items that were done before the run.
pub fn has_news(progress: &Progress, done_before: usize) -> bool {
    progress.canary_passed() || progress.in_flight() > 0 || progress.done() > done_before
}

/// Returns the time until `due`, at least 1 ms and at most the interval of stores.
pub fn clamped_wait(now: Timestamp, due: Option<Timestamp>) -> Duration {
    due.map_or(PERSIST_EVERY, |due| time::left_until(due, now))
        .clamp(Duration::from_millis(1), PERSIST_EVERY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ItemResult, JobStatus, Requests};
    use crate::core::job::{SourceItem, add_items, build_report, restore_report, resume_progress, spec_with};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A job with results in reports of which the first items are rejected without a call.
    fn rejected(items: usize) -> Progress {
        let spec = spec_with(&json!({"source": {"prefix": {"bucket": "pics"}}}));
        let mut progress = resume_progress(&spec, &JobStatus::default(), (9_000, false), NOW, "uid");
        let item = |number| SourceItem {
            uri: format!("oss://pics/{number}"),
            resume_after: Some(format!("{number}")),
            reject_code: Some("Empty"),
        };
        assert!(add_items(&mut progress, (0..items).map(item).collect(), false));
        progress
    }

    #[test]
    fn a_reservation_is_bounded_by_the_rate_and_grows_from_the_parallelism() {
        let mut size = ReservationSize::default();
        let at = Duration::from_millis;
        assert_eq!(size.next(100, None, at(0)), 125);
        let mut few = ReservationSize::default();
        let sizes = [0, 900, 1_800, 2_900, 3_000].map(|elapsed| few.next(100, Some(40), at(elapsed)));
        assert_eq!(sizes, [40, 80, 125, 125, 125], "it lasted a second at last");
        let mut slow = ReservationSize::default();
        assert_eq!(
            [0, 2_000, 4_000].map(|elapsed| slow.next(100, Some(4), at(elapsed))),
            [4; 3]
        );
        assert_eq!(ReservationSize::default().next(4, Some(40), at(0)), 5);
        assert_eq!(ReservationSize::default().next(i64::MAX, None, at(0)), i64::MAX);
    }

    #[test]
    fn results_are_stored_every_second_and_when_they_fill_a_report() {
        assert!(!is_store_due(&rejected(10), Duration::from_millis(999)));
        assert!(is_store_due(&rejected(10), PERSIST_EVERY));
        assert!(!is_store_due(&rejected(REPORT_ITEMS - 1), Duration::ZERO));
        assert!(is_store_due(&rejected(REPORT_ITEMS), Duration::ZERO));
        // A stored report that uses all the memory needs no store; a further result does.
        let long = "k".repeat(1_000);
        let stored = |index| ItemResult {
            index,
            uri: format!("oss://pics/{long}"),
            score: None,
            code: Some("Empty".to_owned()),
        };
        let results: Vec<_> = (0..1_000).map(stored).collect();
        let mut progress = rejected(0);
        restore_report(&mut progress, &build_report("one", 0, &results, 0));
        assert!(!is_store_due(&progress, Duration::ZERO));
        progress.results_mut().add(stored(1_000));
        assert!(
            !is_store_due(&progress, Duration::ZERO),
            "it is in the next report"
        );
    }

    #[test]
    fn the_status_is_written_with_the_reports_every_three_seconds_and_before_the_first_call() {
        let mut job = JobObject::bare("media", "one", Err(String::new()));
        let seconds = Duration::from_secs;
        assert!(
            !needs_reports_only(&job, &rejected(1), seconds(0)),
            "its status shows no call"
        );
        job.status.requests = Some(Requests {
            reserved: 2,
            sent: 1,
            ..Requests::default()
        });
        assert!(needs_reports_only(&job, &rejected(1), seconds(2)));
        assert!(!needs_reports_only(&job, &rejected(1), seconds(3)));
        assert!(
            !needs_reports_only(&job, &rejected(0), seconds(2)),
            "no report carries the reservation"
        );
    }

    #[test]
    fn a_job_without_its_annotation_keeps_the_error_that_its_status_shows() {
        let mut job = JobObject::bare("media", "one", Err(String::new()));
        assert_eq!(running_phase(&job, 7), Phase::Scoring(7));
        job.status.start_error = Some("forbidden".to_owned());
        assert_eq!(running_phase(&job, 7), Phase::NotStarted("forbidden".to_owned()));
        job.started = Some("uid".to_owned());
        assert_eq!(running_phase(&job, 7), Phase::Scoring(7));
    }

    #[test]
    fn a_run_has_news_after_its_first_call_or_result() {
        assert!(!has_news(&rejected(0), 0));
        assert!(has_news(&rejected(1), 0));
        assert!(!has_news(&rejected(1), 1), "an earlier run has stored it");
    }

    #[test]
    fn a_wait_ends_before_the_next_store() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        assert_eq!(clamped_wait(NOW, None), PERSIST_EVERY);
        assert_eq!(clamped_wait(NOW, at(300)), Duration::from_millis(300));
        assert_eq!(clamped_wait(NOW, at(5_000)), PERSIST_EVERY);
        assert_eq!(clamped_wait(NOW, at(-5)), Duration::from_millis(1));
    }
}
