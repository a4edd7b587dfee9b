//! Serves `/livez`, `/readyz` and `/metrics` on one port: read-only, without names of objects, buckets or accounts.
//!
//! The port has no authentication, and any Pod can connect to it. So the time of a connection, the size of a request, and
//! the number of connections are limited, and a connection that only waits gives way to a new one: the probes of the
//! kubelet come through whatever others do. See `connections.rs` for which connection gives way.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::metrics::Metrics;

/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a whole connection: one request and its response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request: the least that hyper can be limited to.
const MAX_HEAD_BYTES: usize = 8192;
/// Delay after a connection could not be accepted, for example because the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Time for responses in flight at the end of the process.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// State behind the endpoints.
#[derive(Clone)]
pub(crate) struct HttpServerState {
    pub(crate) metrics: Arc<Metrics>,
}

/// Binds the address. `[::]` stands for all addresses of both families: where the kernel has no IPv6, IPv4 alone is
/// bound, and where an IPv6 socket does not accept IPv4, both are bound.
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

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, admin: HttpServerState, stop: CancellationToken) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // Each connection is polled before the next one is accepted: a complete request is seen before its connection
            // can give way.
            () = connections.next_ended() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accept(&mut connections, &admin, stream, peer);
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to accept connection");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    let _ = timeout(CLOSING_GRACE, connections.all_ended()).await;
}

/// Serves one request of a connection, if there is room for the connection.
fn accept(connections: &mut Connections, admin: &HttpServerState, stream: TcpStream, peer: SocketAddr) {
    let admin = admin.clone();
    connections.admit(peer.ip(), |requested| async move {
        let service = service_fn(move |request| {
            requested.store(true, Ordering::Release);
            let response = respond(&admin, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            // Without a timer, hyper ignores the time limit.
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // An error is the client's: a request that is no HTTP, or a connection that was closed.
        let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    });
}

/// Answers a request. Its body, if there is one, is not read.
fn respond<B>(admin: &HttpServerState, request: &Request<B>) -> Response<String> {
    let ready = admin.metrics.is_ready();
    let unready = "initial list of grants and jobs incomplete, or the lease cannot be used: apply crds/ of this version, and check the operator's permission to list both kinds and to use its lease; the log names the cause\n";
    let (code, text) = match request.uri().path() {
        _ if request.method() != Method::GET => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed\n".to_owned())
        }
        "/livez" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, unready.to_owned()),
        "/metrics" => (StatusCode::OK, admin.metrics.render()),
        _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
    };
    let kind = if code == StatusCode::OK && request.uri().path() == "/metrics" {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let mut response = Response::new(text);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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
