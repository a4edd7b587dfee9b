//! A thousand healthy grants on fifty buckets with one identity, and a restart of the operator.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imm_emulator::{BucketSeed, Call};
use imm_harness::until;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_B, REGION, Stage, Tenant, condition};

const BUCKETS: usize = 50;
const GRANTS_OF_EACH: usize = 20;
const JOBS: usize = 100;
/// Enough time for a thousand grants on a busy machine with two cores.
const LONG: Duration = Duration::from_secs(400);

async fn all(tenant: &Tenant) -> Vec<Value> {
    let list = tenant.api(GRANT).list(&ListParams::default()).await.unwrap();
    let value = |object: DynamicObject| serde_json::to_value(object).unwrap();
    list.items.into_iter().map(value).collect()
}

/// Creates jobs that have finished before the restart.
async fn finished_jobs(tenant: &Tenant) {
    let cloud = &tenant.stage.cloud;
    assert!(cloud.put_object("scale-00", "0/a.jpg", "pixels", Some("0.5")));
    let source = json!({"uris": ["oss://scale-00/0/a.jpg"]});
    let job = |n| tenant.job(&format!("job-{n}"), &["x"], &json!({"source": source}));
    let manifests: Vec<String> = (0..JOBS).map(job).collect();
    tenant.apply(&manifests.join("\n---\n")).await;
    until("all jobs to be complete", LONG, || async {
        let list = tenant.api(JOB).list(&ListParams::default()).await.unwrap();
        let jobs = list
            .items
            .into_iter()
            .map(|job| serde_json::to_value(job).unwrap());
        let ended = jobs
            .filter(|job| condition(job, "Ready")[1] == "Completed")
            .count();
        if ended == JOBS {
            Ok(())
        } else {
            Err(format!("{ended} are"))
        }
    })
    .await
    .unwrap();
}

fn count(calls: &[Call], action: &str) -> usize {
    calls.iter().filter(|call| call.action == action).count()
}

// G9, P8, P13
pub async fn a_restart_with_a_thousand_healthy_grants_reads_each_bucket_once_and_writes_nothing(
    stage: Arc<Stage>,
) {
    let tenant = Tenant::new(&stage, "scale").await;
    let started = Instant::now();
    for bucket in 0..BUCKETS {
        let bucket = format!("scale-{bucket:02}");
        let seed = BucketSeed {
            name: bucket.clone(),
            region: REGION.to_owned(),
            owner: ACCOUNT_B.to_owned(),
            block_public_access: true,
            ..BucketSeed::default()
        };
        stage.cloud.add_bucket(seed).unwrap();
        let manifests: Vec<String> = (0..GRANTS_OF_EACH)
            .map(|n| {
                let access = json!({"preset": "Minimal", "prefixes": [format!("{n}/")]});
                tenant.grant(
                    &format!("{bucket}-{n}"),
                    &json!({"bucket": {"name": bucket}, "access": access}),
                )
            })
            .collect();
        tenant.apply(&manifests.join("\n---\n")).await;
    }
    println!(
        "1,000 grants applied after {:.1} s",
        started.elapsed().as_secs_f32()
    );
    let applied = until("all grants to be applied", LONG, || async {
        let grants = all(&tenant).await;
        let applied = grants
            .iter()
            .filter(|grant| condition(grant, "Ready")[1] == "Applied")
            .count();
        if applied == BUCKETS * GRANTS_OF_EACH {
            Ok(grants)
        } else {
            Err(format!("{applied} are"))
        }
    })
    .await
    .unwrap();
    println!("1,000 grants live after {:.1} s", started.elapsed().as_secs_f32());
    finished_jobs(&tenant).await;
    let puts = count(&stage.cloud.calls(), "PutBucketPolicy");
    println!("{puts} policy writes for {BUCKETS} buckets");
    assert!(puts <= 3 * BUCKETS, "{puts} writes");

    assert!(stage.stop_operator().await.success());
    stage.cloud.clear_calls();
    let audited = stage.audited().len();
    let restarted = Instant::now();
    stage.start_operator().await;
    until("a reconcile of every bucket", LONG, || async {
        let reconciles = stage.metric("immops_reconcile_total", "bucket").await;
        if reconciles >= 50.0 {
            Ok(())
        } else {
            Err(format!("{reconciles} reconciles"))
        }
    })
    .await
    .unwrap();
    let seconds = restarted.elapsed().as_secs_f32();
    let calls = stage.cloud.calls();
    println!(
        "restart: every bucket checked after {seconds:.1} s with {} calls",
        calls.len()
    );
    assert_eq!(
        count(&calls, "GetBucketPolicy"),
        calls.len(),
        "only policies are read"
    );
    let buckets: BTreeSet<_> = calls.iter().map(|call| &call.bucket).collect();
    assert!(!calls.is_empty(), "no read at all");
    assert_eq!(buckets.len(), calls.len(), "no bucket is read twice");
    let asked = stage.audited().split_off(audited);
    let writes: Vec<_> = asked
        .iter()
        .filter(|one| !["get", "list", "watch"].contains(&one.verb.as_str()))
        .collect();
    let about_jobs: Vec<_> = asked
        .iter()
        .filter(|one| one.resource.starts_with("imagescorejobs") && one.verb == "get")
        .collect();
    assert!(
        about_jobs.is_empty(),
        "a finished job makes no call: {about_jobs:?}"
    );
    // One request for the operator's own user name.
    assert!(
        writes.iter().all(|one| one.resource == "selfsubjectreviews"),
        "{writes:?}"
    );
    let version = |grant: &Value| grant["metadata"]["resourceVersion"].clone();
    let (before, after) = (applied.iter().map(version), all(&tenant).await);
    assert!(before.eq(after.iter().map(version)), "no object has changed");
}
