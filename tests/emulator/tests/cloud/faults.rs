//! Injected faults and their effect on the cloud.
//! Each test checks the resulting state of the cloud, not only what the client saw.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};

use crate::client::{BUCKET, Client, cross_account, grant_policy};

fn answer(status: u16, code: &str) -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status,
        code: code.to_owned(),
        ..FaultAnswer::default()
    })
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_answer_has() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let (target, before) = (format!("/{BUCKET}/?policy"), emulator.policy(BUCKET));
    emulator.add_fault(Fault::on_action("PutBucketPolicy", 1, FaultEffect::DropBefore));
    emulator.add_fault(Fault::on_action("PutBucketPolicy", 1, FaultEffect::DropAfter));
    let put = || async {
        owner
            .oss_with("PUT", &target, &[], grant_policy().as_bytes())
            .await
            .map(|reply| reply.status)
    };
    assert_eq!(put().await, None);
    assert_eq!(emulator.policy(BUCKET), before);
    assert_eq!(put().await, None);
    assert_eq!(emulator.policy(BUCKET), Some(grant_policy()));
    assert_eq!(put().await, Some(200), "both faults are used up");
    let calls = emulator.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.fault.as_deref(), call.status))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("dropBefore"), None),
            (Some("dropAfter"), Some(200)),
            (None, Some(200))
        ]
    );
}

#[tokio::test]
async fn a_billed_call_with_a_lost_response_stays_billed() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    emulator.add_fault(Fault::on_action("DetectImageScore", 1, FaultEffect::DropAfter));
    emulator.add_fault(Fault::on_action("DetectImageScore", 1, FaultEffect::DropBefore));
    emulator.add_fault(Fault::on_action(
        "DetectImageScore",
        1,
        answer(500, "InternalError"),
    ));
    emulator.add_fault(Fault::on_action(
        "DetectImageScore",
        1,
        answer(429, "Throttling.User"),
    ));
    let parameters = [("ProjectName", "immtest"), ("SourceURI", "oss://a-b/c")];
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let reply = caller.rpc("2020-09-30", "DetectImageScore", &parameters).await;
        statuses.push(reply.map(|reply| reply.status));
    }
    assert_eq!(statuses, [None, None, Some(500), Some(429)]);
    let billed: Vec<bool> = emulator.calls().iter().map(|call| call.billed).collect();
    assert_eq!(billed, [true, false, false, true]);
}

#[tokio::test]
async fn an_injected_error_has_the_format_of_the_service() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let mut order: Fault = serde_json::from_str(
        r#"{"match":{"service":"oss","action":"GetBucketPolicy","bucket":"test-bucket-2024"},"skip":1,"times":1,
            "effect":{"answer":{"status":503,"code":"MetaOperationQpsLimitExceeded","ec":"0099-1"}}}"#,
    )
    .unwrap();
    emulator.add_fault(order.clone());
    assert_eq!(
        owner.get_policy().await.status,
        200,
        "skip leaves the first call unaffected"
    );
    let reply = owner.get_policy().await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "MetaOperationQpsLimitExceeded")
    );
    assert_eq!(reply.header("x-oss-ec"), Some("0099-1"));
    assert_eq!(
        owner.get_policy().await.status,
        200,
        "the fault applies only once"
    );

    order.skip = 0;
    order.matching = FaultMatch {
        access_key_id: Some("LTAI5tImmCaller00001".to_owned()),
        ..FaultMatch::default()
    };
    emulator.add_fault(order);
    assert_eq!(owner.get_policy().await.status, 200, "another key");
    let reply = Client::caller(&emulator)
        .imm("GetProject", &[("ProjectName", "immtest")])
        .await;
    assert_eq!(
        (reply.status, reply.json()["Code"].as_str()),
        (503, Some("MetaOperationQpsLimitExceeded"))
    );

    let page = FaultAnswer {
        status: 200,
        body: Some("<html>maintenance</html>".to_owned()),
        content_type: Some("text/html".to_owned()),
        retry_after_ms: Some(5),
        ..FaultAnswer::default()
    };
    emulator.add_fault(Fault::on_action("GetBucketPolicy", 1, FaultEffect::Answer(page)));
    let reply = owner.get_policy().await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, "<html>maintenance</html>")
    );
    assert_eq!(reply.header("content-type"), Some("text/html"));
}

#[tokio::test]
async fn a_truncated_body_announces_its_full_length() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let whole = owner.get_policy().await.text();
    emulator.add_fault(Fault::on_action(
        "GetBucketPolicy",
        1,
        FaultEffect::TruncateBody(7),
    ));
    let reply = owner.get_policy().await;
    assert_eq!(
        reply.header("content-length"),
        Some(whole.len().to_string().as_str())
    );
    assert_eq!(reply.text(), whole[..7]);
}

#[tokio::test]
async fn delays_add_up_and_leave_the_other_faults_alone() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let started = std::time::Instant::now();
    for effect in [
        FaultEffect::DelayMs(150),
        FaultEffect::DelayMs(150),
        answer(500, "InternalError"),
    ] {
        emulator.add_fault(Fault::on_action("GetBucketPolicy", 1, effect));
    }
    assert_eq!(owner.get_policy().await.status, 500);
    assert!(started.elapsed().as_millis() >= 300);
}

#[tokio::test]
async fn a_fault_may_select_objects_and_all_faults_can_be_removed() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let matching = FaultMatch {
        key_suffix: Some("-dark.jpg".to_owned()),
        ..FaultMatch::default()
    };
    emulator.add_fault(Fault {
        matching,
        skip: 0,
        times: None,
        effect: answer(500, "InternalError"),
    });
    for (key, status) in [
        ("gallery/harbour-dark.jpg", 500),
        ("gallery/harbour-flat.jpg", 200),
        ("gallery/market-dark.jpg", 500),
    ] {
        assert_eq!(caller.score(key).await.status, status, "{key}");
    }
    emulator.clear_faults();
    assert_eq!(caller.score("gallery/harbour-dark.jpg").await.status, 200);
}

#[tokio::test]
async fn a_call_takes_effect_after_its_client_disconnects() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    emulator.add_fault(Fault::on_action("PutBucketPolicy", 1, FaultEffect::DelayMs(200)));
    let policy = grant_policy();
    let put = owner.put_policy(&policy);
    let impatient = tokio::time::timeout(std::time::Duration::from_millis(50), put).await;
    assert!(impatient.is_err());
    let recorded = async {
        while emulator.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), recorded)
        .await
        .unwrap();
    assert_eq!(emulator.calls()[0].status, Some(200));
    assert_eq!(emulator.policy(BUCKET), Some(grant_policy()));
}

#[tokio::test]
async fn a_write_that_arrives_too_late_is_refused_by_its_date() {
    let emulator = cross_account().await;
    let before = emulator.policy(BUCKET);
    let owner = Client {
        skew_seconds: -10 * 60,
        ..Client::owner(&emulator)
    };
    emulator.add_fault(Fault::on_action("PutBucketPolicy", 1, FaultEffect::DelayMs(300)));
    let policy = grant_policy();
    let (reply, ()) = tokio::join!(owner.put_policy(&policy), async {
        emulator.set_clock_offset(6 * 60);
    });
    assert_eq!(reply.code(), "RequestTimeTooSkewed");
    assert_eq!(emulator.policy(BUCKET), before);
}
