//! Regions whose services have other names than those of most regions.

use imm_operator::core::endpoints::{PUBLIC_IMM, PUBLIC_OSS};

use serde_json::Value;

use super::setup::{GRANT, JOB, KEYS, PROBE_BUCKET, REGION, Run, World, check};

const JSON: &[&str] = &["-o", "json"];

/// The grant and the job in another region.
fn both(region: &str) -> String {
    format!("{GRANT}---{JOB}").replace(REGION, region)
}

// C12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_scored_in_a_government_region() {
    for region in ["cn-north-2-gov-1", "cn-beijing-gov-1"] {
        let world = World::in_region(region).await;
        let report = world.doctor(&both(region), JSON, KEYS).await.json();
        for name in ["endpoint-tls", "project", "listing"] {
            assert_eq!(check(&report, name)["level"], "ok", "{region}: {report:#}");
        }
        // A probe scores an image as a job does, at the names of the cloud.
        let flags = [
            "--probe-bucket",
            PROBE_BUCKET,
            "--probe-object",
            "a.jpg",
            "--i-own",
            PROBE_BUCKET,
            "--yes",
        ];
        let output = world.command(&both(region), &flags, KEYS).output().await.unwrap();
        let run = Run::of(&output);
        assert_eq!(run.code, 0, "{region}: {}{}", run.stdout, run.stderr);
        let calls = world.emulator.calls();
        let scored = calls
            .iter()
            .filter(|call| call.action == "DetectImageScore" && call.status == Some(200));
        assert!(scored.count() > 0, "{region}");
        for call in &calls {
            assert_ne!(call.code.as_deref(), Some("NoSuchHost"), "{call:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_name_of_imm_is_not_there_in_a_region_without_it() {
    let region = "cn-beijing-gov-1";
    let world = World::in_region(region).await;
    let flags = [
        "-o",
        "json",
        "--imm-endpoint",
        "https://imm.{region}.aliyuncs.com",
    ];
    let report = world.doctor(&both(region), &flags, KEYS).await.json();
    let seen = check(&report, "project")["seen"].as_str().unwrap();
    assert!(seen.contains("GetProject failed (IMMHttp502"), "{report:#}");
}

/// Returns the status of an unsigned request at a host of the cloud.
async fn status(world: &World, host: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(world.emulator.url()).header("host", host);
    request.send().await.unwrap().status().as_u16()
}

// C13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finance_region_is_rejected_because_its_services_have_other_names() {
    let region = "cn-shanghai-finance-1";
    let world = World::of(
        "{financeRegions: true, accounts: [{uid: '6543210987654321'}], \
         buckets: [{name: test-bucket-2024, region: cn-shanghai-finance-1, owner: '6543210987654321'}]}",
        region,
    )
    .await;
    for manifest in [GRANT, JOB] {
        let manifest = manifest.replace(REGION, region);
        let run = Run::of(&world.command(&manifest, JSON, KEYS).output().await.unwrap());
        assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stderr.contains("not available in finance regions"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(world.emulator.calls().len(), 0);
    // The names of other regions do not exist there.
    for name in [PUBLIC_OSS, PUBLIC_IMM, "https://imm-vpc.{region}.aliyuncs.com"] {
        let host = name.trim_start_matches("https://").replace("{region}", region);
        assert_eq!(status(&world, &host).await, 502, "{host}");
    }
    let own = "test-bucket-2024.oss-cn-shanghai-finance-1-pub.aliyuncs.com";
    assert_eq!(status(&world, own).await, 403, "an anonymous listing is refused");
}

/// Returns what the check of an endpoint says about each service.
fn reached(report: &Value) -> String {
    let checks = report["checks"].as_array().unwrap().iter();
    let tls = checks.filter(|check| check["name"] == "endpoint-tls");
    tls.map(|check| check["seen"].as_str().unwrap())
        .collect::<Vec<_>>()
        .join("; ")
}

// C4, C6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_names_are_called_in_the_own_region_only() {
    let webhook = [
        ("ALIBABA_CLOUD_STS_REGION", REGION),
        ("ALIBABA_CLOUD_STS_ENDPOINT", "sts-vpc.cn-hangzhou.aliyuncs.com"),
        ("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true"),
    ];
    let environment = [KEYS, &webhook].concat();
    for (region, internal) in [(REGION, true), ("cn-beijing", false)] {
        let world = World::seen_from_network(region).await;
        let flags = [JSON, &["--network", "internal", "--no-mask"]].concat();
        let report = world.doctor(&both(region), &flags, &environment).await.json();
        for name in ["grant-caller-account", "policy-readable", "project", "listing"] {
            assert_eq!(check(&report, name)["level"], "ok", "{region}: {report:#}");
        }
        let seen = reached(&report);
        assert!(seen.contains("sts-vpc.cn-hangzhou.aliyuncs.com"), "{seen}");
        for name in ["imm-vpc.", "-internal.aliyuncs.com"] {
            assert_eq!(seen.contains(name), internal, "{region}: {seen}");
        }
    }
    // The names of another region's network are not there.
    let world = World::seen_from_network("cn-beijing").await;
    let flags = [
        JSON,
        &["--oss-endpoint", "https://oss-{region}-internal.aliyuncs.com"],
    ]
    .concat();
    let report = world.doctor(&both("cn-beijing"), &flags, KEYS).await.json();
    assert_ne!(check(&report, "policy-readable")["level"], "ok", "{report:#}");
}
