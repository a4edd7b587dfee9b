//! Arbitrary stored objects: whatever numbers, times and texts a grant, a job and its reports hold, both reconciles and
//! the queue neither panic nor loop.

mod ports;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::ports::{READ_LIMIT, Store, StoredPorts};
use crate::controller::{Controllers, QueueKey};
use crate::core::grant::ObjectKey;
use crate::core::job::{Phase, job_status};
use crate::kubernetes::decode::decode_job;
use crate::ports::Ports;
use crate::runtime::metrics::Metrics;
use crate::runtime::queue::Trigger;

const BUCKET: &str = "pictures";

fn grant() -> Value {
    json!({
        "apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrant",
        "metadata": {"name": "g", "namespace": "n", "uid": "grant-uid", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "bucket": {"name": BUCKET, "region": "cn-hangzhou", "ownerUID": "6543210987654321"},
            "grantee": {"accountUID": "1234567890123456", "roleName": "imm-role"},
            "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
        },
    })
}

/// A job with one of the three kinds of sources; the last one is finished soon and expires.
fn job(number: usize) -> Value {
    let uris: Vec<String> = (0..40).map(|n| format!("oss://{BUCKET}/{n}.jpg")).collect();
    let source = match number % 4 {
        0 => json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}}),
        1 => json!({"manifest": {"uri": format!("oss://{BUCKET}/list.txt")}}),
        _ => json!({"uris": uris}),
    };
    let mut spec = json!({
        "project": {"name": "p", "region": "cn-hangzhou", "accountUID": "1234567890123456"},
        "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
        "source": source,
        "grantRef": {"name": "g"}, "grantWait": {"settleSeconds": 2, "timeoutSeconds": 3600},
        "budget": {"maxRequests": 5000}, "activeDeadlineSeconds": 7200, "maxFailedItems": "100%",
    });
    if number % 4 == 3 {
        spec["results"] = json!({"ttlSecondsAfterFinished": 600});
    }
    json!({
        "apiVersion": "immops.dev/v1alpha1", "kind": "ImageScoreJob",
        "metadata": {"name": "j", "namespace": "n", "uid": "job-uid", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    })
}

/// Runs an operator on what is stored for some virtual time. Returns what is stored then.
async fn operate(store: Store, time: Duration) -> Store {
    let ports = Arc::new(StoredPorts::new(store));
    let metrics = Arc::new(Metrics::default());
    let stop = CancellationToken::new();
    let effects: Arc<dyn Ports> = Arc::<StoredPorts>::clone(&ports);
    let controllers = Controllers::new(effects, Arc::clone(&metrics), stop.clone());
    let key = QueueKey::Job(ObjectKey {
        namespace: "n".to_owned(),
        name: "j".to_owned(),
    });
    let triggers = [
        (&controllers.context.jobs, key),
        (&controllers.context.buckets, QueueKey::Bucket(BUCKET.into())),
    ];
    for (queue, key) in triggers {
        let debounce = Duration::ZERO;
        let flow = "n".into();
        queue.send(Trigger { key, debounce, flow }).await.unwrap();
    }
    let running = tokio::spawn(controllers.run());
    tokio::time::sleep(time).await;
    assert!(!running.is_finished(), "the queues have ended");
    running.abort();
    let _ = running.await;
    let reads = ports.reads.load(Ordering::Relaxed);
    assert!(reads < READ_LIMIT, "a reconcile loops");
    let series = metrics.render();
    let mut panics = series
        .lines()
        .filter(|line| line.starts_with("immops_panics_total{"));
    assert!(panics.all(|line| line.ends_with(" 0")), "a reconcile panicked");
    let store = ports.store.lock().unwrap();
    store.clone()
}

/// Every value in an object that is neither a list nor a member list.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| leaves(member, found)),
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, found)),
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => found.push(leaf),
    }
}

