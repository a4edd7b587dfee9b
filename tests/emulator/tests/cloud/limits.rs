//! The two limits of a project: requests per second and requests in flight.
//! The expected counts do not depend on the speed of the machine.

use imm_emulator::{Options, ProjectSeed};

use crate::client::{ACCOUNT_A, BUCKET, Client, grant_policy, started};

fn project(name: &str) -> ProjectSeed {
    ProjectSeed {
        name: name.to_owned(),
        region: "cn-hangzhou".to_owned(),
        account: ACCOUNT_A.to_owned(),
        ..ProjectSeed::default()
    }
}

#[tokio::test]
async fn requests_above_the_rate_limit_are_throttled() {
    let options = Options {
        throttle_status: 429,
        throttle_retry_after_ms: Some(250),
        ..Options::default()
    };
    let emulator = started(options).await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    emulator
        .add_project(ProjectSeed {
            queries_per_second: Some(0),
            ..project("closed")
        })
        .unwrap();
    let caller = Client::caller(&emulator);
    let uri = format!("oss://{BUCKET}/test-object.jpg");
    let reply = caller
        .imm(
            "DetectImageScore",
            &[("ProjectName", "closed"), ("SourceURI", &uri)],
        )
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "Throttling.User"));
    assert_eq!(reply.header("x-acs-retry-after"), Some("250"));

    // However fast this machine is, at most the quota is admitted in each one-second window.
    emulator
        .add_project(ProjectSeed {
            queries_per_second: Some(3),
            ..project("slow")
        })
        .unwrap();
    let started = std::time::Instant::now();
    let mut passed = 0;
    for _ in 0..40 {
        let reply = caller
            .imm(
                "DetectImageScore",
                &[("ProjectName", "slow"), ("SourceURI", &uri)],
            )
            .await;
        passed += u64::from(reply.status == 200);
    }
    let windows = started.elapsed().as_secs() + 2;
    assert!(
        (3..=3 * windows).contains(&passed),
        "{passed} in {windows} windows"
    );
}

#[tokio::test]
async fn requests_above_the_concurrency_limit_are_throttled() {
    let emulator = started(Options::default()).await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let narrow = ProjectSeed {
        concurrency: Some(2),
        latency_ms: 400,
        ..project("narrow")
    };
    emulator.add_project(narrow).unwrap();
    let caller = Client::caller(&emulator);
    let uri = format!("oss://{BUCKET}/test-object.jpg");
    let parameters = [("ProjectName", "narrow"), ("SourceURI", uri.as_str())];
    let call = || caller.imm("DetectImageScore", &parameters);
    let (first, second, third) = tokio::join!(call(), call(), call());
    let mut statuses = [first.status, second.status, third.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 400]);
    assert_eq!(call().await.status, 200, "the slots are released");
}
