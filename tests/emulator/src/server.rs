//! The port: accepts connections, reads whole requests, writes answers, and closes connections when ordered to.
//! Nothing here knows the services; nothing outside knows HTTP.

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
use crate::oss::Address;
use crate::request::Request;

/// Far above any policy, picture or seed.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

const HANDSHAKE_RECORD: u8 = 0x16;

/// The connection is to be closed without an answer, or in the middle of one.
#[derive(Debug, thiserror::Error)]
#[error("closed on order")]
struct Closed;

/// A body that may break off.
struct TornBody {
    data: Option<Bytes>,
    torn: bool,
    flushed: bool,
}

impl Body for TornBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.torn {
            return Poll::Ready(None);
        }
        // One round without data lets the connection write out what it has, before the error ends it.
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Closed)))
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.data, self.torn) {
            (Some(data), false) => SizeHint::with_exact(u64::try_from(data.len()).unwrap_or(u64::MAX)),
            _ => SizeHint::default(),
        }
    }
}

fn response(answer: Answer, cut: Option<usize>) -> Response<TornBody> {
    let whole = answer.body.len();
    let data = match cut {
        Some(length) => answer.body.slice(..length.min(whole)),
        None => answer.body,
    };
    let mut response = Response::new(TornBody {
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

/// Reads a request whole, as it stands on the wire.
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
) -> Result<Response<TornBody>, Closed> {
    let request = read(incoming, peer).await.ok_or(Closed)?;
    // A bucket in the host may have an object called `-/...`; orders come on a host that names no bucket.
    if request.path.starts_with(admin::PREFIX) && !Address::find(&request, &cloud.options.base_names).by_host
    {
        return Ok(response(admin::obey(&cloud, &request), None));
    }
    // A task of its own: a client that stops waiting does not take its request back, here as in the cloud. It is
    // carried out, recorded and paid for.
    match tokio::spawn(async move { cloud.serve(&request).await }).await {
        Ok(Outcome::Answer(answer, cut)) => Ok(response(answer, cut)),
        Ok(Outcome::Close) => Err(Closed),
        Err(error) => {
            tracing::error!(%error, "a call could not be carried out");
            Err(Closed)
        }
    }
}

async fn converse<Io: AsyncRead + AsyncWrite + Unpin>(cloud: Arc<Cloud>, io: Io, peer: SocketAddr) {
    let service = service_fn(|incoming| handle(Arc::clone(&cloud), incoming, peer));
    // The end of a connection, on order or by the client, is nothing to report.
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// One port for both: a client that speaks TLS begins with a handshake record, and no HTTP method does.
async fn welcome(cloud: Arc<Cloud>, tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr) {
    let mut first = [0_u8; 1];
    let Some(tls) = tls else {
        return converse(cloud, stream, peer).await;
    };
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE_RECORD] => match tls.accept(stream).await {
            Ok(stream) => converse(cloud, stream, peer).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
        Ok(_) => converse(cloud, stream, peer).await,
        Err(error) => tracing::debug!(%error, "a connection ended before it began"),
    }
}

/// Serves until the sender goes away or says so; open connections end with it.
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
                    connections.spawn(welcome(Arc::clone(&cloud), tls.clone(), stream, peer));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
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
