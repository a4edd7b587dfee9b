//! Generated files equal what the code generates, and every field of the schema is described and bounded.

#[cfg(test)]
mod generated {
    use std::path::Path;

    use imm_harness::generate::{Printed, generated};
    use imm_operator::api;
    use serde_json::Value;

    fn checked_in(path: &str) -> String {
        let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}; run make generate"))
    }

    #[tokio::test]
    async fn check_6_every_generated_file_is_up_to_date() {
        let operator = Path::new(env!("CARGO_BIN_EXE_imm-operator"));
        let printed = Printed::by(operator).expect("the program runs");
        let files = generated(&printed).await.expect("the chart renders");
        assert!(files.len() >= 15, "only {} generated files", files.len());
        for file in files {
            let path = file.path.display().to_string();
            assert!(
                checked_in(&path) == file.text,
                "{path} is stale: run make generate"
            );
        }
    }

    /// Calls `judge` with the path and schema of every field.
    fn walk(path: &str, schema: &Value, judge: &mut impl FnMut(&str, &Value)) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            judge(&path, field);
            walk(&path, field, judge);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], judge);
        }
    }

    #[test]
    fn check_12_every_field_is_described_and_every_string_and_list_is_bounded() {
        let mut fields = 0;
        let mut faults = Vec::new();
        for definition in api::crds() {
            let kind = definition.spec.names.kind.clone();
            let definition = serde_json::to_value(&definition).unwrap();
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk(&kind, schema, &mut |path, field| {
                fields += 1;
                let description = field["description"].as_str().unwrap_or_default();
                if description.len() < 20 {
                    faults.push(format!(
                        "{path}: a description of only {} characters",
                        description.len()
                    ));
                }
                let closed = field["enum"].is_array() || field["format"] == "date-time";
                if field["type"] == "string" && !closed && field["maxLength"].is_null() {
                    faults.push(format!("{path}: a string without maxLength"));
                }
                if field["type"] == "array" {
                    let item = &field["items"];
                    let shut = item["enum"].is_array() || item["format"] == "date-time";
                    let open = item["type"] == "string" && !shut && item["maxLength"].is_null();
                    if field["maxItems"].is_null() || field["x-kubernetes-list-type"].is_null() || open {
                        faults.push(format!(
                            "{path}: a list without maxItems, list type or bounded items"
                        ));
                    }
                }
            });
        }
        assert!(fields > 80, "only {fields} fields were found");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn check_11_no_crd_comes_near_the_limit_of_an_object() {
        for definition in api::crds() {
            let bytes = serde_json::to_string(&definition).unwrap().len();
            assert!(bytes < 100_000, "{:?}: {bytes} bytes", definition.metadata.name);
        }
    }

    #[test]
    fn check_25_version_and_help_succeed_and_a_wrong_flag_does_not() {
        let run = |args: &[&str]| {
            let program = env!("CARGO_BIN_EXE_imm-operator");
            let output = std::process::Command::new(program)
                .args(args)
                .env_clear()
                .output()
                .unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code(), text)
        };
        for (args, code, part) in [
            (
                &["--version"][..],
                0,
                concat!("imm-operator ", env!("CARGO_PKG_VERSION")),
            ),
            (&["--help"], 0, "Usage: imm-operator <COMMAND>"),
            (&["run", "--help"], 0, "Usage: imm-operator run"),
            (&["run", "--no-such-flag"], 64, "--no-such-flag"),
            (
                &["run"],
                64,
                "set --namespace for the lease, or --no-leader-election",
            ),
            (&["plan", "--file"], 64, "--file"),
            (&["plan", "-f", "grant.yaml"], 64, "<--policy <POLICY>|--live>"),
            (
                &["plan", "-f", "a", "--policy", "b", "--live"],
                64,
                "cannot be used with",
            ),
            (&["result"], 64, "a similar subcommand exists: 'results'"),
            (
                &["results", "ibg/photos"],
                64,
                "a job is written as NAME or isj/NAME",
            ),
            (&["results", "isj/a", "--lowest", "0"], 64, "0 is not in 1.."),
            (&["plan", "--no-such-flag"], 64, "--no-such-flag"),
            (&["no-such-command"], 64, "no-such-command"),
            (&[], 64, "Usage: imm-operator <COMMAND>"),
            (&["selftest"], 64, "--namespace is required"),
        ] {
            let (exited, text) = run(args);
            assert_eq!(exited, Some(code), "{args:?}: {text}");
            assert!(text.contains(part), "{args:?}: {text}");
        }
    }
}
