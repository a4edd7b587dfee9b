//! Prefixes and manifests: what is scored, what is left out, and where the results are.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant};

/// Keys that tempt a client to change them.
const ODD: [&str; 7] = [
    "photos/a b.jpg",
    "photos/a+b.jpg",
    "photos/100%25.jpg",
    "photos/../up.jpg",
    "photos//double.jpg",
    "photos/\u{fc}\u{1f4f7}.jpg",
    "photos/a,\"b\".jpg",
];

/// A tenant with a grant that covers everything and keys of account B that may list.
async fn listable(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = Tenant::new(stage, name).await;
    tenant.granted("open", &json!({})).await;
    tenant
}

fn below(tenant: &Tenant, name: &str, prefix: &Value, changes: &Value) -> String {
    let reader = json!({"source": "Secret", "secretRef": {"name": "owner"}});
    let mut source = json!({"bucket": tenant.bucket, "prefix": "photos/", "credentials": reader});
    crate::support::tenant::merge(&mut source, prefix);
    let mut spec = json!({
        "grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0}, "budget": {"maxRequests": 10_000},
        "source": {"uris": null, "prefix": source},
    });
    crate::support::tenant::merge(&mut spec, changes);
    tenant.job(name, &["x"], &spec)
}

// J16, J20, J21
pub async fn a_prefix_is_counted_scored_and_reported(stage: Arc<Stage>) {
    let tenant = listable(&stage, "prefix").await;
    let cloud = &stage.cloud;
    for n in 0..120 {
        assert!(cloud.put_object(
            &tenant.bucket,
            &format!("photos/{n:04}.jpg"),
            "pixels",
            Some("0.5")
        ));
    }
    for key in ODD {
        assert!(cloud.put_object(&tenant.bucket, key, "pixels", Some("0.75")));
    }
    for other in ["elsewhere.jpg", "photos/notes.txt", "photos/folder/"] {
        assert!(cloud.put_object(&tenant.bucket, other, "pixels", Some("0.1")));
    }
    tenant
        .apply(&below(&tenant, "all", &json!({"suffixes": [".jpg"]}), &json!({})))
        .await;
    let job = tenant.until_true(JOB, "all", "Complete").await;
    assert_eq!(job["status"]["progress"], "127/127", "{job}");
    assert!(job["status"]["results"].is_null(), "results are in reports");
    let count = job["status"]["reports"]["count"].as_i64().unwrap();
    let listed = stage
        .kubectl(&[
            "get",
            "isr",
            "-n",
            "prefix",
            "-l",
            "immops.dev/job=all",
            "--no-headers",
        ])
        .await;
    assert_eq!(i64::try_from(listed.lines().count()).unwrap(), count, "{listed}");
    let reports = stage.kubectl(&["get", "isr", "-n", "prefix", "-o", "json"]).await;
    let reports: Value = serde_json::from_str(&reports).unwrap();
    let mut uris: Vec<(i64, String)> = reports["items"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r["report"]["results"].as_array().unwrap().clone())
        .map(|r| {
            (
                r["index"].as_i64().unwrap(),
                r["uri"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    uris.sort();
    let indexes: Vec<i64> = uris.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, (0..127).collect::<Vec<i64>>());
    for key in ODD {
        let uri = format!("oss://{}/{key}", tenant.bucket);
        assert!(uris.iter().any(|(_, known)| *known == uri), "{uri}");
    }
    assert_eq!(tenant.scores().len(), 127, "each object is asked for once");
    assert_eq!(job["status"]["requests"]["estimatedBillable"], 127);
}
