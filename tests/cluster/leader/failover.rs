//! Failover: a lease that is released, that expires, or that is lost by a process that was frozen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use imm_harness::until;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::pair::{OTHERS, Rival, TERM, holder, home, room, two};
use crate::support::seen::statements;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant, condition, until_held};

/// Checks that the policy holds exactly the foreign statement, unchanged, and ours once.
fn ours_once(tenant: &Tenant) {
    let policy = tenant.policy();
    assert_eq!(statements(&policy).len(), 2, "{policy}");
    assert!(policy.contains("27490"), "{policy}");
}

/// Stops the remaining process by SIGTERM, which must succeed.
async fn finish(last: Rival) {
    assert!(last.operator.terminate().await.unwrap().success());
}

/// Returns when the holder of the lease acquired it, and when it was renewed last.
async fn lease_times(stage: &Stage, home: &str) -> [Timestamp; 2] {
    let times = "jsonpath={.spec.acquireTime} {.spec.renewTime}";
    let times = stage
        .kubectl(&["get", "lease", "imm-operator", "-n", home, "-o", times])
        .await;
    let times: Vec<Timestamp> = times.split(' ').map(|time| time.parse().unwrap()).collect();
    times.try_into().unwrap()
}

// D12
pub async fn a_stopped_leader_releases_its_lease_immediately(stage: Arc<Stage>) {
    let tenant = room(&stage, "handed").await;
    let (first, second) = two(&tenant, "first", "second").await;
    tenant.granted("before", &json!({})).await;
    assert!(first.operator.terminate().await.unwrap().success());
    // The lease has no holder any more, or the standby already holds it: nobody waits for its expiry.
    let holder_now = holder(&stage, &home(&tenant)).await;
    assert!(
        holder_now.is_empty() || holder_now.starts_with("second_"),
        "{holder_now}"
    );
    second.leads(PATIENCE).await;
    tenant.reconcile("before").await;
    assert_eq!(tenant.puts().len(), 1, "the new leader writes nothing again");
    ours_once(&tenant);
    tenant
        .granted("after", &json!({"access": {"prefixes": ["a/"]}}))
        .await;
    finish(second).await;
    let holder = holder(&stage, &home(&tenant)).await;
    assert_eq!(holder, "", "the lease is released");
}

// G32
pub async fn a_rolling_update_loses_and_duplicates_nothing(stage: Arc<Stage>) {
    let tenant = room(&stage, "rolled").await;
    let (old, other) = two(&tenant, "old-one", "old-two").await;
    // Grants are applied while processes are replaced one by one, as a Deployment does.
    let grant = |n: usize| {
        tenant.grant(
            &format!("grant-{n}"),
            &json!({"access": {"prefixes": [format!("{n}/")]}}),
        )
    };
    tenant.apply(&grant(0)).await;
    let new = Rival::start(&tenant, "new-one").await;
    tenant.apply(&grant(1)).await;
    assert!(old.operator.terminate().await.unwrap().success());
    tenant.apply(&grant(2)).await;
    let last = Rival::start(&tenant, "new-two").await;
    tenant.apply(&grant(3)).await;
    assert!(other.operator.terminate().await.unwrap().success());
    assert!(new.operator.terminate().await.unwrap().success());
    tenant.apply(&grant(4)).await;
    for n in 0..5 {
        tenant.until_reason(GRANT, &format!("grant-{n}"), "Applied").await;
    }
    let policy = tenant.policy();
    assert_eq!(statements(&policy).len(), 6, "{policy}");
    for n in 0..5 {
        assert_eq!(policy.matches(&format!("/{n}/*")).count(), 1, "{policy}");
        tenant.delete(GRANT, &format!("grant-{n}")).await;
    }
    for n in 0..5 {
        tenant.until_deleted(GRANT, &format!("grant-{n}")).await;
    }
    assert_eq!(tenant.policy(), OTHERS);
    finish(last).await;
}

// D12, C16
pub async fn a_killed_leader_is_replaced_within_the_lease_duration(stage: Arc<Stage>) {
    let tenant = room(&stage, "followed").await;
    let (first, second) = two(&tenant, "killed", "follower").await;
    tenant.apply(&tenant.grant("grant", &json!({}))).await;
    stage
        .until_calls("the write", &tenant.bucket, "PutBucketPolicy", 1)
        .await;
    first.operator.kill().unwrap();
    let [_, renewed] = lease_times(&stage, &home(&tenant)).await;
    second.leads(PATIENCE).await;
    // Not before the lease expires: the killed leader could still be writing.
    let [acquired, _] = lease_times(&stage, &home(&tenant)).await;
    let apart = acquired.duration_since(renewed);
    assert!(apart.as_secs() >= 40, "{apart:#}");
    tenant.until_reason(GRANT, "grant", "Applied").await;
    ours_once(&tenant);
    assert_eq!(tenant.puts().len(), 1);
    // A billed call of the killed leader could still be in flight for 30 s.
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.apply(&tenant.job("resumed", &["a.jpg"], &json!({}))).await;
    tenant.until_true(JOB, "resumed", "Complete").await;
    let scores = tenant.scores();
    let [called] = scores.as_slice() else {
        panic!("{scores:?}");
    };
    let pause = called.time.parse::<Timestamp>().unwrap().duration_since(acquired);
    assert!(pause.as_secs() >= 29, "{pause:#}");
    finish(second).await;
}

