//! B5, B6, B7: the cost of grants at rest. Measures memory and start at several sizes, with peers, and then an idle
//! period with the largest size of the real API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imm_harness::process::Process;
use imm_harness::{Operator, until};
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use kube::api::{ListParams, Request};
use serde_json::{Value, json};

use crate::peer::{Watcher, kopf, stock};
use crate::stage::{PATIENCE, Stage, cloud, float, grant, start_operator};
use crate::stub::Stub;
use crate::table::{Row, Samples};
use crate::{Arguments, Result, usage};

/// Grants per bucket.
const OF_EACH: usize = 100;
/// The limits: memory of an empty process with the same libraries, and of one index entry, in MB.
const BASELINE: f64 = 5.5;
const ENTRY: f64 = 40.0 / 1e6;

/// The measurements of one program at one size.
#[derive(Default)]
struct Measured {
    rss: Vec<f64>,
    peak: Vec<f64>,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
}

impl Measured {
    fn add(&mut self, seconds: f64, start: usage::Usage, rest: usage::Usage) {
        self.rss.push(rest.rss);
        self.peak.push(rest.peak);
        self.seconds.push(seconds);
        self.cpu.push(start.cpu);
    }

    async fn add_watcher(&mut self, watcher: Watcher) -> Result<()> {
        let start = usage::of(watcher.process.id())?;
        self.add(
            watcher.seconds,
            start,
            usage::at_rest(watcher.process.id()).await?,
        );
        Ok(watcher.process.kill()?)
    }
}

fn median(samples: &[f64]) -> f64 {
    Samples::new(samples.to_vec()).median()
}

/// Runs the requested ones of the three benchmarks.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    let mut rows = Vec::new();
    let (mut there, starts) = (0, arguments.wants("B5") || arguments.wants("B6"));
    let mut sizes = arguments.sizes.clone();
    sizes.sort_unstable();
    if !starts {
        sizes = sizes.split_off(sizes.len().saturating_sub(1));
    }
    for size in sizes {
        stage.create((there..size).map(suspended)).await?;
        there = size;
        bring_to_rest(&stage, size).await?;
        if starts {
            rows.extend(measure(arguments, &stage, size).await?);
        }
    }
    if starts && arguments.large > 0 {
        let template = stage.grants().list(&ListParams::default().limit(1)).await?;
        let template = template.items.into_iter().next().ok_or("no grant to copy")?;
        rows.extend(large(arguments, serde_json::to_value(template)?).await?);
    }
    rows.retain(|row| arguments.wants(row.id));
    if arguments.wants("B7") {
        rows.extend(quiet(arguments, &stage, there).await?);
    }
    Ok(rows)
}

fn suspended(number: usize) -> Value {
    let bucket = format!("rest-{:05}", number / OF_EACH);
    grant(&format!("grant-{number:06}"), &bucket, json!({"suspend": true}))
}

/// Lets the operator write all statuses once, so that the measured processes have nothing to do.
async fn bring_to_rest(stage: &Stage, size: usize) -> Result<()> {
    let operator = stage.operator(false).await?;
    stage.until_all("Suspended", size).await?;
    Ok(operator.kill()?)
}

/// Returns the seconds that the API server needs to return the same list in the same pages to a client that ignores
/// them.
async fn list_alone(stage: &Stage) -> Result<f64> {
    let path = imm_operator::api::ImmBucketGrant::url_path(&(), None);
    let mut params = ListParams::default().limit(250);
    let started = std::time::Instant::now();
    loop {
        let page = stage
            .client
            .request_text(Request::new(path.clone()).list(&params)?)
            .await?;
        let next = page
            .rsplit_once("\"continue\":\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let Some((next, _)) = next.filter(|(next, _)| !next.is_empty()) else {
            return Ok(started.elapsed().as_secs_f64());
        };
        params = params.continue_token(next);
    }
}