/// A value that somebody may store in place of another: of the same form most of the time.
fn hostile(before: &Value, choice: u8) -> Value {
    let times = [
        "9999-12-30T22:00:00Z",
        "-009999-01-02T01:59:59Z",
        "0001-01-01T00:00:00Z",
        "9999-12-30T21:59:59.999999999Z",
        "2036-01-01T00:00:00Z",
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:20:00Z",
        "1970-01-01T00:00:00Z",
    ];
    let numbers = [
        json!(i64::MIN),
        json!(-1),
        json!(0),
        json!(1),
        json!(i32::MAX),
        json!(i32::MIN),
        json!(i64::MAX),
        json!(i64::MAX - 1),
        json!(i32::MAX - 1),
        json!(500),
    ];
    let texts = [
        "",
        "\u{202e}",
        "sha256:",
        "oss://x/y",
        "1e308",
        "-1",
        "18446744073709551615",
        "18446744073709551615%",
        "NaN",
    ];
    let choice = usize::from(choice);
    match before {
        Value::Number(_) => numbers[choice % numbers.len()].clone(),
        Value::String(text) if text.len() > 18 && text.ends_with('Z') => json!(times[choice % times.len()]),
        Value::String(_) if choice.is_multiple_of(7) => json!("y".repeat(9000)),
        Value::String(_) => json!(texts[choice % texts.len()]),
        Value::Bool(value) => json!(!value),
        Value::Null | Value::Array(_) | Value::Object(_) => json!(0),
    }
}

/// Replaces a share of the numbers and times of the stored objects, and now and then another value. Names and uids stay,
/// because the API server does not change them.
fn corrupt(store: &mut Store, mut seed: u64, percent: u64, only_status: bool) {
    let Store {
        grant, job, reports, ..
    } = store;
    let mut found = Vec::new();
    for (name, part) in [grant, job]
        .into_iter()
        .flat_map(|object| object.as_object_mut().unwrap())
    {
        match name.as_str() {
            "spec" if !only_status => leaves(part, &mut found),
            "status" => leaves(part, &mut found),
            "metadata" => {
                for (field, value) in part.as_object_mut().unwrap() {
                    if ["generation", "annotations", "creationTimestamp"].contains(&field.as_str()) {
                        leaves(value, &mut found);
                    }
                }
            }
            _ => {}
        }
    }
    for (name, part) in reports
        .values_mut()
        .flat_map(|report| report.as_object_mut().unwrap())
    {
        if let Value::Array(items) = part {
            // A few of hundreds of results.
            items.iter_mut().take(3).for_each(|item| leaves(item, &mut found));
        } else if name != "job" {
            leaves(part, &mut found);
        }
    }
    for leaf in found {
        // A linear congruential generator: the same seed makes the same objects.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (dice, choice) = ((seed >> 33) % 100, (seed >> 48).to_le_bytes()[0]);
        let timely = leaf
            .as_str()
            .is_some_and(|text| text.len() > 18 && text.ends_with('Z'));
        let share = if leaf.is_number() || timely {
            percent
        } else {
            percent.min(2)
        };
        if dice < share {
            *leaf = hostile(leaf, choice);
        }
    }
}

fn virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_number_time_or_text_in_a_stored_object_panics_or_loops(
        kind in 0usize..4,
        seconds in prop_oneof![61u64..90, Just(600)],
        (seed, only_status) in any::<(u64, bool)>(),
        percent in prop_oneof![Just(3u64), Just(30), Just(100)],
        hours in prop_oneof![3 => Just(1), 1 => Just(26)],
    ) {
        virtual_time(async {
            let fresh = Store { grant: grant(), job: job(kind), ..Store::default() };
            let mut store = operate(fresh, Duration::from_secs(seconds)).await;
            corrupt(&mut store, seed, percent, only_status);
            // The longest delay of the queue is a day.
            operate(store, Duration::from_secs(hours * 3600)).await;
        });
    }

    #[test]
    fn no_rules_file_panics(text in "(strict|rules|namespaces|names|[&*a-z0-9:{}\\[\\]\", \n-]){0,60}") {
        let _ = serde_saphyr::from_str::<crate::core::tenancy::TenancyRules>(&text);
    }
}

