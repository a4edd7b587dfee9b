//! What the metrics of a process say about the objects and calls that it has seen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::fake_world::FakeWorld;
use super::jobs::{job_key, job_spec};
use super::process::Process;
use super::runner::on_paused_time;
use super::specs::{BUCKET, grant, on};

const MINUTE: Duration = Duration::from_secs(60);

fn value(process: &Process, series: &str) -> i64 {
    let text = process.context().metrics.render();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{series} is missing: {text}"));
    found.parse().unwrap()
}

fn start(outside: &Arc<Mutex<FakeWorld>>) -> Process {
    let time = Timestamp::from_second(1_790_000_000).unwrap();
    Process::start(outside, (time, Instant::now()), None)
}

#[test]
fn the_billable_requests_are_those_that_the_status_of_the_job_estimates() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let uri = |name: &str| format!("oss://{BUCKET}/{name}.jpg");
        let source = json!({"uris": [uri("good"), uri("bad"), uri("late")]});
        {
            let mut outside = outside.lock().unwrap();
            outside.jobs.flaky.insert(uri("late"), 2);
            outside.jobs.create(job_spec(&json!({"source": source})));
        }
        let process = start(&outside);
        process.mark_job(job_key()).await;
        process.run_for(10 * MINUTE).await;
        let requests = {
            let outside = outside.lock().unwrap();
            let job = outside.jobs.job.as_ref().unwrap();
            assert!(job.is_finished(), "{:?}", job.status);
            job.status.requests.clone().unwrap_or_default()
        };
        let outcome = |name: &str| {
            let series = format!("immops_score_requests_total{{outcome=\"{name}\"}}");
            value(&process, &series)
        };
        let (rejected, failed) = (outcome("rejected"), outcome("unavailable"));
        assert!(rejected > 0 && failed > 0, "{requests:?}");
        assert_eq!(requests.sent, outcome("scored") + rejected + failed);
        assert_eq!(requests.estimated_billable, requests.sent - failed);
        assert_eq!(
            value(&process, "immops_score_requests_billable_total"),
            requests.estimated_billable
        );
        process.kill().await;
    });
}

#[test]
fn a_refused_status_counts_as_rejected_results_only_while_it_has_results_that_are_stored_nowhere() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let uris: Vec<_> = (0..5).map(|n| format!("oss://{BUCKET}/{n}.jpg")).collect();
        {
            let mut outside = outside.lock().unwrap();
            outside.jobs.refuses_status = true;
            outside.jobs.create(job_spec(&json!({"source": {"uris": uris}})));
        }
        let process = start(&outside);
        let rejected = || value(&process, "immops_reports_rejected_total");
        process.mark_job(job_key()).await;
        process.run_for(5 * MINUTE).await;
        assert!(outside.lock().unwrap().jobs.refused > 0);
        assert_eq!(rejected(), 0, "there are no results");
        outside.lock().unwrap().jobs.refuses_status = false;
        while outside.lock().unwrap().jobs.ledger.is_empty() {
            process.run_for(Duration::from_millis(20)).await;
        }
        outside.lock().unwrap().jobs.refuses_status = true;
        process.run_for(10 * MINUTE).await;
        assert!(rejected() >= 10, "{}", rejected());
        outside.lock().unwrap().jobs.refuses_status = false;
        process.run_for(10 * MINUTE).await;
        let last = rejected();
        {
            let outside = outside.lock().unwrap();
            let job = outside.jobs.job.as_ref().unwrap();
            assert!(job.is_finished(), "{:?}", job.status);
            assert_eq!(outside.jobs.ledger.len(), uris.len(), "no image is scored twice");
        }
        process.run_for(10 * MINUTE).await;
        assert_eq!(rejected(), last);
        process.kill().await;
    });
}

#[test]
fn a_bucket_with_a_nearly_full_policy_counts_until_its_last_grant_is_deleted() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let long = "p".repeat(15_000);
        let foreign = json!({"Version": "1", "Statement": [{
            "Effect": "Allow", "Principal": ["1"], "Action": ["oss:GetObject"],
            "Resource": [format!("acs:oss:*:*:{BUCKET}/{long}")],
        }]});
        {
            let mut outside = outside.lock().unwrap();
            outside.foreign_policy(&foreign.to_string());
            outside.apply("a", on(grant("1234567890"), &["p/"]));
        }
        let process = start(&outside);
        let full = || value(&process, "immops_policies_nearly_full");
        assert_eq!(full(), 0);
        process.mark(BUCKET).await;
        process.run_for(5 * MINUTE).await;
        assert_eq!(full(), 1);
        outside.lock().unwrap().delete("a");
        process.mark(BUCKET).await;
        process.run_for(5 * MINUTE).await;
        assert!(outside.lock().unwrap().grants.is_empty());
        assert_eq!(full(), 0);
        process.kill().await;
    });
}
