//! A small client of the three services over a plain socket. It signs requests with the texts that the verifier builds.
//! The signing vectors verify those texts independently.

use aws_lc_rs::{digest, hmac};
use imm_emulator::signing::{acs3, oss_v4};
use imm_emulator::{Address, Emulator, Options, Request, Seed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const ACCOUNT_A: &str = "1234567890123456";
pub(crate) const ACCOUNT_B: &str = "6543210987654321";
pub(crate) const BUCKET: &str = "test-bucket-2024";
pub(crate) const CROSS_ACCOUNT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/cross-account.yaml");

pub(crate) async fn cross_account() -> Emulator {
    started(Options::default()).await
}

pub(crate) async fn started(options: Options) -> Emulator {
    Emulator::start(Seed::from_file(CROSS_ACCOUNT).unwrap(), options)
        .await
        .unwrap()
}

/// The statement of Alibaba Cloud's cross-account procedure that lets IMM read the bucket.
pub(crate) fn grant_policy() -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":
        ["arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:{ACCOUNT_B}:{BUCKET}/*"]}}]}}"#
    )
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }

    /// Returns the error code from either error format.
    pub(crate) fn code(&self) -> String {
        let text = self.text();
        match text.split_once("<Code>") {
            Some((_, rest)) => rest.split_once("</Code>").unwrap().0.to_owned(),
            None => self.json()["Code"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// An access key that signs calls.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) url: String,
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
    /// Sent as `Host` instead of the address.
    pub(crate) host: Option<String>,
    /// Added to the machine's time when signing.
    pub(crate) skew_seconds: i64,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

impl Client {
    pub(crate) fn new(emulator: &Emulator, id: &str, secret: &str) -> Self {
        Self {
            url: emulator.url(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: None,
            region: "cn-hangzhou".to_owned(),
            host: None,
            skew_seconds: 0,
        }
    }

    /// The bucket owner account.
    pub(crate) fn owner(emulator: &Emulator) -> Self {
        Self::new(
            emulator,
            "LTAI5tPolicyAdmin001",
            "canary-secret-policy-admin-0001",
        )
    }

    /// The grantee account, which owns the project.
    pub(crate) fn caller(emulator: &Emulator) -> Self {
        Self::new(
            emulator,
            "LTAI5tImmCaller00001",
            "canary-secret-imm-caller-000001",
        )
    }

    fn now(&self, format: &str) -> String {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(self.skew_seconds);
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .strftime(format)
            .to_string()
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn host(&self) -> &str {
        self.host.as_deref().unwrap_or_else(|| self.address())
    }

    /// Sends an OSS call, path style, signed V4. `target` is the raw path and query. `None` if no response arrived.
    pub(crate) async fn oss_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let date = self.now("%Y%m%dT%H%M%SZ");
        let scope = format!("{}/{}/oss/aliyun_v4_request", &date[..8], self.region);
        let authorization = |signature: &str| {
            format!(
                "OSS4-HMAC-SHA256 Credential={}/{scope},Signature={signature}",
                self.id
            )
        };
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: vec![
                ("host".to_owned(), self.host().to_owned()),
                ("x-oss-date".to_owned(), date.clone()),
                ("x-oss-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()),
                ("content-length".to_owned(), body.len().to_string()),
            ],
            body: body.to_vec().into(),
            source_ip: None,
        };
        let given = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()));
        request.headers.extend(given);
        if let Some(token) = &self.token {
            request
                .headers
                .push(("x-oss-security-token".to_owned(), token.clone()));
        }
        request
            .headers
            .push(("authorization".to_owned(), authorization("none")));
        let claim = oss_v4::ParsedSignature::read(&request).unwrap().unwrap();
        let address = Address::find(&request, &[]);
        let canonical = claim.canonical_request(&request, address.bucket.as_deref(), address.key.as_deref());
        let mut key = mac(format!("aliyun_v4{}", self.secret).as_bytes(), &date[..8]);
        for part in [self.region.as_str(), "oss", "aliyun_v4_request"] {
            key = mac(&key, part);
        }
        let signature = hex(&mac(&key, &claim.string_to_sign(&request, &canonical)));
        request.headers.last_mut().unwrap().1 = authorization(&signature);
        exchange_at(self.address(), &request).await
    }

    pub(crate) async fn oss(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        self.oss_with(method, target, &[], body)
            .await
            .expect("no response")
    }

    pub(crate) async fn put_policy(&self, policy: &str) -> Reply {
        self.oss("PUT", &format!("/{BUCKET}/?policy"), policy.as_bytes())
            .await
    }

    pub(crate) async fn get_policy(&self) -> Reply {
        self.oss("GET", &format!("/{BUCKET}/?policy"), b"").await
    }

    /// Sends an IMM or STS call, signed ACS3.
    pub(crate) async fn rpc(
        &self,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Option<Reply> {
        let nonce = hex(&{
            let mut raw = [0; 16];
            aws_lc_rs::rand::fill(&mut raw).unwrap();
            raw
        });
        self.rpc_with_nonce(version, action, parameters, &nonce).await
    }

    pub(crate) async fn rpc_with_nonce(
        &self,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
        nonce: &str,
    ) -> Option<Reply> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let mut headers = vec![
            ("host", self.host().to_owned()),
            ("x-acs-action", action.to_owned()),
            (
                "x-acs-content-sha256",
                hex(digest::digest(&digest::SHA256, b"").as_ref()),
            ),
            ("x-acs-date", self.now("%Y-%m-%dT%H:%M:%SZ")),
            ("x-acs-signature-nonce", nonce.to_owned()),
            ("x-acs-version", version.to_owned()),
        ];
        if let Some(token) = &self.token {
            headers.insert(4, ("x-acs-security-token", token.clone()));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let authorization = |signature: &str| {
            let names = names.join(";");
            format!(
                "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
                self.id
            )
        };
        let mut request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            query: query.join("&"),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            ..Request::default()
        };
        request
            .headers
            .push(("authorization".to_owned(), authorization("none")));
        let claim = acs3::ParsedSignature::read(&request).unwrap().unwrap();
        let text = acs3::ParsedSignature::string_to_sign(&claim.canonical_request(&request));
        let signature = hex(&mac(self.secret.as_bytes(), &text));
        request.headers.last_mut().unwrap().1 = authorization(&signature);
        request
            .headers
            .push(("content-length".to_owned(), "0".to_owned()));
        exchange_at(self.address(), &request).await
    }

    pub(crate) async fn imm(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.rpc("2020-09-30", action, parameters)
            .await
            .expect("no response")
    }

    pub(crate) async fn score(&self, key: &str) -> Reply {
        let uri = format!("oss://{BUCKET}/{key}");
        self.imm(
            "DetectImageScore",
            &[("ProjectName", "immtest"), ("SourceURI", &uri)],
        )
        .await
    }
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect::<Vec<_>>()
        .concat()
}

/// Sends a request to the host it names. `None` if the connection was closed without a response.
pub(crate) async fn exchange(request: &Request) -> Option<Reply> {
    let host = request.header("host").unwrap();
    exchange_at(host, request).await
}

pub(crate) async fn exchange_at(address: &str, request: &Request) -> Option<Reply> {
    let query = if request.query.is_empty() {
        String::new()
    } else {
        format!("?{}", request.query)
    };
    let mut wire = format!("{} {}{query} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        wire.extend([
            name, ": ", value, "
",
        ]);
    }
    wire.push_str("connection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(wire.as_bytes()).await.unwrap();
    stream.write_all(&request.body).await.unwrap();
    let mut answer = Vec::new();
    // Some tests inject a reset in the middle of the body; the bytes before it are the response.
    let _ended = stream.read_to_end(&mut answer).await;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Reply {
        status,
        head,
        body: answer[split + 4..].to_vec(),
    })
}

/// Sends an unsigned request: an admin request or an anonymous call.
pub(crate) async fn plain(emulator: &Emulator, method: &str, target: &str, body: &[u8]) -> Reply {
    plain_at(&emulator.url(), method, target, body).await
}

pub(crate) async fn plain_at(url: &str, method: &str, target: &str, body: &[u8]) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = url.strip_prefix("http://").unwrap().to_owned();
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: vec![
            ("host".to_owned(), host),
            ("content-length".to_owned(), body.len().to_string()),
        ],
        body: body.to_vec().into(),
        source_ip: None,
    };
    exchange(&request).await.expect("no response")
}
