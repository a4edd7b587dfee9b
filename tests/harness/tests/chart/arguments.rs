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
        "extraArgs: [--region, cn-beijing, --watch-namespaces, a]",
        "set watchNamespaces",
    ),
    ("extraArgs: ['--admin-address=[::]:9000']", "set adminPort"),
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
    ("extraArgs: [--log-level, debug, info]", "info is no flag"),
    (
        "extraArgs: [--log-level]",
        "--log-level has no value: write --log-level=VALUE",
    ),
    (
        "extraArgs: [--region, --log-level=debug]",
        "--region has no value",
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
    "extraArgs: [--log-level, debug, --sts-endpoint=https://a=b, --region, cn-beijing]",
    "extraArgs: [--leader-name=a, --log-level, debug]",
    "{extraArgs: [--credentials-folder=/a], extraEnv: [{name: A, value: a}, {name: B, value: a}]}",
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
    assert!(accepted >= 8, "only {accepted} flags can be set");
}
