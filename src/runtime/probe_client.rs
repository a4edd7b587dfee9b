//! Reads one page of another process of the operator: what its probes and metrics answer.

use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Deadline of a request.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer that is read: far above the metrics of a large installation.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Returns status code and text of a page at `address`, which is HOST:PORT.
///
/// # Errors
/// Returns the cause if there is no complete answer within 5 s.
pub(crate) async fn read_page(address: &str, path: &str) -> Result<(StatusCode, String), String> {
    match timeout(DEADLINE, read(address, path)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn read(
    address: &str,
    path: &str,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, address)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // The connection moves the bytes; its error is that of the answer.
    let (answer, _) = futures::join!(answer, connection);
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::runtime::http_server::{HttpServerState, listen, serve};

    #[tokio::test]
    async fn a_page_of_the_operator_is_read() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap().remove(0);
        let address = listener.local_addr().unwrap().to_string();
        let state = HttpServerState {
            metrics: Arc::default(),
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, state, stop.clone()));
        let (status, text) = read_page(&address, "/metrics").await.unwrap();
        assert!(status.is_success() && text.ends_with("# EOF\n"), "{text}");
        let (status, text) = read_page(&address, "/readyz").await.unwrap();
        assert!(
            status == StatusCode::SERVICE_UNAVAILABLE && text.contains("incomplete"),
            "{text}"
        );
        stop.cancel();
        serving.await.unwrap();
        let refused = read_page(&address, "/readyz").await.unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
    }
}
