//! B18: the peak of the operator's memory under input that one tenant, or any Pod, can cause.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use imm_harness::{Operator, until};
use kube::Api;
use kube::CustomResourceExt as _;
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use crate::gallery::{self, job};
use crate::stage::{self, CALLER, Stage};
use crate::table::Row;
use crate::{Arguments, Result, usage};

/// Namespaces, and jobs in each: as many as run at once.
const NAMESPACES: usize = 32;
const JOBS: usize = 32;
const LINES: usize = 250_000;
/// The longest list: 128 KiB.
const URIS: usize = 1_000;
const LARGE: usize = 40;
const LARGE_GRANTS: usize = 25;
/// Grants of one bucket with the longest specs.
const GRANTS: usize = 4_000;
const CONNECTIONS: usize = 10_000;
/// The memory limit of the chart, in MB.
const LIMIT: f64 = 268.4;
const LONGEST: Duration = Duration::from_secs(1800);

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    // Each peak is printed at once: the last situation takes minutes.
    let connections = connections(&stage).await?;
    eprintln!("B18: {CONNECTIONS} half-open connections: {connections:.1} MB of {LIMIT}");
    let large = large(&stage).await?;
    eprintln!("B18: large objects: {large:.1} MB of {LIMIT}");
    let crowded = crowded(&stage).await?;
    eprintln!("B18: grants of one bucket: {crowded:.1} MB of {LIMIT}");
    gallery::open(&stage).await?;
    gallery::wide_project(&stage, "silent", 100, 100, 3_600_000)?;
    let listed = listed(&stage).await?;
    eprintln!("B18: lists: {listed:.1} MB of {LIMIT}");
    let held = held(&stage).await?;
    eprintln!("B18: jobs: {held:.1} MB of {LIMIT}");
    let row = |what: String, peak: f64| Row::new("B18", what, peak, "MB").limit(LIMIT).goal(LIMIT / 2.0);
    Ok(vec![
        row(
            format!(
                "{} jobs with a manifest of {LINES} lines, IMM does not answer",
                NAMESPACES * JOBS
            ),
            held,
        ),
        row(
            format!(
                "{} jobs with a list of {URIS} images and 128 KiB, IMM does not answer",
                NAMESPACES * JOBS
            ),
            listed,
        ),
        row(
            format!("start with {LARGE} jobs and {LARGE_GRANTS} grants of 1.4 MB, and a ledger of 1.2 MB"),
            large,
        ),
        row(
            format!("{GRANTS} grants of one bucket, each with 50 prefixes of 512 characters"),
            crowded,
        ),
        row(
            format!("{CONNECTIONS} half-open connections to the port of probes"),
            connections,
        ),
    ])
}

/// Opens connections that send the beginning of a request; returns the peak.
async fn connections(stage: &Stage) -> Result<f64> {
    let operator = stage.operator(false).await?;
    let target: SocketAddr = operator.admin_url().trim_start_matches("http://").parse()?;
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let socket = TcpSocket::new_v4()?;
        let source = u8::try_from(2 + number / 50 % 200)?;
        socket.bind(SocketAddr::from(([127, 0, 0, source], 0)))?;
        let mut stream = socket.connect(target).await?;
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n").await;
        open.push(stream);
    }
    peak(operator).await
}

/// Creates objects of nearly 1.5 MB, the most that the API server stores, then starts the operator; returns the peak.
async fn large(stage: &Stage) -> Result<f64> {
    let padding = json!({"padding": "x".repeat(250 * 1024)});
    let labels: serde_json::Map<_, _> = (0..34_000).map(|n| (format!("l{n}"), json!("v"))).collect();
    let jobs = gallery::jobs(stage);
    for number in 0..LARGE {
        let mut object = job(&format!("large-{number}"), "none", json!({"suspend": true}));
        set(&mut object, "/metadata", "annotations", padding.clone());
        set(&mut object, "/metadata", "labels", Value::Object(labels.clone()));
        create(&jobs, object).await?;
    }
    // The grants are of one bucket, so that one reconcile lists them all.
    let grants = stage.grants();
    for number in 0..LARGE_GRANTS {
        let name = format!("large-{number}");
        let mut object = stage::grant(&name, "gallery", json!({"suspend": true}));
        set(&mut object, "/metadata", "annotations", padding.clone());
        set(&mut object, "/metadata", "labels", Value::Object(labels.clone()));
        create(&grants, object).await?;
    }
    // The ledger of a grant may have members that the schema does not limit.
    let name = "large-ledger";
    let object = stage::grant(name, "gallery", json!({"suspend": true}));
    let created = grants
        .create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    let entry = json!({"fingerprint": format!("sha256:{}", "0".repeat(64)), "role": "Access", "state": "Applied",
        "preExisting": false, "statement": "{}", "unknown": vec![json!({"a": 1}); 150_000]});
    let status = json!({"status": {"owned": [entry], "ledgerOf": created.metadata.uid}});
    let merge = kube::api::Patch::Merge(status);
    grants
        .patch_status(name, &kube::api::PatchParams::default(), &merge)
        .await?;
    let peak = peak(stage.operator(false).await?).await?;
    let (delete, all) = (kube::api::DeleteParams::default(), ListParams::default());
    jobs.delete_collection(&delete, &all).await?;
    Ok(peak)
}

