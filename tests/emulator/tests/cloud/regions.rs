//! Regions whose hosts differ from those of other regions.

use imm_emulator::{Emulator, Options, Seed};
use serde_json::Value;

use crate::client::{ACCOUNT_A, ACCOUNT_B, Client, Reply, started};

fn seed(region: &str, switch: &str) -> String {
    format!(
        "{{buckets: [{{name: a-bucket, region: {region}, owner: '{ACCOUNT_B}'}}], projects: [{{name: there, region: {region}, account: '{ACCOUNT_A}'}}]{switch}}}"
    )
}

async fn at(emulator: &Emulator, region: &str, host: &str) -> Reply {
    let mut client = Client::owner(emulator);
    region.clone_into(&mut client.region);
    client.host = Some(format!("{host}.aliyuncs.com"));
    if host.starts_with("imm") {
        client.id = Client::caller(emulator).id;
        client.secret = Client::caller(emulator).secret;
        return client.imm("GetProject", &[("ProjectName", "there")]).await;
    }
    client.oss("GET", "/a-bucket/?bucketInfo", b"").await
}

#[tokio::test]
async fn a_government_region_with_an_internal_name_of_imm_has_no_other() {
    let emulator = started(Options::default()).await;
    let region = "cn-beijing-gov-1";
    emulator.add(Seed::from_yaml(&seed(region, "")).unwrap()).unwrap();
    assert_eq!(at(&emulator, region, "imm.cn-beijing-gov-1").await.status, 502);
    let reply = at(&emulator, region, "imm-vpc.cn-beijing-gov-1").await;
    assert_eq!(reply.json()["Project"]["ProjectName"], "there");
    let calls = emulator.calls();
    assert_eq!(calls[0].code.as_deref(), Some("NoSuchHost"));
    assert_eq!(calls[1].region.as_deref(), Some(region));
    // A project is found at the host of its own region only.
    assert_eq!(
        at(&emulator, region, "imm.cn-north-2-gov-1").await.code(),
        "ResourceNotFound"
    );
}

#[tokio::test]
async fn finance_regions_have_other_hosts_of_oss_and_no_imm_if_the_seed_says_so() {
    let region = "cn-shanghai-finance-1";
    let emulator = started(Options::default()).await;
    emulator.add(Seed::from_yaml(&seed(region, "")).unwrap()).unwrap();
    for host in ["oss-cn-shanghai-finance-1", "imm.cn-shanghai-finance-1"] {
        assert_eq!(at(&emulator, region, host).await.status, 200, "{host}");
    }

    let emulator = started(Options::default()).await;
    let switched = Seed::from_yaml(&seed(region, ", financeRegions: true")).unwrap();
    let error = emulator.add(switched).unwrap_err().to_string();
    assert!(error.contains("finance region, where IMM is not"), "{error}");
    for host in [
        "oss-cn-shanghai-finance-1",
        "cn-shanghai-finance-1.oss",
        "imm.cn-shanghai-finance-1",
        "imm-vpc.cn-shanghai-finance-1",
    ] {
        assert_eq!(at(&emulator, region, host).await.status, 502, "{host}");
    }
    for host in [
        "oss-cn-shanghai-finance-1-pub",
        "oss-cn-shanghai-finance-1-internal",
    ] {
        let reply = at(&emulator, region, host).await;
        let expected = "<ExtranetEndpoint>oss-cn-shanghai-finance-1-pub.aliyuncs.com</ExtranetEndpoint>\
                    <IntranetEndpoint>oss-cn-shanghai-finance-1-internal.aliyuncs.com</IntranetEndpoint>";
        assert!(reply.text().contains(expected), "{}", reply.text());
    }
    assert_eq!(emulator.billed(), 0);
    let codes: Vec<Value> = emulator
        .calls()
        .iter()
        .map(|call| Value::from(call.code.clone()))
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == "NoSuchHost").count(), 4);
}
