//! B1: the same settings for projects with low, high and very high latency.

use serde_json::{Value, json};

use crate::gallery::{self, ScriptResult, completed, images, job, scorings, span, submit, throttled};
use crate::peer::Script;
use crate::stage::{Stage, float};
use crate::table::Row;
use crate::{Arguments, Result};

const IMAGES: usize = 2000;
/// The project's rate limit, in calls per second.
const RATE: u32 = 100;
/// The latencies of a call, in milliseconds.
const LATENCIES: [u64; 4] = [20, 50, 200, 1000];
/// The script's threads, its tries per image, and the peer's name.
const POOLS: [(usize, usize, &str); 6] = [
    (5, 1, "p5"),
    (20, 1, "p20"),
    (64, 1, "p64"),
    (5, 8, "r5"),
    (20, 8, "r20"),
    (64, 8, "r64"),
];
/// The script gets fewer images. With slow threads it gets only as many as take about ten seconds.
const SCRIPT_IMAGES: usize = 500;
const SCRIPT_MS: u64 = 10_000;

/// The result of one run.
struct Outcome {
    unscored: f64,
    /// Seconds from the first to the last call ÷ (images ÷ rate).
    wall: f64,
    throttled: f64,
}

impl Outcome {
    /// Computes the result from the ledger, which contains only this run.
    fn from_ledger(stage: &Stage, asked: usize, scored: usize) -> Result<Self> {
        let calls = scorings(stage);
        Ok(Self {
            unscored: 1.0 - float(scored) / float(asked),
            wall: span(&calls)? / ideal(asked),
            throttled: throttled(&calls),
        })
    }
}

fn ideal(images: usize) -> f64 {
    float(images) / f64::from(RATE)
}

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage).await?;
    for latency in LATENCIES {
        gallery::hang(&stage, &format!("pace-{latency}"), IMAGES)?;
    }
    let operator = stage.operator(false).await?;
    let mut rows = Vec::new();
    for latency in LATENCIES {
        let name = format!("pace-{latency}");
        gallery::project(&stage, &name, RATE, latency)?;
        stage.cloud.clear_calls();
        let started = submit(&stage, job(&name, &name, json!({}))).await?;
        let (done, job) = completed(&stage, &name).await?;
        let scored = job
            .data
            .pointer("/status/items/succeeded")
            .and_then(Value::as_u64);
        let ours = Outcome::from_ledger(&stage, IMAGES, usize::try_from(scored.unwrap_or(0))?)?;
        let complete = done.duration_since(started).as_secs_f64() / ideal(IMAGES);
        rows.extend(lines(
            latency,
            &ours,
            complete,
            &scripts(arguments, &stage, latency).await?,
        ));
    }
    operator.must_run()?;
    Ok(rows)
}

async fn scripts(arguments: &Arguments, stage: &Stage, latency: u64) -> Result<Vec<(&'static str, Outcome)>> {
    let mut script = Script::scores(arguments, &stage.cloud)?;
    let mut outcomes = Vec::new();
    for (threads, tries, peer) in POOLS {
        // A separate project, so that earlier calls do not count against its limits.
        let project = format!("script-{latency}-{peer}");
        gallery::project(stage, &project, RATE, latency)?;
        let most = usize::try_from(SCRIPT_MS / latency)? * threads;
        let images = images(&format!("pace-{latency}"), SCRIPT_IMAGES.min(most));
        stage.cloud.clear_calls();
        let order = json!({"project": project, "images": images, "threads": threads, "tries": tries});
        let result: ScriptResult = script.run(&order).await?;
        outcomes.push((peer, Outcome::from_ledger(stage, images.len(), result.scored)?));
    }
    Ok(outcomes)
}

fn lines(latency: u64, ours: &Outcome, complete: f64, scripts: &[(&'static str, Outcome)]) -> Vec<Row> {
    let row = |what: &str, of: fn(&Outcome) -> f64| {
        let row = Row::new("B1", format!("{latency} ms a call: {what}"), of(ours), "");
        scripts
            .iter()
            .fold(row, |row, (peer, outcome)| row.peer(peer, of(outcome)))
    };
    let trip = std::time::Duration::from_millis(latency).as_secs_f64() / ideal(IMAGES);
    let share = 1.0 + trip;
    let wall = row("first to last call ÷ (images ÷ rate)", |outcome| outcome.wall).limit(share);
    let wall = if latency == LATENCIES[0] {
        wall.note(format!(
            "{IMAGES} images, {RATE} calls per second and 100 in flight. The limit includes the canary call: \
             images ÷ rate plus one call here, two until Complete. The script (p: one try, r: up to 8 tries with \
             exponential backoff; the number is its threads) has {SCRIPT_IMAGES} images, fewer where its threads \
             would take more than ten seconds, and runs alone"
        ))
    } else {
        wall
    };
    vec![
        row("share not scored", |outcome| outcome.unscored).goal(0.0),
        wall.goal(1.03 * share),
        row("share of calls throttled", |outcome| outcome.throttled).goal(0.001),
        Row::new(
            "B1",
            format!("{latency} ms a call: applied until Complete ÷ (images ÷ rate)"),
            complete,
            "",
        )
        .limit(share + trip),
    ]
}