async fn measure(arguments: &Arguments, stage: &Stage, size: usize) -> Result<Vec<Row>> {
    let (mut ours, mut kopfs, mut stocks) = (Measured::default(), Measured::default(), Measured::default());
    let mut lists = Vec::new();
    for _ in 0..arguments.repeat.max(1) {
        lists.push(list_alone(stage).await?);
        let started = imm_operator::kubernetes::now();
        let operator = stage.operator(false).await?;
        ours_at_rest(&mut ours, started, &operator, size).await?;
        operator.kill()?;
        let (admin, folder) = (stage.plane.kubeconfig(), stage.plane.folder());
        kopfs
            .add_watcher(kopf(arguments, admin, &folder.join("kopf.log"), size).await?)
            .await?;
        stocks
            .add_watcher(stock(admin, &folder.join("stock.log"), size).await?)
            .await?;
    }
    let peers = |row: Row, of: fn(&Measured) -> &Vec<f64>| {
        row.peer("kopf", median(of(&kopfs)))
            .peer("stock", median(of(&stocks)))
    };
    let mut rows = lines(size, &ours, "", peers);
    for row in rows
        .iter_mut()
        .filter(|row| row.id == "B6" && row.what.ends_with("seen"))
    {
        row.limit = Some(median(&lists));
        row.note += "the limit is the time in which this API server returns the same pages to a client that ignores them";
    }
    Ok(rows)
}

fn lines(
    size: usize,
    ours: &Measured,
    served: &str,
    peers: impl Fn(Row, fn(&Measured) -> &Vec<f64>) -> Row,
) -> Vec<Row> {
    let row = |id, what: &str, values: &Vec<f64>, unit| {
        Row::of(
            id,
            format!("{size} grants{served}: {what}"),
            &Samples::new(values.clone()),
            unit,
        )
    };
    let least = BASELINE + float(size) * ENTRY;
    let memory = row("B5", "memory at rest", &ours.rss, "MB").limit(least);
    let peak = row("B5", "highest memory", &ours.peak, "MB").limit(least);
    let seconds = row("B6", "start until all seen", &ours.seconds, "s");
    let cpu = row("B6", "processor time of the start", &ours.cpu, "s");
    let (memory, seconds) = match size {
        10_000 => (memory.goal(12.0), seconds.goal(0.4)),
        100_000 => (memory.goal(40.0), seconds.goal(3.0)),
        _ => (memory, seconds),
    };
    vec![
        peers(memory, |seen| &seen.rss),
        peers(peak, |seen| &seen.peak),
        peers(seconds, |seen| &seen.seconds),
        peers(cpu, |seen| &seen.cpu),
    ]
}

/// Waits until the operator has reconciled every bucket and is idle.
async fn ours_at_rest(
    seen: &mut Measured,
    started: Timestamp,
    operator: &Operator,
    size: usize,
) -> Result<()> {
    let start = usage::of(operator.id())?;
    passes(operator, size.div_ceil(OF_EACH)).await?;
    let seconds = seconds_until_seen(&operator.log(), started)?;
    seen.add(seconds, start, usage::at_rest(operator.id()).await?);
    Ok(())
}

/// Waits until the operator has made `buckets` reconciles of buckets.
pub async fn passes(operator: &Operator, buckets: usize) -> Result<()> {
    let buckets = float(buckets);
    until("a reconcile of every bucket", PATIENCE, || async {
        let (_, page) = operator
            .admin_get("/metrics")
            .await
            .map_err(|error| error.to_string())?;
        let passes = page
            .lines()
            .find_map(|l| l.strip_prefix("immops_reconcile_total{kind=\"bucket\"} "));
        let passes: f64 = passes.and_then(|number| number.parse().ok()).unwrap_or(0.0);
        if passes >= buckets {
            Ok(())
        } else {
            Err(format!("{passes} of {buckets}"))
        }
    })
    .await?;
    Ok(())
}

/// Returns the seconds from `started` to the log line that reports that all objects were seen. Fails without such a
/// line.
pub fn seconds_until_seen(log: &str, started: Timestamp) -> Result<f64> {
    let line = log.lines().find(|line| line.contains("initial lists completed"));
    let line: Value = serde_json::from_str(line.ok_or("the operator's log does not say that all was seen")?)?;
    let time = line
        .get("timestamp")
        .and_then(Value::as_str)
        .ok_or("a log line has no timestamp")?;
    let time: Timestamp = time.parse()?;
    Ok(time.duration_since(started).as_secs_f64())
}

