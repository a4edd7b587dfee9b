//! Bucket policies over the wire, and how OSS rejects callers, buckets, dates and headers.
//! Every call is signed and sent over a socket.

use imm_emulator::{Lag, Options, Seed};

use crate::client::{ACCOUNT_A, ACCOUNT_B, BUCKET, Client, cross_account, grant_policy, plain, started};

#[tokio::test]
async fn the_bytes_put_are_the_bytes_that_come_back() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let odd = grant_policy()
        .replace(r#"{"Version""#, "\r\n\t {\"\\u0056ersion\"")
        .replace('}', " }");
    assert_eq!(owner.put_policy(&odd).await.status, 200);
    let reply = owner.get_policy().await;
    assert_eq!((reply.status, reply.text()), (200, odd.clone()));
    assert_eq!(emulator.policy(BUCKET), Some(odd.clone()));
    assert!(reply.header("date").unwrap().ends_with(" GMT"));
    assert_eq!(reply.header("server"), Some("AliyunOSS"));

    let target = format!("/{BUCKET}/?policy");
    for _ in 0..2 {
        assert_eq!(
            owner.oss("DELETE", &target, b"").await.status,
            204,
            "also without a policy"
        );
    }
    let reply = owner.get_policy().await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "NoSuchBucketPolicy"));
    assert_eq!(reply.header("x-oss-ec"), Some("0030-00000006"));
    assert!(
        reply.header("date").is_some(),
        "clients read the Date header of errors too"
    );
    let bodies: Vec<_> = emulator
        .calls()
        .into_iter()
        .filter_map(|call| call.body)
        .collect();
    assert_eq!(bodies, [odd], "the ledger records the submitted body");
}

#[tokio::test]
async fn refusals_of_the_four_policy_calls() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    for (method, sub_resource) in [
        ("GET", "policy"),
        ("PUT", "policy"),
        ("DELETE", "policy"),
        ("GET", "policyStatus"),
    ] {
        let at = |bucket: &str| format!("/{bucket}/?{sub_resource}");
        let body = if method == "PUT" {
            grant_policy().into_bytes()
        } else {
            Vec::new()
        };
        let reply = owner.oss(method, &at("no-such-bucket"), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "NoSuchBucket"),
            "{method}"
        );
        assert_eq!(reply.header("x-oss-ec"), Some("0015-00000101"));
        let reply = Client::caller(&emulator).oss(method, &at(BUCKET), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "AccessDenied"),
            "bucket of another account, {method}"
        );
        let reply = plain(&emulator, method, &at(BUCKET), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "AccessDenied"),
            "unsigned, {method}"
        );
        let stranger = Client {
            id: "LTAI5tNobody".to_owned(),
            ..owner.clone()
        };
        assert_eq!(
            stranger.oss(method, &at(BUCKET), &body).await.code(),
            "InvalidAccessKeyId"
        );
        let forger = Client {
            secret: "guessed".to_owned(),
            ..owner.clone()
        };
        let reply = forger.oss(method, &at(BUCKET), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "SignatureDoesNotMatch")
        );
        assert!(!reply.text().contains("canary"), "{}", reply.text());
        let elsewhere = Client {
            region: "cn-shanghai".to_owned(),
            ..owner.clone()
        };
        let reply = elsewhere.oss(method, &at(BUCKET), &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
        assert!(
            reply
                .text()
                .contains("<Endpoint>oss-cn-hangzhou.aliyuncs.com</Endpoint>")
        );
    }
}

#[tokio::test]
async fn a_date_counts_for_fifteen_minutes_either_way() {
    let emulator = cross_account().await;
    for (skew_seconds, status) in [
        (-10 * 60, 200),
        (-14 * 60, 200),
        (14 * 60, 200),
        (-16 * 60, 403),
        (16 * 60, 403),
    ] {
        let owner = Client {
            skew_seconds,
            ..Client::owner(&emulator)
        };
        let reply = owner.get_policy().await;
        assert_eq!(reply.status, status, "{skew_seconds}");
        if status == 403 {
            assert_eq!(reply.code(), "RequestTimeTooSkewed");
        }
    }
    // An accepted signature becomes too old as the cloud's clock advances.
    let owner = Client {
        skew_seconds: -10 * 60,
        ..Client::owner(&emulator)
    };
    emulator.set_clock_offset(6 * 60);
    assert_eq!(owner.get_policy().await.code(), "RequestTimeTooSkewed");
    emulator.set_clock_offset(4 * 60);
    assert_eq!(owner.get_policy().await.status, 200);
}

