//! `imm-operator plan` as a program: exit codes, diff marks, and the exact bytes that the operator would write.

#[cfg(test)]
mod plan {
    mod live;

    use std::path::Path;
    use std::process::{Command, Output};

    const GRANT: &str = r#"
apiVersion: immops.dev/v1alpha1
kind: ImmBucketGrant
metadata: {name: g, namespace: media}
spec:
  bucket: {name: test-bucket-2024, region: cn-hangzhou, ownerUID: "6543210987654321"}
  grantee: {accountUID: "1234567890123456"}
  access: {preset: Minimal, prefixes: ["p/"], passRoleStatement: Omit}
  credentials: {source: Secret, secretRef: {name: s}}
"#;
    const OURS: &str = r#"{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:6543210987654321:test-bucket-2024/p/*"]}"#;

    fn run(folder: &Path, grant: &str, policy: &[u8]) -> Output {
        std::fs::write(folder.join("grant.yaml"), grant).unwrap();
        std::fs::write(folder.join("policy.json"), policy).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(["plan", "--file", "grant.yaml", "--policy", "policy.json"])
            .current_dir(folder);
        command.output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("grant.yaml"), GRANT).unwrap();
        std::fs::write(folder.path().join("policy.json"), "").unwrap();
        let plan = ["plan", "--file", "grant.yaml", "--policy", "policy.json"];
        for (arguments, code) in [(plan.as_slice(), 2), (&["crd"], 0), (&["reasons"], 0)] {
            let program = || {
                let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
                command.args(arguments).current_dir(folder.path());
                command
            };
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let output = program().stdout(full).output().unwrap();
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
            assert!(message.contains("cannot write to standard output"), "{message}");
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = program().stdout(writer).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
            assert_eq!(text(&output.stderr), "");
        }
    }

    #[test]
    fn standard_input_is_not_read_twice() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command.args(["plan", "--file", "-", "--policy", "-"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("name a file in --file or --policy"));
    }

    #[test]
    fn a_change_is_shown_with_foreign_statements_untouched_and_exits_with_2() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(
            folder.path(),
            GRANT,
            b"{\"Version\":\"1\",\"Statement\":[ {\"Effect\":\"Deny\",\"x\":1e400} ]}",
        );
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        assert!(
            shown.contains("\n {\"Effect\":\"Deny\",\"x\":1e400}\n"),
            "{shown}"
        );
        assert!(shown.contains(&format!("\n+{OURS}\n")), "{shown}");
        let written =
            format!("{{\"Version\":\"1\",\"Statement\":[ {{\"Effect\":\"Deny\",\"x\":1e400}},{OURS} ]}}");
        assert!(
            shown.contains(&format!("{} of 16384 bytes", written.len())),
            "{shown}"
        );
        assert!(
            shown.contains(&imm_operator::core::hash::sha256(&written)),
            "{shown}"
        );
    }

    #[test]
    fn a_statement_that_counts_as_public_and_a_whole_account_are_announced() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(folder.path(), &GRANT.replace("Omit", "Include"), b"");
        let shown = text(&output.stdout);
        let note = "the ram:PassRole statement counts as public, because its empty Principal means everyone: to leave it out, set access.passRoleStatement to Omit";
        assert!(shown.contains(&format!("\n# {note}\n")), "{shown}");
        let account = GRANT.replace("6\"}", "6\", principal: Account}");
        let shown = text(&run(folder.path(), &account, b"").stdout);
        assert!(
            shown.contains("the whole account 1234567890123456 may read; requires a tenancy rule"),
            "{shown}"
        );
        assert!(
            shown.contains(r#""Principal":["1234567890123456"]"#) && !shown.contains("public"),
            "{shown}"
        );
    }

    #[test]
    fn nothing_to_do_exits_with_0() {
        let folder = tempfile::tempdir().unwrap();
        let there = format!("{{\"Version\":\"1\",\"Statement\":[{OURS}]}}");
        let output = run(folder.path(), GRANT, there.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("0 added"));
    }

    /// In Enforce mode this grant would stall, even when only one of its statements exists.
    #[test]
    fn a_statement_that_may_not_be_adopted_exits_with_1_and_names_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let grant = GRANT
            .replace("Omit", "Include")
            .replace("  credentials", "  adoptionPolicy: Fail\n  credentials");
        let pass_role = r#"{"Effect":"Allow","Action":["ram:PassRole"],"Principal":[],"Resource":["arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole/*"]}"#;
        for there in [pass_role, OURS] {
            let policy = format!("{{\"Version\":\"1\",\"Statement\":[{there}]}}");
            let output = run(folder.path(), &grant, policy.as_bytes());
            assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
            let error = text(&output.stderr);
            assert!(
                error.contains("adoptionPolicy is Fail: set it to Adopt"),
                "{error}"
            );
            assert!(output.stdout.is_empty());
        }
    }

    #[test]
    fn an_impossible_plan_exits_with_1_and_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let cases: &[(&str, &[u8], &str)] = &[
            (GRANT, b"{\"Statement\":{}}", "its Statement is not an array"),
            (GRANT, b"\xff", "it is not UTF-8 text"),
            (
                "kind: ConfigMap",
                b"",
                "exactly one valid ImmBucketGrant: found none",
            ),
            (
                &GRANT.replace("p/", "p*"),
                b"",
                "spec.access.prefixes: a prefix must not contain * or ?",
            ),
            (
                &GRANT.replace("Minimal", "Everything"),
                b"",
                "must be one of Documented, Minimal, Custom",
            ),
            (
                GRANT,
                &[b"{\"Statement\":[\"".as_slice(), &[b'x'; 16_300], b"\"]}"].concat(),
                "bytes, and 66 of 16384 are free",
            ),
        ];
        for (grant, policy, expected) in cases {
            let output = run(folder.path(), grant, policy);
            assert_eq!(output.status.code(), Some(1), "{expected}");
            assert!(
                text(&output.stderr).contains(expected),
                "{}",
                text(&output.stderr)
            );
            assert!(output.stdout.is_empty());
        }
    }

    /// Runs the command with other arguments than a manifest and a policy.
    fn run_with(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        let output = command
            .arg("plan")
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        (
            output.status.code(),
            text(&[output.stdout, output.stderr].concat()),
        )
    }

    #[test]
    fn the_grant_is_the_only_one_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
        write("policy", "");
        write("grant", GRANT);
        write(
            "elsewhere",
            &GRANT.replace("namespace: media", "namespace: other"),
        );
        write("other", &GRANT.replace("name: g", "name: h"));
        write("none", "kind: ConfigMap");
        let policy = ["--policy", "policy"].as_slice();
        let cases: &[(&[&str], i32, &str)] = &[
            (&["-f", "grant", "-f", "none"], 2, "1 added"),
            (&["-f", "none", "-f", "grant"], 2, "1 added"),
            (
                &["-f", "grant", "-f", "other"],
                1,
                "grant, other must contain exactly one",
            ),
            (&["-f", "grant", "-f", "other", "--name", "h"], 2, "1 added"),
            (
                &["-f", "grant", "-f", "elsewhere", "--name", "g"],
                1,
                "--name and --namespace",
            ),
            (
                &["-f", "grant", "-f", "elsewhere", "--name", "g", "-n", "other"],
                2,
                "1 added",
            ),
            (
                &["-f", "none", "-f", "-", "-f", "-"],
                1,
                "standard input can be read only once",
            ),
        ];
        for (arguments, code, part) in cases {
            let (exited, shown) = run_with(folder.path(), &[arguments, policy].concat());
            assert_eq!(exited, Some(*code), "{arguments:?}: {shown}");
            assert!(shown.contains(part), "{arguments:?}: {shown}");
        }
    }

    #[test]
    fn an_invalid_command_line_is_not_a_change() {
        let folder = tempfile::tempdir().unwrap();
        for arguments in [
            &["--policy", "policy"][..],
            &["-f", "grant"],
            &["-f", "grant", "--live", "--policy", "policy"],
            &["-f", "grant", "--live", "--public-access-block", "on"],
            &["-f", "grant", "--policy", "policy", "--no-such-flag"],
        ] {
            let (exited, shown) = run_with(folder.path(), arguments);
            assert_eq!(exited, Some(64), "{arguments:?}: {shown}");
        }
    }

    /// A grant as `kubectl get -o yaml` prints it.
    #[test]
    fn what_the_grant_owns_is_neither_refused_nor_kept_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let there = format!("{{\"Version\":\"1\",\"Statement\":[{OURS}]}}");
        let grant = GRANT.replace("  credentials", "  adoptionPolicy: Fail\n  credentials");
        let fingerprint = imm_operator::core::policy::fingerprint(OURS).unwrap();
        let status = format!(
            "status: {{owned: [{{fingerprint: '{fingerprint}', role: Access, state: Applied, statement: '{OURS}'}}]}}\n"
        );
        let output = run(folder.path(), &grant, there.as_bytes());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("plan the grant with its status"));
        let output = run(folder.path(), &format!("{grant}{status}"), there.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let changed = grant.replace("p/", "q/");
        let output = run(folder.path(), &format!("{changed}{status}"), there.as_bytes());
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        let added = OURS.replace("p/*", "q/*");
        assert!(
            shown.contains("0 existing statements unchanged, 1 added, 1 removed"),
            "{shown}"
        );
        assert!(shown.contains(&format!("\n-{OURS}\n+{added}\n")), "{shown}");
        let foreign = format!(
            "{changed}{}",
            status.replace("status: {", "status: {ledgerOf: u, ")
        );
        assert!(!text(&run(folder.path(), &foreign, there.as_bytes()).stdout).contains("removed"));
    }

    #[test]
    fn the_plan_of_a_suspended_grant_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let grant = GRANT.replace("  credentials", "  suspend: true\n  credentials");
        let shown = text(&run(folder.path(), &grant, b"").stdout);
        assert!(
            shown.contains("# the grant is suspended: the operator writes nothing"),
            "{shown}"
        );
    }
}
