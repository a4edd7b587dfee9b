//! Arguments and variables of the operator's container: those that it could not use, or that other values decide, are
//! refused.

use imm_harness::environment::checkout;

use super::BOTH;
use super::wrong_values::{assert_accepted, assert_refused};
use crate::rendering::render_values;

/// Values as YAML, and a part of the message.
const WRONG: &[(&str, &str)] = &[
    ("extraArgs: [--lease-name=a]", "set fullnameOverride"),
    ("extraArgs: [--lease-name, a]", "set fullnameOverride"),
    ("extraArgs: [--backup-namespace=a]", "set backups.namespace"),
    (
        "extraArgs: [--leader-name, b, --watch-namespaces, a]",
        "set watchNamespaces",
    ),
    ("extraArgs: ['--admin-address=[::]:9000']", "set adminPort"),
    (
        "extraArgs: ['--admin-address=127.0.0.1:8080']",
        "--admin-address=127.0.0.1:8080 cannot be reached by the probes",
    ),
    (
        "{extraArgs: ['--admin-address=127.1.2.3:9000'], adminPort: 9000}",
        "write --admin-address=0.0.0.0:9000",
    ),
    (
        "extraArgs: ['--admin-address=[::1]:8080']",
        "cannot be reached by the probes",
    ),
    (
        "extraArgs: ['--admin-address=[0:0:0:0:0:0:0:1]:8080']",
        "cannot be reached by the probes",
    ),
    (
        "extraArgs: ['--admin-address=[::ffff:127.0.0.1]:8080']",
        "cannot be reached by the probes",
    ),
    (
        "extraArgs: ['--admin-address=localhost:8080']",
        "cannot be reached by the probes",
    ),
    ("extraArgs: [--pod-region=cn-hangzhou]", "set region"),
    ("extraArgs: [--namespace=a]", "helm --namespace"),
    ("extraArgs: [--tenancy-rules=/a]", "set tenancy"),
    (
        "{extraArgs: [--credentials-folder=/a], credentials: {existingSecret: a}}",
        "extraArgs: --credentials-folder",
    ),
    (
        "extraArgs: [--no-leader-election]",
        "two Pods would write at once",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_NO_LEADER_ELECTION, value: 'true'}]",
        "two Pods would write at once",
    ),
    (
        "extraArgs: [--frobnicate]",
        "--frobnicate is no flag of `imm-operator run`",
    ),
    ("extraArgs: [--frobnicate=a]", "--frobnicate=a is no flag"),
    ("extraArgs: [run]", "run is no flag of `imm-operator run`"),
    ("extraArgs: [--leader-name, a, b]", "b is no flag"),
    (
        "extraArgs: [--leader-name]",
        "--leader-name has no value: write --leader-name=VALUE",
    ),
    (
        "extraArgs: [--leader-name, --credentials-folder=/a]",
        "--leader-name has no value",
    ),
    ("extraArgs: [--log-level=loud]", "set logging.level"),
    ("extraArgs: [--log-level, debug]", "set logging.level"),
    ("extraArgs: [--log-format=text]", "set logging.format"),
    ("extraArgs: [--network=vpc]", "set network"),
    (
        "extraArgs: [--oss-endpoint=host]",
        "set endpoints.oss or endpoints.regions.oss",
    ),
    ("extraArgs: [--own-identity=ecs]", "set credentials.source"),
    // These would have no effect, because the chart sets the flags.
    (
        "extraEnv: [{name: IMM_OPERATOR_LOG_LEVEL, value: debug}]",
        "set logging.level",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_LOG_FORMAT, valueFrom: {configMapKeyRef: {name: a, key: b}}}]",
        "set logging.format",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_OWN_IDENTITY, value: ecs}]",
        "set credentials.source",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_NETWORK, value: vpc}]",
        "set network",
    ),
    (
        "{credentials: {source: ecs}, extraArgs: [--credentials-folder=/x]}",
        "credentials.source ecs excludes --credentials-folder in extraArgs",
    ),
    (
        "{credentials: {source: none}, extraArgs: [--credentials-folder, /x]}",
        "credentials.source none excludes --credentials-folder in extraArgs",
    ),
    (
        "{credentials: {source: environment}, extraEnv: [{name: IMM_OPERATOR_CREDENTIALS_FOLDER, value: /x}]}",
        "credentials.source environment excludes IMM_OPERATOR_CREDENTIALS_FOLDER in extraEnv",
    ),
    (
        "{credentials: {existingSecret: a}, extraEnv: [{name: IMM_OPERATOR_CREDENTIALS_FOLDER, value: /x}]}",
        "credentials.existingSecret sets it",
    ),
    (
        "{rrsa: {roleName: a}, extraEnv: [{name: IMM_OPERATOR_CREDENTIALS_FOLDER, value: /x}]}",
        "rrsa.roleName excludes another identity (IMM_OPERATOR_CREDENTIALS_FOLDER in extraEnv)",
    ),
    (
        "{rrsa: {roleName: a}, extraArgs: [--credentials-folder=/x]}",
        "rrsa.roleName excludes another identity (--credentials-folder in extraArgs)",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_WATCH_NAMESPACES, value: a}]",
        "set watchNamespaces",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_BACKUP_NAMESPACE, value: a}]",
        "set backups.namespace",
    ),
    (
        "extraEnv: [{name: IMM_OPERATOR_NAMESPACE, value: a}]",
        "helm --namespace",
    ),
];

