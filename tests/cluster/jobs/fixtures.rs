//! Shared by the tests of large jobs: sources, faster projects, and results and counters as users and the emulator see
//! them.

use std::sync::Arc;

use imm_emulator::seed::ManySeed;
use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch, ProjectCount, ProjectSeed};
use imm_harness::until;
use serde_json::{Value, json};

use crate::support::tenant::{JOB, merge};
use crate::support::{PATIENCE, Stage, Tenant, condition};

/// Returns a tenant with a grant for the whole bucket.
pub async fn with_grant(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = Tenant::new(stage, name).await;
    tenant.granted("open", &json!({})).await;
    tenant
}

/// Adds objects `photos/0000000.jpg` and so on with an old modification time; without `score`, scores follow from keys.
pub fn put_images(tenant: &Tenant, count: u64, score: Option<&str>) {
    let many = ManySeed {
        prefix: "photos/".to_owned(),
        count,
        score: score.map(ToOwned::to_owned),
        ..ManySeed::default()
    };
    assert!(tenant.stage.cloud.put_many(&tenant.bucket, many).unwrap());
}

/// Gives the project higher limits than usual, and this latency for each call.
pub fn set_speed(tenant: &Tenant, queries_per_second: u32, latency_ms: u64) {
    tenant.stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        queries_per_second: Some(queries_per_second),
        concurrency: Some(200),
        latency_ms,
        ..ProjectSeed::default()
    });
}

/// Returns credentials of the bucket owner account, which may list and read.
pub fn reader() -> Value {
    json!({"source": "Secret", "secretRef": {"name": "owner"}})
}

/// Returns a job over a prefix or a manifest, with the grant `open` and a budget.
fn read(tenant: &Tenant, name: &str, source: &Value, changes: &Value) -> String {
    let mut spec = json!({
        "grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0}, "budget": {"maxRequests": 100_000},
        "source": {"uris": null},
    });
    merge(&mut spec, &json!({ "source": source }));
    merge(&mut spec, changes);
    tenant.job(name, &["x"], &spec)
}

/// Returns a job over the objects with the prefix `photos/`; `prefix` is merged into its source.
pub fn prefix_job(tenant: &Tenant, name: &str, prefix: &Value, changes: &Value) -> String {
    let mut source = json!({"bucket": tenant.bucket, "prefix": "photos/", "credentials": reader()});
    merge(&mut source, prefix);
    read(tenant, name, &json!({ "prefix": source }), changes)
}

/// Returns a job over the lines of an object of the tenant's bucket.
pub fn manifest_job(tenant: &Tenant, name: &str, key: &str, changes: &Value) -> String {
    let uri = format!("oss://{}/{key}", tenant.bucket);
    let manifest = json!({"uri": uri, "credentials": reader()});
    read(tenant, name, &json!({ "manifest": manifest }), changes)
}

pub fn answer(status: u16, code: &str) -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status,
        code: code.to_owned(),
        ..FaultAnswer::default()
    })
}

/// Adds a fault for calls about keys with this suffix; with `every`, only for each call with that number.
pub fn add_score_fault(tenant: &Tenant, key_suffix: &str, every: Option<u32>, effect: FaultEffect) {
    tenant.stage.cloud.add_fault(Fault {
        matching: FaultMatch {
            action: Some("DetectImageScore".to_owned()),
            bucket: Some(tenant.bucket.clone()),
            key_suffix: Some(key_suffix.to_owned()),
            every,
            ..FaultMatch::default()
        },
        skip: 0,
        times: None,
        effect,
    });
}

/// Returns the reports of a job, as kubectl lists them.
pub async fn reports_of(tenant: &Tenant, name: &str) -> Vec<Value> {
    let label = format!("immops.dev/job={name}");
    let listed = ["get", "isr", "-n", &tenant.name, "-l", &label, "-o", "json"];
    let listed: Value = serde_json::from_str(&tenant.stage.kubectl(&listed).await).unwrap();
    listed["items"].as_array().unwrap().clone()
}