/// A size that would take many minutes to load into a real API server: an emulated API server returns copies of a real
/// object.
async fn large(arguments: &Arguments, template: Value) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let size = arguments.large;
    let stub = Stub::serve(&template, size, OF_EACH, folder.path()).await?;
    let (cloud, log, binary) = (
        cloud().await?,
        folder.path().join("operator.log"),
        arguments.operator()?,
    );
    let mut ours = Measured::default();
    for _ in 0..arguments.repeat.max(1) {
        if log.exists() {
            std::fs::remove_file(&log)?;
        }
        let started = imm_operator::kubernetes::now();
        let operator = start_operator(&binary, &stub.kubeconfig, &cloud.url(), &log, false).await?;
        ours_at_rest(&mut ours, started, &operator, size).await?;
        operator.kill()?;
    }
    if let Some(call) = cloud.calls().first() {
        return Err(format!(
            "grants at rest need no calls, but the operator called {}",
            call.action
        )
        .into());
    }
    let rows = lines(size, &ours, " from an emulated API server", |row, _| row);
    let note = "pages of 250 copies of a real grant, sent without TLS and without delay";
    Ok(rows.into_iter().map(|row| row.note(note)).collect())
}

/// Measures what the operator uses and requests while idle.
async fn quiet(arguments: &Arguments, stage: &Stage, size: usize) -> Result<Vec<Row>> {
    // With leader election, as installed: an idle operator renews its lease.
    let operator = stage.operator(true).await?;
    let mut idle = Measured::default();
    ours_at_rest(&mut idle, imm_operator::kubernetes::now(), &operator, size).await?;
    let (kopf, stock) = idle_peers(arguments, stage, size).await?;
    let (audited, calls) = (stage.audited()?, stage.cloud.calls().len());
    let before = [operator.id(), kopf.id(), stock.id()].map(usage::of);
    tokio::time::sleep(Duration::from_secs(arguments.quiet_seconds)).await;
    let after = [operator.id(), kopf.id(), stock.id()].map(usage::of);
    let asked = stage.asked_since(audited)?;
    let cloud_calls = stage.cloud.calls().len() - calls;
    let mut spent = Vec::new();
    for (before, after) in before.into_iter().zip(after) {
        spent.push(after?.cpu - before?.cpu);
    }
    let [ours, kopf_cpu, stock_cpu] = spent[..] else {
        return Err("expected three observed programs".into());
    };
    let reads = asked
        .iter()
        .filter(|(verb, _)| ["get", "list", "watch"].contains(&verb.as_str()))
        .count();
    let lease = asked
        .iter()
        .filter(|(verb, what)| verb != "get" && what == "leases")
        .count();
    let seconds = Duration::from_secs(arguments.quiet_seconds).as_secs_f64();
    let what = |text: &str| format!("{size} grants, {} quiet seconds: {text}", arguments.quiet_seconds);
    let note = format!(
        "{reads} reads, {lease} lease renewals; every grant is suspended, on {} buckets",
        size.div_ceil(OF_EACH)
    );
    Ok(vec![
        Row::new(
            "B7",
            what("processor time in % of a core"),
            100.0 * ours / seconds,
            "%",
        )
        .goal(0.1)
        .peer("kopf", 100.0 * kopf_cpu / seconds)
        .peer("stock", 100.0 * stock_cpu / seconds)
        .note("the kernel counts in steps of 10 ms"),
        Row::new("B7", what("requests to the API server"), float(asked.len()), "").note(note),
        Row::new(
            "B7",
            what("writes but for the lease"),
            float(asked.len() - reads - lease),
            "",
        )
        .goal(0.0),
        Row::new("B7", what("calls to the cloud"), float(cloud_calls), "").goal(0.0),
    ])
}

async fn idle_peers(arguments: &Arguments, stage: &Stage, size: usize) -> Result<(Process, Process)> {
    let (admin, folder): (&Path, PathBuf) = (stage.plane.kubeconfig(), stage.plane.folder().to_owned());
    let kopf = kopf(arguments, admin, &folder.join("kopf.log"), size)
        .await?
        .process;
    let stock = stock(admin, &folder.join("stock.log"), size).await?.process;
    usage::at_rest(kopf.id()).await?;
    usage::at_rest(stock.id()).await?;
    Ok((kopf, stock))
}