/// Arguments that are close to wrong ones.
const RIGHT: &[&str] = &[
    "extraArgs: [--leader-name=a, --credentials-folder, /a]",
    "extraArgs: ['--admin-address=0.0.0.0:8080']",
    "extraArgs: ['--admin-address=[fd00::1]:8080']",
    "extraArgs: ['--admin-address=[::]:8080']",
    "{extraArgs: [--credentials-folder=/a], extraEnv: [{name: A, value: a}, {name: B, value: a}]}",
    "{credentials: {source: folder}, extraArgs: [--credentials-folder=/a]}",
    "{credentials: {source: folder}, extraEnv: [{name: IMM_OPERATOR_CREDENTIALS_FOLDER, value: /a}]}",
    "{credentials: {source: folder}, extraEnvFrom: [{configMapRef: {name: a}}]}",
    "extraEnv: [{name: IMM_OPERATOR_REGION, valueFrom: {configMapKeyRef: {name: a, key: b}}}]",
    "extraEnv: [{name: IMM_OPERATOR_STS_ENDPOINT, valueFrom: {configMapKeyRef: {name: a, key: b}}}]",
];

#[test]
fn check_3_wrong_arguments_and_variables_are_refused_by_name() {
    assert_refused(WRONG);
}

#[test]
fn arguments_that_are_close_to_wrong_ones_are_accepted() {
    assert_accepted(RIGHT);
}

/// Returns the flags of `imm-operator run`, as the reference shows them, and whether each takes a value.
fn flags_of_run() -> Vec<(String, bool)> {
    let page = std::fs::read_to_string(checkout().join("docs/src/reference/cli.md")).unwrap();
    let (_, section) = page.split_once("\n## imm-operator run\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("      --"));
    let flag = |line: &str| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        (format!("--{name}"), value.starts_with('<'))
    };
    lines.map(flag).collect()
}

#[test]
fn every_flag_of_the_command_is_known() {
    let flags = flags_of_run();
    assert!(flags.len() >= 15, "{flags:?}");
    let mut accepted = 0;
    for (number, (flag, takes_value)) in flags.iter().enumerate() {
        let argument = if *takes_value {
            format!("{flag}=a")
        } else {
            flag.clone()
        };
        match render_values(BOTH[number % 2], &format!("extraArgs: ['{argument}']"), &[]) {
            Ok(rendered) => {
                assert!(rendered.contains(&argument), "{flag}: {rendered}");
                accepted += 1;
            }
            Err(refused) => assert!(refused.contains("cannot be set here"), "{flag}: {refused}"),
        }
    }
    assert!(accepted >= 2, "only {accepted} flags can be set");
}
