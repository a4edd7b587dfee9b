//! Tests with answers of the API server that contain secrets and do not arrive intact: no library and no line of ours
//! logs a part of them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tracing_subscriber::fmt::MakeWriter;

use crate::kubernetes::{Kubernetes, credentials};
use crate::ports::CredentialsError;

/// Every level and every target, as text.
#[derive(Clone, Default)]
pub(super) struct Log(pub(super) Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Serves one answer to every request, and closes the connection after it.
async fn serve(listener: TcpListener, answer: Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

fn answer(status: &str, body: &[u8], promised: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {promised}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Returns damaged forms of an answer, each with its name.
fn damaged(body: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (bytes, all) = (body.as_bytes(), body.len());
    let cut = &bytes[..all - 2];
    let list = format!(r#"{{"kind": "List", "items": [{body}]}}"#);
    let nested = body.replacen("{\"", "{\"metadata\": 1, \"status\": 1, \"", 1);
    vec![
        ("cut short", answer("200 OK", cut, cut.len())),
        ("connection closed early", answer("200 OK", cut, all)),
        ("not UTF-8", answer("200 OK", &[bytes, b"\xff"].concat(), all + 1)),
        ("another kind", answer("200 OK", list.as_bytes(), list.len())),
        ("wrong type", answer("200 OK", nested.as_bytes(), nested.len())),
        (
            "an error with the body",
            answer("500 Internal Server Error", bytes, all),
        ),
        (
            "an error cut short",
            answer("500 Internal Server Error", cut, cut.len()),
        ),
    ]
}

/// Reads a Secret and a token from a server with this answer; returns both results and the log.
async fn read(answer: Vec<u8>) -> ([Result<(), CredentialsError>; 2], String) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, answer));
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let kubernetes = Kubernetes::new(client, Vec::new(), None, None);
    let secret = credentials::read_secret(&kubernetes, "media", "keys")
        .await
        .map(|_| ());
    let token = credentials::request_token(&kubernetes, "media", "keys")
        .await
        .map(|_| ());
    server.abort();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    ([secret, token], text)
}

#[tokio::test]
async fn a_damaged_answer_with_a_secret_is_not_logged() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // canary-secret in base64, canary-token as it is.
    let marks = ["Y2FuYXJ5LXNlY3JldA", "canary"];
    let secret = r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "keys", "namespace": "media"}, "data": {"accessKeyId": "TFRBSQ==", "accessKeySecret": "Y2FuYXJ5LXNlY3JldA=="}}"#;
    let token = r#"{"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": "keys", "namespace": "media"}, "spec": {"audiences": []}, "status": {"token": "canary-token", "expirationTimestamp": "2026-11-27T00:00:00Z"}}"#;
    for (intact, place) in [(secret, 0), (token, 1)] {
        let (results, _) = read(answer("200 OK", intact.as_bytes(), intact.len())).await;
        assert_eq!(results[place], Ok(()), "the stub answers like an API server");
        for (how, answer) in damaged(intact) {
            let (results, log) = read(answer).await;
            assert_eq!(results[place], Err(CredentialsError::Unavailable), "{how}");
            assert!(
                log.contains("failed to decode") || !how.starts_with("cut"),
                "{how}: {log}"
            );
            for mark in marks {
                assert!(!log.contains(mark), "{how}: {log}");
            }
        }
    }
}
