//! OSS rejects a change of a bucket's policy while another request changes any setting of the bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use imm_emulator::BucketSeed;
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

const GRANTS: usize = 10;

/// Changes settings of the buckets all the time, so that they are locked a third of the time.
async fn change_settings(stage: Arc<Stage>, buckets: Vec<String>, changes: Arc<AtomicUsize>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(450));
    loop {
        ticks.tick().await;
        let taken = buckets
            .iter()
            .filter(|bucket| stage.cloud.change_settings(bucket));
        changes.fetch_add(taken.count(), Ordering::Relaxed);
    }
}

// C7
pub async fn grants_become_live_while_another_client_changes_settings_of_the_buckets(stage: Arc<Stage>) {
    let mut tenants = Vec::new();
    for number in 0..10 {
        let locking = BucketSeed {
            settings_lock_ms: 150,
            ..BucketSeed::default()
        };
        tenants.push(Tenant::with_bucket(&stage, &format!("locked-{number}"), locking).await);
    }
    let buckets: Vec<String> = tenants.iter().map(|tenant| tenant.bucket.clone()).collect();
    let changes = Arc::new(AtomicUsize::new(0));
    let writer = change_settings(Arc::clone(&stage), buckets.clone(), Arc::clone(&changes));
    let writer = tokio::spawn(writer);
    let granted = tenants.iter().map(|tenant| async move {
        let changes =
            |number: usize| json!({"access": {"preset": "Minimal", "prefixes": [format!("p{number}/")]}});
        for number in 0..GRANTS {
            tenant
                .apply(&tenant.grant(&format!("g{number}"), &changes(number)))
                .await;
        }
        for number in 0..GRANTS {
            let name = format!("g{number}");
            let live = tenant.until(GRANT, &name, "Applied", |grant| {
                assert_ne!(condition(grant, "Stalled")[0], "True", "{grant}");
                condition(grant, "Ready")[1] == "Applied"
            });
            live.await;
        }
        // A deletion does not wait until a rejected write is certainly over.
        tenant.delete(GRANT, "g0").await;
        tenant.until_deleted(GRANT, "g0").await;
    });
    join_all(granted).await;
    writer.abort();
    assert!(changes.load(Ordering::Relaxed) > 0);
    let puts = tenants.iter().flat_map(Tenant::puts).collect::<Vec<_>>();
    assert!(
        puts.iter()
            .any(|put| put.code.as_deref() == Some("ConcurrentUpdateBucketFailed")),
        "no write met a lock"
    );
    for tenant in &tenants {
        let answered = puts
            .iter()
            .filter(|put| put.bucket.as_ref() == Some(&tenant.bucket));
        let mut bodies: Vec<_> = answered
            .filter(|put| put.status == Some(200))
            .map(|put| put.body.clone())
            .collect();
        let all = bodies.len();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), all, "a write of {} is doubled", tenant.bucket);
    }
}
