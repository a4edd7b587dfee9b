//! The commands find and reach the cluster as kubectl does, and name the cause when they cannot.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Stage;

/// Writes the kubeconfig of the administrator with changes.
fn write(stage: &Stage, path: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(stage.plane.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

/// Runs `results` for a job that does not exist.
async fn results(kubeconfig: String, more: &'static [&'static str]) -> String {
    let run = move || -> Output {
        Command::new(env!("CARGO_BIN_EXE_imm-operator"))
            .args(["results", "isj/nothing"])
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

pub async fn the_commands_read_kubeconfigs_as_kubectl_does(stage: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write(&stage, &folder.path().join("config"), |config| {
        config["contexts"][0]["context"]["namespace"] = json!("media");
        let mut other = config["contexts"][0].clone();
        other["name"] = json!("other");
        other["context"]["namespace"] = json!("analytics");
        config["contexts"].as_array_mut().unwrap().push(other);
    });
    let list = format!("{}:{}", path("missing"), path("config"));
    for (kubeconfig, more, expected) in [
        (
            list.clone(),
            &[][..],
            "there is no ImageScoreJob media/nothing; name its namespace with -n",
        ),
        (
            list.clone(),
            &["--context", "other"][..],
            "no ImageScoreJob analytics/nothing",
        ),
        (list.clone(), &["-n", "here"][..], "no ImageScoreJob here/nothing"),
        (list, &["--context", "none"][..], "context none does not exist"),
        (path("missing"), &[][..], "set KUBECONFIG"),
    ] {
        let said = results(kubeconfig, more).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }

    write(&stage, &folder.path().join("file"), |config| {
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        std::fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
        config["users"][0]["user"] = json!({"tokenFile": "token"});
    });
    let said = results(path("file"), &[]).await;
    assert!(said.contains("no ImageScoreJob default/nothing"), "{said}");
}

pub async fn a_command_that_cannot_reach_the_cluster_names_the_cause(stage: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let port = stage
        .plane
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let other_authority = folder.path().join("ca.pem");
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    std::fs::write(&other_authority, other.cert.pem()).unwrap();
    for (name, change, expected) in [
        (
            "expired",
            json!({"users": [{"name": "user", "user": {"token": "expired"}}]}),
            &["log in again", "401"][..],
        ),
        (
            "line break",
            json!({"users": [{"name": "user", "user": {"token": "expired\n"}}]}),
            &["log in again", "401"][..],
        ),
        (
            "control character",
            json!({"users": [{"name": "user", "user": {"token": "ex\npired"}}]}),
            &["its token has characters that a token cannot have"][..],
        ),
        (
            "scheme",
            json!({"server": format!("127.0.0.1:{port}")}),
            &["expects TLS", "https://"][..],
        ),
        (
            "dns",
            json!({"server": format!("https://nowhere.invalid:{port}")}),
            &["cannot be reached", "DNS"][..],
        ),
        (
            "authority",
            json!({"certificate-authority": other_authority}),
            &["cannot be reached", "UnknownIssuer", "certificate-authority"][..],
        ),
        (
            "name",
            json!({"tls-server-name": "another.example.com"}),
            &["cannot be reached", "tls-server-name"][..],
        ),
    ] {
        let file = folder.path().join(name);
        write(&stage, &file, |config| {
            for (field, value) in change.as_object().unwrap() {
                if field == "users" {
                    config["users"] = value.clone();
                } else {
                    config["clusters"][0]["cluster"][field] = value.clone();
                }
            }
        });
        let said = results(file.display().to_string(), &[]).await;
        for part in expected {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
    }
}

/// Serves CONNECT requests, and counts them.
async fn serve_proxy(tunnels: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let tunnels = Arc::clone(&tunnels);
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let (mut first, mut line) = (String::new(), String::new());
                client.read_line(&mut first).await.unwrap();
                while client.read_line(&mut line).await.unwrap() > 2 {
                    line.clear();
                }
                let target = first.split(' ').nth(1).unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                tunnels.fetch_add(1, Ordering::Relaxed);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

pub async fn another_user_is_impersonated_as_kubectl_does(stage: Arc<Stage>) {
    let config = stage.plane.kubeconfig().display().to_string();
    for flags in [
        &["--as", "nobody"][..],
        &["--as", "admin", "--as-group", "nobodies"],
    ] {
        let said = results(config.clone(), flags).await;
        assert!(said.contains("you need permission"), "{said}");
    }
    let said = results(config, &["--as", "admin", "--as-group", "system:masters"]).await;
    assert!(said.contains("no ImageScoreJob default/nothing"), "{said}");
}

pub async fn the_proxy_of_the_kubeconfig_is_used(stage: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let tunnels = Arc::new(AtomicUsize::new(0));
    let proxy = serve_proxy(Arc::clone(&tunnels)).await;
    let file = folder.path().join("config");
    write(&stage, &file, |config| {
        config["clusters"][0]["cluster"]["proxy-url"] = json!(format!("http://{proxy}"));
    });
    let said = results(file.display().to_string(), &[]).await;
    assert!(said.contains("no ImageScoreJob default/nothing"), "{said}");
    assert!(
        tunnels.load(Ordering::Relaxed) > 0,
        "no request went through the proxy"
    );
}
