//! Scenarios of jobs that are run once and without a fault.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::api::{JobCondition, JobSpec};
use imm_operator::core::grant::ObjectKey;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::fake_world::FakeWorld;
use super::super::process::Process;
use super::super::runner::on_paused_time;
use super::super::specs::BUCKET;
use super::world::{ACCOUNT, key};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub fn spec(changes: &Value) -> JobSpec {
    let mut spec = json!({
        "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": ACCOUNT},
        "credentials": {"source": "Secret", "secretRef": {"name": "imm"}},
        "source": {"uris": [format!("oss://{BUCKET}/image.jpg")]},
    });
    for (name, value) in changes.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// A change by others.
pub(super) type Change = fn(&mut FakeWorld);
/// A change by others, and the time until the next one.
pub(super) type TimedStep = (Change, Duration);

/// Runs a process with a job in a world that each step changes, and lets each step rest for as long as it says.
pub(super) fn play(spec: JobSpec, steps: &[TimedStep]) -> FakeWorld {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        outside.lock().unwrap().jobs.create(spec);
        let process = Process::start(&outside, start, None);
        for (step, rest) in steps {
            step(&mut outside.lock().unwrap());
            process.mark_job(key()).await;
            assert!(!process.run_for(*rest).await, "the process ended");
        }
        process.kill().await;
        let mut outside = outside.lock().unwrap();
        std::mem::take(&mut *outside)
    })
}

#[test]
fn a_status_that_is_refused_is_tried_once_a_minute() {
    // The job ends before it runs, so it has no place among the running jobs of its namespace.
    let world = play(
        spec(&json!({"cancel": true})),
        &[
            (|o| o.jobs.refuses_status = true, 60 * MINUTE),
            (
                |o| assert!((30..=65).contains(&o.jobs.refused), "{}", o.jobs.refused),
                MINUTE,
            ),
            (|o| o.jobs.refuses_status = false, 2 * MINUTE),
        ],
    );
    let job = world.jobs.job.unwrap();
    assert!(job.is_finished(), "{:?}", job.status);
}

#[test]
fn results_do_not_expire_by_a_clock_that_is_ahead() {
    let results = |o: &FakeWorld| o.jobs.job.as_ref().unwrap().status.results.len();
    let world = play(
        spec(&json!({"results": {"ttlSecondsAfterFinished": 60}})),
        &[
            (|o| o.jobs.server_behind = 86_400, 10 * MINUTE),
            (
                |o| assert_eq!(o.jobs.job.as_ref().unwrap().status.results.len(), 1),
                MINUTE,
            ),
            (|o| o.jobs.server_behind = 0, 70 * MINUTE),
        ],
    );
    assert_eq!(results(&world), 0);
}

pub(super) fn ready(world: &FakeWorld) -> [&str; 2] {
    let conditions = &world.jobs.job.as_ref().unwrap().status.conditions;
    let ready = conditions.iter().find(|c| c.is(JobCondition::Ready)).unwrap();
    [&ready.reason, &ready.message]
}

#[test]
fn objects_that_were_not_counted_end_a_job_and_are_not_scored() {
    fn add(world: &mut FakeWorld, more: std::ops::Range<usize>) {
        world
            .jobs
            .images
            .extend(more.map(|number| format!("p/{number:03}.jpg")));
    }
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let world = play(
        spec(&json!({"source": source})),
        &[
            // The source is counted after a second, and about 50 objects are scored per second.
            (|o| add(o, 0..90), Duration::from_secs(2)),
            (|o| o.jobs.edit(|spec| spec.suspend = true), MINUTE),
            (
                |o| {
                    let scored = o.jobs.ledger.len();
                    assert!((1..90).contains(&scored), "{scored}");
                    add(o, 90..120);
                    o.jobs.edit(|spec| spec.suspend = false);
                },
                MINUTE,
            ),
        ],
    );
    let [reason, message] = ready(&world);
    assert_eq!(reason, "SourceChanged", "{message}");
    assert!(message.contains("than the 90 counted"), "{message}");
    let first_new = format!("oss://{BUCKET}/p/090.jpg");
    assert_eq!(
        world
            .jobs
            .ledger
            .iter()
            .filter(|sent| sent.uri >= first_new)
            .count(),
        0
    );
}

