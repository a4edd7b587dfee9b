//! Serves `/livez`, `/readyz` and `/metrics` on one port: read-only, without names of objects, buckets or accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// State behind the endpoints.
#[derive(Clone)]
pub(crate) struct HttpServerState {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ready: Arc<AtomicBool>,
}

/// Serves until `stop` is cancelled. A failure is logged.
pub(crate) async fn serve(listener: TcpListener, admin: HttpServerState, stop: CancellationToken) {
    let app = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let served = axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "failed to serve probes and metrics");
    }
}

/// Handles `/readyz`: 503 until all grants and jobs have been listed once.
async fn ready(State(admin): State<HttpServerState>) -> impl IntoResponse {
    if admin.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "initial list of grants and jobs incomplete: apply crds/ of this version, and check the operator's permission to list both kinds; the log names the cause\n",
        )
    }
}

async fn metrics(State(admin): State<HttpServerState>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.render())
}
