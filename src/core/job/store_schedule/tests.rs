//! Unit tests of the stores of a run.

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
    let spec = spec_with(&json!({"source": {"uris": uris}, "parallelism": 4, "budget": {"maxRequests": 9}}));
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
