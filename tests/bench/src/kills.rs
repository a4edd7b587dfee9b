//! B4: the operator is killed in the middle of a large job, again and again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::gallery::{self, completed, job, submit};
use crate::stage::{Stage, float};
use crate::table::{Row, Samples};
use crate::{Arguments, Result};

const IMAGES: usize = 10_000;
const RATE: u32 = 1000;
const LATENCY_MS: u64 = 30;
/// Percent of the images that were asked for when it is killed.
const KILLS: [usize; 3] = [25, 50, 75];
/// Seconds for which a dead process holds the lease.
const LEASE: f64 = 40.0;
const LOOK: Duration = Duration::from_millis(1);

/// Runs it.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage)?;
    gallery::hang(&stage, "kills", IMAGES)?;
    gallery::wide_project(&stage, "kills", RATE, 200, LATENCY_MS)?;
    let mut operator = stage.operator(true).await?;
    submit(&stage, job("kills", "kills", json!({}))).await?;
    let (mut resumed, mut twice) = (Vec::new(), Vec::new());
    for percent in KILLS {
        let before = repeated(&stage);
        until_asked(&stage, IMAGES * percent / 100).await?;
        operator.kill()?;
        let killed = Instant::now();
        // Those that were under way come to their end and are in the ledger.
        tokio::time::sleep(Duration::from_millis(10 * LATENCY_MS)).await;
        let asked = asked(&stage);
        operator = stage.operator(true).await?;
        until_asked(&stage, asked + 1).await?;
        resumed.push(killed.elapsed().as_secs_f64());
        // What was asked twice is asked again first.
        until_asked(&stage, asked + IMAGES / 5).await?;
        twice.push(float(repeated(&stage) - before) / float(IMAGES));
    }
    completed(&stage, "kills").await?;
    operator.must_run()?;
    let (twice, resumed) = (Samples::new(twice), Samples::new(resumed));
    let in_flight = f64::from(RATE) * Duration::from_millis(LATENCY_MS).as_secs_f64();
    let stored = f64::from(RATE);
    Ok(vec![
        Row::of("B4", "killed at 25, 50 and 75 %: share of the images billed twice, a kill", &twice, "")
            .limit((in_flight + stored) / float(IMAGES))
            .goal(0.015)
            .peer("SDK script, run again", 0.5)
            .note(format!(
                "{IMAGES} images, {RATE} a second, {LATENCY_MS} ms a call. The limit: those in flight and those of the second between two \
                 stores. The script keeps nothing: what it had done is done again, half of all on average"
            )),
        Row::of("B4", "killed until the next call", &resumed, "s")
            .limit(LEASE)
            .goal(LEASE + 2.0)
            .note("started again at once; the lease of the dead process is waited for"),
    ])
}

fn asked(stage: &Stage) -> usize {
    let counts = stage.cloud.counts();
    let calls = counts
        .actions
        .get("DetectImageScore")
        .map_or(0, |action| action.calls);
    usize::try_from(calls).unwrap_or(usize::MAX)
}

/// Calls that were paid for an image that was paid for already.
fn repeated(stage: &Stage) -> usize {
    let images = stage.cloud.billed_images();
    let calls: u64 = images.values().map(|times| times - 1).sum();
    usize::try_from(calls).unwrap_or(usize::MAX)
}

async fn until_asked(stage: &Stage, count: usize) -> Result<()> {
    let asking = async {
        while asked(stage) < count {
            tokio::time::sleep(LOOK).await;
        }
    };
    let limit = Duration::from_secs(120);
    let in_time = tokio::time::timeout(limit, asking).await;
    in_time.map_err(|_| format!("{} of {count} calls after {limit:?}", asked(stage)))?;
    Ok(())
}
