use std::net::TcpListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::app::secret_answers::Log;
use crate::core::endpoints::Endpoints;

/// Adapters without the lease, for an API server and a cloud.
fn adapters(cloud: &str, client: kube::Client) -> Adapters {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let memory = MemoryBudget::of_limit(0);
    Adapters {
        kubernetes: Kubernetes::new(client, Vec::new(), None, None),
        cloud: Cloud::new(Endpoints::new(cloud, cloud, cloud).unwrap()).unwrap(),
        fence: Fence::expired(),
        operator_identity: OperatorIdentity::None,
        tenancy_rules: CurrentRules::default(),
        requests: RequestBudget::default(),
        lists: concurrent_lists(&memory),
        memory,
        metrics: Arc::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_read_once_there_is_memory_to_decode_it_and_a_request_to_read_it() {
    let (requested, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        requested.send(request.uri().path().to_owned()).unwrap();
        std::future::ready(
            http::Response::builder()
                .status(404)
                .body(kube::client::Body::empty()),
        )
    });
    let world = adapters("http://127.0.0.1:9", kube::Client::new(server, "n"));
    let key = ObjectKey {
        namespace: "media".to_owned(),
        name: "big".to_owned(),
    };
    let soon = Duration::from_secs(1);
    let all = world.memory.reserve("other", OBJECT_BYTES).await;
    for _ in 0..2 {
        let read = tokio::time::timeout(soon, world.get_job(&key)).await;
        assert!(read.is_err(), "there is no memory");
        let read = tokio::time::timeout(soon, world.get_grant(&key, "media")).await;
        assert!(read.is_err(), "there is no memory");
        assert!(
            tokio::time::timeout(soon, world.list_grants("pics"))
                .await
                .is_err()
        );
    }
    assert!(requests.try_recv().is_err(), "nothing was requested");
    drop(all);
    let _ = world.get_job(&key).await;
    let _ = world.get_grant(&key, "media").await;
    assert_eq!(requests.len(), 2);

    // What waits for a request holds no memory: a namespace with many requests does not keep others from decoding.
    let slow = Adapters {
        requests: RequestBudget::new(0.001, 0.0),
        ..world
    };
    let waiting = tokio::time::timeout(soon, async {
        let wait = slow.get_job(&key);
        let decode = slow.memory.reserve("other", 2 * OBJECT_BYTES);
        tokio::select! {
            biased;
            _ = wait => false,
            _all = decode => true,
        }
    });
    assert_eq!(waiting.await, Ok(true));
}

#[tokio::test]
async fn the_grants_of_a_bucket_take_a_part_of_the_memory_and_no_grant_of_another_namespace() {
    let large = "p".repeat(100 * 1024);
    let grant = |namespace: &str, number: usize| {
        serde_json::json!({
            "metadata": {"name": format!("g{number}"), "namespace": namespace, "uid": format!("{namespace}-{number}")},
            "spec": {"objects": {"prefixes": [large]}},
        })
    };
    let mut items: Vec<_> = (0..60).map(|number| grant("busy", number)).collect();
    items.extend((0..2).map(|number| grant("quiet", number)));
    let list = serde_json::json!({"metadata": {}, "items": items}).to_string();
    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        let body = kube::client::Body::from(list.clone().into_bytes());
        std::future::ready(http::Response::builder().body(body))
    });
    let world = Adapters {
        memory: MemoryBudget::of_limit(256 * 1024 * 1024),
        ..adapters("http://127.0.0.1:9", kube::Client::new(server, "n"))
    };
    let grants = world.list_grants("pics").await.unwrap();
    let of = |namespace: &str| grants.iter().filter(|g| g.key.namespace == namespace).count();
    assert_eq!((of("busy"), of("quiet")), (38, 2));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_many_requests_does_not_delay_those_of_others() {
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::ready(
            http::Response::builder()
                .status(404)
                .body(kube::client::Body::empty()),
        )
    });
    let world = Adapters {
        requests: RequestBudget::new(1.0, 1.0),
        ..adapters("http://127.0.0.1:9", kube::Client::new(server, "n"))
    };
    let key = |namespace: &str| ObjectKey {
        namespace: namespace.to_owned(),
        name: "job".to_owned(),
    };
    let (busy, quiet) = (key("busy"), key("quiet"));
    let first = tokio::select! {
        biased;
        _ = futures::future::join_all((0..60).map(|_| world.get_job(&busy))) => "busy",
        _ = async { (world.get_job(&quiet).await, world.get_grant(&busy, "quiet").await) } => "quiet",
    };
    assert_eq!(first, "quiet");
}