#[test]
fn a_forged_number_of_reports_costs_a_bounded_number_of_reads() {
    virtual_time(async {
        let fresh = Store {
            grant: grant(),
            job: job(0),
            ..Store::default()
        };
        let done = |store: &Store| store.reports.values().map(report_items).sum::<usize>();
        let mut stored = fresh.clone();
        let mut seconds = 60;
        // Some of the 700 results are stored, and the status counts their reports.
        while !(1..700).contains(&done(&stored)) || stored.job["status"]["reports"]["count"] == json!(0) {
            seconds += 1;
            assert!(seconds < 120, "{}", stored.job);
            stored = operate(fresh.clone(), Duration::from_secs(seconds)).await;
        }
        for count in [-1, 0, 1, 2_047, 2_048, 2_049, 1_000_000, i32::MAX] {
            let mut forged = stored.clone();
            forged.job["status"]["reports"]["count"] = json!(count);
            // `operate` fails on too many reads.
            let later = operate(forged, Duration::from_secs(60)).await;
            let status = &later.job["status"];
            assert!(status["completionTime"].is_string(), "{count}: {status}");
            assert_eq!(done(&later), 700, "{count}");
        }
    });
}

fn report_items(report: &Value) -> usize {
    report["results"].as_array().map_or(0, Vec::len)
}

#[test]
fn counts_at_their_limits_do_not_overflow() {
    let mut object = job(0);
    object["status"] = json!({
        "items": {"total": i32::MAX, "pending": i32::MAX, "active": i32::MAX},
        "requests": {"sent": i64::MAX},
    });
    let job = decode_job(&serde_json::from_value(object).unwrap());
    for phase in [Phase::Suspended, Phase::Scoring(1), Phase::OutOfBudget] {
        let status = job_status(&job, &phase, None, Timestamp::UNIX_EPOCH);
        assert_eq!(status.items.unwrap().pending, i32::MAX);
    }
}

#[test]
fn a_completion_time_years_ahead_is_only_a_long_wait() {
    virtual_time(async {
        let mut store = Store {
            grant: grant(),
            job: job(3),
            ..Store::default()
        };
        store = operate(store, Duration::from_secs(150)).await;
        let status = &store.job["status"];
        assert!(status["completionTime"].is_string(), "{status} {}", store.grant);
        store.job["status"]["completionTime"] = json!("2031-01-01T00:00:00Z");
        let store = operate(store, Duration::from_secs(50 * 3600)).await;
        assert_eq!(
            store.job["status"]["completionTime"],
            json!("2031-01-01T00:00:00Z")
        );
    });
}

#[test]
fn a_job_that_waits_for_the_recheck_of_a_bucket_is_triggered_by_it_and_does_not_poll() {
    virtual_time(async {
        let deny = json!({"Version": "1", "Statement": [{"Effect": "Deny", "Principal": ["*"], "Action": ["oss:*"],
            "Resource": [format!("acs:oss:*:*:{BUCKET}"), format!("acs:oss:*:*:{BUCKET}/*")]}]});
        let store = Store {
            grant: grant(),
            policy: Some(deny.to_string()),
            ..Store::default()
        };
        let mut store = operate(store, Duration::from_secs(150)).await;
        (store.job, store.lists_fail, store.job_reads) = (job(2), true, 0);
        let mut store = operate(store, Duration::from_secs(55)).await;
        assert!((1..=2).contains(&store.job_reads), "{}", store.job_reads);
        store.lists_fail = false;
        let store = operate(store, Duration::from_secs(20)).await;
        let ready = &store.job["status"]["conditions"][0];
        assert!(
            ready.to_string().contains("remove or narrow that Deny"),
            "{}",
            store.job
        );
    });
}
