//! What probes in tests need: the time of a test, and a bucket to probe.

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_emulator::{Call, Emulator};
use imm_operator::api::{Grantee, ImageScoreJob, ImmBucketGrant, ObservedBucket};
use imm_operator::cli::doctor::probe::{ProbeClock, ProbeTarget, RenewedKeys, run_probe};
use imm_operator::core::doctor::{
    BucketFacts, CredentialFacts, DoctorReport, Facts, GrantFacts, JobFacts, Probe, ProbeFacts,
    ProbeFindings, ProbePlan, RestoreOutcome,
};
use imm_operator::core::grant::PublicAccessBlock;
use imm_operator::core::place::{BucketPlace, ProjectPlace};
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::follow::{client, keys};
use super::setup::{ACCOUNT_A, ACCOUNT_B, GRANT, JOB, PROBE_BUCKET, REGION, World};

/// A policy in a spelling of its own, which names nobody of account A.
pub(super) const FOREIGN: &str = "{ \"Version\":\"1\",\n\t\"Statement\": [ {\"Effect\":\"Deny\",\"Principal\":\"274901234567890123\",\"Action\":\"oss:DeleteObject\",\"Resource\":\"acs:oss:*:6543210987654321:probe-bucket/*\"} ]\n}";

/// The time of a test. Each change of the policy is enforced when the lag has passed in this time.
pub(super) struct TestClock<'a> {
    emulator: &'a Emulator,
    lag: Duration,
    removal_lag: Duration,
    state: Mutex<State>,
    on_pause: Box<dyn Fn(u32) + Send + Sync + 'a>,
}

#[derive(Default)]
struct State {
    elapsed: Duration,
    /// When each change of the policy is due.
    due: Vec<Duration>,
    /// Number of changes, and how many of them are not enforced.
    held: (usize, usize),
    pauses: u32,
}

impl<'a> TestClock<'a> {
    /// Starts when all earlier changes are enforced.
    pub(super) fn new(emulator: &'a Emulator, lag: u64) -> Self {
        emulator.enforce_without_newest(PROBE_BUCKET, 0);
        Self {
            emulator,
            lag: Duration::from_secs(lag),
            removal_lag: Duration::from_secs(lag),
            state: Mutex::default(),
            on_pause: Box::new(|_| {}),
        }
    }

    /// Sets the lag of putting the policy from before back.
    pub(super) fn removal_lag(mut self, seconds: u64) -> Self {
        self.removal_lag = Duration::from_secs(seconds);
        self
    }

    /// Calls a function at each pause, with the number of pauses.
    pub(super) fn on_pause(mut self, act: impl Fn(u32) + Send + Sync + 'a) -> Self {
        self.on_pause = Box::new(act);
        self
    }

    /// Enforces what is due at this time.
    fn refresh(&self) -> Duration {
        let mut state = self.state.lock().unwrap();
        let calls = self.emulator.calls();
        let changes = calls
            .iter()
            .filter(|call| ["PutBucketPolicy", "DeleteBucketPolicy"].contains(&call.action.as_str()))
            .filter(|call| call.status.is_some_and(|status| status < 300));
        for change in changes.skip(state.due.len()) {
            let lag = if is_removal(change) {
                self.removal_lag
            } else {
                self.lag
            };
            let due = state.elapsed + lag;
            state.due.push(due);
        }
        // A change that is due ends what an earlier one would do.
        let pending = state.due.iter().rev().take_while(|due| **due > state.elapsed);
        let now = (state.due.len(), pending.count());
        // What another client writes meanwhile stays behind the changes that are not due.
        if now != state.held {
            state.held = now;
            self.emulator.enforce_without_newest(PROBE_BUCKET, now.1);
        }
        state.elapsed
    }
}

fn is_removal(change: &Call) -> bool {
    let body = change.body.as_ref();
    body.is_none_or(|body| body.is_empty() || body == FOREIGN)
}

impl ProbeClock for TestClock<'_> {
    fn now(&self) -> Timestamp {
        self.refresh();
        Timestamp::now()
    }
    fn elapsed(&self) -> Duration {
        self.refresh()
    }
    fn pause(&self, length: Duration) -> BoxFuture<'_, ()> {
        let pauses = {
            let mut state = self.state.lock().unwrap();
            state.elapsed += length;
            state.pauses += 1;
            state.pauses
        };
        (self.on_pause)(pauses);
        async {}.boxed()
    }
}

pub(super) fn grantee() -> Grantee {
    let grant: ImmBucketGrant = serde_saphyr::from_str(GRANT).unwrap();
    grant.spec.grantee
}

