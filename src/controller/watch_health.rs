//! Which watches fail. A watch that is answered again has no event while nothing changes, so its requests are observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Request;
use kube::Client;
use kube::client::Body;

use crate::runtime::metrics::Metrics;

/// Whether a watch fails: its last request, a list or a watch, was rejected or got no usable answer.
pub(super) struct WatchHealth {
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl WatchHealth {
    /// The health of a watch that has made no request yet.
    pub(super) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            failing: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        })
    }

    /// Records whether the watch fails now.
    pub(super) fn set_failing(&self, failing: bool) {
        if self.failing.swap(failing, Ordering::AcqRel) == failing {
            return;
        }
        if failing {
            self.metrics.watches_failing.inc();
        } else {
            self.metrics.watches_failing.dec();
        }
    }
}

/// Returns a client for the requests of one watch, which records whether the API server accepts them.
pub(super) fn observed(client: &Client, health: &Arc<WatchHealth>) -> Client {
    let (client, namespace) = (client.clone(), client.default_namespace().to_owned());
    let health = Arc::clone(health);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, health) = (client.clone(), Arc::clone(&health));
        async move {
            let answer = client.send(request).await;
            let accepted = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
            health.set_failing(!accepted);
            answer
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream::BoxStream;
    use futures::{StreamExt, pin_mut};
    use http::Response;
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::controller::feed::{WatchEvent, WatchedKind, watch};

    type Answer = Response<StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>>;

    fn json_answer(status: u16, body: &serde_json::Value) -> Answer {
        let line = Frame::data(Bytes::from(format!("{body}\n")));
        let lines = futures::stream::iter([Ok(line)]).boxed();
        Response::builder()
            .status(status)
            .body(StreamBody::new(lines))
            .unwrap()
    }

    /// An empty list that is streamed; the watch after it ends at once.
    fn empty_list() -> Answer {
        let metadata = json!({"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}});
        let object =
            json!({"apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrant", "metadata": metadata});
        json_answer(200, &json!({"type": "BOOKMARK", "object": object}))
    }

    fn forbidden() -> Answer {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
            "message": "forbidden", "code": 403});
        json_answer(403, &status)
    }

    /// A watch in which nothing happens.
    fn quiet_watch() -> Answer {
        Response::new(StreamBody::new(futures::stream::pending().boxed()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_revoked_counts_as_failing_until_a_request_is_answered_again() {
        let denied = Arc::new(AtomicBool::new(false));
        let is_denied = Arc::clone(&denied);
        let server = tower::service_fn(move |request: Request<Body>| {
            let listed = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("sendInitialEvents"));
            let answer = if is_denied.load(Ordering::Acquire) {
                forbidden()
            } else if listed {
                empty_list()
            } else {
                quiet_watch()
            };
            std::future::ready(Ok::<_, std::io::Error>(answer))
        });
        let metrics = Arc::new(Metrics::default());
        let client = Client::new(server, "n");
        let events = watch(&client, WatchedKind::Grants, &["media".to_owned()], &metrics);
        pin_mut!(events);
        let failing = || metrics.watches_failing.get();
        assert!(matches!(events.next().await, Some(WatchEvent::ListStarted(_))));
        assert!(matches!(events.next().await, Some(WatchEvent::ListCompleted(_))));
        assert_eq!(failing(), 0);
        denied.store(true, Ordering::Release);
        for _ in 0..2 {
            assert!(matches!(events.next().await, Some(WatchEvent::ListDenied(_))));
            assert_eq!(failing(), 1);
        }
        denied.store(false, Ordering::Release);
        let event = timeout(Duration::from_secs(60), events.next()).await;
        assert!(event.is_err(), "nothing has changed");
        assert_eq!(failing(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_watch_that_is_denied_or_gets_no_answer_counts_once() {
        let server = tower::service_fn(|request: Request<Body>| {
            let denied = request.uri().path().contains("/media/");
            let answer = if denied {
                Ok(forbidden())
            } else {
                Err(std::io::Error::other("no connection"))
            };
            std::future::ready(answer)
        });
        let metrics = Arc::new(Metrics::default());
        let client = Client::new(server, "n");
        let namespaces = ["media".to_owned(), "analytics".to_owned()];
        for kind in [WatchedKind::Grants, WatchedKind::Jobs] {
            let events = watch(&client, kind, &namespaces, &metrics);
            pin_mut!(events);
            for _ in 0..3 {
                assert!(matches!(events.next().await, Some(WatchEvent::ListDenied(_))));
            }
        }
        assert_eq!(metrics.watches_failing.get(), 4);
    }
}
