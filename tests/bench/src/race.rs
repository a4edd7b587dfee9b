//! B10: somebody else changes the same policies all the time. OSS has no write that fails when the document has changed, so
//! whoever writes loses what came in the round trip before: that is the limit, and the question is how near we are to it.

use std::time::Duration;

use imm_harness::until;
use serde_json::{Value, json};

use crate::apply::{far_away, round_trip};
use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result};

/// Turns of each side, and buckets of each turn, which get one grant each. No bucket is written twice: after a write of its own
/// the operator mistrusts absences for half a minute, which is another matter than this one.
const TURNS: usize = 15;
const BUCKETS: usize = 20;
/// Foreign changes of each bucket in a second.
const RATE: f64 = 5.0;

/// What the foreign writer has found.
#[derive(Clone, Copy, Default)]
struct Foreign {
    written: usize,
    lost: usize,
}

/// Runs it.
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
    // Threads and connections are there before anything is counted.
    let looks: Vec<Value> = (0..BUCKETS)
        .map(|n| json!({"bucket": bucket("script", 0, n)}))
        .collect();
    script.obey::<Vec<f64>>(&looks).await?;

    // Each side's foreign writers work only while it does, turn by turn.
    let (mut ours, mut scripts) = (Foreign::default(), Foreign::default());
    for turn in 0..TURNS {
        beside(&stage, "ours", turn, &mut ours, apply(&stage, turn)).await?;
        beside(&stage, "script", turn, &mut scripts, async {
            script.obey::<Vec<f64>>(&orders(turn)).await.map(drop)
        })
        .await?;
    }
    operator.must_run()?;
    let (our_puts, their_puts) = (stage.puts("ours").len(), stage.puts("script").len());
    let per_put = |foreign: Foreign, puts: usize| float(foreign.lost) / float(puts.max(1));
    let bound = RATE * round_trip();
    let note = format!(
        "{our_puts} policy writes for {} grants, {} foreign changes beside them, {} lost; the script: {their_puts} writes, {} foreign changes, \
         {} lost. The limit is {RATE} foreign changes a second of each policy × {} ms",
        TURNS * BUCKETS,
        ours.written,
        ours.lost,
        scripts.written,
        scripts.lost,
        1000.0 * round_trip()
    );
    let row = Row::new(
        "B10",
        "foreign changes lost for each policy write",
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

/// The same statement by the script.
fn orders(turn: usize) -> Vec<Value> {
    let order = |number: usize| {
        let bucket = bucket("script", turn, number);
        let statement = json!({"Sid": "script", "Effect": "Allow", "Action": ["oss:GetObject"], "Principal": ["1234567890123456"],
            "Resource": [format!("acs:oss:*:6543210987654321:{bucket}/*")]});
        json!({"bucket": bucket, "statement": statement})
    };
    (0..BUCKETS).map(order).collect()
}

/// Applies the grants of a turn, and waits until the policies say so.
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
            Err(format!("{there} are"))
        })
    })
    .await?;
    Ok(())
}

/// A policy with the foreign statement as of its n-th change.
fn foreign(count: usize) -> String {
    json!({"Version": "1", "Statement": [{"Sid": format!("foreign-{count}"), "Effect": "Deny", "Action": ["oss:PutObject"],
        "Principal": ["1234567890123456"], "Resource": ["acs:oss:*:6543210987654321:*"]}]})
    .to_string()
}

/// Does something while the foreign writers of the buckets of a turn work: each changes its statement, and before it does it
/// looks whether its last change is still there.
async fn beside(
    stage: &Stage,
    side: &str,
    turn: usize,
    sum: &mut Foreign,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut counts = [0; BUCKETS];
    tokio::pin!(work);
    // One bucket after the other, so that each has its rate and they are not all written at once.
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
    // What the last writes have lost.
    for (number, count) in counts.iter().enumerate() {
        sum.lost += count.saturating_sub(count_in(stage, &bucket(side, turn, number)).unwrap_or(0));
    }
    Ok(())
}

/// The number in the foreign statement.
fn count_in(stage: &Stage, bucket: &str) -> Option<usize> {
    let policy = stage.cloud.policy(bucket)?;
    let (_, rest) = policy.split_once("foreign-")?;
    rest.split('"').next()?.parse().ok()
}

/// One change by the foreign writer, at once: what is lost is lost to the other side's writes alone.
fn change_foreign(stage: &Stage, bucket: &str, count: &mut usize, sum: &mut Foreign) -> Result<()> {
    let policy = stage.cloud.policy(bucket).ok_or("the policy is gone")?;
    let found = count_in(stage, bucket).ok_or("the foreign statement is gone")?;
    sum.lost += count.saturating_sub(found);
    *count += 1;
    sum.written += 1;
    let changed = policy.replace(&format!("foreign-{found}\""), &format!("foreign-{count}\""));
    stage.cloud.set_policy(bucket, Some(&changed));
    Ok(())
}