/// Waits until the first report of a job holds `count` results; returns the report.
pub async fn until_reported(tenant: &Tenant, name: &str, count: u64) -> Value {
    until("results in a report", PATIENCE, || async {
        let first = reports_of(tenant, name).await.into_iter().next().ok_or(0u64)?;
        let items = first["report"]["items"].as_u64().unwrap();
        if items >= count { Ok(first) } else { Err(items) }
    })
    .await
    .unwrap()
}

/// Returns all results of a job, from its status and its reports, in order.
pub async fn results_of(tenant: &Tenant, name: &str) -> Vec<Value> {
    let job = tenant.object(JOB, name).await;
    let mut results = job["status"]["results"].as_array().cloned().unwrap_or_default();
    for report in reports_of(tenant, name).await {
        results.extend(report["report"]["results"].as_array().unwrap().iter().cloned());
    }
    results.sort_by_key(|result| result["index"].as_u64());
    results
}

/// Checks that each index from 0 to `total` occurs once.
pub fn assert_indexes(results: &[Value], total: usize) {
    let indexes: Vec<usize> = results
        .iter()
        .map(|result| usize::try_from(result["index"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(indexes.len(), total, "results");
    let odd = indexes.iter().enumerate().find(|(place, index)| place != *index);
    assert_eq!(odd, None, "each index occurs once");
}

/// Checks that a job without a crash counts what the emulator recorded for its bucket, and that its item counts add up.
pub fn assert_counts(tenant: &Tenant, job: &Value) {
    let calls = tenant.scores();
    let billed = calls.iter().filter(|call| call.billed).count();
    let (items, requests) = (&job["status"]["items"], &job["status"]["requests"]);
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let counted =
        ["sent", "reserved", "estimatedBillable", "serverErrors"].map(|name| number(&requests[name]));
    assert_eq!(
        counted,
        [calls.len(), calls.len(), billed, calls.len() - billed],
        "{requests}"
    );
    let parts = ["succeeded", "failed", "ignored", "skipped", "active", "pending"];
    let sum: usize = parts.iter().map(|name| number(&items[*name])).sum();
    assert_eq!(sum, number(&items["total"]), "{items}");
}

/// Waits until the job has finished, successfully or not, so that an unexpected outcome fails quickly.
pub async fn until_finished(tenant: &Tenant, name: &str) -> Value {
    let over = |job: &Value| job["status"]["completionTime"].is_string();
    tenant.until(JOB, name, "its end", over).await
}

/// Returns the terminal condition of a job, and its reason.
pub fn outcome(job: &Value) -> [&str; 2] {
    let kind = ["Complete", "Failed"]
        .into_iter()
        .find(|kind| condition(job, kind)[0] == "True");
    kind.map_or(["", ""], |kind| [kind, condition(job, kind)[1]])
}

/// Returns a job's status without the echo of the last requested reconcile.
pub fn without_reconcile_echo(job: &Value) -> Value {
    let mut status = job["status"].clone();
    if let Some(members) = status.as_object_mut() {
        members.remove("lastHandledReconcileAt");
    }
    status
}

/// Returns item counts of a job by name.
pub fn item_counts<const N: usize>(job: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| job["status"]["items"][name].as_u64().unwrap())
}

/// Returns how many calls of an action the emulator has seen on the tenant's bucket.
pub fn call_count(tenant: &Tenant, action: &str) -> usize {
    tenant.stage.calls(&tenant.bucket, action).len()
}

/// Returns what the emulator has measured for the tenant's project; zeros before its first call.
pub fn project_count(tenant: &Tenant) -> ProjectCount {
    let mut projects = tenant.stage.cloud.counts().projects.into_iter();
    projects
        .find(|one| one.project == tenant.project)
        .unwrap_or_default()
}
