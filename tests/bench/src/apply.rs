//! B9: the time from an applied grant to a policy with its statement, with a 30 ms round trip to the cloud.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use imm_emulator::{Fault, FaultEffect, FaultMatch};
use imm_harness::until;
use kube::api::{DynamicObject, PostParams};
use serde_json::json;

use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::{Row, Samples};
use crate::{Arguments, Result};

/// Number of grants, each on a separate bucket.
const GRANTS: usize = 50;
/// The interval between grants, so that a reconcile finishes before the next grant.
const APART: Duration = Duration::from_millis(350);
/// The round trip to the cloud, in milliseconds.
const ROUND_TRIP: u64 = 30;
/// The debounce: seconds that a grant waits for others, so that grants applied together become one write.
const DEBOUNCE: f64 = 1.0;

/// Delays every call to the cloud by one round trip.
pub fn far_away(stage: &Stage) {
    stage.cloud.add_fault(Fault {
        matching: FaultMatch::default(),
        skip: 0,
        times: None,
        effect: FaultEffect::DelayMs(ROUND_TRIP),
    });
}

/// Returns the round trip in seconds.
pub fn round_trip() -> f64 {
    Duration::from_millis(ROUND_TRIP).as_secs_f64()
}

fn bucket(number: usize) -> String {
    format!("apply-{number:03}")
}

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    for number in 0..GRANTS {
        stage.bucket(&bucket(number), None)?;
        stage.bucket(&format!("script-{number:03}"), None)?;
    }
    far_away(&stage);
    let operator = stage.operator(false).await?;
    // An API server needs two seconds for the first object of a new kind, which must not be measured.
    stage
        .create([grant("rehearsal", "rehearsal", json!({"suspend": true}))])
        .await?;
    let mut script = Script::policies(arguments, &stage.cloud, 1)?;
    let (applied, live) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
    let mut scripted = Vec::new();
    let applying = async {
        let mut ticks = tokio::time::interval(APART);
        for number in 0..GRANTS {
            ticks.tick().await;
            let object: DynamicObject =
                serde_json::from_value(grant(&format!("grant-{number:03}"), &bucket(number), json!({})))?;
            put(&applied, number);
            stage.grants().create(&PostParams::default(), &object).await?;
            let statement = json!({"Sid": "script", "Effect": "Allow", "Action": ["oss:GetObject"],
                "Principal": ["1234567890123456"], "Resource": [format!("acs:oss:*:6543210987654321:script-{number:03}/*")]});
            let order = json!({"bucket": format!("script-{number:03}"), "statement": statement});
            scripted.extend(script.run::<Vec<f64>>(&[order]).await?);
        }
        Ok::<(), crate::Error>(())
    };
    let watching = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut open: Vec<usize> = (0..GRANTS).collect();
        while !open.is_empty() {
            ticks.tick().await;
            open.retain(|number| {
                let there = stage.cloud.policy(&bucket(*number)).is_some();
                if there {
                    put(&live, *number);
                }
                !there
            });
        }
    };
    let both = async { tokio::join!(applying, watching).0 };
    tokio::time::timeout(PATIENCE, both)
        .await
        .map_err(|_| "not every grant was applied in time")??;
    until("every write to be recorded", PATIENCE, || {
        std::future::ready((stage.puts("apply-").len() == GRANTS).then_some(()))
    })
    .await?;
    operator.must_run()?;
    let seconds: Vec<f64> = {
        let (applied, live) = (lock(&applied), lock(&live));
        let pairs = applied
            .iter()
            .filter_map(|(number, from)| Some((from, live.get(number)?)));
        pairs
            .map(|(from, to): (&Instant, &Instant)| to.duration_since(*from).as_secs_f64())
            .collect()
    };
    Ok(rows(&stage, seconds, scripted))
}

fn rows(stage: &Stage, seconds: Vec<f64>, scripted: Vec<f64>) -> Vec<Row> {
    let (with, script) = (Samples::new(seconds), Samples::new(scripted));
    let limit = 3.0 * round_trip();
    let row = |share: f64, name: &str, taken: f64, what: &str| {
        let measured = with.quantile(share) - taken;
        Row::new("B9", format!("applied until live, {name}{what}"), measured, "s")
            .limit(limit)
            .peer("SDK script", script.quantile(share))
    };
    // In ledger order, up to and including the first bucket's write.
    let calls = stage
        .cloud
        .calls()
        .into_iter()
        .filter(|call| call.bucket.as_deref() == Some(bucket(0).as_str()));
    let mut trips: Vec<String> = Vec::new();
    for call in calls {
        let last = call.action == "PutBucketPolicy";
        trips.push(call.action);
        if last {
            break;
        }
    }
    let note = format!(
        "{GRANTS} grants on as many buckets, {ROUND_TRIP} ms round trip; calls until live: {}. The \
         (debounce) of {DEBOUNCE} s, which batches grants applied together, is subtracted here and included in the \
         rows below. The script makes two round trips and checks nothing",
        trips.join(", ")
    );
    vec![
        row(0.5, "p50", DEBOUNCE, ", without the debounce").note(note),
        row(0.99, "p99", DEBOUNCE, ", without the debounce").goal(1.5 * limit),
        row(0.5, "p50", 0.0, ", with the debounce"),
        row(0.99, "p99", 0.0, ", with the debounce"),
        Row::new("B9", "calls to the cloud until live", float(trips.len()), "")
            .limit(3.0)
            .peer("SDK script", 2.0),
    ]
}

type Times = Mutex<BTreeMap<usize, Instant>>;

fn lock(times: &Times) -> std::sync::MutexGuard<'_, BTreeMap<usize, Instant>> {
    times.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn put(times: &Times, number: usize) {
    lock(times).insert(number, Instant::now());
}
