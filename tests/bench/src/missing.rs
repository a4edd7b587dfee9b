//! B3: the cost of jobs for a bucket without granted access.

use imm_emulator::ManySeed;
use serde_json::{Value, json};

use crate::gallery::{self, ScriptResult, ended, job, scorings, submit};
use crate::peer::Script;
use crate::stage::{NAMESPACE, Stage, float};
use crate::table::Row;
use crate::{Arguments, Result};

const IMAGES: usize = 2000;
const BUCKET: &str = "closed";
const THREADS: usize = 20;

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    stage.bucket(BUCKET, None)?;
    let many = ManySeed {
        prefix: "photos/".to_owned(),
        count: u64::try_from(IMAGES)?,
        ..ManySeed::default()
    };
    stage.cloud.put_many(BUCKET, many)?;
    gallery::project(&stage, "missing", 100, 0)?;
    let operator = stage.operator(false).await?;
    let owner = json!({"source": "Secret", "secretRef": {"name": "owner"}});
    let source = json!({"prefix": {"bucket": BUCKET, "prefix": "photos/", "credentials": owner}});
    let grant = json!({"name": "missing-grant", "namespace": NAMESPACE});
    let alone = refused(&stage, "alone", json!({"source": source})).await?;
    let waiting = json!({"source": source, "grantRef": grant, "grantWait": {"timeoutSeconds": 5}});
    let waited = refused(&stage, "waited", waiting).await?;
    operator.must_run()?;

    let images: Vec<String> = (0..IMAGES)
        .map(|n| format!("oss://{BUCKET}/photos/{n:07}.jpg"))
        .collect();
    stage.cloud.clear_calls();
    let order = json!({"project": "missing", "images": images, "threads": THREADS, "tries": 1});
    let result: ScriptResult = Script::scores(arguments, &stage.cloud)?.run(&order).await?;
    if result.scored > 0 {
        return Err("an image of a closed bucket was scored".into());
    }
    let script = billed(&stage);
    let row = |what: &str, measured: f64, goal: f64| {
        Row::new(
            "B3",
            format!("{IMAGES} images, no access: billed calls{what}"),
            measured,
            "",
        )
        .limit(goal)
        .goal(goal)
        .peer("SDK script", script)
    };
    Ok(vec![
        row(", job without grantRef", alone, 1.0),
        row(", job with grantRef", waited, 0.0),
    ])
}

/// Runs a job that fails and returns the number of billed calls.
async fn refused(stage: &Stage, name: &str, changes: Value) -> Result<f64> {
    stage.cloud.clear_calls();
    submit(stage, job(name, "missing", changes)).await?;
    ended(stage, &[name]).await?;
    Ok(billed(stage))
}

fn billed(stage: &Stage) -> f64 {
    float(scorings(stage).iter().filter(|call| call.billed).count())
}
