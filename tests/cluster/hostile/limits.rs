//! Inputs of one tenant, or of any Pod, that would exhaust the process: its memory, its connections, its timers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use imm_harness::until;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::tenant::{GRANT, JOB, merge};
use crate::support::{PATIENCE, Stage, Tenant};

/// The memory that a test may use: half of the chart's limit, because the tested binary is not optimized.
const MEMORY_BOUND_KIB: u64 = 256 * 1024 / 2;
/// Time for the answer of a probe, and between two connections that the operator drops: it drops each after 2 s.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

/// Asserts that the peak of the operator's resident memory since it started is below the bound, and returns it in MiB.
async fn assert_memory(stage: &Stage) -> u64 {
    let process = stage.operator_process().await;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let mib = peak / 1024;
    assert!(peak < MEMORY_BOUND_KIB, "peak of resident memory: {mib} MiB");
    mib
}

async fn restart(stage: &Stage) {
    assert!(stage.stop_operator().await.success());
    stage.start_operator().await;
}

// T7
pub async fn a_time_years_ahead_in_a_status_stops_nobody(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "years-ahead").await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted("open", &json!({})).await;
    let changes = json!({"grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0},
        "results": {"ttlSecondsAfterFinished": 86_400}});
    tenant.apply(&tenant.job("ended", &["a.jpg"], &changes)).await;
    tenant.until_true(JOB, "ended", "Complete").await;
    for time in ["2036-01-01T00:00:00Z", "9999-12-30T21:59:59Z"] {
        let patch = json!({"status": {"completionTime": time, "activeSince": time}}).to_string();
        let args = [
            "patch",
            "isj",
            "ended",
            "-n",
            &tenant.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        stage.kubectl(&args).await;
        // The job is read again now, and at the next start.
        tenant.request_reconcile(JOB, "ended").await;
        restart(&stage).await;
        tenant.apply(&tenant.job("other", &["a.jpg"], &changes)).await;
        tenant.until_true(JOB, "other", "Complete").await;
        tenant.delete(JOB, "other").await;
    }
    assert!(stage.metric("immops_panics_total", "").await < 1.0);
    tenant.delete(GRANT, "open").await;
}

/// Returns how many connections of its own this process may open, at most 10,000.
fn connections_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let soft: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(20_000);
    assert!(soft >= 4_500, "raise the limit of open files: ulimit -n 20000");
    (soft - 500).min(10_000)
}

/// Opens a connection from a local address and sends the beginning of a request.
async fn half_open(target: SocketAddr, source: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, source], 0)))?;
    let mut stream = socket.connect(target).await?;
    // The operator may have dropped the connection by now.
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n").await;
    Ok(stream)
}

/// Asserts that a probe is answered, as the kubelet would send it.
async fn probe(target: SocketAddr) {
    let asked = std::time::Instant::now();
    let mut stream = TcpStream::connect(target).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PROBE_PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    println!("a probe took {} ms", asked.elapsed().as_millis());
}

// T9
pub async fn half_open_connections_do_not_stop_the_probes(stage: Arc<Stage>) {
    restart(&stage).await;
    let target: SocketAddr = stage.admin_address().await.parse().unwrap();
    let all = connections_allowed();
    let mut held = Vec::new();
    while held.len() < all {
        let sources =
            (0..50u8).map(|n| half_open(target, 2 + (n + u8::try_from(held.len() % 40).unwrap()) % 100));
        for opened in join_all(sources).await {
            held.push(opened.unwrap());
        }
        if held.len() % 500 == 0 {
            probe(target).await;
        }
    }
    println!("{} connections were half open", held.len());
    // The operator drops them all, without a byte more from here.
    let dropping = held.into_iter().map(|mut stream| async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    });
    let mut dropping: FuturesUnordered<_> = dropping.collect();
    while let Some(()) = timeout(PROBE_PATIENCE, dropping.next())
        .await
        .expect("half-open connections are still held")
    {}
    // 64 are opened again all the time, from eight addresses.
    let opening = tokio::spawn(async move {
        let reopen = |number: u8| async move {
            loop {
                if let Ok(mut stream) = half_open(target, 2 + number / 8).await {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        };
        let () = join_all((0..64).map(reopen)).await.pop().unwrap_or_default();
    });
    for _ in 0..200 {
        probe(target).await;
    }
    opening.abort();
    println!("peak of resident memory: {} MiB", assert_memory(&stage).await);
}

// T4
pub async fn large_objects_fit_into_memory_at_the_start(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "large-objects").await;
    let labels: Value = (0..200)
        .map(|n| (format!("l{n}"), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let metadata = json!({"labels": labels, "annotations": {"padding": "x".repeat(250 * 1024)}});
    let suspended = json!({"suspend": true});
    let kinds = [(JOB, 260), (GRANT, 20)];
    for (kind, count) in kinds {
        for number in 0..count {
            let name = format!("large-{number}");
            let text = if kind == JOB {
                tenant.job(&name, &["a.jpg"], &suspended)
            } else {
                tenant.grant(&name, &suspended)
            };
            let mut object: Value = serde_json::from_str(&text).unwrap();
            merge(&mut object["metadata"], &metadata);
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let created = tenant.api(kind).create(&PostParams::default(), &object).await;
            created.unwrap();
        }
    }
    restart(&stage).await;
    for name in ["large-0", "large-259"] {
        tenant.until_reason(JOB, name, "Suspended").await;
    }
    tenant.until_reason(GRANT, "large-19", "Suspended").await;
    println!("peak of resident memory: {} MiB", assert_memory(&stage).await);
    // The search for secrets at the end of the program prints every object that exists.
    for (kind, count) in kinds {
        for number in 0..count {
            tenant.delete(kind, &format!("large-{number}")).await;
        }
    }
}

// T3
pub async fn manifests_of_rejected_lines_fit_into_memory(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "rejected-lines").await;
    let lines = "xxx\n".repeat(240_000);
    assert!(stage.cloud.put_object(&tenant.bucket, "list.txt", lines, None));
    restart(&stage).await;
    let uri = format!("oss://{}/list.txt", tenant.bucket);
    let credentials = json!({"source": "Secret", "secretRef": {"name": "owner"}});
    let changes = json!({"budget": {"maxRequests": 1}, "maxFailedItems": "100%",
        "source": {"uris": null, "manifest": {"uri": uri, "credentials": credentials}}});
    let names = ["one", "two", "three", "four", "five", "six"];
    for name in names {
        tenant.apply(&tenant.job(name, &["x"], &changes)).await;
    }
    // Every manifest is read by then. The results of all lines would fill the API server.
    for name in names {
        until("thousands of rejected lines", PATIENCE, || async {
            // Without the bound, the results fill the memory long before they are stored.
            assert_memory(&stage).await;
            let job = tenant.object(JOB, name).await;
            let failed = &job["status"]["items"]["failed"];
            if failed.as_u64().is_some_and(|failed| failed >= 5_000) {
                Ok(())
            } else {
                Err(failed.clone())
            }
        })
        .await
        .unwrap();
    }
    println!("peak of resident memory: {} MiB", assert_memory(&stage).await);
    for name in names {
        tenant.delete(JOB, name).await;
    }
}
