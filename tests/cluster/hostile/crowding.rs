//! Tenants whose grants are all wrong, against the same load by tenants whose grants are right; and tenants whose jobs
//! wait, against the same edits of jobs that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use imm_emulator::{BucketSeed, FaultMatch};
use imm_harness::{Helm, until};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::support::tenant::{GRANT, JOB};
use crate::support::user::User;
use crate::support::{ACCOUNT_B, PATIENCE, REGION, Stage, Tenant, chart};

/// Grants on the bucket of the victim, each with an identity of its own, and grants elsewhere.
const ON_THE_BUCKET: usize = 24;
const ELSEWHERE: usize = 96;
const BUCKETS: usize = 16;
/// Jobs of a crowd.
const JOBS: usize = 1_500;
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
}

/// A user who edits objects until it is dropped.
struct Load {
    edits: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Load {
    /// Starts to edit `count` objects in turns, at most 200 a second; `change_of` makes the n-th change. Returns when the
    /// load counts as running.
    async fn start(
        user: &Arc<User>,
        kind: &'static str,
        count: usize,
        change_of: fn(usize) -> Value,
    ) -> Self {
        let edits = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(edit(Arc::clone(user), kind, count, change_of, Arc::clone(&edits)));
        let load = Self { edits, task };
        until("the load", PATIENCE, || async {
            let count = load.edits();
            if count >= WARM_UP {
                Ok(())
            } else {
                Err(count.to_string())
            }
        })
        .await
        .unwrap();
        load
    }

    fn edits(&self) -> usize {
        self.edits.load(Ordering::Relaxed)
    }
}

async fn edit(
    user: Arc<User>,
    kind: &'static str,
    count: usize,
    change_of: fn(usize) -> Value,
    edits: Arc<AtomicUsize>,
) {
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
            let name = format!("g-{}", number % count);
            user.patch(kind, &name, &change_of(number)).await;
            edits.fetch_add(1, Ordering::Relaxed);
        });
    }
}

fn hardly_more(right: Duration, wrong: Duration) -> bool {
    wrong <= (right * 2).max(right + Duration::from_secs(5))
}

/// Returns how long it takes under the load to apply a grant, and to remove its statements.
async fn apply_and_revoke(stage: &Arc<Stage>, name: &str, right: bool) -> [Duration; 2] {
    let victim = Tenant::new(stage, &format!("victim-{name}")).await;
    let crowd = Crowd::new(stage, &format!("crowd-{name}"), right).await;
    crowd.apply_grants((!right).then_some(&victim)).await;
    let annotation = |number: usize| {
        let value = number.to_string();
        json!({"metadata": {"annotations": {"immops.dev/reconcile-at": value}}})
    };
    let load = Load::start(&crowd.user, GRANT, ON_THE_BUCKET + ELSEWHERE, annotation).await;
    let started = Instant::now();
    victim.granted("victim", &json!({})).await;
    let applied = started.elapsed();
    let started = Instant::now();
    victim.delete(GRANT, "victim").await;
    victim.until_deleted(GRANT, "victim").await;
    let revoked = started.elapsed();
    assert_eq!(victim.policy(), "");
    println!(
        "{name}: applied after {applied:?}, revoked after {revoked:?}, {} edits",
        load.edits()
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
        if right
            .iter()
            .zip(&wrong)
            .all(|(right, wrong)| hardly_more(*right, *wrong))
        {
            break;
        }
        assert!(round < ROUNDS, "{wrong:?}, and {right:?} among right grants");
    }
    stage.finish().await.unwrap();
}

/// Returns how long the job of a victim takes while others edit their jobs, which wait for grants that do not exist, or
/// are suspended.
async fn score(stage: &Arc<Stage>, name: &str, waiting: bool) -> Duration {
    let victim = Tenant::new(stage, &format!("scoring-{name}")).await;
    assert!(
        stage
            .cloud
            .put_object(&victim.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    victim.granted("open", &json!({})).await;
    let crowd = Tenant::new(stage, &format!("jobs-{name}")).await;
    let user = Arc::new(User::new(stage, &crowd.name, "admin").await);
    let mut creations = JoinSet::new();
    for number in 0..JOBS {
        if creations.len() >= 16 {
            creations.join_next().await.unwrap().unwrap();
        }
        let change = json!({"suspend": !waiting, "grantRef": {"name": format!("missing-{number}")}});
        let job: Value =
            serde_json::from_str(&crowd.job(&format!("g-{number}"), &["a.jpg"], &change)).unwrap();
        let user = Arc::clone(&user);
        creations.spawn(async move { user.create(JOB, &job).await });
    }
    creations.join_all().await;
    let parallelism = |number: usize| json!({"spec": {"parallelism": number / JOBS % 50 + 1}});
    let load = Load::start(&user, JOB, JOBS, parallelism).await;
    let started = Instant::now();
    let change = json!({"grantRef": {"name": "open"}});
    victim.apply(&victim.job("scored", &["a.jpg"], &change)).await;
    victim.until_true(JOB, "scored", "Complete").await;
    let scored = started.elapsed();
    println!("{name}: scored after {scored:?}, {} edits", load.edits());
    scored
}

// T8
pub async fn waiting_jobs_delay_others_hardly_more_than_suspended_ones(stage: Arc<Stage>) {
    let stage = stage.another_with_controllers(Helm::Four, &chart()).await;
    for round in 1..=ROUNDS {
        let suspended = score(&stage, &format!("suspended-{round}"), false).await;
        let waiting = score(&stage, &format!("waiting-{round}"), true).await;
        if hardly_more(suspended, waiting) {
            break;
        }
        assert!(
            round < ROUNDS,
            "{waiting:?}, and {suspended:?} among suspended jobs"
        );
    }
    stage.finish().await.unwrap();
}
