use std::error::Error as _;

use secrecy::ExposeSecret;

use super::*;

const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c, cluster: {server: 'https://api.example.com:6443'}}
- {name: p, cluster: {server: 'https://api.example.com', proxy-url: 'socks5://proxy.example.com'}}
contexts:
- {name: one, context: {cluster: c, user: u, namespace: media}}
- {name: two, context: {cluster: p, user: nobody}}
users:
- {name: u, user: {tokenFile: token}}
";

fn options(folder: &std::path::Path, files: &[&str]) -> ConnectOptions {
    ConnectOptions {
        kubeconfigs: files.iter().map(|file| folder.join(file)).collect(),
        ..ConnectOptions::default()
    }
}

fn loaded(options: &ConnectOptions) -> Result<(Config, Option<TokenSource>), String> {
    let said = |error: ConnectError| error.to_string();
    config_of(read_kubeconfigs(options).map_err(said)?.ok_or("none")?, options).map_err(said)
}

#[test]
fn missing_files_of_a_list_are_skipped_and_the_first_value_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good"), CONFIG).unwrap();
    let second = "current-context: two\ncontexts: []\n";
    std::fs::write(folder.path().join("second"), second).unwrap();
    std::fs::write(folder.path().join("empty"), "current-context: ''\n").unwrap();
    for (files, namespace) in [
        (["missing", "good"], "media"),
        (["good", "second"], "media"),
        (["second", "good"], "default"),
        (["empty", "good"], "media"),
    ] {
        let (config, _) = loaded(&options(folder.path(), &files)).unwrap();
        assert_eq!(config.default_namespace, namespace, "{files:?}");
        let of_context = namespace_of_context(&options(folder.path(), &files)).unwrap();
        assert_eq!(of_context.as_deref(), Some(namespace), "{files:?}");
    }
    assert_eq!(loaded(&options(folder.path(), &["missing"])).unwrap_err(), "none");
    let mut required = options(folder.path(), &["good"]);
    required.required = Some(folder.path().join("missing"));
    assert!(loaded(&required).unwrap_err().contains("missing"));
    let mut other = options(folder.path(), &["good"]);
    other.context = Some("three".to_owned());
    assert_eq!(
        loaded(&other).unwrap_err(),
        "context three does not exist in the kubeconfig"
    );
}

#[test]
fn a_plugin_that_always_needs_a_terminal_does_not_run_without_one() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, is_terminal, runs) in [
        ("Always", false, false),
        ("Always", true, true),
        ("IfAvailable", false, true),
        ("Never", false, true),
    ] {
        let exec = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sign-in, interactiveMode: {mode}}}}}"
        );
        std::fs::write(
            folder.path().join("exec"),
            CONFIG.replace("{tokenFile: token}", &exec),
        )
        .unwrap();
        let found = loaded(&ConnectOptions {
            is_terminal,
            ..options(folder.path(), &["exec"])
        });
        assert_eq!(found.is_ok(), runs, "{mode}");
        if let Err(message) = found {
            assert_eq!(
                message,
                "the user of context one is invalid: its exec plugin sign-in has interactiveMode Always, and standard input is not a \
                 terminal: run the command in a terminal"
            );
        }
    }
}

#[test]
fn a_cause_stays_behind_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    for (config, cause) in [
        (
            CONFIG.replace("https://api.example.com:6443", "a b"),
            "invalid uri character",
        ),
        (
            CONFIG.replace("tokenFile: token", r#"token: "a\nb""#),
            "failed to parse header value",
        ),
        ("a: [".to_owned(), "failed to parse kubeconfig YAML"),
    ] {
        std::fs::write(&path, config).unwrap();
        let read = read_kubeconfigs(&options(folder.path(), &["config"]));
        let found = read.and_then(|read| config_of(read.unwrap(), &options(folder.path(), &["config"])));
        let error = found.unwrap_err();
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let root = causes.last().unwrap().to_string();
        assert!(root.starts_with(cause), "{cause}: {root}");
    }
}

