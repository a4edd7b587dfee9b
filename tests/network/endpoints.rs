//! Starts the program without a cluster: it logs its endpoints, or refuses them, before it connects.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the program with flags and an environment that holds nothing else.
fn run(flags: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imm-operator"))
        .args(["run", "--admin-address=127.0.0.1:0", "--no-leader-election"])
        .args(flags)
        .env_clear()
        .env("KUBECONFIG", "/nonexistent/kubeconfig")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the endpoints that the program logs.
fn endpoints(flags: &[&str], environment: &[(&str, &str)]) -> Value {
    let log = log(&run(flags, environment));
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = |line: Value| line.get("fields").cloned().unwrap_or(line);
    let mut set = lines
        .map(fields)
        .filter(|fields| fields["message"] == "cloud endpoints set");
    set.next().unwrap_or_else(|| panic!("no endpoints: {log}"))
}

const WEBHOOK: &[(&str, &str)] = &[
    ("ALIBABA_CLOUD_STS_ENDPOINT", "sts-vpc.cn-hangzhou.aliyuncs.com"),
    ("ALIBABA_CLOUD_STS_REGION", "cn-hangzhou"),
    ("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true"),
];

#[test]
fn the_environment_of_the_webhook_is_used_unless_a_flag_decides() {
    let used = endpoints(&[], WEBHOOK);
    assert_eq!(used["sts"], "https://sts-vpc.cn-hangzhou.aliyuncs.com/");
    assert_eq!(used["oss"], "https://oss-{region}.aliyuncs.com/");
    let without_host = WEBHOOK.get(1..).unwrap();
    let used = endpoints(&[], without_host);
    assert_eq!(used["sts"], "https://sts-vpc.cn-hangzhou.aliyuncs.com/");
    let used = endpoints(&["--sts-endpoint=https://sts.{region}.example.com"], WEBHOOK);
    assert_eq!(used["sts"], "https://sts.cn-hangzhou.example.com/");
    let used = endpoints(&["--network=public"], WEBHOOK);
    assert_eq!(used["sts"], "https://sts.aliyuncs.com/");
    // A cluster can be in a finance region, where STS has the usual names.
    let finance = [
        ("ALIBABA_CLOUD_STS_REGION", "cn-shanghai-finance-1"),
        ("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true"),
    ];
    let used = endpoints(&[], &finance);
    assert_eq!(used["sts"], "https://sts-vpc.cn-shanghai-finance-1.aliyuncs.com/");
    let used = endpoints(&["--region=cn-beijing", "--network=internal"], WEBHOOK);
    assert_eq!(used["sts"], "https://sts-vpc.cn-beijing.aliyuncs.com/");
    let label = [
        ("IMM_OPERATOR_POD_REGION", "cn-shanghai"),
        ("IMM_OPERATOR_NETWORK", "internal"),
    ];
    let used = endpoints(&[], &label);
    assert_eq!(used["region"], "cn-shanghai");
    assert_eq!(used["sts"], "https://sts-vpc.cn-shanghai.aliyuncs.com/");
}

#[test]
fn each_region_can_have_its_own_address() {
    let flags = [
        "--oss-endpoint=https://proxy.example.com",
        "--oss-endpoint=cn-hangzhou=https://first.example.com",
        "--oss-endpoint=cn-hangzhou=https://oss-{region}-internal.aliyuncs.com",
        "--network=internal",
        "--region=cn-hangzhou",
    ];
    let used = endpoints(&flags, &[]);
    assert_eq!(
        used["oss"],
        "https://proxy.example.com/,cn-hangzhou=https://oss-cn-hangzhou-internal.aliyuncs.com/"
    );
    assert_eq!(
        used["imm"],
        "https://imm.{region}.aliyuncs.com/,cn-hangzhou=https://imm-vpc.cn-hangzhou.aliyuncs.com/"
    );
    let list = [(
        "IMM_OPERATOR_IMM_ENDPOINT",
        "https://imm.example.com,cn-beijing=https://imm-vpc.{region}.aliyuncs.com",
    )];
    let used = endpoints(&[], &list);
    assert_eq!(
        used["imm"],
        "https://imm.example.com/,cn-beijing=https://imm-vpc.cn-beijing.aliyuncs.com/"
    );
}

#[test]
fn an_address_that_would_not_be_used_as_written_is_refused_with_its_flag() {
    for (flag, part) in [
        (
            "--oss-endpoint=https://oss-{Region}.example.com",
            "--oss-endpoint",
        ),
        ("--imm-endpoint=https://imm.example.com/?x=1", "--imm-endpoint"),
        ("--sts-endpoint=https://sts.example.com#f", "--sts-endpoint"),
        ("--sts-endpoint=https://sts-vpc.{region}.aliyuncs.com", "--region"),
        (
            "--oss-endpoint=hangzhou=https://oss.example.com",
            "--oss-endpoint",
        ),
        ("--network=internal", "--region"),
        ("--region=hangzhou", "--region"),
    ] {
        let output = run(&[flag], &[]);
        let log = log(&output);
        assert_eq!(output.status.code(), Some(1), "{flag}: {log}");
        assert!(
            log.contains(part) && !log.contains("cloud endpoints set"),
            "{flag}: {log}"
        );
    }
}

#[test]
fn an_incomplete_identity_is_refused_and_its_uri_is_not_shown() {
    for (flags, environment, part) in [
        (
            &["--own-identity=uri"][..],
            &[][..],
            "ALIBABA_CLOUD_CREDENTIALS_URI",
        ),
        (
            &["--own-identity=uri"],
            &[("ALIBABA_CLOUD_CREDENTIALS_URI", "http://keys.example.com/canary")],
            "http URL of this machine",
        ),
        (
            &["--own-identity=ecs", "--credentials-folder=/keys"],
            &[],
            "remove one of them",
        ),
        (
            &["--own-identity=ecs"],
            &[("ALIBABA_CLOUD_ECS_METADATA", "acs:ram::1:role/x")],
            "ALIBABA_CLOUD_ECS_METADATA",
        ),
    ] {
        let output = run(flags, environment);
        let log = log(&output);
        assert_eq!(output.status.code(), Some(64), "{log}");
        assert!(log.contains(part) && !log.contains("canary"), "{log}");
    }
}
