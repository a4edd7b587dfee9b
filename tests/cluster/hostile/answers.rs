//! Answers of the API server that do not arrive intact, from a stub that plays an API server with one grant.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use imm_harness::{Operator, OperatorOptions, until};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{ACCOUNT_A, ACCOUNT_B, PATIENCE, REGION, Stage};

fn grant() -> Value {
    json!({"apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrant",
        "metadata": {"name": "cut", "namespace": "cut", "uid": "uid", "resourceVersion": "1", "generation": 1},
        "spec": {"bucket": {"name": "cut-bucket", "region": REGION, "ownerUID": ACCOUNT_B},
            "grantee": {"accountUID": ACCOUNT_A},
            "credentials": {"source": "Secret", "secretRef": {"name": "owner"}}}})
}

/// Answers like an API server, but for the Secret, whose last two bytes are missing.
async fn answer(State(secret): State<String>, method: Method, uri: Uri, body: String) -> Response {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let list = |items: Value| {
        json!({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}).to_string()
    };
    let text = match path.rsplit('/').next().unwrap() {
        _ if path.starts_with("/openapi") => return StatusCode::FORBIDDEN.into_response(),
        // As an API server that does not stream lists.
        _ if query.contains("sendInitialEvents=") => {
            let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                "code": 422, "message": "sendInitialEvents is forbidden"});
            return (StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()).into_response();
        }
        _ if query.contains("watch=") => return std::future::pending().await,
        "immbucketgrants" => list(json!([grant()])),
        "imagescorejobs" => list(json!([])),
        "owner" => secret[..secret.len() - 2].to_owned(),
        "status" | "events" if method != Method::GET => body,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(text))
        .unwrap()
}

// T10
pub async fn a_secret_whose_answer_is_cut_short_is_not_logged(stage: Arc<Stage>) {
    // canary-secret, as the API server encodes it and as it is.
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "owner", "namespace": "cut"},
        "data": {"accessKeyId": "TFRBSQ==", "accessKeySecret": "Y2FuYXJ5LXNlY3JldA=="}});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new()
        .fallback(answer)
        .with_state(secret.to_string());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let kubeconfig = stage.plane.folder().join("stub.kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": server}}], "users": [],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": ""}}]});
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let operator = Operator::start(OperatorOptions {
        kubeconfig,
        extra_args: vec!["--log-level".to_owned(), "trace".to_owned()],
        ..stage.options("operator-of-the-stub.log")
    })
    .await
    .unwrap();
    until("the log to report the damaged answer", PATIENCE, || async {
        operator.log().contains("failed to decode answer").then_some(())
    })
    .await
    .unwrap();
    let log = operator.log();
    for part in ["Y2FuYXJ5LXNlY3JldA", "TFRBSQ", "canary", "accessKeySecret"] {
        assert!(!log.contains(part), "{log}");
    }
    operator.kill().unwrap();
    serving.abort();
}
