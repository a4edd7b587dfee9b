//! Many objects: created by one request, listed page by page, scored from their keys.
//! Keys that encoding errors would change are listed and scored too.

use imm_emulator::{Emulator, ManySeed, Timestamp, score};

use crate::client::{BUCKET, Client, Reply, cross_account, encoded, grant_policy, plain};

fn texts(reply: &Reply, name: &str) -> Vec<String> {
    let (text, opening) = (reply.text(), format!("<{name}>"));
    text.split(&opening)
        .skip(1)
        .map(|part| part.split_once('<').unwrap().0.to_owned())
        .collect()
}

fn one(reply: &Reply, name: &str) -> String {
    texts(reply, name).into_iter().next().unwrap_or_default()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn list(emulator: &Emulator, query: &str) -> Reply {
    let target = format!("/{BUCKET}/?list-type=2&encoding-type=url&{query}");
    let reply = Client::owner(emulator).oss("GET", &target, b"").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[tokio::test]
async fn ten_thousand_objects_are_listed_in_pages_each_once_and_in_order() {
    let emulator = cross_account().await;
    let order = r#"{"prefix":"big/","count":10000,"first":3,"modified":"2025-02-03T04:05:06Z"}"#;
    let path = format!("/-/buckets/{BUCKET}/many");
    assert_eq!(
        plain(&emulator, "POST", &path, order.as_bytes()).await.status,
        204
    );
    let (mut keys, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(&emulator, &format!("prefix=big%2F&max-keys=1000{token}")).await;
        pages += 1;
        keys.extend(texts(&page, "Key"));
        assert_eq!(one(&page, "KeyCount"), "1000");
        let modified = texts(&page, "LastModified");
        assert!(modified.iter().all(|time| time == "2025-02-03T04:05:06.000Z"));
        let (sizes, tags) = (texts(&page, "Size"), texts(&page, "ETag"));
        assert!(sizes.iter().all(|size| size == &sizes[0]) && sizes[0] != "0");
        assert!(tags.iter().all(|tag| tag == &tags[0]) && tags[0].starts_with("&quot;"));
        if one(&page, "IsTruncated") == "false" {
            break;
        }
        token = format!(
            "&continuation-token={}",
            encoded(&one(&page, "NextContinuationToken"))
        );
    }
    let wanted: Vec<String> = (3..10_003).map(|number| format!("big/{number:07}.jpg")).collect();
    assert_eq!((pages, keys), (10, wanted));

    let rest = list(&emulator, "prefix=big%2F&start-after=big%2F0010000.jpg").await;
    assert_eq!(texts(&rest, "Key"), ["big/0010001.jpg", "big/0010002.jpg"]);
    let folders = list(&emulator, "delimiter=%2F").await;
    assert_eq!(texts(&folders, "CommonPrefixes").len(), 2, "{}", folders.text());
    assert!(folders.text().contains("<Prefix>big/</Prefix></CommonPrefixes>"));
    let outside = list(&emulator, "prefix=big%2F&start-after=a").await;
    assert_eq!(texts(&outside, "Key")[0], "big/0000003.jpg");
    let beyond = list(&emulator, "prefix=big%2F&start-after=c").await;
    assert_eq!(one(&beyond, "KeyCount"), "0");
}

#[tokio::test]
async fn scores_follow_from_the_keys_and_differ() {
    let emulator = cross_account().await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let many = ManySeed {
        prefix: "many/".to_owned(),
        count: 40,
        ..ManySeed::default()
    };
    let keys: Vec<String> = (0..40).map(|number| many.key(number)).collect();
    assert!(emulator.put_many(BUCKET, many.clone()).unwrap());
    assert!(!emulator.put_many("no-such-bucket", many).unwrap());
    let mut scores = std::collections::BTreeSet::new();
    for key in &keys {
        let reply = Client::caller(&emulator).score(key).await;
        let wanted = score::of_key(key).to_string();
        let found = format!(r#""OverallQualityScore":{wanted}"#);
        assert!(reply.text().contains(&found), "{key}: {}", reply.text());
        scores.insert(wanted);
    }
    assert!(scores.len() > 30, "{scores:?}");
    let pinned = r#"{"prefix":"same/","suffix":"","count":2,"score":0.125}"#;
    let path = format!("/-/buckets/{BUCKET}/many");
    assert_eq!(
        plain(&emulator, "POST", &path, pinned.as_bytes()).await.status,
        204
    );
    let reply = Client::caller(&emulator).score("same/0000001").await;
    assert!(reply.text().contains("0.125"), "{}", reply.text());
}

#[tokio::test]
async fn keys_that_encoding_could_change_are_listed_and_scored_as_they_are() {
    let emulator = cross_account().await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let longest = format!("odd/{}", "ü".repeat(509));
    let mut keys = [
        "/odd/leading.jpg",
        "//odd//twice.jpg",
        "odd/a b.jpg",
        "odd/a+b.jpg",
        "odd/100%.jpg",
        "odd/%2F%2e.jpg",
        "odd/../up.jpg",
        "../odd.jpg",
        "odd/./here/.jpg",
        "odd/测试/对象.jpg",
        "odd/<&>\"'.jpg",
        "odd/?a=b&c#d.jpg",
        &format!("{longest}x"),
    ];
    assert_eq!(keys.iter().map(|key| key.len()).max(), Some(1023));
    for (number, key) in keys.iter().enumerate() {
        let path = format!(
            "/-/buckets/{BUCKET}/objects/{}?score=0.{:03}",
            encoded(key),
            number + 1
        );
        assert_eq!(plain(&emulator, "PUT", &path, b"x").await.status, 204, "{key}");
    }
    for (number, key) in keys.iter().enumerate() {
        let reply = Client::caller(&emulator).score(key).await;
        let found = reply.json()["ImageScore"]["OverallQualityScore"].as_f64();
        assert_eq!(
            found.map(|score| format!("{score:.3}")),
            Some(format!("0.{:03}", number + 1)),
            "{key}"
        );
        let target = format!("/{BUCKET}/{}", encoded(key));
        assert_eq!(
            Client::owner(&emulator).oss("GET", &target, b"").await.text(),
            "x",
            "{key}"
        );
    }
    keys.sort_unstable();
    let listed = list(&emulator, "max-keys=1000").await;
    let listed = texts(&listed, "Key")
        .iter()
        .map(|key| decoded(key))
        .collect::<Vec<_>>();
    let listed: Vec<&String> = listed.iter().filter(|key| key.contains("odd")).collect();
    assert_eq!(listed, keys.iter().collect::<Vec<_>>());
    // Each key is also a valid position to resume a listing from.
    for pair in keys.windows(2).filter(|pair| pair[0].starts_with("odd")) {
        let next = list(&emulator, &format!("max-keys=1&start-after={}", encoded(pair[0]))).await;
        assert_eq!(decoded(&one(&next, "Key")), pair[1]);
    }
}

#[tokio::test]
async fn the_time_of_an_object_may_be_chosen_and_changed() {
    let emulator = cross_account().await;
    let path = format!("/-/buckets/{BUCKET}/objects/timed.jpg");
    let order = format!("{path}?modified=2031-01-02T03:04:05Z");
    assert_eq!(plain(&emulator, "PUT", &order, b"x").await.status, 204);
    let shown = async || one(&list(&emulator, "prefix=timed").await, "LastModified");
    assert_eq!(shown().await, "2031-01-02T03:04:05.000Z");
    let time: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    assert!(emulator.set_modified(BUCKET, "timed.jpg", time));
    assert!(!emulator.set_modified(BUCKET, "none.jpg", time));
    assert_eq!(shown().await, "2030-01-01T00:00:00.000Z");
    assert_eq!(
        plain(&emulator, "PUT", &format!("{path}?modified=soon"), b"x")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn listing_needs_the_right_to_list() {
    let emulator = cross_account().await;
    let stranger = Client::caller(&emulator);
    let target = format!("/{BUCKET}/?list-type=2");
    assert_eq!(stranger.oss("GET", &target, b"").await.code(), "AccessDenied");
    let policy = |resource: &str| {
        format!(
            r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:ListObjects"],"Principal":
            ["1234567890123456"],"Resource":["acs:oss:*:6543210987654321:{resource}"]}}]}}"#
        )
    };
    emulator.set_policy(BUCKET, Some(&policy(&format!("{BUCKET}/*"))));
    assert_eq!(stranger.oss("GET", &target, b"").await.code(), "AccessDenied");
    emulator.set_policy(BUCKET, Some(&policy(BUCKET)));
    assert_eq!(stranger.oss("GET", &target, b"").await.status, 200);
    for count in ["0", "1001", "many"] {
        let reply = stranger
            .oss("GET", &format!("{target}&max-keys={count}"), b"")
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "InvalidArgument"),
            "{count}"
        );
    }
}
