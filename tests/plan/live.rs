//! `plan --live`: the connection to the cloud.

use imm_emulator::{Emulator, Options, Seed, TlsFiles};

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
