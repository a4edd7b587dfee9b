//! Tenants whose grants are all wrong, against the same load by tenants whose grants are right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use imm_emulator::{BucketSeed, FaultMatch};
use imm_harness::{Helm, until};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::support::tenant::GRANT;
use crate::support::user::User;
use crate::support::{ACCOUNT_B, PATIENCE, REGION, Stage, Tenant, chart};

/// Grants on the bucket of the victim, each with an identity of its own, and grants elsewhere.
const ON_THE_BUCKET: usize = 24;
const ELSEWHERE: usize = 96;
const BUCKETS: usize = 16;
/// Time between two edits: 200 a second.
const EDIT_EVERY: Duration = Duration::from_millis(5);
/// Times that the two loads are compared: the processors have other work as well.
const ROUNDS: usize = 3;
/// Edits after which the load counts as running.
const WARM_UP: usize = 400;
/// An AccessKey ID whose calls are never answered.
const UNANSWERED: &str = "LTAI-stranger";

/// A namespace with many grants, whose owner edits them all the time.
struct Crowd {
    tenant: Tenant,
    user: Arc<User>,
}

impl Crowd {
    /// Creates the namespace, its Secrets, and its buckets if they are to exist.
    async fn new(stage: &Arc<Stage>, name: &str, right: bool) -> Self {
        let tenant = Tenant::new(stage, name).await;
        let identities = ON_THE_BUCKET + BUCKETS;
        let secrets = (0..identities).map(|number| {
            let mut secret: Value = serde_json::from_str(&tenant.keys("owner")).unwrap();
            secret["metadata"]["name"] = json!(format!("keys-{number}"));
            if !right {
                secret["stringData"]["accessKeyId"] = json!(UNANSWERED);
            }
            secret
        });
        let mut items: Vec<Value> = secrets.collect();
        let names: Vec<String> = (0..identities).map(|number| format!("keys-{number}")).collect();
        items.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "read-keys", "namespace": name},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"]}]}));
        tenant
            .apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
            .await;
        if right {
            for number in 0..BUCKETS {
                let bucket = BucketSeed {
                    name: format!("{name}-{number}"),
                    region: REGION.to_owned(),
                    owner: ACCOUNT_B.to_owned(),
                    block_public_access: true,
                    ..BucketSeed::default()
                };
                stage.cloud.add_bucket(bucket).unwrap();
            }
        }
        let user = Arc::new(User::new(stage, name, "admin").await);
        Self { tenant, user }
    }

    /// Creates the grants; those on the bucket of the victim are on a bucket of their own if they are right.
    async fn apply_grants(&self, victim: Option<&Tenant>) {
        let grants = (0..ON_THE_BUCKET + ELSEWHERE).map(|number| {
            let (bucket, keys) = match (number < ON_THE_BUCKET, victim) {
                (true, Some(victim)) => (victim.bucket.clone(), number),
                (true, None) => (self.tenant.bucket.clone(), number),
                (false, _) => (
                    format!("{}-{}", self.tenant.name, number % BUCKETS),
                    ON_THE_BUCKET + number % BUCKETS,
                ),
            };
            let changes = json!({
                "bucket": {"name": bucket},
                "credentials": {"secretRef": {"name": format!("keys-{keys}")}},
                "access": {"prefixes": [format!("{number}/")]},
            });
            let grant = self.tenant.grant(&format!("g-{number}"), &changes);
            serde_json::from_str(&grant).unwrap()
        });
        let items: Vec<Value> = grants.collect();
        self.tenant
            .apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
            .await;
    }

    /// Edits the grants in turns, at most 200 a second, until it is aborted.
    async fn edit_grants(user: Arc<User>, edits: Arc<AtomicUsize>) {
        let mut ticks = tokio::time::interval(EDIT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = JoinSet::new();
        for number in 0.. {
            ticks.tick().await;
            if under_way.len() >= 16 {
                under_way.join_next().await;
            }
            let (user, edits) = (Arc::clone(&user), Arc::clone(&edits));
            under_way.spawn(async move {
                let name = format!("g-{}", number % (ON_THE_BUCKET + ELSEWHERE));
                let change =
                    json!({"metadata": {"annotations": {"immops.dev/reconcile-at": number.to_string()}}});
                user.patch(GRANT, &name, &change).await;
                edits.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// Returns how long it takes under the load to apply a grant, and to remove its statements.
async fn apply_and_revoke(stage: &Arc<Stage>, name: &str, right: bool) -> [Duration; 2] {
    let victim = Tenant::new(stage, &format!("victim-{name}")).await;
    let crowd = Crowd::new(stage, &format!("crowd-{name}"), right).await;
    crowd.apply_grants((!right).then_some(&victim)).await;
    let edits = Arc::new(AtomicUsize::new(0));
    let load = tokio::spawn(Crowd::edit_grants(Arc::clone(&crowd.user), Arc::clone(&edits)));
    until("the load", PATIENCE, || async {
        let count = edits.load(Ordering::Relaxed);
        if count >= WARM_UP {
            Ok(())
        } else {
            Err(count.to_string())
        }
    })
    .await
    .unwrap();
    let started = Instant::now();
    victim.granted("victim", &json!({})).await;
    let applied = started.elapsed();
    let started = Instant::now();
    victim.delete(GRANT, "victim").await;
    victim.until_deleted(GRANT, "victim").await;
    let revoked = started.elapsed();
    assert_eq!(victim.policy(), "");
    load.abort();
    println!(
        "{name}: applied after {applied:?}, revoked after {revoked:?}, {} edits",
        edits.load(Ordering::Relaxed)
    );
    [applied, revoked]
}

// T8
pub async fn wrong_grants_delay_others_hardly_more_than_right_ones(stage: Arc<Stage>) {
    // The load would disturb other tests, so this test has a cluster of its own.
    let stage = stage.another_with_controllers(Helm::Four, &chart()).await;
    for round in 1..=ROUNDS {
        let right = apply_and_revoke(&stage, &format!("right-{round}"), true).await;
        let unanswered = FaultMatch {
            access_key_id: Some(UNANSWERED.to_owned()),
            ..FaultMatch::default()
        };
        let held = stage.cloud.hold(unanswered, 0, None);
        let wrong = apply_and_revoke(&stage, &format!("wrong-{round}"), false).await;
        assert!(held.held() > 0, "the crowd made no call");
        drop(held);
        let hardly_more = |(right, wrong): (&Duration, &Duration)| {
            *wrong <= (*right * 2).max(*right + Duration::from_secs(5))
        };
        if right.iter().zip(&wrong).all(hardly_more) {
            break;
        }
        assert!(round < ROUNDS, "{wrong:?}, and {right:?} among right grants");
    }
    stage.finish().await.unwrap();
}
