//! Scenarios of jobs whose process is killed, and whose reports change before the next one starts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::api::JobCondition;
use imm_operator::core::grant::ObjectKey;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::super::fake_world::FakeWorld;
use super::super::process::Process;
use super::super::runner::on_paused_time;
use super::super::specs::BUCKET;
use super::stories::{Change, MINUTE, ready, spec};
use super::world::key;

/// A world with a job of 600 images whose process was killed after a time, and when that process started.
async fn killed_after(time: Duration) -> (Arc<Mutex<FakeWorld>>, (Timestamp, Instant)) {
    killed_with_keys_of(0, time).await
}

/// The same with keys that are longer by this number of bytes.
async fn killed_with_keys_of(length: usize, time: Duration) -> (Arc<Mutex<FakeWorld>>, (Timestamp, Instant)) {
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let outside = Arc::new(Mutex::new(FakeWorld::default()));
    let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
    {
        let jobs = &mut outside.lock().unwrap().jobs;
        let tail = "k".repeat(length);
        jobs.images = (0..600)
            .map(|number| format!("p/{number:03}{tail}.jpg"))
            .collect();
        jobs.create(spec(&json!({"source": source})));
    }
    let process = Process::start(&outside, start, None);
    process.mark_job(key()).await;
    process.run_for(time).await;
    process.kill().await;
    (outside, start)
}

#[test]
fn a_report_without_labels_that_the_status_does_not_count_is_found() {
    on_paused_time(async {
        let (outside, start) = killed_after(Duration::from_secs(4)).await;
        let stored: Vec<String> = {
            let jobs = &mut outside.lock().unwrap().jobs;
            let reports = jobs.job.as_ref().unwrap().status.reports.as_ref().unwrap();
            let counted = usize::try_from(reports.count).unwrap();
            jobs.remove_labels_from(counted);
            let results = &jobs.reports[&counted].report.results;
            results.iter().map(|result| result.uri.clone()).collect()
        };
        let process = Process::start(&outside, start, None);
        process.mark_job(key()).await;
        process.run_for(MINUTE).await;
        process.kill().await;
        let jobs = &outside.lock().unwrap().jobs;
        for uri in stored {
            let calls = jobs.ledger.iter().filter(|sent| sent.uri == uri).count();
            assert_eq!(calls, 1, "{uri}");
        }
    });
}

#[test]
fn a_job_ends_after_a_crash_although_its_reports_cannot_be_read() {
    let ends: [(Change, &str); 2] = [
        (|o| o.jobs.edit(|spec| spec.cancel = true), "Cancelled"),
        (
            |o| o.jobs.edit(|spec| spec.active_deadline_seconds = Some(1)),
            "DeadlineExceeded",
        ),
    ];
    for (end, expected) in ends {
        on_paused_time(async {
            let (outside, start) = killed_after(Duration::from_secs(6)).await;
            let reserved = {
                let mut world = outside.lock().unwrap();
                world.jobs.hides_reports = true;
                let job = world.jobs.job.as_ref().unwrap();
                assert!(job.has_started());
                let requests = job.status.requests.as_ref().unwrap();
                assert!(requests.reserved > requests.sent);
                requests.reserved
            };
            let process = Process::start(&outside, start, None);
            process.mark_job(key()).await;
            process.run_for(MINUTE).await;
            assert_eq!(ready(&outside.lock().unwrap())[0], "ResultsUnreadable");
            end(&mut outside.lock().unwrap());
            process.mark_job(key()).await;
            process.run_for(MINUTE).await;
            process.kill().await;
            let world = outside.lock().unwrap();
            assert_eq!(ready(&world)[0], expected);
            let items = world.jobs.job.as_ref().unwrap().status.items.as_ref().unwrap();
            assert!(
                items.succeeded > 0 && items.pending > 0,
                "the counters are kept: {items:?}"
            );
            let status = &world.jobs.job.as_ref().unwrap().status;
            let requests = status.requests.as_ref().unwrap();
            assert_eq!(requests.sent, reserved, "the reservation may have been used");
            let stored = status
                .conditions
                .iter()
                .find(|c| c.is(JobCondition::ResultsStored));
            assert_eq!(stored.unwrap().reason, "ResultsUnreadable");
        });
    }
}

#[test]
fn a_job_holds_fewer_results_while_many_jobs_run() {
    on_paused_time(async {
        let (outside, start) = killed_with_keys_of(800, Duration::from_secs(7)).await;
        let largest = |world: &FakeWorld, from: usize| {
            let results = world
                .jobs
                .reports
                .range(from..)
                .map(|(_, r)| r.report.results.len());
            results.max().unwrap_or(0)
        };
        // A single job fills its reports further.
        let first = outside.lock().unwrap().jobs.reports.len();
        assert!(largest(&outside.lock().unwrap(), 0) > 150);
        let process = Process::start(&outside, start, None);
        let context = process.context();
        let others: Vec<_> = (0..1_000)
            .map(|number| {
                let other = ObjectKey {
                    namespace: format!("other-{}", number % 100),
                    name: format!("job-{number}"),
                };
                context.runs.try_slot(&other, 0).unwrap()
            })
            .collect();
        process.mark_job(key()).await;
        process.run_for(2 * MINUTE).await;
        drop(others);
        process.kill().await;
        let world = outside.lock().unwrap();
        assert_eq!(ready(&world)[0], "Completed");
        let most = largest(&world, first);
        assert!((50..150).contains(&most), "{most}");
        let stored = world.jobs.reports.values().map(|r| r.report.results.len());
        assert_eq!(stored.sum::<usize>(), 600);
    });
}
