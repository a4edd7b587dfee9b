use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A process that just acquired the lease, which it knows at version 1.
fn leadership(client: &Client) -> Leadership {
    let term = LeaseTiming::default();
    Leadership {
        lease: LeaseObject::new(client, "n", "imm-operator".to_owned()),
        identity: "me".to_owned(),
        term,
        acquired: now(),
        record: LeaseRecord {
            holder: Some("me".to_owned()),
            duration: term.duration,
            transitions: 0,
            version: "1".to_owned(),
        },
        until: watch::channel(Some(Instant::now() + term.duration)).0,
        billing_from: None,
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_pod_that_takes_over_an_expired_lease_waits_before_billed_calls() {
    for (holder, wait) in [("other", 30), ("", 0)] {
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| async move {
            let holder = if request.method() == http::Method::GET {
                holder
            } else {
                "me"
            };
            let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": holder}});
            http::Response::builder()
                .status(200)
                .body(kube::client::Body::from(lease.to_string().into_bytes()))
        });
        let lease = LeaseObject::new(&Client::new(server, "n"), "n", "lease".to_owned());
        let taken = acquire(lease, "me".to_owned(), &CancellationToken::new(), |_| {})
            .await
            .unwrap();
        let start = Instant::now();
        taken.fence().wait_until_billable().await;
        assert_eq!(start.elapsed().as_secs(), wait, "{holder}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_use_the_lease_is_not_ready() {
    // The code of each answer, or the holder in it.
    for (answers, expected) in [
        (&["403", "other", "", "me"][..], &[false, true][..]),
        (&["", "403", "", "me"], &[false]),
        (&["", "409", "500", "", "me"], &[]),
    ] {
        let mut answers = answers.iter();
        let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let answer = *answers.next().unwrap();
            let code: u16 = answer.parse().unwrap_or(200);
            let lease =
                serde_json::json!({"metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": answer}});
            let refusal = serde_json::json!({"code": code, "status": "Failure", "message": "", "reason": ""});
            let body = if code == 200 { lease } else { refusal };
            let body = kube::client::Body::from(body.to_string().into_bytes());
            async move { http::Response::builder().status(code).body(body) }
        });
        let lease = LeaseObject::new(&Client::new(server, "n"), "n", "lease".to_owned());
        let (reported, stop) = (std::cell::RefCell::new(Vec::new()), CancellationToken::new());
        let report = |ready| reported.borrow_mut().push(ready);
        assert!(acquire(lease, "me".to_owned(), &stop, report).await.is_some());
        assert_eq!(reported.into_inner(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_holds_for_the_term_from_when_it_was_sent_and_no_longer() {
    // An API server that takes 2 s per renewal and fails every renewal after the first.
    let mut renewals = 0;
    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        renewals += 1;
        let first = renewals == 1;
        async move {
            sleep(Duration::from_secs(2)).await;
            let lease = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": "me"}}"#;
            let (code, body) = if first { (200, lease) } else { (503, "{}") };
            http::Response::builder()
                .status(code)
                .body(kube::client::Body::from(body.as_bytes().to_vec()))
        }
    });
    let start = Instant::now();
    let mut leadership = leadership(&Client::new(server, "n"));
    leadership.renew_until_lost().await;
    // Sent after 5 s and valid for 40 s from then on.
    assert_eq!(start.elapsed().as_secs(), 45);
}

#[tokio::test]
async fn a_lease_is_released_although_a_cancelled_renewal_took_effect() {
    // The lease is at version 2, the process knows version 1.
    let released = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&released);
    let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let done = Arc::clone(&done);
        async move {
            let write = request.method() == http::Method::PUT;
            let body = request.into_body().collect_bytes().await.unwrap();
            let sent: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let (code, holder) = match (write, sent["metadata"]["resourceVersion"].as_str()) {
                (true, Some("2")) => {
                    done.store(sent["spec"]["holderIdentity"].is_null(), Ordering::SeqCst);
                    (200, "")
                }
                (true, _) => (409, "me"),
                (false, _) => (200, "me"),
            };
            let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": holder}});
            http::Response::builder()
                .status(code)
                .body(kube::client::Body::from(lease.to_string().into_bytes()))
        }
    });
    leadership(&Client::new(server, "n")).release().await;
    assert!(released.load(Ordering::SeqCst));
}
