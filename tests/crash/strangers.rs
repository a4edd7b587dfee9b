//! Strangers who name a bucket that is not theirs, or buckets that do not exist, hardly delay the others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::api::GrantSpec;
use imm_operator::core::grant::ObjectKey;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::fake_world::{FakeWorld, key};
use super::process::{Process, pass_time};
use super::runner::on_paused_time;
use super::specs::{BUCKET, grant, with_keys};

const NAMESPACE: &str = "stranger";
/// A namespace whose credentials may read the policy of the bucket and not write it.
const READER_NAMESPACE: &str = "reader";
/// Grants of that namespace on the bucket of another tenant, each with a Secret of its own.
const READERS: usize = 200;
/// Grants with invalid credentials on the bucket of another tenant, and on buckets that do not exist.
const ON_THE_BUCKET: usize = 24;
const ELSEWHERE: usize = 384;
const BUCKETS: usize = 32;
const JOBS: usize = 1_500;

fn bad_grant(number: usize, bucket: &str) -> GrantSpec {
    let mut spec = with_keys(grant("2222222222"), &format!("keys-{number}"));
    bucket.clone_into(&mut spec.bucket.name);
    spec
}

fn stranger(number: usize) -> ObjectKey {
    ObjectKey {
        namespace: NAMESPACE.to_owned(),
        name: format!("bad-{number}"),
    }
}

fn bucket_of(number: usize) -> String {
    if number < ON_THE_BUCKET {
        BUCKET.to_owned()
    } else {
        format!("invented-{}", number % BUCKETS)
    }
}

/// Lets the readers request a reconcile of each of their grants twice a second.
async fn disturb_by_readers(world: Arc<Mutex<FakeWorld>>, process: Arc<Process>) {
    let reader = |number: usize| ObjectKey {
        namespace: READER_NAMESPACE.to_owned(),
        name: format!("reads-{number}"),
    };
    for number in 0..READERS {
        let spec = bad_grant(number, BUCKET);
        world.lock().unwrap().apply_as(reader(number), spec);
    }
    for round in 0.. {
        for number in 0..READERS {
            if let Some(grant) = world.lock().unwrap().grants.get_mut(&reader(number)) {
                grant.reconcile_at = Some(format!("{round}"));
            }
        }
        process.mark_by(READER_NAMESPACE, BUCKET).await;
        pass_time(Duration::from_millis(500)).await;
    }
}

fn is_applied(world: &FakeWorld) -> bool {
    let grant = world.grants.get(&key("a"));
    grant.is_some_and(|grant| {
        let mut conditions = grant.status.conditions.iter();
        conditions.any(|c| c.kind == "Ready" && c.reason == "Applied")
    })
}

async fn until(world: &Arc<Mutex<FakeWorld>>, holds: impl Fn(&FakeWorld) -> bool) -> Duration {
    let started = Instant::now();
    while !holds(&world.lock().unwrap()) {
        pass_time(Duration::from_millis(10)).await;
        assert!(started.elapsed() < Duration::from_secs(3_600), "never");
    }
    started.elapsed()
}

/// Lets the strangers edit all of their grants and wake all of their jobs twice a second.
async fn disturb(world: Arc<Mutex<FakeWorld>>, process: Arc<Process>) {
    for number in 0..ON_THE_BUCKET + ELSEWHERE {
        let spec = bad_grant(number, &bucket_of(number));
        world.lock().unwrap().apply_as(stranger(number), spec);
    }
    for round in 0.. {
        for number in 0..ON_THE_BUCKET + ELSEWHERE {
            if let Some(grant) = world.lock().unwrap().grants.get_mut(&stranger(number)) {
                grant.reconcile_at = Some(format!("{round}"));
            }
            process.mark_by(NAMESPACE, &bucket_of(number)).await;
        }
        for number in 0..JOBS {
            let name = format!("job-{number}");
            process
                .mark_job(ObjectKey {
                    name,
                    namespace: NAMESPACE.to_owned(),
                })
                .await;
        }
        pass_time(Duration::from_millis(500)).await;
    }
}

/// Who disturbs the others.
#[derive(Clone, Copy)]
enum Disturbance {
    None,
    Strangers,
    Readers,
}

/// Returns how long it takes to apply a grant and to delete it.
async fn apply_and_delete(disturbance: Disturbance) -> [Duration; 2] {
    let world = Arc::new(Mutex::new(FakeWorld::default()));
    let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
    let process = Arc::new(Process::start(&world, start, None));
    let (outside, running) = (Arc::clone(&world), Arc::clone(&process));
    let disturbing = match disturbance {
        Disturbance::None => None,
        Disturbance::Strangers => Some(tokio::spawn(disturb(outside, running))),
        Disturbance::Readers => Some(tokio::spawn(disturb_by_readers(outside, running))),
    };
    pass_time(Duration::from_secs(20)).await;

    world.lock().unwrap().apply("a", grant("1234567890"));
    process.mark(BUCKET).await;
    let applied = until(&world, is_applied).await;
    pass_time(Duration::from_secs(60)).await;

    world.lock().unwrap().delete("a");
    process.mark(BUCKET).await;
    let deleted = until(&world, |world| !world.grants.contains_key(&key("a"))).await;
    if let Some(disturbing) = disturbing {
        disturbing.abort();
    }
    [applied, deleted]
}

#[test]
fn strangers_do_not_double_the_time_of_a_grant_and_of_its_deletion() {
    let alone = on_paused_time(apply_and_delete(Disturbance::None));
    let disturbed = on_paused_time(apply_and_delete(Disturbance::Strangers));
    for (alone, disturbed) in alone.into_iter().zip(disturbed) {
        assert!(disturbed <= alone * 2, "{disturbed:?}, alone {alone:?}");
    }
}

/// A group of such a grant that is being reconciled is not interrupted, and each needs some calls.
#[test]
fn readers_of_a_policy_delay_a_grant_of_its_writer_and_its_deletion_by_seconds() {
    let alone = on_paused_time(apply_and_delete(Disturbance::None));
    let disturbed = on_paused_time(apply_and_delete(Disturbance::Readers));
    for (alone, disturbed) in alone.into_iter().zip(disturbed) {
        let most = alone * 2 + Duration::from_secs(6);
        assert!(disturbed <= most, "{disturbed:?}, alone {alone:?}");
    }
}
