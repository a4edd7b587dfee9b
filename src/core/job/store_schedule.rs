//! When a run stores its state, what it stores, and how many requests it reserves. Times are counted from the start
//! of the run.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::throughput::Throughput;
use super::{CallLimits, JobObject, Phase, Progress, ReportBuffer};
use crate::api::{JobSpec, REPORT_ITEMS};
use crate::core::time;

/// Interval of stores: a crash repeats the calls of one interval, or of the time in which the API server stores
/// nothing or does not return the object.
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

    /// Whether the run has to store before its next step: every second, and as soon as the unstored results fill a
    /// report or the memory for results.
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

    /// Returns how long the run may wait for an event, at most `longest`: until the next store, so that results are
    /// stored in time however long the next answer takes.
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
    /// project's rate, for the second until the next store and the duration of that store. Not more, because after a
    /// crash the whole reservation counts as spent. A job with `parallelism` starts with that number, and doubles it
    /// while a reservation lasts less than a second.
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

/// Whether a store that is due reserves requests too: until its canary call has passed, a run reserves single
/// requests when it needs them.
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
mod tests;
