//! The admin API: ledger, foreign writers, objects, faults, lag, clock and additional seeds.
//! It gives scripts everything that the Rust handle offers.

use crate::client::{ACCOUNT_A, BUCKET, Client, cross_account, grant_policy, plain};

#[tokio::test]
async fn the_ledger_is_read_and_cleared() {
    let emulator = cross_account().await;
    Client::caller(&emulator).score("test-object.jpg").await;
    let ledger = plain(&emulator, "GET", "/-/ledger", b"").await.json();
    assert_eq!(ledger["billed"], 1);
    let call = &ledger["calls"][0];
    for (name, value) in [
        ("service", "imm"),
        ("action", "DetectImageScore"),
        ("accessKeyId", "LTAI5tImmCaller00001"),
        ("accountUid", ACCOUNT_A),
        ("principal", ACCOUNT_A),
        ("bucket", BUCKET),
        ("key", "test-object.jpg"),
        ("project", "immtest"),
        ("region", "cn-hangzhou"),
        ("code", "AccessDenied"),
    ] {
        assert_eq!(call[name], value, "{name}");
    }
    assert_eq!(
        (
            call["seq"].as_u64(),
            call["status"].as_u64(),
            call["billed"].as_bool()
        ),
        (Some(1), Some(403), Some(true))
    );
    assert_eq!(plain(&emulator, "DELETE", "/-/ledger", b"").await.status, 204);
    let ledger = plain(&emulator, "GET", "/-/ledger", b"").await.json();
    assert_eq!(
        (
            ledger["billed"].as_u64(),
            ledger["calls"].as_array().unwrap().len()
        ),
        (Some(0), 0)
    );
    Client::caller(&emulator).score("test-object.jpg").await;
    assert_eq!(emulator.calls()[0].seq, 2, "a sequence number is never reused");
}

#[tokio::test]
async fn the_admin_api_covers_every_control_of_the_handle() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    let order = async |method: &str, path: &str, body: &str| {
        plain(&emulator, method, path, body.as_bytes()).await.status
    };

    assert_eq!(order("GET", "/-/health", "").await, 200);
    let policy = format!("/-/buckets/{BUCKET}/policy");
    assert_eq!(order("PUT", &policy, "anything at all").await, 204);
    assert_eq!(
        plain(&emulator, "GET", &policy, b"").await.text(),
        "anything at all"
    );
    assert_eq!(order("DELETE", &policy, "").await, 204);
    assert_eq!(order("GET", &policy, "").await, 404);
    assert_eq!(order("PUT", &policy, &grant_policy()).await, 204);

    assert_eq!(
        order(
            "PUT",
            &format!("/-/buckets/{BUCKET}/objects/new%20one/a.jpg?score=0.125"),
            "x"
        )
        .await,
        204
    );
    assert!(caller.score("new one/a.jpg").await.text().contains("0.125"));
    assert_eq!(
        order(
            "DELETE",
            &format!("/-/buckets/{BUCKET}/objects/new%20one/a.jpg"),
            ""
        )
        .await,
        204
    );
    assert_eq!(caller.score("new one/a.jpg").await.code(), "ResourceNotFound");

    assert_eq!(
        order(
            "POST",
            "/-/faults",
            r#"{"match":{"service":"imm"},"effect":"dropBefore"}"#
        )
        .await,
        204
    );
    assert!(
        caller
            .rpc("2020-09-30", "GetProject", &[("ProjectName", "immtest")])
            .await
            .is_none()
    );
    assert_eq!(order("DELETE", "/-/faults", "").await, 204);
    assert_eq!(
        caller
            .imm("GetProject", &[("ProjectName", "immtest")])
            .await
            .status,
        200
    );

    assert_eq!(
        order(
            "PUT",
            "/-/lag",
            r#"{"policyReadMs":3600000,"policyEnforcementMs":0}"#
        )
        .await,
        204
    );
    assert_eq!(Client::owner(&emulator).get_policy().await.status, 200);
    assert_ne!(Client::owner(&emulator).get_policy().await.text(), grant_policy());
    assert_eq!(order("PUT", "/-/lag", "{}").await, 204);
    assert_eq!(Client::owner(&emulator).get_policy().await.text(), grant_policy());

    assert_eq!(order("PUT", "/-/clock", r#"{"offsetSeconds":3600}"#).await, 204);
    assert_eq!(
        Client::owner(&emulator).get_policy().await.code(),
        "RequestTimeTooSkewed"
    );
    assert_eq!(order("PUT", "/-/clock", r#"{"offsetSeconds":0}"#).await, 204);

    let block = format!("/-/buckets/{BUCKET}/publicAccessBlock");
    assert_eq!(order("PUT", &block, "false").await, 204);
    let shown = Client::owner(&emulator)
        .oss("GET", &format!("/{BUCKET}/?publicAccessBlock"), b"")
        .await;
    assert!(shown.text().contains("<BlockPublicAccess>false<"));

    let more = format!(
        "projects: [{{name: second, region: cn-hangzhou, account: '{ACCOUNT_A}', queriesPerSecond: 7}}]"
    );
    assert_eq!(order("POST", "/-/seed", &more).await, 204);
    let project = caller
        .imm("GetProject", &[("ProjectName", "second")])
        .await
        .json();
    assert_eq!(project["Project"]["ProjectQueriesPerSecond"], 7);
}

#[tokio::test]
async fn invalid_admin_requests_are_rejected() {
    let emulator = cross_account().await;
    for (method, path, body, status) in [
        ("GET", "/-/nothing", "", 404),
        ("POST", "/-/faults", r#"{"effect":"explode"}"#, 400),
        ("POST", "/-/faults", r#"{"effect":"dropBefore","unknown":1}"#, 400),
        ("PUT", "/-/lag", "soon", 400),
        ("PUT", "/-/buckets/no-such-bucket/policy", "{}", 404),
        ("PUT", "/-/buckets/no-such-bucket/publicAccessBlock", "true", 404),
        ("PUT", "/-/buckets/no-such-bucket/objects/a", "x", 404),
        (
            "POST",
            "/-/seed",
            "buckets: [{name: Bad_Name, region: r, owner: o}]",
            400,
        ),
        (
            "POST",
            "/-/seed",
            "accounts: [{uid: '1', keys: [{id: a, secret: canary-x, oops: 1}]}]",
            400,
        ),
    ] {
        let reply = plain(&emulator, method, path, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert!(!reply.text().contains("canary"), "{}", reply.text());
    }
}
