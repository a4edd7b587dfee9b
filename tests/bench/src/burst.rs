//! B11: a thousand grants created at once on ten buckets.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use imm_harness::until;

use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result};

const GRANTS: usize = 1000;
const BUCKETS: usize = 10;
/// Distinct statements per bucket; a policy has at most 16 KB.
const PREFIXES: usize = 10;

fn grants(changes: &Value) -> Vec<Value> {
    let one = |n: usize| {
        let mut spec =
            json!({"access": {"preset": "Minimal", "prefixes": [format!("{}/", n / BUCKETS % PREFIXES)]}});
        if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
            spec.extend(changes.clone());
        }
        grant(&format!("grant-{n:04}"), &format!("burst-{}", n % BUCKETS), spec)
    };
    (0..GRANTS).map(one).collect()
}

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    for number in 0..BUCKETS {
        stage.bucket(&format!("burst-{number}"), None)?;
        stage.bucket(&format!("script-{number}"), None)?;
    }
    let (create, status) = api_server_alone(&stage).await?;
    let operator = stage.operator(false).await?;
    stage.cloud.clear_calls();
    let audited = stage.audited()?;
    let started = Instant::now();
    futures::try_join!(
        stage.create(grants(&json!({}))),
        stage.until_all("Applied", GRANTS)
    )?;
    let seconds = started.elapsed().as_secs_f64();
    operator.must_run()?;
    let (puts, asked) = (stage.puts("burst-").len(), stage.asked_since(audited)?);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (verb, resource) in asked {
        *kinds.entry(format!("{verb} {resource}")).or_default() += 1;
    }
    kinds.retain(|_, count| *count >= BUCKETS);
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();

    let script_started = Instant::now();
    let orders: Vec<Value> = (0..GRANTS).map(order).collect();
    Script::policies(arguments, &stage.cloud, BUCKETS)?
        .run::<Vec<f64>>(&orders)
        .await?;
    let (script, script_puts) = (
        script_started.elapsed().as_secs_f64(),
        stage.puts("script-").len(),
    );
    let what = format!("{GRANTS} grants at once on {BUCKETS} buckets: ");
    Ok(vec![
        Row::new("B11", format!("{what}policy writes"), float(puts), "")
            .limit(float(BUCKETS))
            .goal(20.0)
            .peer("SDK script", float(script_puts)),
        Row::new("B11", format!("{what}until all are applied"), seconds, "s")
            .limit(create + status)
            .goal(2.0)
            .peer("SDK script, no Kubernetes", script)
            .note(format!(
                "the limit is the time in which this API server handles {GRANTS} creations ({create:.2} s, 32 in \
                 parallel) and {GRANTS} status writes ({status:.2} s, {BUCKETS} in parallel) without the operator; \
                 the operator's requests: {}",
                kinds.join(", ")
            )),
    ])
}

fn order(number: usize) -> Value {
    let bucket = format!("script-{}", number % BUCKETS);
    let prefix = number / BUCKETS % PREFIXES;
    json!({"bucket": bucket, "statement": {"Sid": format!("script-{prefix}"), "Effect": "Allow", "Action": ["oss:GetObject"],
        "Principal": ["1234567890123456"], "Resource": [format!("acs:oss:*:6543210987654321:{bucket}/{prefix}/*")]}})
}

/// Returns the seconds that the API server needs to create the grants, and to write one status of each, without the
/// operator.
async fn api_server_alone(stage: &Stage) -> Result<(f64, f64)> {
    let started = Instant::now();
    stage.create(grants(&json!({"suspend": true}))).await?;
    let create = started.elapsed().as_secs_f64();
    let api = stage.grants();
    let list = api.list(&ListParams::default()).await?;
    let started = Instant::now();
    futures::stream::iter(list.items.into_iter().map(|mut grant| {
        if let Some(data) = grant.data.as_object_mut() {
            data.insert("status".to_owned(), json!({"observedGeneration": 1}));
        }
        let api = &api;
        async move {
            api.replace_status(&grant.name_any(), &PostParams::default(), &grant)
                .await
        }
    }))
    .buffer_unordered(BUCKETS)
    .try_for_each(|_| std::future::ready(Ok(())))
    .await?;
    let status = started.elapsed().as_secs_f64();
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    until("the warm-up grants to be deleted", PATIENCE, || async {
        let left = api
            .list(&ListParams::default().limit(1))
            .await
            .map_err(|error| error.to_string())?;
        if left.items.is_empty() {
            Ok(())
        } else {
            Err("some still exist".to_owned())
        }
    })
    .await?;
    Ok((create, status))
}
