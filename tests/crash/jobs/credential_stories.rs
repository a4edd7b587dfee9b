//! Scenarios of jobs about their credentials: those that change or are read slowly during a run, and whose account
//! they are of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::api::{JobCondition, JobSpec};
use imm_operator::ports::{CloudErrorKind, CredentialsError};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{from_value, json};
use tokio::time::Instant;

use super::super::fake_world::FakeWorld;
use super::super::process::Process;
use super::super::runner::on_paused_time;
use super::super::specs::{BUCKET, OWNER};
use super::stories::{Change, MINUTE, play, ready, spec};
use super::world::{ACCOUNT, key};

/// Images of a job that takes several minutes with one call at a time.
const IMAGES: usize = 1_000;

/// Returns a job of a list of images, with at most this number of calls at a time.
fn long_job(parallelism: i32) -> JobSpec {
    let uris: Vec<String> = (0..IMAGES).map(|n| format!("oss://{BUCKET}/{n}.jpg")).collect();
    spec(&json!({"source": {"uris": uris}, "parallelism": parallelism}))
}

/// Returns a job with a project of the bucket's account, whose source the operator's own identity lists.
fn listing_job() -> JobSpec {
    let prefix = json!({"bucket": BUCKET, "prefix": "p/", "credentials": {"source": "Operator"}});
    spec(&json!({
        "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": OWNER},
        "source": {"prefix": prefix},
    }))
}

fn assert_all_called_once(world: &FakeWorld) {
    assert_eq!(ready(world)[0], "Completed");
    let uris: BTreeSet<&String> = world.jobs.ledger.iter().map(|sent| &sent.uri).collect();
    assert_eq!((uris.len(), calls(world)), (IMAGES, IMAGES));
}

fn calls(world: &FakeWorld) -> usize {
    world.jobs.ledger.len()
}

#[test]
fn a_secret_without_its_keys_stops_a_running_job_until_it_has_them_again() {
    let world = play(
        long_job(1),
        &[
            (|_| {}, Duration::from_secs(10)),
            (
                |o| {
                    assert!(calls(o) > 10, "{}", calls(o));
                    o.no_secret = Some(CredentialsError::Invalid("accessKeyId"));
                },
                5 * MINUTE / 4,
            ),
            (
                |o| {
                    let [reason, message] = ready(o);
                    assert_eq!(reason, "CredentialsUnavailable", "{message}");
                    assert!(message.contains("no usable accessKeyId"), "{message}");
                    let conditions = &o.jobs.job.as_ref().unwrap().status.conditions;
                    let credentials = conditions.iter().find(|c| c.is(JobCondition::CredentialsValid));
                    assert_eq!(credentials.unwrap().reason, "SecretInvalid");
                    assert!(calls(o) < IMAGES, "{}", calls(o));
                    // Nothing is called until the keys are back.
                    o.jobs.recorded_calls = calls(o);
                },
                3 * MINUTE,
            ),
            (
                |o| {
                    assert_eq!(calls(o), o.jobs.recorded_calls);
                    o.no_secret = None;
                },
                10 * MINUTE,
            ),
        ],
    );
    assert_all_called_once(&world);
}

#[test]
fn results_are_stored_while_the_credentials_are_read_again() {
    on_paused_time(async {
        let outside = Arc::new(Mutex::new(FakeWorld::default()));
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        outside.lock().unwrap().jobs.create(long_job(5));
        let process = Process::start(&outside, start, None);
        process.mark_job(key()).await;
        process.run_for(3 * MINUTE / 4).await;
        // The Secret is read again within a minute after the last time.
        outside.lock().unwrap().secret_time = MINUTE;
        process.run_for(MINUTE / 2).await;
        process.kill().await;
        {
            let mut outside = outside.lock().unwrap();
            outside.secret_time = Duration::ZERO;
            let now = start.0 + SignedDuration::from_secs(75);
            let last = outside.jobs.ledger.iter().filter_map(|sent| sent.answered).max();
            assert!(
                last.unwrap() < now - SignedDuration::from_secs(5),
                "no read has taken long"
            );
            assert!(calls(&outside) < IMAGES, "{}", calls(&outside));
        }
        let process = Process::start(&outside, start, None);
        process.mark_job(key()).await;
        process.run_for(10 * MINUTE).await;
        process.kill().await;
        assert_all_called_once(&outside.lock().unwrap());
    });
}

#[test]
fn the_operators_identity_lists_nothing_before_sts_confirms_the_account_of_the_project() {
    // The rule lends the identity to projects of any account, for buckets of the account of the project.
    let lend: Change = |o| {
        let rule = json!({"namespaces": {"names": ["*"]}, "kinds": ["ImageScoreJob"], "credentialSources": ["Operator"],
            "projects": ["*"], "buckets": ["*"], "granteeUIDs": ["*"]});
        o.jobs.rules = Arc::new(from_value(json!({"rules": [rule]})).unwrap());
        o.jobs.images = (0..10).map(|n| format!("p/{n}.jpg")).collect();
    };
    let nothing: Change = |o| {
        assert_eq!(ready(o)[0], "CredentialsUnavailable", "{:?}", ready(o));
        assert_eq!(o.jobs.listings, 0);
    };
    let refused: Change = |o| o.jobs.no_account = Some(CloudErrorKind::AccessDenied);
    let silent: Change = |o| o.jobs.no_account = Some(CloudErrorKind::Unanswered);
    // The credentials of the job are of another account than the bucket, whose account the spec names.
    let named: Change = |_| {};
    for (answer, expected) in [(named, ACCOUNT), (refused, "STS"), (silent, "STS")] {
        let steps = [(lend, Duration::ZERO), (answer, 2 * MINUTE), (nothing, MINUTE)];
        let world = play(listing_job(), &steps);
        assert!(ready(&world)[1].contains(expected), "{:?}", ready(&world));
    }
}

#[test]
fn a_job_that_resumes_does_not_ask_sts_for_its_account_again() {
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
    let world = play(
        spec(&json!({"source": source})),
        &[
            (
                |o| o.jobs.images = (0..240).map(|n| format!("p/{n:03}.jpg")).collect(),
                Duration::from_secs(3),
            ),
            (|o| o.jobs.edit(|spec| spec.suspend = true), MINUTE),
            (
                |o| {
                    assert_eq!((ready(o)[0], o.jobs.accounts_asked), ("Suspended", 1));
                    o.jobs.edit(|spec| spec.suspend = false);
                },
                2 * MINUTE,
            ),
        ],
    );
    assert_eq!((ready(&world)[0], world.jobs.accounts_asked), ("Completed", 1));
}
