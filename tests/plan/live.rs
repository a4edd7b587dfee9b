//! `plan --live`: the connection to the cloud.

use std::net::SocketAddr;

use imm_emulator::{Emulator, Options, Seed, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{GRANT, text};

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_named_with_its_cause() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("grant"), GRANT).unwrap();
    for (name, from, to, code, advice) in [
        ("127.0.0.1", 2020, 2021, "CertificateExpired", "correct the clock"),
        (
            "127.0.0.1",
            2090,
            2091,
            "CertificateNotYetValid",
            "correct the clock",
        ),
        (
            "other.example.com",
            2020,
            2090,
            "CertificateForOtherName",
            "correct the endpoint",
        ),
        (
            "untrusted",
            2020,
            2090,
            "CertificateUnknownIssuer",
            "SSL_CERT_FILE",
        ),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let own = parameters.self_signed(&key).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        std::fs::write(path("certificate"), own.pem()).unwrap();
        let other = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let trusted = if name == "untrusted" {
            other.cert.pem()
        } else {
            own.pem()
        };
        std::fs::write(path("trusted"), trusted).unwrap();
        let options = Options {
            tls: Some(TlsFiles {
                certificate: path("certificate"),
                key: path("key"),
            }),
            ..Options::default()
        };
        let emulator = Emulator::start(Seed::default(), options).await.unwrap();
        let endpoint = format!("--oss-endpoint=https://{}", emulator.address());
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(["plan", "--live", "--file", "grant", &endpoint])
            .current_dir(folder.path())
            .env_clear()
            .env("SSL_CERT_FILE", path("trusted"))
            .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "id")
            .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret");
        let output = command.output().await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(code) && said.contains(advice), "{code}: {said}");
    }
}

/// Serves one connection as a SOCKS proxy that reaches `target` by any name. Returns its address.
async fn serve_socks(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 2];
        client.read_exact(&mut greeting).await.unwrap();
        client.read_exact(&mut vec![0; greeting[1].into()]).await.unwrap();
        client.write_all(&[5, 0]).await.unwrap();
        let mut request = [0; 5];
        client.read_exact(&mut request).await.unwrap();
        assert_eq!(request[..4], [5, 1, 0, 3], "a connection to a name");
        let mut name_and_port = vec![0; usize::from(request[4]) + 2];
        client.read_exact(&mut name_and_port).await.unwrap();
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    address
}

#[tokio::test]
async fn the_cloud_is_reached_through_a_socks_proxy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("grant"), GRANT).unwrap();
    let emulator = Emulator::start(Seed::default(), Options::default())
        .await
        .unwrap();
    let proxy = serve_socks(emulator.address()).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imm-operator"));
    command
        .args([
            "plan",
            "--live",
            "--file",
            "grant",
            "--oss-endpoint=http://oss.invalid",
        ])
        .current_dir(folder.path())
        .env_clear()
        .env("HTTP_PROXY", format!("socks5h://{proxy}"))
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "id")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret");
    let said = text(&command.output().await.unwrap().stderr);
    assert!(said.contains("request id"), "an answer of the cloud: {said}");
}
