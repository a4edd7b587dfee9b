//! Serves `/livez`, `/readyz` and `/metrics` on one port: read-only, without names of objects, buckets or accounts.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
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

/// Binds the address. `[::]` stands for all addresses of both families: where the kernel has no IPv6, IPv4 alone is bound,
/// and where an IPv6 socket does not accept IPv4, both are bound.
///
/// # Errors
/// Returns the error of the operating system.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<Vec<TcpListener>> {
    let all_of_both = address.is_ipv6() && address.ip().is_unspecified();
    let first = match TcpListener::bind(address).await {
        Err(error) if all_of_both && error.kind() != ErrorKind::AddrInUse => {
            let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            return Ok(vec![TcpListener::bind(four).await.map_err(|_| error)?]);
        }
        bound => bound?,
    };
    if !all_of_both {
        return Ok(vec![first]);
    }
    // Fails if the first socket accepts IPv4 too, as it does by default.
    let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.local_addr()?.port()));
    let second = TcpListener::bind(four).await.ok();
    Ok(std::iter::once(first).chain(second).collect())
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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_of_both_families_are_served() {
        let listeners = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // A machine without IPv6 serves IPv4 alone.
        if listeners[0].local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
        let one = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_eq!(one.len(), 1);
        let taken = listen(one[0].local_addr().unwrap()).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
}
