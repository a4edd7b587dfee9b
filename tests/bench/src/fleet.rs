//! P8: a company-wide installation: ten thousand live grants on five hundred buckets, and a thousand finished jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::gallery::{self, came, completed, job, jobs, submit};
use crate::rest::{passes, seconds_until_seen};
use crate::stage::{Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result, usage};

const BUCKETS: usize = 500;
const OF_EACH: usize = 20;
const JOBS: usize = 1000;
const RESULTS: usize = 50;
/// Seconds between two checks of a bucket, unless a grant says otherwise.
const DRIFT: f64 = 600.0;
const AT_ONCE: usize = 16;

fn bucket(number: usize) -> String {
    format!("fleet-{number:03}")
}

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    for number in 0..BUCKETS {
        stage.bucket(&bucket(number), None)?;
    }
    let operator = stage.operator(false).await?;
    ended_jobs(&stage, operator).await?;
    let operator = stage.operator(false).await?;
    let grants = BUCKETS * OF_EACH;
    let one = |number: usize| {
        let access = json!({"preset": "Minimal", "prefixes": [format!("{}/", number % OF_EACH)]});
        let name = format!("grant-{number:05}");
        grant(&name, &bucket(number / OF_EACH), json!({ "access": access }))
    };
    futures::try_join!(
        stage.create((0..grants).map(one)),
        stage.until_all("Applied", grants)
    )?;
    operator.kill()?;

    stage.cloud.clear_calls();
    let (audited, started) = (stage.audited()?, imm_operator::kubernetes::now());
    let operator = stage.operator(false).await?;
    passes(&operator, BUCKETS).await?;
    let full = imm_operator::kubernetes::now()
        .duration_since(started)
        .as_secs_f64();
    let seen = seconds_until_seen(&operator.log(), started)?;
    let rest = usage::at_rest(operator.id()).await?;
    let asked = counted(
        stage
            .asked_since(audited)?
            .into_iter()
            .map(|(verb, what)| format!("{verb} {what}")),
    );
    let requests: usize = asked.values().sum();
    let calls = stage.cloud.calls();
    let (start, actions) = (calls.len(), counted(calls.iter().map(|call| call.action.clone())));
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    for call in &calls {
        *seconds
            .entry(Duration::from_secs_f64(came(call)?).as_secs())
            .or_default() += 1;
    }
    let most = seconds.values().copied().max().unwrap_or(0);
    tokio::time::sleep(Duration::from_secs(arguments.quiet_seconds)).await;
    operator.must_run()?;
    let quiet = Duration::from_secs(arguments.quiet_seconds).as_secs_f64();
    let later = float(stage.cloud.calls().len() - start) / quiet;

    let what = |text: &str| format!("{grants} grants on {BUCKETS} buckets, {JOBS} ended jobs: {text}");
    Ok(vec![
        Row::new("P8", what("memory at rest"), rest.rss, "MB").note(format!("peak {:.1} MB", rest.peak)),
        Row::new("P8", what("start until all seen"), seen, "s"),
        Row::new("P8", what("start until each bucket was looked at"), full, "s").note(list(&actions)),
        Row::new(
            "P8",
            what("requests to the API server until then"),
            float(requests),
            "",
        )
        .note(list(&asked)),
        Row::new(
            "P8",
            what("most calls to the cloud in a second, at the start"),
            float(most),
            "",
        ),
        Row::new(
            "P8",
            what("calls to the cloud a second, after the start"),
            later,
            "",
        )
        .limit(float(BUCKETS) / DRIFT)
        .goal(2.0)
        .note(format!(
            "over {quiet} s; the limit is one check of each bucket every {DRIFT} s"
        )),
    ])
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    parts.join(", ")
}

/// Runs one job and creates others with a copy of its status.
async fn ended_jobs(stage: &Stage, operator: imm_harness::Operator) -> Result<()> {
    gallery::open(stage).await?;
    gallery::project(stage, "fleet", 100, 0)?;
    gallery::hang(stage, "job-0000", RESULTS)?;
    submit(stage, job("job-0000", "fleet", json!({}))).await?;
    let (_, model) = completed(stage, "job-0000").await?;
    // No operator may start the other jobs before they have a finished status.
    operator.kill()?;
    let status = model.data.get("status").cloned().unwrap_or(Value::Null);
    futures::stream::iter(1..JOBS)
        .map(|number| {
            let status = &status;
            async move {
                let name = format!("job-{number:04}");
                submit(stage, job(&name, "fleet", json!({}))).await?;
                let patch = Patch::Merge(json!({ "status": status }));
                let done: DynamicObject = jobs(stage)
                    .patch_status(&name, &PatchParams::default(), &patch)
                    .await?;
                done.data
                    .pointer("/status/completionTime")
                    .ok_or_else(|| format!("{} has no status", done.name_any()))?;
                Ok::<(), crate::Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}
