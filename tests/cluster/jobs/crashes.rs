//! Large jobs whose operator is killed repeatedly: no result is lost or duplicated, and few calls are billed twice.
//! No other test runs at the same time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imm_harness::until;
use serde_json::{Value, json};

use super::fixtures::{
    add_score_fault, answer, assert_indexes, prefix_job, project_count, put_images, results_of, set_speed,
    with_grant,
};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant};

/// Most calls of a job in flight.
const PARALLELISM: u64 = 60;

/// Applies a job over `images` objects; every tenth call fails.
async fn begin(stage: &Arc<Stage>, name: &str, images: u64, queries_per_second: u32) -> Tenant {
    let tenant = with_grant(stage, name).await;
    put_images(&tenant, images, None);
    set_speed(&tenant, queries_per_second, 50);
    add_score_fault(&tenant, ".jpg", Some(10), answer(500, "InternalError"));
    let changes = json!({"parallelism": PARALLELISM, "backoffLimitPerItem": 6});
    tenant
        .apply(&prefix_job(&tenant, name, &json!({}), &changes))
        .await;
    tenant
}

async fn until_requests(tenant: &Tenant, count: u64) {
    until(&format!("{count} requests"), PATIENCE, || async {
        let seen = project_count(tenant).requests;
        if seen >= count { Ok(()) } else { Err(seen) }
    })
    .await
    .unwrap();
}

/// The results stored when the operator was killed, and the number of calls before that.
struct Kill {
    stored: HashSet<String>,
    last: u64,
}

/// Kills and restarts the operator; also returns the time from its start to its first new request.
async fn kill(tenant: &Tenant) -> (Kill, Duration) {
    tenant.stage.kill_operator().await;
    let results = results_of(tenant, &tenant.name).await;
    let stored = results
        .iter()
        .map(|result| result["uri"].as_str().unwrap().to_owned());
    let kill = Kill {
        stored: stored.collect(),
        last: tenant
            .scores()
            .iter()
            .map(|call| call.seq)
            .max()
            .unwrap_or_default(),
    };
    let start = Instant::now();
    tenant.stage.start_operator().await;
    let before = project_count(tenant).requests;
    until_requests(tenant, before + 1).await;
    (kill, start.elapsed())
}

/// Checks that no image whose result was stored at a kill was requested again.
fn none_again(tenant: &Tenant, kills: &[Kill]) {
    let calls = tenant.scores();
    for kill in kills {
        let again = calls.iter().filter(|call| call.seq > kill.last).find(|call| {
            let uri = format!(
                "oss://{}/{}",
                tenant.bucket,
                call.key.as_deref().unwrap_or_default()
            );
            kill.stored.contains(&uri)
        });
        assert!(
            again.is_none(),
            "stored before a kill and requested again: {again:?}"
        );
    }
}

/// Checks a finished job after these kills.
async fn ends_well(tenant: &Tenant, images: u64, kills: &[Kill]) {
    let name = tenant.name.as_str();
    let job = tenant.until_true(JOB, name, "Complete").await;
    none_again(tenant, kills);
    let kills = u64::try_from(kills.len()).unwrap();
    let total = usize::try_from(images).unwrap();
    let results = results_of(tenant, name).await;
    assert_indexes(&results, total);
    for result in &results {
        let uri = format!(
            "oss://{}/photos/{:07}.jpg",
            tenant.bucket,
            result["index"].as_u64().unwrap()
        );
        assert_eq!(result["uri"], *uri);
        let key = uri.splitn(4, '/').nth(3).unwrap();
        let text = result["score"].as_str().unwrap();
        let expected: f64 = imm_emulator::score::of_key(key).to_string().parse().unwrap();
        assert!((text.parse::<f64>().unwrap() - expected).abs() < 1e-6, "{result}");
        // IMM prints the digits of double precision, of which three mean something.
        assert!(text.len() <= "0.123".len(), "{result}");
    }
    let number = |value: &Value| value.as_u64().unwrap();
    let (items, requests) = (&job["status"]["items"], &job["status"]["requests"]);
    assert_eq!(
        [number(&items["succeeded"]), number(&items["total"])],
        [images, images],
        "{items}"
    );
    let reports = &job["status"]["reports"];
    assert_eq!(number(&reports["items"]), images);
    // A report is closed when it is more than half full and the next second's results would not fit.
    let count = number(&reports["count"]);
    assert!(
        count >= images.div_ceil(500) && count <= images.div_ceil(250),
        "{reports}"
    );
    assert!(job["status"].to_string().len() < 128 * 1024);

    let own = format!("oss://{}/", tenant.bucket);
    let billed: Vec<u64> = tenant
        .stage
        .cloud
        .billed_images()
        .into_iter()
        .filter(|(uri, _)| uri.starts_with(&own))
        .map(|(_, times)| times)
        .collect();
    let paid: u64 = billed.iter().sum();
    let (seen, calls) = (
        project_count(tenant),
        u64::try_from(tenant.scores().len()).unwrap(),
    );
    println!(
        "{name}: {images} images, {kills} kills, {calls} calls, {paid} billed, {} billed twice or more, at most {}; \
         {} recorded as sent; {} a second and {} at once at most",
        billed.iter().filter(|times| **times > 1).count(),
        billed.iter().max().unwrap(),
        requests["sent"],
        seen.highest_per_second,
        seen.highest_in_flight
    );
    assert_eq!(billed.len(), total, "each image was requested");
    let repeated = kills * (PARALLELISM + seen.highest_per_second);
    assert!(paid <= images + repeated, "{paid} billed for {images} images");
    assert!(
        number(&requests["sent"]) >= calls,
        "{requests}: every request is counted"
    );
    assert!(number(&requests["estimatedBillable"]) >= paid, "{requests}");
    assert_eq!(seen.throttled, 0);
}

