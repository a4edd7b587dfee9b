//! Scenarios of jobs about their credentials: those that change or are read slowly during a run, and whose account they are of.

use std::collections::BTreeSet;
use std::time::Duration;

use imm_operator::api::{JobCondition, JobSpec};
use imm_operator::ports::CredentialsError;
use serde_json::json;

use super::super::fake_world::FakeWorld;
use super::super::specs::BUCKET;
use super::stories::{MINUTE, play, ready, spec};

/// Images of a job that takes several minutes with one call at a time.
const IMAGES: usize = 1_000;

/// Returns a job of a list of images, with at most this number of calls at a time.
fn long_job(parallelism: i32) -> JobSpec {
    let uris: Vec<String> = (0..IMAGES).map(|n| format!("oss://{BUCKET}/{n}.jpg")).collect();
    spec(&json!({"source": {"uris": uris}, "parallelism": parallelism}))
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
