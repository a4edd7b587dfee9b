//! A minimal emulated API server for the operator to see many grants: paged lists, watches without events, and the list
//! of one bucket. All objects are copies of one that a real API server stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::Result;

/// All objects as text, separated by commas.
struct Store {
    text: Bytes,
    /// The offset of each object, plus the end of the last one.
    begins: Vec<usize>,
    of_each: usize,
}

/// An emulated API server. Dropping the value stops it.
pub struct Stub {
    pub kubeconfig: PathBuf,
    server: JoinHandle<()>,
}

impl Stub {
    /// Serves `count` copies of an object, `of_each` per bucket. Fails if the object lacks a needed field.
    pub async fn serve(template: &Value, count: usize, of_each: usize, folder: &Path) -> Result<Self> {
        let mut store = Store {
            text: Bytes::new(),
            begins: vec![0],
            of_each,
        };
        let part = |pointer: &str| -> Result<&str> {
            Ok(template
                .pointer(pointer)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("no {pointer}"))?)
        };
        let (name, uid, bucket) = (
            part("/metadata/name")?,
            part("/metadata/uid")?,
            part("/spec/bucket/name")?,
        );
        let (model, mut text) = (template.to_string(), String::new());
        for number in 0..count {
            let copy = model
                .replace(name, &format!("grant-{number:06}"))
                .replace(uid, &format!("00000000-0000-4000-8000-{number:012}"))
                .replace(bucket, &bucket_of(number / of_each));
            text += &copy;
            text.push(',');
            store.begins.push(text.len());
        }
        store.text = text.into();
        let app = Router::new()
            .route("/apis/immops.dev/v1alpha1/immbucketgrants", get(grants))
            .route("/apis/immops.dev/v1alpha1/imagescorejobs", get(jobs))
            .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(review))
            .with_state(Arc::new(store));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "stub",
            "clusters": [{"name": "stub", "cluster": {"server": format!("http://{}", listener.local_addr()?)}}],
            "users": [{"name": "stub", "user": {}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
        });
        let kubeconfig = folder.join("stub.kubeconfig");
        std::fs::write(&kubeconfig, config.to_string())?;
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the emulated API server ended: {error}");
            }
        });
        Ok(Self { kubeconfig, server })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn bucket_of(number: usize) -> String {
    format!("rest-{number:05}")
}

/// Returns a watch response without events.
fn silence() -> Response {
    let never = futures::stream::pending::<std::result::Result<Bytes, std::io::Error>>();
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(never)).into_response()
}

fn list(kind: &str, items: &[u8], next: Option<usize>) -> Response {
    let next = next.map_or(String::new(), |next| format!(",\"continue\":\"{next}\""));
    let mut text = format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"immops.dev/v1alpha1\",\"metadata\":{{\"resourceVersion\":\"1\"{next}}},\"items\":["
    )
    .into_bytes();
    text.extend_from_slice(items.strip_suffix(b",").unwrap_or(items));
    text.extend_from_slice(b"]}");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// Returns a query parameter. The names and numbers used here are never percent-encoded.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

async fn grants(State(store): State<Arc<Store>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    if parameter(&query, "watch").is_some() {
        return silence();
    }
    let number = |name: &str| parameter(&query, name).and_then(|text| text.parse::<usize>().ok());
    let count = store.begins.len() - 1;
    let bucket =
        parameter(&query, "fieldSelector").and_then(|field| field.strip_prefix("spec.bucket.name%3Drest-"));
    let bucket = bucket.and_then(|bucket| bucket.parse::<usize>().ok());
    let (from, to) = if let Some(bucket) = bucket {
        (bucket * store.of_each, (bucket + 1) * store.of_each)
    } else {
        let from = number("continue").unwrap_or(0);
        (from, from + number("limit").unwrap_or(count))
    };
    let to = to.min(count);
    let place = |index: usize| store.begins.get(index).copied().unwrap_or(store.text.len());
    let next = (bucket.is_none() && to < count).then_some(to);
    list("ImmBucketGrant", &store.text.slice(place(from)..place(to)), next)
}

async fn jobs(RawQuery(query): RawQuery) -> Response {
    if parameter(&query.unwrap_or_default(), "watch").is_some() {
        return silence();
    }
    list("ImageScoreJob", b"", None)
}

async fn review() -> Response {
    let answer = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        "status": {"userInfo": {"username": "system:serviceaccount:imm-system:imm-operator"}}});
    ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}
