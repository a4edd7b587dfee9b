//! The endpoints beside those of OSS, IMM and STS: one line each, or what is wrong.

use super::setup::{GRANT, JOB, KEYS, World, check, setting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_further_endpoint_in_use_has_one_line() {
    let name = "endpoint-further";
    let world = World::new("", "").await;
    let both = format!("{GRANT}---{JOB}");
    let report = world.doctor(&both, &["-o", "json"], KEYS).await.json();
    let account = "OSS, settings of the account: oss-cn-hangzhou.aliyuncs.com answers, and no fault was seen";
    assert_eq!(
        (&check(&report, name)["level"], &check(&report, name)["seen"]),
        (&"ok".into(), &account.into())
    );
    let address = world.emulator.address().to_string();
    let flag = format!("--metadata-address={address}");
    let ecs = ["-o", "json", "--own-identity=ecs", &flag];
    let uri = format!("http://{address}/-/credentials?key=canary");
    let by_uri = ["-o", "json", "--own-identity=uri"];
    let environment = [("ALIBABA_CLOUD_CREDENTIALS_URI", uri.as_str())];
    for (run, service) in [
        (world.doctor(GRANT, &ecs, &[]).await, "metadata service"),
        (
            world.doctor(GRANT, &by_uri, &environment).await,
            "credentials URI",
        ),
    ] {
        let report = run.json();
        let mut lines = report["checks"].as_array().unwrap().iter();
        let wanted = format!("{service}: {address} answers, and no fault was seen");
        assert!(
            lines
                .any(|line| line["name"] == name && line["level"] == "ok" && line["seen"] == wanted.as_str()),
            "{report:#}"
        );
    }
    // Where nothing listens, the stage is named, and what to do.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let flag = format!("--metadata-address={address}");
    let ecs = ["-o", "json", "--own-identity=ecs", &flag];
    let report = world.doctor(GRANT, &ecs, &[]).await.json();
    let mut lines = report["checks"].as_array().unwrap().iter();
    let failed = lines.find(|line| line["level"] == "failed").unwrap();
    assert_eq!(failed["name"], "endpoint-tcp", "{failed}");
    assert!(
        failed["change"].as_str().unwrap().contains("ECS instance"),
        "{failed}"
    );
    assert_eq!(setting(&report, "endpoints"), None, "{report:#}");
}
