//! B4: the operator is killed repeatedly during a large job.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::gallery::{self, completed, job, submit};
use crate::stage::{Stage, float};
use crate::table::{Row, Samples};
use crate::{Arguments, Result};

/// Numbers of images and calls per second.
const SIZES: [(usize, u32); 2] = [(2000, 100), (10_000, 1000)];
const LATENCY_MS: u64 = 30;
/// The percentages of requested images at which the operator is killed.
const KILLS: [usize; 3] = [25, 50, 75];
/// Seconds until the lease of a dead process expires.
const LEASE: f64 = 40.0;
/// Seconds without billed calls after an expired lease was taken over.
const PAUSE: f64 = 30.0;
/// The goal applies to ten thousand images at 100 per second: 1.5 %.
const TWICE: f64 = 150.0;
const POLL: Duration = Duration::from_millis(1);

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage).await?;
    let mut rows = Vec::new();
    for (images, rate) in SIZES {
        let (twice, resumed) = killed(&stage, images, rate).await?;
        let in_flight = f64::from(rate) * Duration::from_millis(LATENCY_MS).as_secs_f64();
        let row = Row::of("B4", format!("{rate} calls a second: images billed twice, a kill"), &twice, "")
            .limit(in_flight + f64::from(rate))
            .peer("SDK script, run again", float(images) / 2.0)
            .note(format!(
                "{images} images, {LATENCY_MS} ms per call, killed at 25, 50 and 75 %. The limit: the calls in \
                 flight and those of the second between two writes of results. The script stores nothing, so it \
                 starts over"
            ));
        rows.push(if rate == 100 { row.goal(TWICE) } else { row });
        let row = Row::of(
            "B4",
            format!("{rate} calls a second: killed until the next call"),
            &resumed,
            "s",
        );
        rows.push(row.limit(LEASE + PAUSE).goal(80.0).note(
            "restarted immediately; the new process waits until the lease of the dead one expires, and until \
                 billed calls of the dead one have ended",
        ));
    }
    Ok(rows)
}

/// Kills the operator repeatedly during one job. Returns the numbers of images billed twice and the seconds until the
/// next call.
async fn killed(stage: &Stage, images: usize, rate: u32) -> Result<(Samples, Samples)> {
    let name = format!("kills-{rate}");
    gallery::hang(stage, &name, images)?;
    gallery::wide_project(stage, &name, rate, 200, LATENCY_MS)?;
    stage.cloud.clear_calls();
    let mut operator = stage.operator(true).await?;
    submit(stage, job(&name, &name, json!({}))).await?;
    let (mut resumed, mut twice) = (Vec::new(), Vec::new());
    for percent in KILLS {
        let before = repeated(stage);
        until_asked(stage, images * percent / 100).await?;
        operator.kill()?;
        let killed = Instant::now();
        // Calls in flight finish and are recorded in the ledger.
        tokio::time::sleep(Duration::from_millis(10 * LATENCY_MS)).await;
        let asked = asked(stage);
        operator = stage.operator(true).await?;
        until_asked(stage, asked + 1).await?;
        resumed.push(killed.elapsed().as_secs_f64());
        // Repeated images are requested first after a restart.
        until_asked(stage, asked + images / 5).await?;
        twice.push(float(repeated(stage) - before));
    }
    completed(stage, &name).await?;
    operator.kill()?;
    Ok((Samples::new(twice), Samples::new(resumed)))
}

fn asked(stage: &Stage) -> usize {
    let counts = stage.cloud.counts();
    let calls = counts
        .actions
        .get("DetectImageScore")
        .map_or(0, |action| action.calls);
    usize::try_from(calls).unwrap_or(usize::MAX)
}

/// Returns the number of billed calls for images that were billed before.
fn repeated(stage: &Stage) -> usize {
    let images = stage.cloud.billed_images();
    let calls: u64 = images.values().map(|times| times - 1).sum();
    usize::try_from(calls).unwrap_or(usize::MAX)
}

async fn until_asked(stage: &Stage, count: usize) -> Result<()> {
    let asking = async {
        while asked(stage) < count {
            tokio::time::sleep(POLL).await;
        }
    };
    let limit = Duration::from_secs(120);
    let in_time = tokio::time::timeout(limit, asking).await;
    in_time.map_err(|_| format!("{} of {count} calls after {limit:?}", asked(stage)))?;
    Ok(())
}
