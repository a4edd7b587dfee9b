//! The HTTP port: accepts connections, reads whole requests, writes responses and closes connections for faults.
//! This module does not know the services, and no other module knows HTTP.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::admin;
use crate::answer::Answer;
use crate::cloud::{Cloud, Outcome};
use crate::metadata;
use crate::oss::Address;
use crate::request::Request;

/// Far above the size of any policy, picture or seed.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

const HANDSHAKE_RECORD: u8 = 0x16;

/// Closes the connection without a response, or in the middle of one.
#[derive(Debug, thiserror::Error)]
#[error("closed on order")]
struct ConnectionClosed;

/// A body that may be truncated.
struct TruncatedBody {
    data: Option<Bytes>,
    torn: bool,
    flushed: bool,
}

impl Body for TruncatedBody {
    type Data = Bytes;
    type Error = ConnectionClosed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionClosed>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.torn {
            return Poll::Ready(None);
        }
        // One poll without data lets the connection flush its buffer before the error ends the connection.
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(ConnectionClosed)))
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.data, self.torn) {
            (Some(data), false) => SizeHint::with_exact(u64::try_from(data.len()).unwrap_or(u64::MAX)),
            _ => SizeHint::default(),
        }
    }
}

fn response(answer: Answer, cut: Option<usize>) -> Response<TruncatedBody> {
    let whole = answer.body.len();
    let data = match cut {
        Some(length) => answer.body.slice(..length.min(whole)),
        None => answer.body,
    };
    let mut response = Response::new(TruncatedBody {
        data: Some(data),
        torn: cut.is_some(),
        flushed: false,
    });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if cut.is_some() {
        response
            .headers_mut()
            .insert("content-length", HeaderValue::from(whole));
    }
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Reads a whole request without decoding it. `None` if the body is too large or the client disconnected.
async fn read(incoming: hyper::Request<Incoming>, peer: SocketAddr) -> Option<Request> {
    let (head, body) = incoming.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.ok()?.to_bytes();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    Some(Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        source_ip: Some(peer.ip()),
    })
}

async fn handle(
    cloud: Arc<Cloud>,
    incoming: hyper::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<TruncatedBody>, ConnectionClosed> {
    let request = read(incoming, peer).await.ok_or(ConnectionClosed)?;
    // A bucket in the host may contain an object named `-/...`; admin requests need a host that names no bucket.
    if request.path.starts_with(admin::PREFIX) && !Address::find(&request, &cloud.options.base_names).by_host
    {
        return Ok(response(admin::handle_admin(&cloud, &request), None));
    }
    if request.path.starts_with(metadata::PREFIX)
        && let Some(answer) = metadata::handle(&cloud, &request)
    {
        return Ok(response(answer, None));
    }
    // The call runs in a task of its own: as in the cloud, a disconnected client does not cancel its request. The call
    // is performed, recorded and billed.
    match tokio::spawn(async move { cloud.serve(&request).await }).await {
        Ok(Outcome::Answer(answer, cut)) => Ok(response(answer, cut)),
        Ok(Outcome::Close) => Err(ConnectionClosed),
        Err(error) => {
            tracing::error!(%error, "a call could not be carried out");
            Err(ConnectionClosed)
        }
    }
}

async fn serve_http<Io: AsyncRead + AsyncWrite + Unpin>(cloud: Arc<Cloud>, io: Io, peer: SocketAddr) {
    let service = service_fn(|incoming| handle(Arc::clone(&cloud), incoming, peer));
    // Connections end by faults or by the client; neither is an error of the emulator.
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Serves HTTP and TLS on one port: a TLS client starts with a handshake record, which no HTTP method does.
async fn accept_connection(cloud: Arc<Cloud>, tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr) {
    let mut first = [0_u8; 1];
    let Some(tls) = tls else {
        return serve_http(cloud, stream, peer).await;
    };
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE_RECORD] => match tls.accept(stream).await {
            Ok(stream) => serve_http(cloud, stream, peer).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
        Ok(_) => serve_http(cloud, stream, peer).await,
        Err(error) => tracing::debug!(%error, "a connection ended before it began"),
    }
}

/// Serves until the stop channel fires or closes, then aborts open connections.
pub(crate) async fn run(
    cloud: Arc<Cloud>,
    tls: Option<TlsAcceptor>,
    listener: TcpListener,
    mut stop: watch::Receiver<()>,
) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(accept_connection(Arc::clone(&cloud), tls.clone(), stream, peer));
                }
                Err(error) => tracing::warn!(%error, "failed to accept a connection"),
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            _ = stop.changed() => break,
        }
    }
    connections.shutdown().await;
}
