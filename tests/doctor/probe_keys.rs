//! The credentials of a probe: sessions that end before the probe does, and those that put a policy back.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use imm_emulator::{Call, FaultMatch};
use imm_operator::cli::doctor::probe::{DoctorError, KeySource, RenewedKeys, run_probe};
use imm_operator::cloud::sts;
use imm_operator::core::doctor::{Probe, RestoreOutcome};
use imm_operator::ports::{AccessKeys, RoleSession};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::follow::{client, keys};
use super::probe_setup::{TestClock, grantee, target};
use super::setup::{GRANT, JOB, PROBE_BUCKET, Run, World};

const PROBE: &[&str] = &[
    "--probe-bucket",
    PROBE_BUCKET,
    "--probe-object",
    "a.jpg",
    "--i-own",
    PROBE_BUCKET,
];

/// Opens a session of a role that may edit policies.
async fn session(world: &World) -> AccessKeys {
    let session = RoleSession {
        role_arn: "acs:ram::6543210987654321:role/editor".to_owned(),
        name: "probe".to_owned(),
        external_id: None,
        policy: None,
    };
    let user = keys("LTAI5tEditor", "canary-editor");
    sts::assume_role(&client(&world.emulator), &session, &user, Timestamp::now())
        .await
        .unwrap()
}

/// Sessions that say how long they last.
struct Sessions<'a> {
    world: &'a World,
    lasts: SignedDuration,
    opened: &'a AtomicU32,
    most: u32,
}

impl KeySource for Sessions<'_> {
    fn obtain(&self) -> BoxFuture<'_, Result<AccessKeys, DoctorError>> {
        Box::pin(async {
            if self.opened.fetch_add(1, Ordering::SeqCst) >= self.most {
                return Err(DoctorError::Refused("no more sessions".to_owned()));
            }
            Ok(AccessKeys {
                expires_at: Some(Timestamp::now() + self.lasts),
                ..session(self.world).await
            })
        })
    }
}

/// Runs a probe whose sessions say that they last so long. They end at each pause if `end` is set. Returns how it
/// ended and the calls that changed the policy.
async fn run_with(lasts: i64, most: u32, end: bool) -> (Result<RestoreOutcome, DoctorError>, Vec<Call>, u32) {
    let world = World::new("", "").await;
    let opened = AtomicU32::new(0);
    let mut target = target(&world, false);
    target.owner_keys = RenewedKeys::new(Sessions {
        world: &world,
        lasts: SignedDuration::from_secs(lasts),
        opened: &opened,
        most,
    });
    let clock = TestClock::new(&world.emulator, 20).on_pause(|_| {
        if end {
            world.emulator.expire_sessions();
        }
    });
    let mut probe = Probe::new(&grantee(), Some("AliyunIMMDefaultRole"), 60);
    let outcome = run_probe(&target, &mut probe, &clock, &CancellationToken::new()).await;
    if outcome.is_ok() {
        assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
    }
    let calls = world.emulator.calls();
    (outcome, calls, opened.load(Ordering::SeqCst))
}