#[test]
fn cluster_and_user_replace_those_of_the_context() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good"), CONFIG).unwrap();
    let good = options(folder.path(), &["good"]);
    let (config, token) = loaded(&ConnectOptions {
        cluster: Some("p".to_owned()),
        ..good.clone()
    })
    .unwrap();
    assert_eq!(config.cluster_url, "https://api.example.com/");
    assert_eq!(
        (config.default_namespace.as_str(), token.is_some()),
        ("media", true)
    );
    let (_, token) = loaded(&ConnectOptions {
        context: Some("two".to_owned()),
        user: Some("u".to_owned()),
        ..good.clone()
    })
    .unwrap();
    assert!(token.is_some());
    let cluster = ConnectOptions {
        cluster: Some("x".to_owned()),
        ..good.clone()
    };
    let user = ConnectOptions {
        user: Some("x".to_owned()),
        ..good
    };
    for (options, message) in [
        (cluster, "cluster x does not exist in the kubeconfig"),
        (user, "user x does not exist in the kubeconfig"),
    ] {
        assert_eq!(loaded(&options).unwrap_err(), message);
    }
}

#[test]
fn a_server_without_a_scheme_is_reached_over_http_as_in_kubectl() {
    let url = |server: &str| {
        server_url(&Cluster {
            server: Some(server.to_owned()),
            ..Cluster::default()
        })
        .map(|url| url.to_string())
        .map_err(drop)
    };
    for (server, used) in [
        ("127.0.0.1:6443", "http://127.0.0.1:6443/"),
        ("localhost:6443", "http://localhost:6443/"),
        ("localhost", "http://localhost/"),
        ("[::1]:6443/", "http://[::1]:6443/"),
        ("https://api.example.com", "https://api.example.com/"),
        ("https://api.example.com/k8s/c1", "https://api.example.com/k8s/c1"),
    ] {
        assert_eq!(url(server).as_deref(), Ok(used), "{server}");
    }
    for server in [
        "",
        "/",
        "https://",
        "//api",
        "api.example.com/k8s",
        "a b",
        "https:/api",
    ] {
        assert!(url(server).is_err(), "{server}");
    }
}

#[test]
fn the_proxy_is_that_of_the_cluster_or_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config"), CONFIG).unwrap();
    let mut options = options(folder.path(), &["config"]);
    options.proxies.https = Some("proxy:3128".to_owned());
    let proxy = |options: &ConnectOptions| loaded(options).unwrap().0.proxy_url.map(|url| url.to_string());
    assert_eq!(proxy(&options).as_deref(), Some("http://proxy:3128/"));
    options.proxies.no_proxy = Some("localhost, .example.com,".to_owned());
    assert_eq!(proxy(&options), None);
    options.context = Some("two".to_owned());
    assert_eq!(proxy(&options).as_deref(), Some("socks5://proxy.example.com/"));
}

#[test]
fn a_token_file_takes_precedence_over_a_token_and_nothing_is_sent_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let named = file.display().to_string();
    // What the user has, the content of the file, and the token that is sent from the file and by kube.
    for (user, content, from_file, inline) in [
        (
            format!("token: a, tokenFile: {named}"),
            Some("b"),
            Some("Bearer b"),
            None,
        ),
        (
            format!("token: a, tokenFile: {named}"),
            None,
            Some("Bearer a"),
            None,
        ),
        (
            format!("token: a, tokenFile: {named}"),
            Some("\n"),
            Some("Bearer a"),
            None,
        ),
        (
            format!("token: '', tokenFile: {named}"),
            Some("b"),
            Some("Bearer b"),
            None,
        ),
        ("token: a, tokenFile: ''".to_owned(), None, None, Some("a")),
        ("token: ''".to_owned(), None, None, None),
    ] {
        let _ = std::fs::remove_file(&file);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let config = CONFIG.replace("tokenFile: token", &user);
        std::fs::write(folder.path().join("config"), &config).unwrap();
        let options = options(folder.path(), &["config"]);
        let (loaded_config, source) = loaded(&options).unwrap();
        let sent = source.map(|(file, other)| TokenFile::new(file, other.as_ref()).unwrap());
        let sent = sent.map(|token| {
            let request = token.authorize(Request::new(Body::empty()));
            request.headers()["authorization"].to_str().unwrap().to_owned()
        });
        assert_eq!(sent.as_deref(), from_file, "{user}");
        let token = loaded_config
            .auth_info
            .token
            .as_ref()
            .map(ExposeSecret::expose_secret);
        assert_eq!(token, inline, "{user}");
        let plain = config.replace("https://api.example.com:6443", "http://api.example.com");
        std::fs::write(folder.path().join("config"), plain).unwrap();
        let (loaded_config, source) = loaded(&options).unwrap();
        assert!(
            source.is_none() && loaded_config.auth_info.token.is_none(),
            "{user}"
        );
    }
}
