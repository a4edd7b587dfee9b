//! B1: one setting for projects that are near, far, and very slow.

use serde_json::{Value, json};

use crate::gallery::{self, Said, completed, images, job, scorings, span, submit, throttled};
use crate::peer::Script;
use crate::stage::{Stage, float};
use crate::table::Row;
use crate::{Arguments, Result};

const IMAGES: usize = 2000;
/// Calls a second that the project allows.
const RATE: u32 = 100;
/// What a call takes, in milliseconds.
const LATENCIES: [u64; 4] = [20, 50, 200, 1000];
/// Threads of the script, and how often it tries an image; with the names of the peers.
const POOLS: [(usize, usize, &str); 6] = [
    (5, 1, "p5"),
    (20, 1, "p20"),
    (64, 1, "p64"),
    (5, 8, "r5"),
    (20, 8, "r20"),
    (64, 8, "r64"),
];
/// The script gets fewer images, and where its threads are slow only as many as take about ten seconds.
const SCRIPT_IMAGES: usize = 500;
const SCRIPT_MS: u64 = 10_000;

/// How one went.
struct Course {
    unscored: f64,
    /// From the first to the last call, as a multiple of images ÷ rate.
    wall: f64,
    throttled: f64,
}

impl Course {
    /// From the ledger, which holds nothing else.
    fn seen(stage: &Stage, asked: usize, scored: usize) -> Result<Self> {
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

/// Runs it.
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
        let ours = Course::seen(&stage, IMAGES, usize::try_from(scored.unwrap_or(0))?)?;
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

async fn scripts(arguments: &Arguments, stage: &Stage, latency: u64) -> Result<Vec<(&'static str, Course)>> {
    let mut script = Script::scores(arguments, &stage.cloud)?;
    let mut courses = Vec::new();
    for (threads, tries, peer) in POOLS {
        // A project of its own: what came before must not count against it.
        let project = format!("script-{latency}-{peer}");
        gallery::project(stage, &project, RATE, latency)?;
        let most = usize::try_from(SCRIPT_MS / latency)? * threads;
        let images = images(&format!("pace-{latency}"), SCRIPT_IMAGES.min(most));
        stage.cloud.clear_calls();
        let order = json!({"project": project, "images": images, "threads": threads, "tries": tries});
        let said: Said = script.obey(&order).await?;
        courses.push((peer, Course::seen(stage, images.len(), said.scored)?));
    }
    Ok(courses)
}

fn lines(latency: u64, ours: &Course, complete: f64, scripts: &[(&'static str, Course)]) -> Vec<Row> {
    let row = |what: &str, of: fn(&Course) -> f64| {
        let row = Row::new("B1", format!("{latency} ms a call: {what}"), of(ours), "");
        scripts
            .iter()
            .fold(row, |row, (peer, course)| row.peer(peer, of(course)))
    };
    let trip = std::time::Duration::from_millis(latency).as_secs_f64() / ideal(IMAGES);
    let share = 1.0 + trip;
    let wall = row("first to last call ÷ (images ÷ rate)", |course| course.wall).limit(share);
    let wall = if latency == LATENCIES[0] {
        wall.note(format!(
            "{IMAGES} images, {RATE} calls a second and 100 at once. The first call goes alone, which is in the limit: images ÷ rate and one \
             call here, two until the end. The script (p: each image once, r: up to 8 times with growing pauses; with so many threads) has \
             {SCRIPT_IMAGES} images, fewer where its threads would take more than ten seconds, and at the same time nobody beside it"
        ))
    } else {
        wall
    };
    vec![
        row("share not scored", |course| course.unscored).goal(0.0),
        wall.goal(1.03 * share),
        row("share of calls throttled", |course| course.throttled).goal(0.001),
        Row::new(
            "B1",
            format!("{latency} ms a call: applied until Complete ÷ (images ÷ rate)"),
            complete,
            "",
        )
        .limit(share + trip),
    ]
}