// J16, J22
pub async fn ten_thousand_images_survive_kills_and_errors(stage: Arc<Stage>) {
    const IMAGES: u64 = 10_000;
    let tenant = begin(&stage, "tenthousand", IMAGES, 1_000).await;
    let start = Instant::now();
    let mut kills = Vec::new();
    for quarter in 1..=3 {
        until_requests(&tenant, IMAGES * quarter / 4).await;
        let (killed, away) = kill(&tenant).await;
        kills.push(killed);
        println!("killed at {quarter}/4, the next call came {away:?} after the start");
    }
    ends_well(&tenant, IMAGES, &kills).await;
    println!("took {:?}", start.elapsed());
}

/// Returns pseudo-random numbers; the same seed gives the same sequence.
fn chance(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

// J22
pub async fn fifty_kills_at_any_moment_lose_and_duplicate_nothing(stage: Arc<Stage>) {
    const IMAGES: u64 = 2_500;
    const KILLS: u64 = 50;
    let mut dice = 0x5eed_2024;
    let tenant = begin(&stage, "fifty", IMAGES, 200).await;
    until_requests(&tenant, 1).await;
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        let more = chance(&mut dice) % 60;
        until_requests(&tenant, project_count(&tenant).requests + more).await;
        kills.push(kill(&tenant).await.0);
    }
    ends_well(&tenant, IMAGES, &kills).await;
}

/// Kills the operator while the status is behind the reports, which are stored first.
async fn killed_behind(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = begin(stage, name, 2_000, 100).await;
    until("a status behind its reports", PATIENCE, || async {
        let job = tenant.object(JOB, name).await;
        let counted = job["status"]["reports"]["items"].as_u64().unwrap_or_default();
        let stored = u64::try_from(results_of(&tenant, name).await.len()).unwrap();
        if counted > 0 && stored > counted + 20 {
            Ok(())
        } else {
            Err(format!("{stored} stored, {counted} counted"))
        }
    })
    .await
    .unwrap();
    stage.kill_operator().await;
    // Calls that were sent are carried out although the operator was killed.
    until("the last calls", PATIENCE, || async {
        (project_count(&tenant).in_flight == 0).then_some(())
    })
    .await
    .unwrap();
    tenant
}

/// Checks that the counts equal the stored results, and that every request is counted.
async fn caught_up(tenant: &Tenant, job: &Value) {
    let stored = results_of(tenant, &tenant.name).await.len();
    let status = &job["status"];
    assert_eq!(status["reports"]["items"], stored);
    assert_eq!(status["items"]["succeeded"], stored);
    assert_eq!(status["progress"], format!("{stored}/2000"));
    let (requests, calls) = (&status["requests"], tenant.scores().len());
    let sent = requests["sent"].as_u64().unwrap();
    assert!(sent >= u64::try_from(calls).unwrap(), "{calls} calls, {requests}");
    assert_eq!(requests["reserved"], sent, "what was reserved counts as spent");
}

// J24, J20
pub async fn a_job_that_is_cancelled_after_a_crash_counts_what_its_reports_hold(stage: Arc<Stage>) {
    let tenant = killed_behind(&stage, "behind").await;
    tenant
        .patch(JOB, "behind", &json!({"spec": {"cancel": true}}))
        .await;
    stage.start_operator().await;
    let job = tenant.until_true(JOB, "behind", "Failed").await;
    caught_up(&tenant, &job).await;
}

// J23, J20
pub async fn a_job_that_is_suspended_after_a_crash_shows_what_its_reports_hold(stage: Arc<Stage>) {
    let tenant = killed_behind(&stage, "asleep-behind").await;
    tenant
        .patch(JOB, "asleep-behind", &json!({"spec": {"suspend": true}}))
        .await;
    stage.start_operator().await;
    let job = tenant.until_true(JOB, "asleep-behind", "Suspended").await;
    caught_up(&tenant, &job).await;
}