#[tokio::test]
async fn unsupported_headers_and_wrong_digests_are_rejected() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let (target, before) = (format!("/{BUCKET}/?policy"), emulator.policy(BUCKET));
    for header in [
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
    ] {
        let reply = owner
            .oss_with("PUT", &target, &[(header, "x")], grant_policy().as_bytes())
            .await
            .unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "NotImplemented"),
            "{header}"
        );
    }
    let wrong = [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    let reply = owner
        .oss_with("PUT", &target, &wrong, grant_policy().as_bytes())
        .await
        .unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidDigest"));
    let reply = owner.oss_with("GET", &target, &wrong, b"").await.unwrap();
    assert_eq!(reply.status, 200, "the digest of an empty body");
    assert_eq!(emulator.policy(BUCKET), before, "nothing was written");
}

#[tokio::test]
async fn block_public_access_refuses_public_policies_by_either_reading() {
    let everyone = grant_policy().replace(
        &format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/"),
        "",
    );
    for strict in [false, true] {
        let emulator = started(Options {
            session_wildcard_is_public: strict,
            ..Options::default()
        })
        .await;
        let owner = Client::owner(&emulator);
        let reply = owner.put_policy(&everyone).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
        assert!(reply.text().contains("Put public bucket policy is not allowed"));
        let reply = owner.put_policy(&grant_policy()).await;
        assert_eq!(reply.status, if strict { 403 } else { 200 });

        // The owner may also turn the block off over the wire; both policies are then accepted.
        let off = b"<PublicAccessBlockConfiguration><BlockPublicAccess>false</BlockPublicAccess></PublicAccessBlockConfiguration>";
        let block = format!("/{BUCKET}/?publicAccessBlock");
        assert_eq!(owner.oss("PUT", &block, off).await.status, 200);
        assert!(
            owner
                .oss("GET", &block, b"")
                .await
                .text()
                .contains("<BlockPublicAccess>false<")
        );
        assert_eq!(owner.put_policy(&everyone).await.status, 200);
        let status = owner.oss("GET", &format!("/{BUCKET}/?policyStatus"), b"").await;
        assert!(status.text().contains("<IsPublic>true</IsPublic>"));
        // A block on the whole account applies to the bucket too.
        let on = String::from_utf8_lossy(off).replace("false", "true");
        assert_eq!(
            owner
                .oss("PUT", "/?publicAccessBlock", on.as_bytes())
                .await
                .status,
            200
        );
        assert_eq!(owner.put_policy(&everyone).await.status, 403);
    }
}

