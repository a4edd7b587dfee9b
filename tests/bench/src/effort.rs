//! B2: the operator's processor time per image without a rate limit.

use serde_json::json;

use crate::gallery::{self, ScriptResult, completed, images, job, submit};
use crate::peer::Script;
use crate::stage::{Stage, float};
use crate::table::{Row, Samples};
use crate::{Arguments, Result, usage};

const IMAGES: usize = 20_000;
const SCRIPT_IMAGES: usize = 2000;
const SCRIPT_THREADS: usize = 20;
/// Effectively no limit.
const UNLIMITED: u32 = 1_000_000;
const AT_ONCE: u32 = 200;
/// The processor time that a minimal client of the same libraries needs per call, in microseconds.
const BASELINE: f64 = 10.0;

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage).await?;
    gallery::wide_project(&stage, "effort", UNLIMITED, AT_ONCE, 0)?;
    gallery::hang(&stage, "warm", 500)?;
    let operator = stage.operator(false).await?;
    submit(&stage, job("warm", "effort", json!({}))).await?;
    completed(&stage, "warm").await?;
    let (mut ours, mut rates, mut scripts, mut script_rate) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for number in 0..arguments.repeat.max(1) {
        let name = format!("effort-{number}");
        gallery::hang(&stage, &name, IMAGES)?;
        let before = usage::of(operator.id())?;
        let started = submit(&stage, job(&name, "effort", json!({}))).await?;
        let (done, _) = completed(&stage, &name).await?;
        let spent = usage::at_rest(operator.id()).await?.cpu - before.cpu;
        ours.push(1e6 * spent / float(IMAGES));
        rates.push(float(IMAGES) / done.duration_since(started).as_secs_f64());

        let order = json!({"project": "effort", "images": images(&name, SCRIPT_IMAGES), "threads": SCRIPT_THREADS, "tries": 1});
        let result: ScriptResult = Script::scores(arguments, &stage.cloud)?.run(&order).await?;
        scripts.push(1e6 * result.cpu / float(result.calls));
        script_rate = float(result.calls) / result.seconds;
    }
    operator.must_run()?;
    let row = Row::of("B2", "processor time an image", &Samples::new(ours), "µs");
    let note = format!(
        "{IMAGES} images under a prefix in one job, including counting, reports and status; {:.0} images per \
         second. Script: {SCRIPT_IMAGES} images, {SCRIPT_THREADS} threads, {script_rate:.0} per second, nothing \
         stored",
        Samples::new(rates).median()
    );
    Ok(vec![
        row.limit(BASELINE)
            .goal(60.0)
            .peer("SDK script", Samples::new(scripts).median())
            .note(note),
    ])
}
