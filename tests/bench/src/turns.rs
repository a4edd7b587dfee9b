//! B15: small jobs concurrent with a giant one in the same project.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use crate::gallery::{self, ended, job, submit};
use crate::stage::{Stage, float};
use crate::table::Row;
use crate::{Arguments, Result};

const SMALL: usize = 10;
const IMAGES: usize = 100;
const LARGE: usize = 100_000;
const RATE: u32 = 100;
const LATENCY_MS: u64 = 50;

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage).await?;
    gallery::project(&stage, "turns", RATE, LATENCY_MS)?;
    let operator = stage.operator(false).await?;
    let alone = small_jobs(&stage, "alone").await?;
    gallery::hang(&stage, "giant", LARGE)?;
    submit(&stage, job("giant", "turns", json!({}))).await?;
    imm_harness::until("the giant job to be in progress", crate::stage::PATIENCE, || {
        let asked = gallery::scorings(&stage)
            .iter()
            .filter(|call| call.key.as_deref().is_some_and(|key| key.starts_with("giant/")))
            .count();
        std::future::ready((asked > 200).then_some(()))
    })
    .await?;
    let beside = small_jobs(&stage, "beside").await?;
    operator.must_run()?;
    let fair = float(SMALL + 1) / float(SMALL);
    Ok(vec![
        Row::new("B15", format!("{SMALL} small jobs beside a giant one: slowdown"), beside / alone, "")
            .limit(fair)
            .goal(1.2)
            .note(format!(
                "{IMAGES} images each, applied together; mean time until Complete {beside:.2} s with {LARGE} \
                 other images in the same namespace and project, {alone:.2} s without; {RATE} calls per second. \
                 The limit is eleven equal turns; first come, first served would be a hundred times slower"
            )),
    ])
}

/// Runs the small jobs in parallel. Returns the mean time from the creation of each job until it finished.
async fn small_jobs(stage: &Stage, stem: &str) -> Result<f64> {
    let names: Vec<String> = (0..SMALL).map(|number| format!("{stem}-{number}")).collect();
    for name in &names {
        gallery::hang(stage, name, IMAGES)?;
    }
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let making = futures::future::try_join_all(
        names
            .iter()
            .map(|name| submit(stage, job(name, "turns", json!({})))),
    );
    let (made, done) = futures::try_join!(making, ended(stage, &wanted))?;
    let made: BTreeMap<&String, Instant> = names.iter().zip(made).collect();
    let times = made.iter().filter_map(|(name, from)| {
        let (to, _) = done.get(*name)?;
        Some(to.duration_since(*from).as_secs_f64())
    });
    Ok(times.sum::<f64>() / float(SMALL))
}