#[test]
fn a_long_count_shows_the_number_of_items_so_far() {
    let (spec, (fill, _)) = with_long_count();
    let shown = |o: &mut FakeWorld| {
        let [reason, message] = ready(o);
        assert_eq!(reason, "CountingItems");
        assert!(message.contains(" so far)"), "{message}");
    };
    let world = play(spec, &[(fill, 3 * MINUTE / 2), (shown, 20 * MINUTE)]);
    assert_eq!(ready(&world)[0], "Completed");
}

/// A job whose source is pinned after 20 s and counted after 101 s; the number so far is stored after 61 s.
fn with_long_count() -> (JobSpec, TimedStep) {
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let fill: Change = |o| {
        let images = (0..240).map(|number| format!("p/{number:03}.jpg"));
        o.jobs.images.extend(images);
        o.jobs.page_time = Duration::from_secs(20);
    };
    (spec(&json!({"source": source})), (fill, 5 * MINUTE / 6))
}

#[test]
fn an_edit_that_meets_the_number_of_items_so_far_takes_effect_at_once() {
    let (spec, start) = with_long_count();
    let cancel: Change = |o| o.jobs.edit_before_write = Some(|spec| spec.cancel = true);
    let world = play(spec, &[start, (cancel, MINUTE / 2)]);
    assert_eq!(ready(&world)[0], "Cancelled");
}

#[test]
fn a_count_continues_although_its_number_so_far_cannot_be_stored() {
    let (spec, start) = with_long_count();
    let world = play(
        spec,
        &[
            start,
            (|o| o.jobs.refuses_status = true, MINUTE / 2),
            (
                |o| {
                    assert!(o.jobs.refused > 0);
                    o.jobs.refuses_status = false;
                },
                2 * MINUTE / 3,
            ),
        ],
    );
    let source = world.jobs.job.unwrap().status.source.unwrap();
    assert_eq!(source.items, Some(240));
}

#[test]
fn a_source_that_cannot_be_stored_is_read_once_a_minute() {
    let (spec, _) = with_long_count();
    let refuse: Change = |o| o.jobs.refuses_status = true;
    let world = play(spec, &[(refuse, 10 * MINUTE)]);
    assert!((5..=15).contains(&world.jobs.refused), "{}", world.jobs.refused);
}

#[test]
fn a_manifest_that_was_empty_is_not_scored_in_a_later_version() {
    let source = json!({"manifest": {"uri": format!("oss://{BUCKET}/list.txt")}});
    let spec = || spec(&json!({"source": source}));
    let world = play(spec(), &[(|_| {}, MINUTE)]);
    assert_eq!(ready(&world)[0], "Completed");
    let later = |o: &mut FakeWorld| o.jobs.manifest = format!("oss://{BUCKET}/1.jpg");
    let world = play(spec(), &[(|_| {}, MINUTE / 120), (later, MINUTE)]);
    let [reason, message] = ready(&world);
    assert_eq!(reason, "SourceChanged", "{message}");
    assert!(message.contains("than the 0 counted"), "{message}");
    assert!(world.jobs.ledger.is_empty());
}

#[test]
fn the_time_of_a_job_that_resumes_during_an_outage_of_oss_ends() {
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let limited = spec(&json!({"source": source, "activeDeadlineSeconds": 300}));
    let fill: Change = |o| {
        let images = (0..240).map(|number| format!("p/{number:03}.jpg"));
        o.jobs.images.extend(images);
    };
    let resume: Change = |o| {
        o.jobs.lists_nothing = true;
        o.jobs.edit(|spec| spec.suspend = false);
    };
    let world = play(
        limited,
        &[
            (fill, Duration::from_secs(2)),
            (|o| o.jobs.edit(|spec| spec.suspend = true), MINUTE),
            (resume, MINUTE),
            (|o| assert_eq!(ready(o)[0], "SourceUnreadable"), 5 * MINUTE),
        ],
    );
    assert_eq!(ready(&world)[0], "DeadlineExceeded");
}

/// Jobs of one namespace that may run at the same time.
const PLACES: usize = 32;