// D12
pub async fn a_live_leader_keeps_its_lease_and_exits_when_the_lease_is_taken(stage: Arc<Stage>) {
    let tenant = room(&stage, "living").await;
    let (first, second) = two(&tenant, "living", "patient").await;
    let home = home(&tenant);
    // Longer than the lease duration: for the standby, each renewal starts that time again.
    let started = Instant::now();
    until("the lease duration to pass", PATIENCE, || async {
        let holder = holder(&stage, &home).await;
        assert!(holder.starts_with("living_"), "{holder}");
        (started.elapsed() > TERM).then_some(())
    })
    .await
    .unwrap();
    let times = lease_times(&stage, &home).await;
    assert!(
        times[1].duration_since(times[0]).as_secs() >= 40,
        "the lease shows how long it is held: {times:?}"
    );
    // When the lease is taken, the holder does not wait for its expiry.
    let taken = r#"{"spec": {"holderIdentity": "another"}}"#;
    let patch = [
        "patch",
        "lease",
        "imm-operator",
        "-n",
        &home,
        "--type=merge",
        "-p",
        taken,
    ];
    stage.kubectl(&patch).await;
    let status = first.operator.end(Duration::from_secs(25)).await.unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(!second.works().await);
    finish(second).await;
}

/// Lets the standby take the lease of a frozen leader, then resumes the frozen one, which must exit with an error.
async fn fail_over(tenant: &Tenant, frozen: Rival, standby: &Rival) -> Value {
    standby.leads(PATIENCE).await;
    let grant = tenant.until_reason(GRANT, "grant", "Applied").await;
    frozen.operator.thaw().unwrap();
    let status = frozen.operator.end(Duration::from_secs(30)).await.unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(frozen.operator.log().contains("lost the lease"));
    grant
}

// G32: frozen during its second read. After it resumes, the answer is there, and its write would be next.
pub async fn a_frozen_leader_exits_without_a_write_after_it_resumes(stage: Arc<Stage>) {
    let tenant = room(&stage, "asleep").await;
    let (first, second) = two(&tenant, "frozen", "awake").await;
    let second_read = tenant.hold("GetBucketPolicy", 1, Some(1));
    tenant.apply(&tenant.grant("grant", &json!({}))).await;
    until_held(&second_read, 1).await;
    first.operator.freeze().unwrap();
    drop(second_read);
    stage
        .until_calls("the second read", &tenant.bucket, "GetBucketPolicy", 2)
        .await;
    assert!(tenant.puts().is_empty());
    let grant = fail_over(&tenant, first, &second).await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    ours_once(&tenant);
    assert_eq!(tenant.puts().len(), 1, "only the standby has written");
    tenant.delete(GRANT, "grant").await;
    until("the statement to be removed", PATIENCE, || async {
        let policy = tenant.policy();
        if policy == OTHERS { Ok(()) } else { Err(policy) }
    })
    .await
    .unwrap();
    finish(second).await;
}

// G32: frozen while its write is in flight.
pub async fn a_write_of_a_frozen_leader_is_found_by_the_next_leader(stage: Arc<Stage>) {
    let tenant = room(&stage, "found").await;
    let (first, second) = two(&tenant, "sleeper", "finder").await;
    let write = tenant.hold("PutBucketPolicy", 0, Some(1));
    tenant.apply(&tenant.grant("grant", &json!({}))).await;
    until_held(&write, 1).await;
    let frozen_at = Timestamp::now();
    first.operator.freeze().unwrap();
    assert!(tenant.puts().is_empty(), "the write is in flight");
    drop(write);
    fail_over(&tenant, first, &second).await;
    ours_once(&tenant);
    let puts = tenant.puts();
    assert_eq!(puts.len(), 1, "{puts:?}");
    let taken_in: Timestamp = puts[0].time.parse().unwrap();
    assert!(
        taken_in < frozen_at,
        "the write is that of the frozen leader: {taken_in} {frozen_at}"
    );
    tenant.reconcile("grant").await;
    ours_once(&tenant);
    finish(second).await;
}
