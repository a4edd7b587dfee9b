//! What a job does in a cloud that takes minutes: OSS enforces a grant late, and IMM needs longer for an image than a
//! call may take.

use std::sync::Arc;
use std::time::Duration;

use imm_emulator::{BucketSeed, Fault, FaultEffect, FaultMatch};
use imm_harness::until;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant, condition};

/// The three waits of a job for its grant, or three calls of 60 s, with time to spare.
const MINUTES: Duration = Duration::from_secs(330);

/// Applies a job over images that are new.
async fn job_over(tenant: &Tenant, name: &str, keys: &[&str], changes: &Value) {
    for key in keys {
        assert!(
            tenant
                .stage
                .cloud
                .put_object(&tenant.bucket, key, "pixels", Some("0.5"))
        );
    }
    let mut all = json!({"grantRef": {"name": "grant"}, "grantWait": {"settleSeconds": 0}});
    crate::support::tenant::merge(&mut all, changes);
    tenant.apply(&tenant.job(name, keys, &all)).await;
}

async fn ended(tenant: &Tenant, name: &str) -> Value {
    until(&format!("the end of {}/{name}", tenant.name), MINUTES, || async {
        let job = tenant.object(JOB, name).await;
        let over = job["status"]["completionTime"].is_string();
        if over {
            Ok(job)
        } else {
            Err(condition(&job, "Ready")[2].to_owned())
        }
    })
    .await
    .unwrap()
}

/// Follows two jobs with one grant through the waits of the first; returns both at their ends, with the answers of IMM.
async fn through_all_repeats(tenant: &Tenant) -> ([Value; 2], Vec<Option<u16>>) {
    tenant.granted("grant", &json!({})).await;
    job_over(tenant, "first", &["first.jpg"], &json!({})).await;
    for repeat in 1..=3 {
        let part = format!("({repeat} of 3)");
        let what = format!("{} to wait {part}", tenant.name);
        until(&what, MINUTES, || async {
            let job = tenant.object(JOB, "first").await;
            let message = condition(&job, "GrantReady")[2].to_owned();
            let waits = message.contains("trying again at") && message.contains(&part);
            if waits { Ok(()) } else { Err(message) }
        })
        .await
        .unwrap();
        // The waits are one event, with a count and a note that is true for each of them.
        let noted = until(&format!("{repeat} waits in the event"), MINUTES, || async {
            let events = tenant.events("first", "WaitingForGrant").await;
            let counted = events.iter().any(|(count, _)| *count == repeat);
            if counted {
                Ok(events)
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await
        .unwrap();
        let [(_, note)] = noted.as_slice() else {
            panic!("{noted:?}");
        };
        assert!(note.contains("trying again, at most 3 times"), "{note}");
        if repeat == 1 {
            job_over(tenant, "second", &["second.jpg"], &json!({})).await;
        }
        let waits = |job: &Value| condition(job, "GrantReady")[2].contains("Another job is trying");
        tenant
            .until(JOB, "second", "the wait for the first job", waits)
            .await;
        assert_eq!(tenant.scores().len(), usize::try_from(repeat).unwrap());
    }
    let jobs = [ended(tenant, "first").await, ended(tenant, "second").await];
    (jobs, tenant.scores().iter().map(|call| call.status).collect())
}

// C8
pub async fn a_grant_that_oss_enforces_after_minutes_costs_three_denied_calls(stage: Arc<Stage>) {
    // Longer than the first two waits together.
    let slow = BucketSeed {
        block_public_access: true,
        policy_enforcement_ms: 120_000,
        ..BucketSeed::default()
    };
    let late = Tenant::with_bucket(&stage, "late", slow).await;
    let never = Tenant::new(&stage, "never").await;
    assert!(stage.cloud.enforce_without_newest(&never.bucket, 1));
    let ((jobs, answers), (refused, denied)) =
        tokio::join!(through_all_repeats(&late), through_all_repeats(&never));
    assert_eq!(answers, [403, 403, 403, 200, 200].map(Some));
    for (job, sent) in jobs.iter().zip([4, 1]) {
        assert_eq!(condition(job, "Complete")[0], "True", "{job}");
        assert_eq!(job["status"]["requests"]["sent"], sent);
    }
    // A grant that is never enforced costs one more, and the other job one.
    assert_eq!(denied, [403; 5].map(Some));
    for job in &refused {
        assert_eq!(condition(job, "Failed")[1], "PermissionDenied", "{job}");
    }
}

// C16
pub async fn images_that_are_scored_slowly_cost_after_minutes_what_is_counted(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "slow-images").await;
    tenant.granted("grant", &json!({})).await;
    let of_image = |key: &str| FaultMatch {
        action: Some("DetectImageScore".to_owned()),
        bucket: Some(tenant.bucket.clone()),
        key_suffix: Some(key.to_owned()),
        ..FaultMatch::default()
    };
    stage.cloud.add_fault(Fault {
        matching: of_image("slow.jpg"),
        skip: 0,
        times: None,
        effect: FaultEffect::DelayMs(35_000),
    });
    let held = stage.cloud.hold(of_image("stuck.jpg"), 0, None);
    let keys = ["fast.jpg", "slow.jpg", "stuck.jpg"];
    job_over(&tenant, "images", &keys, &json!({"maxFailedItems": 1})).await;
    let job = ended(&tenant, "images").await;
    assert_eq!(held.held(), 3, "the first call and backoffLimitPerItem more");
    drop(held);
    let scores = stage
        .until_calls("all calls", &tenant.bucket, "DetectImageScore", 5)
        .await;
    let of = |suffix: &str| -> Vec<Timestamp> {
        let calls = scores.iter().filter(|call| call.key.as_deref() == Some(suffix));
        calls.map(|call| call.time.parse().unwrap()).collect()
    };
    assert_eq!((of("fast.jpg").len(), of("slow.jpg").len()), (1, 1));
    let mut stuck = of("stuck.jpg");
    stuck.sort_unstable();
    for pair in stuck.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        assert!(apart.as_secs() >= 60, "one call at a time: {apart:#}");
    }
    assert!(scores.iter().all(|call| call.billed));
    assert_eq!(condition(&job, "Complete")[0], "True", "{job}");
    let requests = &job["status"]["requests"];
    assert_eq!(
        [
            &requests["sent"],
            &requests["unanswered"],
            &requests["estimatedBillable"]
        ],
        [5, 3, 5]
    );
    let failures = &job["status"]["failures"];
    assert_eq!(
        [&failures[0]["code"], &failures[0]["count"]],
        [&json!("Timeout"), &json!(1)]
    );
}
