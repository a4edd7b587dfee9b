//! Alibaba Cloud's cross-account procedure: IMM reads as the project's service role, so the bucket policy decides.
//! Each test changes one thing about a working grant.

use imm_emulator::{Lag, Options, Seed};

use crate::client::{ACCOUNT_A, ACCOUNT_B, BUCKET, Client, cross_account, grant_policy, plain, started};

#[tokio::test]
async fn a_score_needs_the_grant_while_it_is_in_the_policy() {
    let emulator = cross_account().await;
    let (owner, caller) = (Client::owner(&emulator), Client::caller(&emulator));
    let reply = caller.score("test-object.jpg").await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
    assert_eq!(owner.put_policy(&grant_policy()).await.status, 200);
    let reply = caller.score("test-object.jpg").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.text().contains(r#""OverallQualityScore":0.727"#),
        "{}",
        reply.text()
    );
    assert_eq!(
        owner
            .oss("DELETE", &format!("/{BUCKET}/?policy"), b"")
            .await
            .status,
        204
    );
    assert_eq!(caller.score("test-object.jpg").await.code(), "AccessDenied");
    assert_eq!(emulator.billed(), 3, "a denied call is billed too");
}

#[tokio::test]
async fn only_a_policy_that_names_the_role_and_the_object_helps() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    let good = grant_policy();
    let deny = good.replace(
        r#"[{"Effect""#,
        r#"[{"Effect":"Deny","Action":"oss:Get*","Resource":"*"},{"Effect""#,
    );
    for (name, policy, status) in [
        ("the grant", good.clone(), 200),
        ("another role", good.replace("DefaultRole", "OtherRole"), 403),
        (
            "the role in lower case",
            good.replace("AliyunIMMDefaultRole", "aliyunimmdefaultrole"),
            403,
        ),
        ("another account's role", good.replace(ACCOUNT_A, ACCOUNT_B), 403),
        ("one fixed session", good.replace("Role/*", "Role/imm"), 403),
        (
            "the account instead of the role",
            good.replace(
                &format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*"),
                ACCOUNT_A,
            ),
            403,
        ),
        ("listing only", good.replace("GetObject", "ListObjects"), 403),
        (
            "another prefix",
            good.replace(&format!("{BUCKET}/*"), &format!("{BUCKET}/gallery/*")),
            403,
        ),
        ("another bucket", good.replace(BUCKET, "other-bucket"), 403),
        ("a Deny beside the grant", deny, 403),
        ("an unparsable policy", "not a policy".to_owned(), 403),
    ] {
        assert!(emulator.set_policy(BUCKET, Some(&policy)));
        assert_eq!(caller.score("test-object.jpg").await.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_public_policy_grants_nothing_while_public_access_is_blocked() {
    let everyone = grant_policy().replace(
        &format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/"),
        "",
    );
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    emulator.set_policy(BUCKET, Some(&everyone));
    assert_eq!(caller.score("test-object.jpg").await.status, 403);
    emulator.set_block_public_access(BUCKET, false);
    assert_eq!(caller.score("test-object.jpg").await.status, 200);

    let strict = started(Options {
        session_wildcard_is_public: true,
        ..Options::default()
    })
    .await;
    strict.set_policy(BUCKET, Some(&grant_policy()));
    assert_eq!(Client::caller(&strict).score("test-object.jpg").await.status, 403);
    strict.set_block_public_access(BUCKET, false);
    assert_eq!(Client::caller(&strict).score("test-object.jpg").await.status, 200);
}

#[tokio::test]
async fn a_grant_may_be_enforced_with_a_delay() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    emulator.set_lag(Lag {
        policy_read_ms: 0,
        policy_enforcement_ms: 3_600_000,
    });
    assert_eq!(
        Client::owner(&emulator).put_policy(&grant_policy()).await.status,
        200
    );
    assert_eq!(
        caller.score("test-object.jpg").await.status,
        403,
        "present in the policy, not yet enforced"
    );
    emulator.set_lag(Lag::default());
    assert_eq!(caller.score("test-object.jpg").await.status, 200);
}

#[tokio::test]
async fn an_invalid_source_is_rejected() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    emulator.put_object(BUCKET, "notes.txt", "no picture", None);
    let more = format!(
        "buckets: [{{name: far-bucket, region: cn-beijing, owner: '{ACCOUNT_A}', objects: [{{key: a.jpg, score: 0.5}}]}}]"
    );
    emulator.add(Seed::from_yaml(&more).unwrap()).unwrap();
    for (project, uri, status, code, word) in [
        (
            "nowhere",
            format!("oss://{BUCKET}/test-object.jpg"),
            400,
            "ResourceNotFound",
            "project",
        ),
        (
            "immtest",
            "oss://no-such-bucket/a.jpg".to_owned(),
            400,
            "ResourceNotFound",
            "bucket",
        ),
        (
            "immtest",
            format!("oss://{BUCKET}/none.jpg"),
            400,
            "ResourceNotFound",
            "object",
        ),
        (
            "immtest",
            format!("oss://{BUCKET}/notes.txt"),
            400,
            "InvalidArgument",
            "image",
        ),
        (
            "immtest",
            "oss://far-bucket/a.jpg".to_owned(),
            400,
            "InvalidArgument",
            "region",
        ),
        (
            "immtest",
            "https://example.test/a.jpg".to_owned(),
            400,
            "InvalidArgument",
            "oss://",
        ),
        (
            "immtest",
            format!("oss://{BUCKET}/"),
            400,
            "InvalidArgument",
            "oss://",
        ),
        ("immtest", String::new(), 400, "MissingSourceURI", "SourceURI"),
    ] {
        let parameters = [("ProjectName", project), ("SourceURI", uri.as_str())];
        let reply = caller.imm("DetectImageScore", &parameters).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{uri}");
        assert!(reply.text().contains(word), "{}", reply.text());
    }
    assert_eq!(emulator.billed(), 8);
}