fn rejected(calls: &[Call]) -> usize {
    let rejected = calls.iter().filter(|call| {
        call.service == "oss" && call.status.is_some_and(|status| status == 403 || status == 400)
    });
    rejected.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_near_its_expiry_is_renewed_before_the_policy_is_put_back() {
    let (outcome, calls, opened) = run_with(299, 100, true).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert_eq!(rejected(&calls), 0, "{calls:#?}");
    assert!(opened > 2, "{opened}");
    // A session that lasts longer than the probe is opened once.
    let (outcome, _, opened) = run_with(3600, 100, false).await;
    assert_eq!((outcome.unwrap(), opened), (RestoreOutcome::Restored, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_early_is_renewed_once_it_is_rejected() {
    let (outcome, calls, opened) = run_with(3600, 100, true).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    assert!(rejected(&calls) > 0 && opened >= 2, "{opened}: {calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_used_until_its_expiry_if_there_is_no_other() {
    let (outcome, ..) = run_with(200, 1, false).await;
    assert_eq!(outcome.unwrap(), RestoreOutcome::Restored);
    let (outcome, calls, _) = run_with(-1, 1, false).await;
    let failed = RestoreOutcome::Failed("no more sessions".to_owned());
    assert_eq!(outcome.unwrap(), failed, "{calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_obtained_again_after_the_answer_of_the_user() {
    let world = World::new("", "").await;
    std::fs::create_dir(world.path("own")).unwrap();
    let store = |keys: &AccessKeys| {
        use secrecy::ExposeSecret;
        for (name, value) in [
            ("accessKeyId", keys.id.as_str()),
            ("accessKeySecret", keys.secret.expose_secret()),
            ("securityToken", keys.token.as_ref().unwrap().expose_secret()),
        ] {
            std::fs::write(world.path("own").join(name), value).unwrap();
        }
    };
    store(&session(&world).await);
    let flags = [
        PROBE,
        &["--own-identity", "folder", "--credentials-folder", "own"],
    ]
    .concat();
    let environment = [
        ("IMM_OPERATOR_JOB_ACCESS_KEY_ID", "LTAI5tScorer"),
        ("IMM_OPERATOR_JOB_ACCESS_KEY_SECRET", "canary-scorer"),
    ];
    let mut child = world
        .command(&format!("{GRANT}---{JOB}"), &flags, &environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("write yes") {
            break;
        }
    }
    world.emulator.expire_sessions();
    store(&session(&world).await);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"yes\n").await.unwrap();
    drop(input);
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    let run = Run::of(&child.wait_with_output().await.unwrap());
    assert!(
        run.stdout
            .contains("the policy is byte for byte the one from before"),
        "{rest}{}",
        run.stdout
    );
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_put_back_with_the_credentials_of_the_grant() {
    let world = World::new("", "").await;
    let role = "credentials: {source: Secret, secretRef: {name: oss-policy-admin}, assumeRole: {roleARN: \"acs:ram::6543210987654321:role/editor\"}}";
    let grant = GRANT.replace(
        "credentials: {source: Secret, secretRef: {name: oss-policy-admin}}",
        role,
    );
    let environment = [
        ("IMM_OPERATOR_GRANT_ACCESS_KEY_ID", "LTAI5tEditor"),
        ("IMM_OPERATOR_GRANT_ACCESS_KEY_SECRET", "canary-editor"),
        ("IMM_OPERATOR_JOB_ACCESS_KEY_ID", "LTAI5tScorer"),
        ("IMM_OPERATOR_JOB_ACCESS_KEY_SECRET", "canary-scorer"),
    ];
    let scoring = FaultMatch {
        action: Some("DetectImageScore".to_owned()),
        ..FaultMatch::default()
    };
    let hold = world.emulator.hold(scoring, 1, None);
    let flags = [PROBE, &["--yes"]].concat();
    let mut child = world
        .command(&format!("{grant}---{JOB}"), &flags, &environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while hold.held() == 0 {
        if child.try_wait().unwrap().is_some() {
            let run = Run::of(&child.wait_with_output().await.unwrap());
            panic!("{}{}", run.stdout, run.stderr);
        }
        tokio::task::yield_now().await;
    }
    child.kill().await.unwrap();
    drop(hold);
    assert!(world.emulator.policy(PROBE_BUCKET).is_some());
    let file = format!("imm-operator-doctor-{PROBE_BUCKET}.json");
    let back = ["--restore", file.as_str()];
    let run = world.command("", &back, &[]).output().await.unwrap();
    let run = Run::of(&run);
    assert!(
        run.code == 2 && run.stderr.contains("name its grant with -f"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    assert!(world.emulator.policy(PROBE_BUCKET).is_some());
    let run = Run::of(&world.command(&grant, &back, &environment).output().await.unwrap());
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(world.emulator.policy(PROBE_BUCKET), None);
}
