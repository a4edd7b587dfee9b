//! B2: what the operator spends on an image when nothing holds it back.

use serde_json::json;

use crate::gallery::{self, Said, completed, images, job, submit};
use crate::peer::Script;
use crate::stage::{Stage, float};
use crate::table::{Row, Samples};
use crate::{Arguments, Result, usage};

const IMAGES: usize = 20_000;
const SCRIPT_IMAGES: usize = 2000;
const SCRIPT_THREADS: usize = 20;
/// A limit that is none.
const UNLIMITED: u32 = 1_000_000;
const AT_ONCE: u32 = 200;
/// What a bare client of the same libraries spends on a call, in millionths of a second.
const BARE: f64 = 10.0;

/// Runs it.
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
        let said: Said = Script::scores(arguments, &stage.cloud)?.obey(&order).await?;
        scripts.push(1e6 * said.cpu / float(said.calls));
        script_rate = float(said.calls) / said.seconds;
    }
    operator.must_run()?;
    let row = Row::of("B2", "processor time an image", &Samples::new(ours), "µs");
    let note = format!(
        "{IMAGES} images below a prefix in one job, counting, reports and status included; {:.0} images a second. The script: {SCRIPT_IMAGES} \
         images, {SCRIPT_THREADS} threads, {script_rate:.0} a second, nothing stored",
        Samples::new(rates).median()
    );
    Ok(vec![
        row.limit(BARE)
            .goal(60.0)
            .peer("SDK script", Samples::new(scripts).median())
            .note(note),
    ])
}
