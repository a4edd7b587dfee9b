//! When a run stores its state, what it stores, and how many requests it reserves. Times are counted from the start of the
//! run.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::throughput::Throughput;
use super::{CallLimits, JobObject, Phase, Progress, ReportBuffer};
use crate::api::{JobSpec, REPORT_ITEMS};
use crate::core::time;

/// Interval of stores: a crash repeats the calls of one interval, or of the time in which the API server stores nothing or does
/// not return the object.
pub const PERSIST_EVERY: Duration = Duration::from_secs(1);

/// Longest age of the counters in status while results are stored in reports.
const STATUS_EVERY: Duration = Duration::from_secs(3);

/// The stores of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreSchedule {
    /// Items that were done before the run.
    done_before: usize,
    /// Whether a store is in flight.
    under_way: bool,
    /// When the last store began, and the items that were done then.
    last: Duration,
    last_done: usize,
    last_status: Duration,
    throughput: Throughput,
    reservation: ReservationSize,
}

impl StoreSchedule {
    /// Returns the schedule of a run that continues a job of which `done` items are done.
    pub fn of_run(done: usize) -> Self {
        Self {
            done_before: done,
            last_done: done,
            ..Self::default()
        }
    }

    /// Whether a store is in flight.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Whether the run has anything to store: nothing until its first call, which changes the phase.
    pub fn has_news(&self, progress: &Progress) -> bool {
        progress.canary_passed() || progress.in_flight() > 0 || progress.done() > self.done_before
    }

    /// Whether the run has to store before its next step: every second, and as soon as the unstored results fill a report or
    /// the memory for results.
    pub fn is_due(&self, progress: &Progress, elapsed: Duration) -> bool {
        !self.under_way && self.has_news(progress) && (is_full(progress) || self.left(elapsed).is_zero())
    }

    /// Whether a second has passed since the last store began, and none is in flight.
    pub fn is_interval_over(&self, elapsed: Duration) -> bool {
        !self.under_way && self.left(elapsed).is_zero()
    }

    /// Returns the time until new results have to be stored; `None` without new results, and while a store is in flight.
    pub fn results_due_in(&self, progress: &Progress, elapsed: Duration) -> Option<Duration> {
        let waiting = !self.under_way && progress.done() > self.last_done;
        let due_in = || {
            if is_full(progress) {
                Duration::ZERO
            } else {
                self.left(elapsed)
            }
        };
        waiting.then(due_in)
    }

    /// Returns how long the run may wait for an event, at most `longest`: until the next store, so that results are stored in
    /// time however long the next answer takes.
    pub fn pause(&self, progress: &Progress, elapsed: Duration, longest: Duration) -> Duration {
        if self.under_way || !self.has_news(progress) {
            longest
        } else {
            longest.min(self.left(elapsed))
        }
    }

    /// Reserves the requests until the next store, or one for the canary call. `rate` is that of the project.
    pub fn reserve(&mut self, progress: &mut Progress, spec: &JobSpec, rate: i64, elapsed: Duration) {
        let size = if progress.canary_passed() {
            self.reservation.next(rate, spec.parallelism, elapsed)
        } else {
            1
        };
        progress.reserve(size, CallLimits::of(spec).budget);
    }

    /// Begins a store. Returns the phase that its status shows; `None` for a store without a status.
    pub fn begin(&mut self, job: &JobObject, progress: &Progress, elapsed: Duration) -> Option<Phase> {
        let done = progress.done();
        (self.under_way, self.last, self.last_done) = (true, elapsed, done);
        if needs_reports_only(job, progress, elapsed.saturating_sub(self.last_status)) {
            return None;
        }
        self.last_status = elapsed;
        self.throughput.record(done, elapsed);
        Some(running_phase(job, self.throughput.per_second()))
    }

    /// Records that the store in flight has ended.
    pub fn end(&mut self) {
        self.under_way = false;
    }

    /// Returns the time until the next store.
    fn left(&self, elapsed: Duration) -> Duration {
        PERSIST_EVERY.saturating_sub(elapsed.saturating_sub(self.last))
    }
}

/// The sizes of the reservations of a run.
#[derive(Clone, Copy, Debug, Default)]
struct ReservationSize {
    /// The last size, and when it was reserved.
    last: Option<(i64, Duration)>,
}

