//! Commands that use a cluster, as programs: what is refused before a request, output that nobody reads, and the command
//! line of the plugin of kubectl.

#[cfg(test)]
mod commands {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use imm_harness::tools::Tool;

    fn command(folder: &Path, server: &str, arguments: &[&str]) -> Command {
        let config = format!(
            "current-context: a\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             contexts: [{{name: a, context: {{cluster: c}}}}]\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("KUBECONFIG", "config");
        command
    }

    /// An API server without our CRDs.
    fn cluster_without_crds() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 8192];
                let length = stream.read(&mut request).unwrap_or(0);
                let (status, body) = if request[..length].starts_with(b"GET /apis ") {
                    (
                        "200 OK",
                        r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#,
                    )
                } else {
                    (
                        "404 Not Found",
                        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#,
                    )
                };
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
                let _ = stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
            }
        });
        format!("http://{address}")
    }

    #[test]
    fn a_name_that_no_object_can_have_is_refused_before_a_request() {
        let folder = tempfile::tempdir().unwrap();
        for (arguments, code, part) in [
            (&["results", "j?x=1"][..], 1, "the name of the job must be"),
            (
                &["results", "../secrets/s"],
                64,
                "a job is written as NAME or isj/NAME",
            ),
            (&["results", "j", "-n", "a/b"], 1, "the namespace must be"),
            (
                &["results", "j", "--context", "zz"],
                1,
                "imm-operator results: context zz does not exist in the kubeconfig",
            ),
            (
                &["release-finalizers", "--context", "zz"],
                1,
                "imm-operator release-finalizers: context zz does not exist",
            ),
        ] {
            let output = command(folder.path(), "https://127.0.0.1:1", arguments)
                .output()
                .unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
            assert!(
                message.contains(part) && !message.contains("request to"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_plugin_that_waits_for_a_person_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path(), "https://127.0.0.1:1", &["results", "j"]);
        let wait = "until [ -e signed-in ]; do sleep 0.05; done; echo not-a-credential";
        let exec = format!(
            "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: /bin/sh, args: [-c, '{wait}']"
        );
        let config = "current-context: a\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
                      contexts: [{name: a, context: {cluster: c, user: u}}]\n";
        let config = format!("{config}users: [{{name: u, user: {{exec: {{{exec}}}}}}}]\n");
        std::fs::write(folder.path().join("config"), config).unwrap();
        let mut running = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "imm-operator: waiting for /bin/sh, the exec plugin of the kubeconfig, which may wait for you to sign in; what it \
             prints is not shown, because its interactiveMode is Never"
        );
        std::fs::write(folder.path().join("signed-in"), "").unwrap();
        let last = lines.next().unwrap().unwrap();
        assert!(
            last.starts_with("imm-operator results: the kubeconfig cannot be used"),
            "{last}"
        );
        assert_eq!(running.wait().unwrap().code(), Some(1));
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let release = |out: Stdio| {
            let mut command = command(folder.path(), &cluster_without_crds(), &["release-finalizers"]);
            let output = command.stdout(out).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(release(writer.into()), (Some(0), String::new()));
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, message) = release(full.into());
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains("cannot write to standard output"), "{message}");
    }
    /// kubectl runs `kubectl_complete-imm` to complete the command line of the plugin; a second name of the same program.
    #[test]
    fn kubectl_completes_the_command_line_of_the_plugin() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kubectl-imm", "kubectl_complete-imm"] {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imm-operator"), link).unwrap();
        }
        let kubectl = Tool::Kubectl.path().unwrap();
        for (arguments, candidate) in [
            (&["imm", "rel"][..], "release-finalizers\tRemove"),
            (&["imm", "results", "--lo"], "--lowest\t"),
        ] {
            let output = Command::new(&kubectl)
                .arg("__complete")
                .args(arguments)
                .env_clear()
                .env("PATH", folder.path())
                .env("HOME", folder.path())
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.starts_with(candidate), "{arguments:?}: {text}");
            assert!(text.contains("\n:4\n"), "{arguments:?}: {text}");
        }
    }
}