#[test]
fn a_queued_job_runs_when_another_job_of_its_namespace_ends() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        outside.lock().unwrap().jobs.create(spec(&json!({})));
        let process = Process::start(&outside, start, None);
        let context = process.context();
        let mut others: Vec<_> = (0..PLACES)
            .map(|number| {
                let other = ObjectKey {
                    name: format!("other-{number}"),
                    ..key()
                };
                context.runs.try_slot(&other, 0).unwrap()
            })
            .collect();
        let reason = || {
            let outside = outside.lock().unwrap();
            let conditions = &outside.jobs.job.as_ref().unwrap().status.conditions;
            let ready = conditions.iter().find(|c| c.is(JobCondition::Ready));
            ready.map(|c| c.reason.clone())
        };
        // A job that waits no longer does not get the place.
        let gone = ObjectKey {
            name: "gone".to_owned(),
            ..key()
        };
        assert!(context.runs.try_slot(&gone, 0).is_err());
        process.mark_job(key()).await;
        process.mark_job(gone).await;
        process.run_for(Duration::from_secs(5)).await;
        assert_eq!(reason().as_deref(), Some("Pending"));
        others.pop();
        // Without the end of the other job, the job looks for a place once a minute.
        process.run_for(Duration::from_secs(10)).await;
        assert_eq!(reason().as_deref(), Some("Completed"));
        drop(others);
        process.kill().await;
    });
}

#[test]
fn a_job_is_read_once_there_is_room_for_a_large_one() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        outside.lock().unwrap().jobs.create(spec(&json!({})));
        let process = Process::start(&outside, start, None);
        let context = process.context();
        let namespace = key().namespace;
        let mut first = context.decoded_jobs.reserve(&namespace).await;
        let second = context.decoded_jobs.reserve(&namespace).await;
        let is_reported = || {
            let outside = outside.lock().unwrap();
            !outside.jobs.job.as_ref().unwrap().status.conditions.is_empty()
        };
        process.mark_job(key()).await;
        process.run_for(Duration::from_secs(5)).await;
        assert!(!is_reported());
        // Jobs with long lists occupy room, and others do not.
        first.reduce(600 * 1024);
        process.run_for(Duration::from_secs(5)).await;
        assert!(!is_reported());
        drop(second);
        process.run_for(Duration::from_secs(5)).await;
        assert!(is_reported());
        process.kill().await;
    });
}

#[test]
fn lists_of_running_jobs_use_a_part_of_the_memory_and_a_further_job_waits() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        outside.lock().unwrap().jobs.create(spec(&json!({})));
        let process = Process::start(&outside, start, None);
        let context = process.context();
        let place = |namespace: &str, bytes: usize| {
            let key = ObjectKey {
                namespace: namespace.to_owned(),
                name: format!("list-{bytes}"),
            };
            context.runs.try_slot(&key, bytes)
        };
        let namespace = key().namespace;
        let held = place(&namespace, usize::MAX).unwrap();
        let message = || {
            let outside = outside.lock().unwrap();
            let conditions = &outside.jobs.job.as_ref().unwrap().status.conditions;
            let ready = conditions.iter().find(|c| c.is(JobCondition::Ready));
            ready.map(|c| format!("{}: {}", c.reason, c.message))
        };
        process.mark_job(key()).await;
        process.run_for(Duration::from_secs(5)).await;
        assert!(
            message()
                .unwrap()
                .starts_with("Pending: The lists of the running jobs")
        );
        // The lists of another namespace have room, until those of all use a quarter of 256 MiB.
        let list = 700 * 1024;
        let others: Vec<_> = (0..1_000)
            .filter_map(|n| place(&format!("other-{}", n % 100), list).ok())
            .collect();
        assert!(
            (60..=64 * 1024 * 1024 / list).contains(&others.len()),
            "{}",
            others.len()
        );
        drop((held, others));
        process.run_for(Duration::from_secs(10)).await;
        assert!(message().unwrap().starts_with("Completed"));
        process.kill().await;
    });
}

#[test]
fn an_image_of_the_second_of_the_listing_is_part_of_the_job_although_a_trigger_comes_early() {
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let world = play(
        spec(&json!({"source": source})),
        &[
            (
                |o| o.jobs.images = vec!["p/1.jpg".to_owned()],
                Duration::from_millis(300),
            ),
            // An edit triggers the job before the second is over in which its source was pinned.
            (|_| {}, Duration::from_millis(300)),
            (|o| o.jobs.images.push("p/2.jpg".to_owned()), 5 * MINUTE),
        ],
    );
    let job = world.jobs.job.unwrap();
    assert_eq!(
        job.status.items.map(|items| (items.succeeded, items.total)),
        Some((2, 2))
    );
}