impl ReservationSize {
    /// Returns how many requests to reserve, `elapsed` after the start of the run: at most 1.25 s of traffic at the
    /// project's rate, for the second until the next store and the duration of that store. Not more, because after a crash
    /// the whole reservation counts as spent. A job with `parallelism` starts with that number, and doubles it while a
    /// reservation lasts less than a second.
    fn next(&mut self, rate: i64, parallelism: Option<i32>, elapsed: Duration) -> i64 {
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

/// Whether the unstored results fill a report or the memory for results.
fn is_full(progress: &Progress) -> bool {
    progress.results().reports().is_some_and(|reports| {
        let unstored = reports.unpersisted();
        unstored >= REPORT_ITEMS || (unstored > 0 && reports.is_full())
    })
}

/// Whether a store that is due reserves requests too: until its canary call has passed, a run reserves single requests when it
/// needs them.
pub fn reserves_ahead(progress: &Progress) -> bool {
    progress.canary_passed() && progress.has_open_items()
}

/// Whether a store needs no new status: results and reservations in reports are counted in the status 3 s later. A stored
/// status that shows calls in flight may be out of date; one that shows none must be replaced first.
fn needs_reports_only(job: &JobObject, progress: &Progress, since_status: Duration) -> bool {
    let reports = progress.results().reports();
    let carries = reports.is_some_and(ReportBuffer::can_carry_reservation);
    carries && job.has_started() && since_status < STATUS_EVERY
}

/// The phase of a running job. The stored `NotStarted` phase stays until the started annotation is added: another attempt
/// alone does not change the status.
fn running_phase(job: &JobObject, per_second: u32) -> Phase {
    let error = job.status.start_error.as_ref();
    let error = error.filter(|_| job.started.is_none());
    error.map_or(Phase::Scoring(per_second), |error| {
        Phase::NotStarted(error.clone())
    })
}

/// Returns the time until the earliest of these times, at least 1 ms and at most the interval of stores.
pub fn clamped_wait(now: Timestamp, due: impl IntoIterator<Item = Timestamp>) -> Duration {
    let due = due.into_iter().min();
    due.map_or(PERSIST_EVERY, |due| time::left_until(due, now))
        .clamp(Duration::from_millis(1), PERSIST_EVERY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ItemResult, JobStatus, Requests};
    use crate::core::job::{
        SourceItem, add_items, add_listed, apply_response, build_report, restore_report, resume_progress,
        spec_with,
    };

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
        let schedule = StoreSchedule::of_run(0);
        assert!(!schedule.is_due(&rejected(10), Duration::from_millis(999)));
        assert!(schedule.is_due(&rejected(10), PERSIST_EVERY));
        assert!(!schedule.is_due(&rejected(0), PERSIST_EVERY), "nothing is new");
        assert!(!schedule.is_due(&rejected(REPORT_ITEMS - 1), Duration::ZERO));
        assert!(schedule.is_due(&rejected(REPORT_ITEMS), Duration::ZERO));
        assert!(!schedule.is_interval_over(Duration::from_millis(999)));
        assert!(schedule.is_interval_over(PERSIST_EVERY));
    }

    #[test]
    fn no_store_is_due_while_another_is_in_flight_and_the_next_is_a_second_after_its_beginning() {
        let job = JobObject::bare("media", "one", Err(String::new()));
        let full = rejected(REPORT_ITEMS);
        let mut schedule = StoreSchedule::of_run(0);
        let seconds = Duration::from_secs;
        assert!(schedule.begin(&job, &full, seconds(5)).is_some());
        assert!(schedule.is_under_way());
        assert!(!schedule.is_due(&full, seconds(9)) && !schedule.is_interval_over(seconds(9)));
        assert_eq!(schedule.pause(&full, seconds(9), seconds(7)), seconds(7));
        schedule.end();
        assert!(!schedule.is_under_way());
        assert!(!schedule.is_interval_over(Duration::from_millis(5_999)));
        assert!(schedule.is_due(&full, seconds(6)) && schedule.is_interval_over(seconds(6)));
    }

    #[test]
    fn a_wait_for_an_event_ends_at_the_next_store() {
        let schedule = StoreSchedule::of_run(0);
        let (at, long) = (Duration::from_millis, Duration::from_secs(60));
        assert_eq!(
            schedule.pause(&rejected(0), at(400), long),
            long,
            "nothing is new"
        );
        assert_eq!(schedule.pause(&rejected(1), at(400), long), at(600));
        assert_eq!(schedule.pause(&rejected(1), at(400), at(20)), at(20));
        assert_eq!(schedule.pause(&rejected(1), at(1_400), long), Duration::ZERO);
    }

    #[test]
    fn a_read_of_the_object_delays_no_store_of_new_results() {
        let job = JobObject::bare("media", "one", Err(String::new()));
        let mut schedule = StoreSchedule::of_run(0);
        let at = Duration::from_millis;
        assert_eq!(schedule.results_due_in(&rejected(0), at(2_000)), None);
        assert_eq!(schedule.results_due_in(&rejected(1), at(400)), Some(at(600)));
        assert_eq!(
            schedule.results_due_in(&rejected(REPORT_ITEMS), at(400)),
            Some(Duration::ZERO)
        );
        schedule.begin(&job, &rejected(1), at(400));
        assert_eq!(
            schedule.results_due_in(&rejected(2), at(500)),
            None,
            "it is in flight"
        );
        schedule.end();
        assert_eq!(
            schedule.results_due_in(&rejected(1), at(500)),
            None,
            "they are stored"
        );
        assert_eq!(schedule.results_due_in(&rejected(2), at(500)), Some(at(900)));
    }

    #[test]
    fn a_status_shows_the_rate_of_the_run_at_most_every_three_seconds() {
        let mut job = JobObject::bare("media", "one", Err(String::new()));
        job.status.requests = Some(Requests {
            reserved: 2,
            sent: 1,
            ..Requests::default()
        });
        let mut schedule = StoreSchedule::of_run(0);
        let seconds = Duration::from_secs;
        assert_eq!(schedule.begin(&job, &rejected(1), seconds(2)), None);
        let phase = schedule.begin(&job, &rejected(30), seconds(3));
        assert_eq!(phase, Some(Phase::Scoring(0)), "the first count has no rate");
        assert_eq!(schedule.begin(&job, &rejected(60), seconds(5)), None);
        let phase = schedule.begin(&job, &rejected(90), seconds(6));
        assert_eq!(phase, Some(Phase::Scoring(10)));
    }

    #[test]
    fn a_canary_call_reserves_one_request_and_no_request_is_reserved_ahead_of_it() {
        let uris: Vec<String> = (0..9).map(|number| format!("oss://pics/{number}")).collect();
        let spec =
            spec_with(&json!({"source": {"uris": uris}, "parallelism": 4, "budget": {"maxRequests": 9}}));
        let mut progress = resume_progress(&spec, &JobStatus::default(), (9, true), NOW, "uid");
        add_listed(&mut progress, &uris);
        let mut schedule = StoreSchedule::of_run(0);
        assert!(!reserves_ahead(&progress));
        schedule.reserve(&mut progress, &spec, 100, Duration::ZERO);
        assert_eq!(progress.requests().reserved, 1);
        progress.persisted();
        progress.take_next(NOW).unwrap();
        apply_response(&mut progress, 0, Ok("0.5".to_owned()), NOW);
        assert!(reserves_ahead(&progress));
        schedule.reserve(&mut progress, &spec, 100, Duration::from_millis(500));
        assert_eq!(progress.requests().reserved, 5, "the parallelism");
        schedule.reserve(&mut progress, &spec, 100, Duration::from_millis(900));
        assert_eq!(progress.requests().reserved, 9, "the budget");
    }

    #[test]
    fn a_stored_report_that_uses_all_the_memory_needs_no_store() {
        let schedule = StoreSchedule::of_run(0);
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
        assert!(!schedule.is_due(&progress, Duration::ZERO));
        progress.results_mut().add(stored(1_000));
        assert!(
            !schedule.is_due(&progress, Duration::ZERO),
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
        let news = |done_before, items| StoreSchedule::of_run(done_before).has_news(&rejected(items));
        assert!(!news(0, 0) && news(0, 1));
        assert!(!news(1, 1), "an earlier run has stored it");
    }

    #[test]
    fn a_wait_ends_before_the_next_store() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        assert_eq!(clamped_wait(NOW, None), PERSIST_EVERY);
        assert_eq!(clamped_wait(NOW, at(300)), Duration::from_millis(300));
        assert_eq!(clamped_wait(NOW, at(5_000)), PERSIST_EVERY);
        assert_eq!(clamped_wait(NOW, at(-5)), Duration::from_millis(1));
        let both = at(700).into_iter().chain(at(300));
        assert_eq!(clamped_wait(NOW, both), Duration::from_millis(300));
    }
}