#[tokio::test]
async fn a_project_belongs_to_an_account_and_an_action_to_those_allowed() {
    let emulator = cross_account().await;
    let more = format!(
        "accounts: [{{uid: '{ACCOUNT_A}', keys: [{{id: reader, secret: canary-reader, user: '27', allow: ['imm:Get*']}}]}}]"
    );
    emulator.add(Seed::from_yaml(&more).unwrap()).unwrap();
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let reader = Client::new(&emulator, "reader", "canary-reader");
    let project = reader
        .imm("GetProject", &[("ProjectName", "immtest")])
        .await
        .json();
    assert_eq!(project["Project"]["ServiceRole"], "AliyunIMMDefaultRole");
    assert_eq!(project["Project"]["ProjectQueriesPerSecond"], 100);
    let reply = reader.score("test-object.jpg").await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "NoPermission"));
    let other = Client::owner(&emulator);
    assert_eq!(
        other
            .imm("GetProject", &[("ProjectName", "immtest")])
            .await
            .code(),
        "ResourceNotFound"
    );
    let old = other
        .rpc("2017-09-06", "GetProject", &[("ProjectName", "immtest")])
        .await
        .unwrap();
    assert_eq!((old.status, old.code().as_str()), (400, "InvalidVersion"));
    let calls = emulator.calls();
    let billed: Vec<_> = calls
        .iter()
        .filter(|call| call.billed)
        .map(|call| call.action.as_str())
        .collect();
    assert_eq!(
        billed,
        ["DetectImageScore"],
        "GetProject is free, a rejected DetectImageScore is not"
    );
    assert_eq!(calls[1].principal.as_deref(), Some("27"));
    // Every AccessKey pair may list the regions.
    let regions = reader.imm("ListRegions", &[("AcceptLanguage", "en-US")]).await;
    assert_eq!(regions.json()["Regions"][0]["RegionId"], "cn-hangzhou");
    let without = reader.imm("ListRegions", &[]).await;
    assert_eq!(
        (without.status, without.code().as_str()),
        (400, "MissingAcceptLanguage")
    );
}

#[tokio::test]
async fn the_host_names_the_region_of_a_project_and_the_bucket_of_a_request() {
    let emulator = cross_account().await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let at = |client: Client, host: &str| Client {
        host: Some(host.to_owned()),
        ..client
    };
    for (host, status) in [
        ("imm.cn-hangzhou.aliyuncs.com", 200),
        ("imm-vpc.cn-hangzhou.aliyuncs.com", 200),
        ("imm.cn-beijing.aliyuncs.com", 400),
    ] {
        let reply = at(Client::caller(&emulator), host).score("test-object.jpg").await;
        assert_eq!(reply.status, status, "{host}: {}", reply.text());
    }
    for (host, target, status) in [
        (format!("{BUCKET}.oss-cn-hangzhou.aliyuncs.com"), "/?policy", 200),
        (
            format!("{BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com"),
            "/test-object.jpg",
            200,
        ),
        (format!("{BUCKET}.localhost:9000"), "/test-object.jpg", 200),
        (format!("{BUCKET}.oss-cn-beijing.aliyuncs.com"), "/?policy", 403),
        // On a bucket's own host, the admin path is an ordinary object key.
        (format!("{BUCKET}.localhost"), "/-/health", 404),
    ] {
        let reply = at(Client::owner(&emulator), &host).oss("GET", target, b"").await;
        assert_eq!(reply.status, status, "{host}{target}");
    }
}

#[tokio::test]
async fn anonymous_reads_go_through_the_policy_too() {
    let emulator = cross_account().await;
    let target = format!("/{BUCKET}/test-object.jpg");
    assert_eq!(plain(&emulator, "GET", &target, b"").await.status, 403);
    let here = grant_policy()
        .replace(
            &format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/"),
            "",
        )
        .replace(
            "}]",
            r#","Condition":{"IpAddress":{"acs:SourceIp":"127.0.0.0/8"}}}]"#,
        );
    emulator.set_policy(BUCKET, Some(&here));
    assert_eq!(plain(&emulator, "GET", &target, b"").await.status, 200);
    emulator.set_policy(BUCKET, Some(&here.replace("127.0.0.0/8", "10.0.0.0/8")));
    assert_eq!(plain(&emulator, "GET", &target, b"").await.status, 403);
}

#[tokio::test]
async fn within_one_account_the_role_is_enough() {
    let emulator = cross_account().await;
    let more = format!(
        "buckets: [{{name: own-bucket, region: cn-hangzhou, owner: '{ACCOUNT_A}', objects: [{{key: a.jpg, score: '0.500'}}]}}]"
    );
    emulator.add(Seed::from_yaml(&more).unwrap()).unwrap();
    let parameters = [
        ("ProjectName", "immtest"),
        ("SourceURI", "oss://own-bucket/a.jpg"),
    ];
    let reply = Client::caller(&emulator)
        .imm("DetectImageScore", &parameters)
        .await;
    assert_eq!(reply.json()["ImageScore"]["OverallQualityScore"], 0.5);
}