pub(super) fn target(world: &World, with_policy: bool) -> ProbeTarget<'static> {
    let project = |name: &str| {
        let reference = serde_json::json!({"name": name, "region": REGION, "accountUID": ACCOUNT_A});
        ProjectPlace::of(&serde_json::from_value(reference).unwrap()).unwrap()
    };
    ProbeTarget {
        cloud: client(&world.emulator),
        bucket: BucketPlace::new(PROBE_BUCKET, REGION).unwrap(),
        owner_uid: ACCOUNT_B.to_owned(),
        owner_keys: RenewedKeys::new(keys("LTAI5tPolicy", "canary-policy")),
        other_keys: Some(RenewedKeys::new(keys("LTAI5tScorer", "canary-scorer"))),
        project: project("immtest"),
        caller_keys: RenewedKeys::new(keys("LTAI5tScorer", "canary-scorer")),
        narrow_keys: None,
        other_bucket: None,
        missing_project: project("no-such-project"),
        key: "a.jpg".to_owned(),
        objects: Vec::new(),
        with_policy,
        file: world.path("before.json"),
    }
}

/// Runs a probe whose policy must be back afterwards.
pub(super) async fn probe(world: &World, lag: u64, most_billed: u32) -> ProbeFindings {
    let mut probe = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), most_billed);
    run_plan(world, &mut probe, &[], lag).await;
    let found = probe.findings().clone();
    assert_eq!(u64::from(found.billed), world.emulator.billed());
    assert!(found.billed <= most_billed);
    found
}

/// Runs the steps of a probe whose policy must be back afterwards.
pub(super) async fn run_plan(world: &World, plan: &mut dyn ProbePlan, objects: &[String], lag: u64) {
    let _ = std::fs::remove_file(world.path("before.json"));
    world.emulator.clear_calls();
    let before = world.emulator.policy(PROBE_BUCKET);
    let clock = TestClock::new(&world.emulator, lag);
    let mut target = target(world, before.is_some());
    target.objects = objects.to_vec();
    let outcome = run_probe(&target, plan, &clock, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(outcome, RestoreOutcome::Restored);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), before);
    for call in world.emulator.calls() {
        let written = call.action.starts_with("Put") || call.action.starts_with("Delete");
        assert!(
            !written || call.action.ends_with("BucketPolicy"),
            "{}",
            call.action
        );
    }
}

/// Returns the report about a probe.
pub(super) fn report(found: &ProbeFindings) -> DoctorReport {
    report_for(found, None)
}

/// Concludes from what a probe has found out, for a grant whose bucket has this Block Public Access, if it was read.
pub(super) fn report_for(found: &ProbeFindings, block: Option<PublicAccessBlock>) -> DoctorReport {
    let bucket = block.map(|block| BucketFacts {
        account: Ok(ACCOUNT_B.to_owned()),
        info: Ok(ObservedBucket::default()),
        block: Ok(block),
        policy: Ok(None),
        policy_is_public: None,
    });
    let grant: ImmBucketGrant = serde_saphyr::from_str(GRANT).unwrap();
    let job: ImageScoreJob = serde_saphyr::from_str(JOB).unwrap();
    let credentials = CredentialFacts {
        origin: "Secret keys".to_owned(),
        by_token: false,
        result: Ok(()),
    };
    let facts = Facts {
        grant: Some(GrantFacts {
            spec: grant.spec,
            ledger: Vec::new(),
            credentials: credentials.clone(),
            bucket,
        }),
        job: Some(JobFacts {
            spec: job.spec,
            credentials,
            account: None,
            project: None,
            listing: None,
        }),
        probe: Some(ProbeFacts {
            bucket: PROBE_BUCKET.to_owned(),
            key: "a.jpg".to_owned(),
            findings: found.clone(),
            outcome: RestoreOutcome::Restored,
            file: String::new(),
        }),
        ..Facts::default()
    };
    DoctorReport::of(&facts, Timestamp::now())
}

/// Returns value and certainty of a setting that follows from a probe.
pub(super) fn concluded(found: &ProbeFindings, name: &str) -> (String, bool) {
    setting(&report(found), name)
}

/// Returns value and certainty of a setting.
pub(super) fn setting(report: &DoctorReport, name: &str) -> (String, bool) {
    let found = report
        .conclusion
        .iter()
        .find(|setting| setting.setting == name)
        .unwrap();
    (found.value.clone(), found.confirmed)
}

/// Returns what a check of a probe says.
pub(super) fn seen(found: &ProbeFindings, name: &str) -> String {
    let report = report(found);
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    format!("{} {}", check.seen, check.change.as_deref().unwrap_or_default())
}