#[tokio::test]
async fn the_calls_of_jobs_count_like_those_of_grants() {
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::ready(http::Response::builder().body(kube::client::Body::empty()))
    });
    let world = adapters("http://127.0.0.1:9", kube::Client::new(server, "n"));
    let keys = keys();
    let position = ListPosition::default();
    let payer = RequestPayer::default();
    let listed = world.list_objects("cn-hangzhou", "pics", "", &position, payer, &keys);
    assert!(listed.await.is_err());
    assert!(world.caller_account(&keys).await.is_err());
    // A name that is not valid makes no call.
    let listed = world.list_objects("cn-hangzhou", "../pics", "", &position, payer, &keys);
    assert!(listed.await.is_err());
    assert!(world.operator_keys().await.is_err());
    let series = world.metrics.render();
    for (api, calls) in [
        ("ListObjectsV2", 1),
        ("GetCallerIdentity", 1),
        ("AssumeRoleWithOIDC", 0),
    ] {
        let line = format!("immops_cloud_requests_total{{api=\"{api}\",outcome=\"failed\"}} {calls}\n");
        assert!(series.contains(&line), "{api}: {series}");
    }
}

fn bucket(region: &str) -> BucketRef {
    BucketRef {
        name: "pics".to_owned(),
        region: region.to_owned(),
        owner_uid: "65432".to_owned(),
    }
}

fn project() -> ProjectRef {
    ProjectRef {
        name: "scores".to_owned(),
        region: "cn-hangzhou".to_owned(),
        account_uid: "12345".to_owned(),
    }
}

fn keys() -> AccessKeys {
    AccessKeys {
        id: "id".to_owned(),
        secret: "secret".into(),
        token: None,
        expires_at: None,
    }
}

/// Answers each request as OSS does without the permission. Returns the address.
async fn server_that_denies() -> String {
    let body = "<Error><Code>AccessDenied</Code><Message>denied</Message></Error>";
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16 * 1024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn every_call_is_timed_and_those_that_a_missing_permission_only_limits_do_not_fail() {
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::ready(http::Response::builder().body(kube::client::Body::empty()))
    });
    let world = Adapters {
        fence: Fence::disabled(),
        ..adapters(&server_that_denies().await, kube::Client::new(server, "n"))
    };
    let (bucket, project, keys) = (bucket("cn-hangzhou"), project(), keys());
    let access = JobAccess::default();
    let score = world.detect_image_score(&project, &access, &keys, "oss://pics/a.jpg");
    assert!(score.await.is_err());
    assert!(world.get_policy(&bucket, &keys).await.is_err());
    assert_eq!(world.is_public(&bucket, &keys).await, None);
    assert!(world.project_limits(&project, &keys).await.is_err());
    let unread = world.read_public_access_block(&bucket, &keys).await;
    assert_eq!(unread, Ok(PublicAccessBlock::Unreadable));
    let info = world.bucket_info(&bucket, &keys).await;
    assert_eq!(info, Ok(ObservedBucket::default()));
    let series = world.metrics.render();
    for (api, outcome) in [
        ("GetBucketPolicy", Some("failed")),
        ("GetBucketPolicyStatus", Some("failed")),
        ("GetProject", Some("failed")),
        ("GetBucketPublicAccessBlock", Some("ok")),
        ("GetBucketInfo", Some("ok")),
        ("DetectImageScore", None),
    ] {
        let timed = format!("immops_cloud_request_duration_seconds_count{{api=\"{api}\"}} 1\n");
        assert!(series.contains(&timed), "{api}: {series}");
        let counted =
            |outcome: &str| format!("immops_cloud_requests_total{{api=\"{api}\",outcome=\"{outcome}\"}} 1\n");
        for known in ["ok", "failed"] {
            assert_eq!(
                series.contains(&counted(known)),
                outcome == Some(known),
                "{api}: {series}"
            );
        }
    }
}

#[tokio::test]
async fn policy_writes_and_billed_calls_do_not_start_without_the_lease() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let world = adapters(&url, client);
    let (bucket, project, keys) = (bucket("cn-hangzhou"), project(), keys());
    let access = JobAccess::default();
    let policy = CheckedPolicy::of("b", None, r#"{"Statement":[]}"#, &[]).unwrap();
    let deletion = CheckedDeletion::of("b", None, &[]).unwrap();
    let patience = Duration::from_millis(500);
    let writes = async {
        tokio::join!(
            world.put_policy(&bucket, &keys, &policy, now()),
            world.delete_policy(&bucket, &keys, &deletion, now()),
            world.detect_image_score(&project, &access, &keys, "oss://pics/a.jpg"),
        )
    };
    assert!(tokio::time::timeout(patience, writes).await.is_err());
    assert!(listener.accept().is_err(), "a call was sent without the lease");

    // A read needs no lease: it proves that the listener would have received a write.
    let read = tokio::time::timeout(patience, world.get_policy(&bucket, &keys));
    let _ = read.await;
    assert!(listener.accept().is_ok());
}

#[tokio::test]
async fn a_call_that_a_name_prevents_says_in_the_log_which_one() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::ready(http::Response::builder().body(kube::client::Body::empty()))
    });
    let world = adapters("http://127.0.0.1:9", kube::Client::new(server, "n"));
    let (bucket, keys) = (bucket("elsewhere"), keys());
    let refused = world.get_policy(&bucket, &keys).await.unwrap_err();
    assert_eq!(refused.code, "InvalidName");
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("spec.bucket.region must be a region id"), "{said}");
}
