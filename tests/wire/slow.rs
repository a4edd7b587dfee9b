//! Images that IMM scores slowly. The emulator holds the call, and the test moves the clock of the client meanwhile.

use std::time::Duration;

use imm_emulator::{Emulator, FaultMatch, Hold, Options};
use imm_harness::until;
use imm_operator::api::JobAccess;
use imm_operator::cloud::imm;
use imm_operator::ports::CloudError;
use k8s_openapi::jiff::Timestamp;
use tokio::task::JoinHandle;

use super::formats::{caller, client, emulator, project};

const BUCKET: &str = "test-bucket-2024";
/// Lets the project read the bucket.
const POLICY: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:GetObject"],
    "Principal":["arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole/*"],
    "Resource":["acs:oss:*:6543210987654321:test-bucket-2024/*"]}]}"#;

/// A call that the emulator has received and does not answer.
struct HeldCall {
    emulator: Emulator,
    hold: Hold,
    answer: JoinHandle<Result<String, CloudError>>,
}

impl HeldCall {
    async fn start() -> Self {
        let emulator = emulator(Options::default()).await;
        assert!(emulator.set_policy(BUCKET, Some(POLICY)));
        let hold = emulator.hold(FaultMatch::default(), 0, None);
        let cloud = client(&emulator.url());
        let answer = tokio::spawn(async move {
            let (access, now) = (JobAccess::default(), Timestamp::now());
            let uri = format!("oss://{BUCKET}/test-object.jpg");
            imm::detect_image_score(&cloud, &project(), &access, &caller(), &uri, now).await
        });
        until("the call to arrive", Duration::from_secs(30), || async {
            (hold.held() == 1).then_some(())
        })
        .await
        .unwrap();
        Self {
            emulator,
            hold,
            answer,
        }
    }

    /// Lets time pass for the client. The clock moves at once, and then by itself again.
    async fn pass(&self, time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

// C16
#[tokio::test]
async fn an_image_that_takes_most_of_a_minute_is_scored_by_one_call() {
    let call = HeldCall::start().await;
    for seconds in [35, 20] {
        call.pass(Duration::from_secs(seconds)).await;
        assert!(!call.answer.is_finished(), "given up after {seconds} s more");
    }
    drop(call.hold);
    assert_eq!(call.answer.await.unwrap().unwrap(), "0.727");
    assert_eq!(call.emulator.billed(), 1);
}

// C16
#[tokio::test]
async fn an_image_that_takes_longer_than_a_minute_is_given_up_and_billed() {
    let call = HeldCall::start().await;
    call.pass(Duration::from_secs(61)).await;
    assert!(call.answer.is_finished());
    let error = call.answer.await.unwrap().unwrap_err();
    assert_eq!(super::kind_and_code(&error), "Unanswered Timeout");
    assert!(error.may_be_billed());
    drop(call.hold);
    until("the call to be billed", Duration::from_secs(30), || async {
        (call.emulator.billed() == 1).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(call.emulator.calls().len(), 1, "it is not sent again by itself");
}
