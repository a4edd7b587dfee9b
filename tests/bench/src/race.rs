//! B10: another writer constantly changes the same policies. OSS has no conditional write, so every write overwrites
//! changes made since the read one round trip earlier. That loss is the limit; the benchmark measures how close the
//! operator is to it.

use std::time::Duration;

use imm_harness::until;
use serde_json::{Value, json};

use crate::apply::{far_away, round_trip};
use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result};

/// Turns per side, and buckets per turn, which get one grant each. No bucket is written twice: after its own write the
/// operator waits for the propagation delay of half a minute, which this benchmark does not measure.
const TURNS: usize = 15;
const BUCKETS: usize = 20;
/// Foreign changes per bucket and second.
const RATE: f64 = 5.0;

/// The foreign writer's counts.
#[derive(Clone, Copy, Default)]
struct Foreign {
    written: usize,
    lost: usize,
}

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    for turn in 0..TURNS {
        for number in 0..BUCKETS {
            stage.bucket(&bucket("ours", turn, number), Some(foreign(0)))?;
            stage.bucket(&bucket("script", turn, number), Some(foreign(0)))?;
        }
    }
    let operator = stage.operator(false).await?;
    let mut script = Script::policies(arguments, &stage.cloud, BUCKETS)?;
    far_away(&stage);
    // Creates threads and connections before anything is counted.
    let reads: Vec<Value> = (0..BUCKETS)
        .map(|n| json!({"bucket": bucket("script", 0, n)}))
        .collect();
    script.run::<Vec<f64>>(&reads).await?;

    // The foreign writers run only during the turns of their side.
    let (mut ours, mut scripts) = (Foreign::default(), Foreign::default());
    for turn in 0..TURNS {
        beside(&stage, "ours", turn, &mut ours, apply(&stage, turn)).await?;
        beside(&stage, "script", turn, &mut scripts, async {
            script.run::<Vec<f64>>(&orders(turn)).await.map(drop)
        })
        .await?;
    }
    operator.must_run()?;
    let (our_puts, their_puts) = (stage.puts("ours").len(), stage.puts("script").len());
    let per_put = |foreign: Foreign, puts: usize| float(foreign.lost) / float(puts.max(1));
    let bound = RATE * round_trip();
    let note = format!(
        "{our_puts} policy writes for {} grants, {} concurrent foreign changes, {} lost. Script: {their_puts} \
         writes, {} foreign changes, {} lost. The limit is {RATE} foreign changes per second and policy × {} ms",
        TURNS * BUCKETS,
        ours.written,
        ours.lost,
        scripts.written,
        scripts.lost,
        1000.0 * round_trip()
    );
    let row = Row::new(
        "B10",
        "changes of the other writer lost for each policy write",
        per_put(ours, our_puts),
        "",
    );
    let row = row.limit(bound).goal(1.1 * bound);
    Ok(vec![
        row.peer("SDK script", per_put(scripts, their_puts)).note(note),
    ])
}

fn bucket(side: &str, turn: usize, number: usize) -> String {
    format!("{side}-{turn:02}-{number:02}")
}

/// Returns the script's orders for the same statement.
fn orders(turn: usize) -> Vec<Value> {
    let order = |number: usize| {
        let bucket = bucket("script", turn, number);
        let statement = json!({"Sid": "script", "Effect": "Allow", "Action": ["oss:GetObject"], "Principal": ["1234567890123456"],
            "Resource": [format!("acs:oss:*:6543210987654321:{bucket}/*")]});
        json!({"bucket": bucket, "statement": statement})
    };
    (0..BUCKETS).map(order).collect()
}

/// Applies the grants of a turn and waits until the policies contain their statements.
async fn apply(stage: &Stage, turn: usize) -> Result<()> {
    let one = |n: usize| {
        grant(
            &format!("grant-{turn:02}-{n:02}"),
            &bucket("ours", turn, n),
            json!({}),
        )
    };
    stage.create((0..BUCKETS).map(one)).await?;
    until("the grants to be in the policies", PATIENCE, || {
        let there = |n: &usize| {
            stage
                .cloud
                .policy(&bucket("ours", turn, *n))
                .is_some_and(|p| p.contains("AliyunIMMDefaultRole"))
        };
        let there = (0..BUCKETS).filter(there).count();
        std::future::ready(if there == BUCKETS {
            Ok(())
        } else {
            Err(format!("{there} grants"))
        })
    })
    .await?;
    Ok(())
}

/// Returns a policy with the foreign statement after its n-th change.
fn foreign(count: usize) -> String {
    json!({"Version": "1", "Statement": [{"Sid": format!("foreign-{count}"), "Effect": "Deny", "Action": ["oss:PutObject"],
        "Principal": ["1234567890123456"], "Resource": ["acs:oss:*:6543210987654321:*"]}]})
    .to_string()
}

/// Runs `work` while the foreign writers of a turn's buckets are active. Before each change, a writer checks whether
/// its previous change still exists.
async fn beside(
    stage: &Stage,
    side: &str,
    turn: usize,
    sum: &mut Foreign,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut counts = [0; BUCKETS];
    tokio::pin!(work);
    // One bucket at a time, so that each has its rate and the writes are spread.
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / RATE / float(BUCKETS)));
    let mut step = 0;
    loop {
        tokio::select! {
            ended = &mut work => {
                ended?;
                break;
            }
            _ = ticks.tick() => {
                let number = step % BUCKETS;
                step += 1;
                if let Some(count) = counts.get_mut(number) {
                    change_foreign(stage, &bucket(side, turn, number), count, sum)?;
                }
            }
        }
    }
    // Counts changes lost to the last writes.
    for (number, count) in counts.iter().enumerate() {
        sum.lost += count.saturating_sub(count_in(stage, &bucket(side, turn, number)).unwrap_or(0));
    }
    Ok(())
}

/// Returns the number in the foreign statement, or `None` if it is missing.
fn count_in(stage: &Stage, bucket: &str) -> Option<usize> {
    let policy = stage.cloud.policy(bucket)?;
    let (_, rest) = policy.split_once("foreign-")?;
    rest.split('"').next()?.parse().ok()
}

/// One atomic change by the foreign writer: changes are lost only to the other side's writes.
fn change_foreign(stage: &Stage, bucket: &str, count: &mut usize, sum: &mut Foreign) -> Result<()> {
    let policy = stage.cloud.policy(bucket).ok_or("the policy is missing")?;
    let found = count_in(stage, bucket).ok_or("the foreign statement is missing")?;
    sum.lost += count.saturating_sub(found);
    *count += 1;
    sum.written += 1;
    let changed = policy.replace(&format!("foreign-{found}\""), &format!("foreign-{count}\""));
    stage.cloud.set_policy(bucket, Some(&changed));
    Ok(())
}
