//! The ledger's counts, which tests with many calls use instead of the calls themselves.
//! Also faults that apply to a fraction of the calls, because only counts can show that.

use imm_emulator::{Counts, Fault, FaultAnswer, FaultEffect, FaultMatch};

use crate::client::{ACCOUNT_A, BUCKET, Client, cross_account, grant_policy, plain};

#[tokio::test]
async fn calls_are_counted_by_action_status_and_project() {
    let emulator = cross_account().await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let caller = Client::caller(&emulator);
    caller.imm("GetProject", &[("ProjectName", "immtest")]).await;
    Client::owner(&emulator).get_policy().await;
    for key in [
        "test-object.jpg",
        "test-object.jpg",
        "none.jpg",
        "gallery/harbour-dark.jpg",
    ] {
        caller.score(key).await;
    }
    let throttled = FaultAnswer {
        status: 400,
        code: "Throttling.User".to_owned(),
        ..FaultAnswer::default()
    };
    emulator.add_fault(Fault::on_action(
        "DetectImageScore",
        1,
        FaultEffect::Answer(throttled),
    ));
    caller.score("gallery/harbour-dark.jpg").await;
    emulator.add_fault(Fault::on_action("DetectImageScore", 1, FaultEffect::DropBefore));
    let uri = format!("oss://{BUCKET}/none.jpg");
    let lost = [("ProjectName", "immtest"), ("SourceURI", uri.as_str())];
    assert!(
        caller
            .rpc("2020-09-30", "DetectImageScore", &lost)
            .await
            .is_none()
    );

    let counts: Counts =
        serde_json::from_slice(&plain(&emulator, "GET", "/-/counts", b"").await.body).unwrap();
    assert_eq!(counts, emulator.counts());
    assert_eq!((counts.calls, counts.billed), (8, 5));
    let scores = &counts.actions["DetectImageScore"];
    assert_eq!((scores.calls, scores.billed), (6, 5));
    assert_eq!(scores.statuses, [(200, 3), (400, 2)].into());
    assert_eq!(counts.actions["GetBucketPolicy"].statuses, [(200, 1)].into());
    let [project] = counts.projects.as_slice() else {
        panic!("{counts:?}")
    };
    assert_eq!(
        (project.account.as_str(), project.project.as_str()),
        (ACCOUNT_A, "immtest")
    );
    assert_eq!(
        (project.requests, project.throttled, project.in_flight),
        (7, 1, 0)
    );
    assert_eq!(project.highest_in_flight, 1);
    assert!((1..=7).contains(&project.highest_per_second));

    let images = emulator.billed_images();
    let [dark, none, test] = ["gallery/harbour-dark.jpg", "none.jpg", "test-object.jpg"]
        .map(|key| format!("oss://{BUCKET}/{key}"));
    assert_eq!(images, [(dark.clone(), 2), (none, 1), (test.clone(), 2)].into());
    let shown = plain(&emulator, "GET", "/-/billed", b"").await.json();
    let wanted = serde_json::json!({"billed": 5, "images": 3, "repeatedImages": 2,
        "repeated": [{"uri": dark, "billed": 2}, {"uri": test, "billed": 2}]});
    assert_eq!(shown, wanted);

    assert_eq!(plain(&emulator, "DELETE", "/-/ledger", b"").await.status, 204);
    assert_eq!(emulator.counts(), Counts::default());
}

#[tokio::test]
async fn the_highest_number_of_requests_in_flight_is_counted() {
    let emulator = cross_account().await;
    emulator.add_fault(Fault::on_action("DetectImageScore", 3, FaultEffect::DelayMs(300)));
    let caller = Client::caller(&emulator);
    tokio::join!(
        caller.score("a.jpg"),
        caller.score("b.jpg"),
        caller.score("c.jpg")
    );
    caller.score("d.jpg").await;
    let counts = emulator.counts();
    assert_eq!(
        (counts.projects[0].highest_in_flight, counts.projects[0].in_flight),
        (3, 0)
    );
}

#[tokio::test]
async fn a_fault_may_strike_every_third_call_of_one_project() {
    let emulator = cross_account().await;
    let order = r#"{"match":{"action":"DetectImageScore","project":"immtest","every":3},"skip":1,"times":2,
        "effect":{"answer":{"status":500,"code":"InternalError"}}}"#;
    assert_eq!(
        plain(&emulator, "POST", "/-/faults", order.as_bytes())
            .await
            .status,
        204
    );
    let other = FaultMatch {
        project: Some("another".to_owned()),
        ..FaultMatch::default()
    };
    emulator.add_fault(Fault {
        matching: other,
        skip: 0,
        times: None,
        effect: FaultEffect::DropBefore,
    });
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(Client::caller(&emulator).score("test-object.jpg").await.status);
    }
    assert_eq!(statuses, [403, 403, 403, 500, 403, 403, 500, 403, 403, 403, 403]);
}