/// Creates as many grants of one bucket as a tenant without a quota can, then starts the operator; returns the peak.
async fn crowded(stage: &Stage) -> Result<f64> {
    let prefix = |number: usize| format!("{number:02}{}/", "p".repeat(509));
    let prefixes: Vec<String> = (0..50).map(prefix).collect();
    let grants = stage.grants();
    let created = (0..GRANTS).map(|number| {
        let name = format!("crowd-{number}");
        let access = json!({"suspend": true, "access": {"preset": "Minimal", "prefixes": prefixes}});
        create(&grants, stage::grant(&name, "crowded", access))
    });
    futures::stream::iter(created)
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    let peak = peak(stage.operator(false).await?).await?;
    let (delete, all) = (kube::api::DeleteParams::default(), ListParams::default());
    grants.delete_collection(&delete, &all).await?;
    Ok(peak)
}

/// Creates an object. The API server needs long for a large one, so that the client may have asked twice.
async fn create(objects: &Api<DynamicObject>, object: Value) -> Result<()> {
    let object = serde_json::from_value(object)?;
    match objects.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

/// Sets a member of an object.
fn set(object: &mut Value, place: &str, name: &str, value: Value) {
    if let Some(Value::Object(members)) = object.pointer_mut(place) {
        members.insert(name.to_owned(), value);
    }
}

/// Creates as many jobs as run at once, each with the longest list, none of which gets an answer of IMM; returns the
/// peak.
async fn listed(stage: &Stage) -> Result<f64> {
    let uris: Vec<String> = (0..URIS)
        .map(|n| format!("oss://gallery/{n:06}/{}.jpg", "x".repeat(106)))
        .collect();
    let operator = stage.operator(false).await?;
    create_jobs(stage, "list", &json!({"source": {"uris": uris}})).await?;
    until_all(stage, "all jobs to run or to wait", "/status/conditions/0").await?;
    let peak = peak(operator).await?;
    for number in 0..NAMESPACES {
        let jobs = jobs_of(stage, &format!("list-{number}"));
        let (delete, all) = (kube::api::DeleteParams::default(), ListParams::default());
        jobs.delete_collection(&delete, &all).await?;
    }
    Ok(peak)
}

/// Runs as many jobs as run at once, each with a manifest, none of which gets an answer of IMM; returns the peak.
async fn held(stage: &Stage) -> Result<f64> {
    let lines: String = (0..LINES)
        .map(|n| format!("oss://gallery/photos/{n:07}.jpg\n"))
        .collect();
    stage.cloud.put_object("gallery", "list.txt", lines, None);
    let operator = stage.operator(false).await?;
    let spec = json!({"source": {"manifest": {"uri": "oss://gallery/list.txt"}}});
    create_jobs(stage, "held", &spec).await?;
    until_all(stage, "all sources to be counted", "/status/source/items").await?;
    // The jobs try their calls again for ever: the process never rests.
    let used = until("the peak to stay the same", LONGEST, || async {
        let before = usage::of(operator.id())?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let after = usage::of(operator.id())?;
        if after.peak > before.peak {
            return Err(crate::Error::from("it grows"));
        }
        Ok(after)
    });
    let used = used.await?;
    operator.kill()?;
    Ok(used.peak)
}

/// Creates as many jobs as run at once, in namespaces of this name and a number.
async fn create_jobs(stage: &Stage, name: &str, spec: &Value) -> Result<()> {
    for number in 0..NAMESPACES {
        let namespace = format!("{name}-{number}");
        stage.plane.apply(&with_credentials(&namespace)).await?;
        let jobs = jobs_of(stage, &namespace);
        let objects = (0..JOBS).map(|number| {
            let object = job(&format!("{name}-{number}"), "silent", spec.clone());
            let mut object: DynamicObject = serde_json::from_value(object)?;
            object.metadata.namespace = Some(namespace.clone());
            Ok::<_, crate::Error>(object)
        });
        let params = PostParams::default();
        futures::stream::iter(objects)
            .map(|object| async { Ok::<_, crate::Error>(jobs.create(&params, &object?).await?) })
            .buffer_unordered(JOBS)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await?;
    }
    Ok(())
}

fn jobs_of(stage: &Stage, namespace: &str) -> Api<DynamicObject> {
    let kind = imm_operator::api::ImageScoreJob::api_resource();
    Api::namespaced_with(stage.client.clone(), namespace, &kind)
}

/// Waits until all jobs have a member.
async fn until_all(stage: &Stage, what: &str, member: &str) -> Result<()> {
    let kind = imm_operator::api::ImageScoreJob::api_resource();
    let all: Api<DynamicObject> = Api::all_with(stage.client.clone(), &kind);
    until(what, LONGEST, || async {
        let listed = all.list(&ListParams::default()).await;
        let listed = listed.map_err(|error| error.to_string())?;
        let has = |job: &&DynamicObject| job.data.pointer(member).is_some();
        let count = listed.items.iter().filter(has).count();
        if count >= NAMESPACES * JOBS {
            Ok(())
        } else {
            Err(format!("{count} are"))
        }
    })
    .await?;
    Ok(())
}

/// Returns a namespace with credentials that the operator may read.
fn with_credentials(name: &str) -> String {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "caller", "namespace": name},
            "stringData": {"accessKeyId": CALLER[0], "accessKeySecret": CALLER[1]}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "read-keys", "namespace": name},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["caller"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "read-keys", "namespace": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-keys"},
            "subjects": [{"kind": "ServiceAccount", "name": "imm-operator", "namespace": "imm-system"}]}),
    ];
    objects.map(|object| object.to_string()).join("\n---\n")
}

/// Waits until the operator is idle, stops it, and returns the peak of its memory.
async fn peak(operator: Operator) -> Result<f64> {
    let used = usage::at_rest(operator.id()).await?;
    operator.kill()?;
    Ok(used.peak)
}