#[tokio::test]
async fn a_new_bucket_blocks_public_access_unless_its_seed_says_otherwise() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let seed = format!(
        "buckets: [{{name: new-bucket, region: cn-hangzhou, owner: '{ACCOUNT_B}'}},
          {{name: old-bucket, region: cn-hangzhou, owner: '{ACCOUNT_B}', blockPublicAccess: false}}]"
    );
    emulator.add(Seed::from_yaml(&seed).unwrap()).unwrap();
    for (bucket, blocked) in [("new-bucket", true), ("old-bucket", false)] {
        let reply = owner
            .oss("GET", &format!("/{bucket}/?publicAccessBlock"), b"")
            .await;
        let expected = format!("<BlockPublicAccess>{blocked}<");
        assert!(reply.text().contains(&expected), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_read_may_lag_behind_a_write() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let before = owner.get_policy().await.text();
    emulator.set_lag(Lag {
        policy_read_ms: 3_600_000,
        policy_enforcement_ms: 0,
    });
    assert_eq!(owner.put_policy(&grant_policy()).await.status, 200);
    assert_eq!(owner.get_policy().await.text(), before);
    assert_eq!(
        emulator.policy(BUCKET),
        Some(grant_policy()),
        "the handle ignores the lag"
    );
    emulator.set_lag(Lag::default());
    assert_eq!(owner.get_policy().await.text(), grant_policy());
}

#[tokio::test]
async fn bucket_metadata_names_owner_and_region() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let info = owner
        .oss("GET", &format!("/{BUCKET}/?bucketInfo"), b"")
        .await
        .text();
    for part in [
        format!("<ID>{ACCOUNT_B}</ID>"),
        "<Location>oss-cn-hangzhou</Location>".to_owned(),
    ] {
        assert!(info.contains(&part), "{info}");
    }
    let acl = owner.oss("GET", &format!("/{BUCKET}/?acl"), b"").await.text();
    assert!(
        acl.contains("<Grant>private</Grant>") && acl.contains(ACCOUNT_B),
        "{acl}"
    );
    let elsewhere = Client {
        region: "cn-beijing".to_owned(),
        ..owner.clone()
    };
    assert_eq!(
        elsewhere
            .oss("GET", &format!("/{BUCKET}/?bucketInfo"), b"")
            .await
            .status,
        200,
        "any endpoint is accepted"
    );
    assert!(
        owner.oss("GET", "/", b"").await.text().contains(BUCKET),
        "the account's buckets"
    );
}

#[tokio::test]
async fn objects_are_put_listed_and_read_with_odd_keys() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    for key in ["odd/a%20b%2B%C3%BC~.txt", "odd//x/../y", "odd/%3Ctag%3E%26.txt"] {
        assert_eq!(
            owner
                .oss("PUT", &format!("/{BUCKET}/{key}"), b"0123456789")
                .await
                .status,
            200,
            "{key}"
        );
    }
    let page = |more: &str| format!("/{BUCKET}/?list-type=2&prefix=odd%2F&encoding-type=url{more}");
    let listed = owner.oss("GET", &page("&max-keys=2"), b"").await.text();
    assert!(
        listed.contains("<Key>odd//x/../y</Key>") && listed.contains("<KeyCount>2</KeyCount>"),
        "{listed}"
    );
    let (_, rest) = listed.split_once("<NextContinuationToken>").unwrap();
    let token = rest.split_once('<').unwrap().0.to_owned();
    let listed = owner
        .oss("GET", &page(&format!("&continuation-token={token}")), b"")
        .await
        .text();
    assert!(listed.contains("<Key>odd/a%20b%2B%C3%BC~.txt</Key>"), "{listed}");
    assert!(
        listed.contains("<IsTruncated>false</IsTruncated>") && !listed.contains("odd//"),
        "{listed}"
    );
    let folders = owner
        .oss("GET", &format!("/{BUCKET}/?list-type=2&delimiter=%2F"), b"")
        .await
        .text();
    assert!(
        folders.contains("<CommonPrefixes><Prefix>gallery/</Prefix></CommonPrefixes>"),
        "{folders}"
    );

    let target = format!("/{BUCKET}/odd//x/../y");
    let part = owner
        .oss_with("GET", &target, &[("Range", "bytes=2-4")], b"")
        .await
        .unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    let head = owner.oss("HEAD", &target, b"").await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, Some("10"), 0)
    );
    let etag = head.header("etag").unwrap();
    let unchanged = owner
        .oss_with("GET", &target, &[("If-None-Match", etag)], b"")
        .await
        .unwrap();
    assert_eq!(unchanged.status, 304);
    let changed = owner
        .oss_with("GET", &target, &[("If-Match", "\"other\"")], b"")
        .await
        .unwrap();
    assert_eq!(
        (changed.status, changed.code().as_str()),
        (412, "PreconditionFailed")
    );
    let missing = owner.oss("HEAD", &format!("/{BUCKET}/none"), b"").await;
    assert_eq!((missing.status, missing.body.len()), (404, 0));
    assert!(
        missing.header("x-oss-err").is_some(),
        "the error of a HEAD request is sent in a header"
    );
}
