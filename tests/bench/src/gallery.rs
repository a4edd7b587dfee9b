//! The shared parts of the job benchmarks: images, projects, jobs, and their calls in the emulator's ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::{TryStreamExt, pin_mut};
use imm_emulator::{BucketSeed, Call, ManySeed, ProjectSeed};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Result;
use crate::stage::{ACCOUNT_A, NAMESPACE, REGION, Stage, float};

const BUCKET: &str = "gallery";
/// The time limit of the longest job on a busy machine.
const LONGEST: Duration = Duration::from_secs(600);
/// Default limit of calls in flight.
const CONCURRENCY: u32 = 100;

/// Creates the bucket of all images. It belongs to the scoring account, whose role may read it without a grant.
pub async fn open(stage: &Stage) -> Result<()> {
    stage.cloud.add_bucket(BucketSeed {
        name: BUCKET.to_owned(),
        region: REGION.to_owned(),
        owner: ACCOUNT_A.to_owned(),
        ..BucketSeed::default()
    })?;
    // An API server needs two seconds for the first object of a new kind, which must not be measured.
    submit(stage, job("rehearsal", "none", json!({"suspend": true}))).await?;
    Ok(())
}

/// Adds `count` images under a prefix.
pub fn hang(stage: &Stage, prefix: &str, count: usize) -> Result<()> {
    let many = ManySeed {
        prefix: format!("{prefix}/"),
        count: u64::try_from(count)?,
        ..ManySeed::default()
    };
    stage.cloud.put_many(BUCKET, many)?;
    Ok(())
}

/// Returns the URIs of the first images.
pub fn images(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("oss://{BUCKET}/{prefix}/{n:07}.jpg"))
        .collect()
}

/// Adds a project with 100 calls in flight.
pub fn project(stage: &Stage, name: &str, rate: u32, latency_ms: u64) -> Result<()> {
    wide_project(stage, name, rate, CONCURRENCY, latency_ms)
}

/// Adds a project with the given limits.
pub fn wide_project(stage: &Stage, name: &str, rate: u32, concurrency: u32, latency_ms: u64) -> Result<()> {
    Ok(stage.cloud.add_project(ProjectSeed {
        name: name.to_owned(),
        region: REGION.to_owned(),
        account: ACCOUNT_A.to_owned(),
        queries_per_second: Some(rate),
        concurrency: Some(concurrency),
        latency_ms,
        ..ProjectSeed::default()
    })?)
}

/// Returns the API of jobs.
pub fn jobs(stage: &Stage) -> Api<DynamicObject> {
    let kind = imm_operator::api::ImageScoreJob::api_resource();
    Api::namespaced_with(stage.client.clone(), NAMESPACE, &kind)
}

/// Returns a job for the images under the prefix of its own name; `changes` are members of its spec.
pub fn job(name: &str, project: &str, changes: Value) -> Value {
    let mut spec = json!({
        "project": {"name": project, "region": REGION, "accountUID": ACCOUNT_A},
        "credentials": {"source": "Secret", "secretRef": {"name": "caller"}},
        "source": {"prefix": {"bucket": BUCKET, "prefix": format!("{name}/"), "maxObjects": 250_000}},
        "budget": {"maxRequests": 1_000_000},
    });
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    json!({"apiVersion": "immops.dev/v1alpha1", "kind": "ImageScoreJob",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

/// Creates a job and returns the time before its creation.
pub async fn submit(stage: &Stage, job: Value) -> Result<Instant> {
    let (object, started) = (serde_json::from_value(job)?, Instant::now());
    jobs(stage).create(&PostParams::default(), &object).await?;
    Ok(started)
}

/// Patches a job's spec.
pub async fn change(stage: &Stage, name: &str, spec: Value) -> Result<()> {
    let patch = kube::api::Patch::Merge(json!({ "spec": spec }));
    jobs(stage)
        .patch(name, &kube::api::PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// Watches until the jobs have finished. Returns the time of the event and the object of each. Fails after a time
/// limit.
pub async fn ended(stage: &Stage, names: &[&str]) -> Result<BTreeMap<String, (Instant, DynamicObject)>> {
    let events = watcher(jobs(stage), watcher::Config::default()).applied_objects();
    pin_mut!(events);
    let mut open: BTreeSet<&str> = names.iter().copied().collect();
    let mut found = BTreeMap::new();
    let all = async {
        while !open.is_empty() {
            let job = events.try_next().await?.ok_or("the watch ended")?;
            let over = job.data.pointer("/status/completionTime").is_some();
            if over && open.remove(job.name_any().as_str()) {
                found.insert(job.name_any(), (Instant::now(), job));
            }
        }
        Ok::<(), crate::Error>(())
    };
    let in_time = tokio::time::timeout(LONGEST, all).await;
    in_time.map_err(|_| format!("not all of {names:?} finished in time"))??;
    Ok(found)
}

/// Waits for one job and returns the time of the event and the object. Fails if the job failed.
pub async fn completed(stage: &Stage, name: &str) -> Result<(Instant, DynamicObject)> {
    let found = ended(stage, &[name]).await?.into_values().next();
    let (when, job) = found.ok_or("no job has finished")?;
    let conditions = job.data.pointer("/status/conditions").and_then(Value::as_array);
    let complete = conditions.into_iter().flatten().any(|one| {
        let is = |member: &str, value: &str| one.get(member).and_then(Value::as_str) == Some(value);
        is("type", "Complete") && is("status", "True")
    });
    if complete {
        return Ok((when, job));
    }
    let status = job.data.pointer("/status/conditions");
    Err(format!("job {name} failed: {status:?}").into())
}

/// Returns the `DetectImageScore` calls in order of arrival.
pub fn scorings(stage: &Stage) -> Vec<Call> {
    let mut calls = stage.cloud.calls();
    calls.retain(|call| call.action == "DetectImageScore");
    calls.sort_by(|one, other| one.time.cmp(&other.time));
    calls
}

/// Returns the arrival time of a call in seconds since 1970.
pub fn came(call: &Call) -> Result<f64> {
    let time: Timestamp = call.time.parse()?;
    Ok(time.as_duration().as_secs_f64())
}

/// Returns the seconds from the first to the last call. Fails without calls.
pub fn span(calls: &[Call]) -> Result<f64> {
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else {
        return Err("no calls were recorded".into());
    };
    Ok(came(last)? - came(first)?)
}

/// Returns the fraction of throttled calls.
pub fn throttled(calls: &[Call]) -> f64 {
    let code = |call: &&Call| {
        call.code
            .as_deref()
            .is_some_and(|code| code.starts_with("Throttling"))
    };
    float(calls.iter().filter(code).count()) / float(calls.len().max(1))
}

/// The result of the scoring script.
#[derive(Deserialize)]
pub struct ScriptResult {
    pub scored: usize,
    pub calls: usize,
    pub seconds: f64,
    pub cpu: f64,
}
