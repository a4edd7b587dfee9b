use std::io::Write;
use std::sync::{Arc, Mutex};

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use serde_json::json;

use super::*;
use crate::kubernetes::{Kubernetes, credentials, grants, jobs};
use crate::ports::CredentialsError;

#[test]
fn a_rejection_says_what_to_do() {
    let rbac = "imagescorejobs.immops.dev \"a\" is forbidden: User \"u\" cannot get resource";
    let hook = "admission webhook \"w\" denied the request: no grants on Fridays";
    let friday = "admission webhook \"w\" denied the request: you cannot change grants on Fridays";
    let policy = "immbucketgrants.immops.dev \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: you cannot";
    let path = "forbidden: User \"u\" cannot get path \"/openapi/v3\"";
    for (code, message, parts) in [
        (401, "Unauthorized", ["log in again", "401"]),
        (403, rbac, ["you need permission to get jobs", rbac]),
        (403, hook, ["rejected the request (403)", hook]),
        (403, friday, ["rejected the request (403)", friday]),
        (403, policy, ["rejected the request (403)", policy]),
        (403, path, ["you need permission to get jobs", path]),
        (422, "denied by policy", ["(422)", "denied by policy"]),
    ] {
        let text = describe_rejection(code, message, "get jobs");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

/// An API server, or what answers in its place, that gives one answer.
fn answering(code: u16, body: &'static str) -> Kubernetes {
    let server = tower::service_fn(move |_: http::Request<Body>| async move {
        let body = Body::from(body.as_bytes().to_vec());
        http::Response::builder().status(code).body(body)
    });
    Kubernetes::new(Client::new(server, "media"), Vec::new(), None, None)
}

#[tokio::test]
async fn a_page_in_place_of_the_api_server_says_nothing_about_an_object() {
    let key = ObjectKey {
        namespace: "media".to_owned(),
        name: "one".to_owned(),
    };
    let page = "\n<!DOCTYPE html><html>Sign in</html>";
    for (code, body, kind) in [
        (404, page, KubeError::Unavailable),
        (403, page, KubeError::Unavailable),
        (404, r#"{"message": "no route"}"#, KubeError::Unavailable),
        (302, page, KubeError::Unavailable),
        (302, "", KubeError::Unavailable),
        (200, page, KubeError::Unavailable),
    ] {
        let kubernetes = answering(code, body);
        let error = jobs::find_job(&kubernetes, &key).await.err().unwrap();
        let said = error.describe("get jobs");
        assert!(
            said.contains("not one of a Kubernetes API server"),
            "{code} {body}: {said}"
        );
        assert!(
            !said.contains("Sign in") && !said.contains("cannot be reached"),
            "{said}"
        );
        assert_eq!(error.kind(), kind, "{code} {body}");
        let read = credentials::read_secret(&kubernetes, "media", "keys").await;
        assert_eq!(read.err(), Some(CredentialsError::Unavailable), "{code} {body}");
    }
    for body in [
        "404 page not found\n",
        r#"{"kind": "Status", "message": "m", "code": 404}"#,
    ] {
        assert_eq!(
            jobs::get_job(&answering(404, body), &key).await,
            Ok(None),
            "{body}"
        );
    }
    let plain = answering(400, "Client sent an HTTP request to an HTTPS server.\n");
    let said = jobs::find_job(&plain, &key)
        .await
        .err()
        .unwrap()
        .describe("get jobs");
    assert!(said.contains("https://"), "{said}");
}

/// Collects the log.
#[derive(Clone, Default)]
struct RequestLog(Arc<Mutex<Vec<u8>>>);

impl Write for RequestLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_the_request_and_a_part_of_what_the_api_server_said() {
    let said = format!("webhook \u{202e}says\n{}END", "x".repeat(300));
    let status =
        json!({"kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "message": said});
    let server = tower::service_fn(move |_: http::Request<Body>| {
        let body = Body::from(status.to_string().into_bytes());
        async move { http::Response::builder().status(422).body(body) }
    });
    let client = Client::new(server, "media");
    let log = RequestLog::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let key = ObjectKey {
        namespace: "media".to_owned(),
        name: "one".to_owned(),
    };
    let kubernetes = Kubernetes::new(client, Vec::new(), None, None);
    assert_eq!(
        grants::get_grant(&kubernetes, &key).await.err(),
        Some(KubeError::Invalid)
    );
    let read = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let text = read();
    for part in [
        "get",
        "ImmBucketGrant media/one",
        "code=422",
        "Invalid",
        "u{202e}says",
        "xxx",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("END") && !text.contains('\u{202e}'), "{text}");
    assert!(
        credentials::read_secret(&kubernetes, "media", "keys")
            .await
            .is_err()
    );
    let secret = read().split_off(text.len());
    assert!(
        secret.contains("Secret media/keys") && secret.contains("code=422"),
        "{secret}"
    );
    assert!(!secret.contains("webhook"), "{secret}");
}

#[test]
fn a_refusal_because_the_namespace_is_being_deleted_is_no_warning() {
    let refused = |causes: serde_json::Value| {
        let status: kube::core::Status = serde_json::from_value(json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no", "details": {"causes": causes},
        }))
        .unwrap();
        let log = RequestLog::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            let error = RequestError::Kube(kube::Error::Api(Box::new(status)));
            logged::<()>("create", "Event of media/one", Err(error)).unwrap_err();
        });
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    };
    let ending = refused(
        json!([{"reason": "NamespaceTerminating", "message": "namespace media is being terminated"}]),
    );
    assert!(ending.contains("DEBUG") && !ending.contains("WARN"), "{ending}");
    let other = refused(json!([]));
    assert!(other.contains("WARN"), "{other}");
}

#[derive(Debug, Error)]
#[error("{0}")]
struct Layer(&'static str, #[source] Option<Box<Layer>>);

#[test]
fn every_cause_is_named_once() {
    let io = Layer("dns error: failed to lookup address information", None);
    let connect = Layer("client error (Connect)", Some(Box::new(io)));
    let outer = Layer("ServiceError: client error (Connect)", Some(Box::new(connect)));
    let chain = error_chain(&outer);
    assert_eq!(
        chain,
        "ServiceError: client error (Connect): dns error: failed to lookup address information"
    );
    assert!(describe_failure(&chain).contains("DNS"));
    assert!(describe_failure("invalid peer certificate: UnknownIssuer").contains("certificate-authority"));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_says_nothing_about_permissions() {
    let log = RequestLog::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let status = r#"{"kind": "Status", "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401}"#;
    let kubernetes = answering(401, status);
    let listed = grants::list_grants(&kubernetes, "pics", 1_000_000).await;
    assert_eq!(listed.err(), Some(KubeError::Unavailable));
    for read in [
        credentials::read_secret(&kubernetes, "media", "keys")
            .await
            .map(drop),
        credentials::request_token(&kubernetes, "media", "robot")
            .await
            .map(drop),
    ] {
        assert_eq!(read, Err(CredentialsError::Unavailable));
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said = "does not accept the operator's token";
    assert_eq!(text.matches(said).count(), 3, "{text}");
}

#[test]
fn a_certificate_out_of_its_time_is_described_by_the_words_of_the_tls_library() {
    let (early, late) = (Duration::from_secs(1), Duration::from_secs(2));
    let at = UnixTime::since_unix_epoch;
    for error in [
        CertificateError::ExpiredContext {
            time: at(late),
            not_after: at(early),
        },
        CertificateError::NotValidYetContext {
            time: at(early),
            not_before: at(late),
        },
    ] {
        let said = describe_failure(&rustls::Error::InvalidCertificate(error).to_string());
        assert!(said.contains("correct the clock"), "{said}");
    }
}

#[tokio::test]
async fn a_name_that_is_more_than_one_part_of_a_path_is_not_requested() {
    // An API server that finds every object.
    let server = tower::service_fn(|request: http::Request<Body>| async move {
        assert_eq!(request.uri().path(), "/api/v1/namespaces/media/secrets/keys");
        let found = r#"{"kind": "Secret", "metadata": {"name": "other"}, "data": {}}"#;
        http::Response::builder().body(Body::from(found.as_bytes().to_vec()))
    });
    let kubernetes = Kubernetes::new(Client::new(server, "n"), Vec::new(), None, None);
    for name in ["?limit=500", "../..", "a/../../b", "", "a#b", "a%2f..%2fb"] {
        let key = |namespace: &str, name: &str| ObjectKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        for key in [key("media", name), key(name, "open")] {
            assert_eq!(grants::get_grant(&kubernetes, &key).await, Ok(None), "{key}");
            assert_eq!(jobs::get_job(&kubernetes, &key).await, Ok(None), "{key}");
        }
        let read = credentials::read_secret(&kubernetes, "media", name).await;
        assert_eq!(read.err(), Some(CredentialsError::NotFound), "{name}");
        let token = credentials::request_token(&kubernetes, "media", name).await;
        assert_eq!(token.err(), Some(CredentialsError::NotFound), "{name}");
    }
    // An answer about another object is not used.
    let read = credentials::read_secret(&kubernetes, "media", "keys").await;
    assert_eq!(read.err(), Some(CredentialsError::Unavailable));
}
