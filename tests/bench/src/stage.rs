//! The environment of the benchmarks: a real API server with the chart, the emulated cloud, and the operator with a
//! token of the chart's `ServiceAccount`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use imm_emulator::{BucketSeed, Call, Emulator, Seed};
use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, Helm, Operator, OperatorOptions, Options};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::Result;

/// The grantee account, which scores images, and the bucket owner account.
pub const ACCOUNT_A: &str = "1234567890123456";
pub const ACCOUNT_B: &str = "6543210987654321";
pub const REGION: &str = "cn-hangzhou";
/// The AccessKey pair of the bucket owner account.
pub const OWNER: [&str; 2] = ["LTAI-bench-owner", "canary-bench-owner"];
/// The AccessKey pair of the grantee account.
pub const CALLER: [&str; 2] = ["LTAI-bench-caller", "canary-bench-caller"];
/// The namespace of all grants.
pub const NAMESPACE: &str = "bench";
const OPERATOR: &str = "system:serviceaccount:imm-system:imm-operator";
/// Requests in flight when many objects are created.
const AT_ONCE: usize = 32;
/// The time limit of waits, sufficient on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that runs, except the operator.
pub struct Stage {
    pub client: Client,
    pub cloud: Emulator,
    binary: PathBuf,
    kubeconfig: PathBuf,
    // Dropped last, because everything else connects to it.
    pub plane: ControlPlane,
}

impl Stage {
    /// Starts the control plane with the chart, and the emulator.
    pub async fn set(binary: PathBuf) -> Result<Self> {
        let audit = Options {
            audit: true,
            ..Options::default()
        };
        let plane = ControlPlane::start(audit).await?;
        let chart = checkout().join("charts/imm-operator").display().to_string();
        let install = [
            "install",
            "imm-operator",
            &chart,
            "-n",
            "imm-system",
            "--create-namespace",
        ];
        plane.helm(Helm::Four, &install).await?;
        let kubeconfig = plane
            .service_account_kubeconfig("imm-system", "imm-operator")
            .await?;
        let admin = Kubeconfig::read_from(plane.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await?;
        let stage = Self {
            client: Client::try_from(config)?,
            cloud: cloud().await?,
            binary,
            kubeconfig,
            plane,
        };
        stage.open_namespace().await?;
        Ok(stage)
    }

    /// Creates the namespace with credentials that the operator may read.
    async fn open_namespace(&self) -> Result<()> {
        let objects = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            keys("owner", OWNER),
            keys("caller", CALLER),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": {"name": "read-keys", "namespace": NAMESPACE},
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["owner", "caller"], "verbs": ["get"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "read-keys", "namespace": NAMESPACE},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-keys"},
                "subjects": [{"kind": "ServiceAccount", "name": "imm-operator", "namespace": "imm-system"}]}),
        ];
        let text: Vec<String> = objects.iter().map(Value::to_string).collect();
        self.plane.apply(&text.join("\n---\n")).await?;
        Ok(())
    }

    /// Starts the operator and waits until it is ready.
    pub async fn operator(&self, leader_election: bool) -> Result<Operator> {
        let log = self.plane.folder().join("operator.log");
        // Each run has a new log, so that the log describes only that run.
        if log.exists() {
            std::fs::remove_file(&log)?;
        }
        let url = self.cloud.url();
        start_operator(&self.binary, &self.kubeconfig, &url, &log, leader_election).await
    }

    pub fn grants(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &kind())
    }

    /// Creates grants, many in parallel.
    pub async fn create(&self, grants: impl IntoIterator<Item = Value>) -> Result<()> {
        let (api, params) = (self.grants(), PostParams::default());
        let objects = grants.into_iter().map(serde_json::from_value::<DynamicObject>);
        futures::stream::iter(objects)
            .map(|object| async { Ok::<_, crate::Error>(api.create(&params, &object?).await?) })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
    }

    /// Watches until `count` grants have the reason `reason`. Fails after a time limit.
    pub async fn until_all(&self, reason: &str, count: usize) -> Result<()> {
        let events = watcher(self.grants(), watcher::Config::default()).applied_objects();
        pin_mut!(events);
        let mut reached = BTreeSet::new();
        let all = async {
            while reached.len() < count {
                let grant = events.try_next().await?.ok_or("the watch ended")?;
                if self::reason(&grant) == Some(reason) {
                    reached.insert(grant.name_any());
                }
            }
            Ok::<(), crate::Error>(())
        };
        let patience = PATIENCE.max(Duration::from_millis(100) * u32::try_from(count)?);
        let in_time = tokio::time::timeout(patience, all).await;
        in_time.map_err(|_| format!("fewer than {count} grants reached {reason} in time"))?
    }

    /// Adds a bucket with Block Public Access on.
    pub fn bucket(&self, name: &str, policy: Option<String>) -> Result<()> {
        let seed = BucketSeed {
            name: name.to_owned(),
            region: REGION.to_owned(),
            owner: ACCOUNT_B.to_owned(),
            block_public_access: true,
            policy,
            ..BucketSeed::default()
        };
        Ok(self.cloud.add_bucket(seed)?)
    }

    /// Returns the operator's requests to the API server after the first `from` audited requests, as verb and resource.
    pub fn asked_since(&self, from: usize) -> Result<Vec<(String, String)>> {
        let events = self.plane.audit_events()?.into_iter().skip(from);
        let text = |event: &Value, pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Ok(events
            .filter(|event| text(event, "/user/username") == OPERATOR)
            .map(|event| {
                let (resource, part) = (
                    text(&event, "/objectRef/resource"),
                    text(&event, "/objectRef/subresource"),
                );
                (
                    text(&event, "/verb"),
                    if part.is_empty() {
                        resource
                    } else {
                        format!("{resource}/{part}")
                    },
                )
            })
            .collect())
    }

    /// Returns the number of audited requests.
    pub fn audited(&self) -> Result<usize> {
        Ok(self.plane.audit_events()?.len())
    }

    /// Returns the policy writes to buckets whose names begin with `bucket`.
    pub fn puts(&self, bucket: &str) -> Vec<Call> {
        let mut calls = self.cloud.calls();
        calls.retain(|call| {
            call.action == "PutBucketPolicy" && call.bucket.as_deref().is_some_and(|b| b.starts_with(bucket))
        });
        calls
    }
}

fn keys(name: &str, [id, secret]: [&str; 2]) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"accessKeyId": id, "accessKeySecret": secret}})
}

/// Starts the emulator with both accounts.
pub async fn cloud() -> Result<Emulator> {
    let account = |uid, [id, secret]: [&str; 2]| json!({"uid": uid, "keys": [{"id": id, "secret": secret}]});
    let seed = json!({"accounts": [account(ACCOUNT_A, CALLER), account(ACCOUNT_B, OWNER)]});
    Ok(Emulator::start(
        Seed::from_yaml(&seed.to_string())?,
        imm_emulator::Options::default(),
    )
    .await?)
}

/// Starts an operator on any API server and waits until it is ready.
pub async fn start_operator(
    binary: &Path,
    kubeconfig: &Path,
    cloud_url: &str,
    log: &Path,
    leader_election: bool,
) -> Result<Operator> {
    let options = OperatorOptions {
        binary: binary.to_owned(),
        kubeconfig: kubeconfig.to_owned(),
        cloud_url: cloud_url.to_owned(),
        namespace: "imm-system".to_owned(),
        log_file: log.to_owned(),
        leader_election,
        ..OperatorOptions::default()
    };
    Ok(Operator::start(options).await?)
}

fn kind() -> ApiResource {
    imm_operator::api::ImmBucketGrant::api_resource()
}

/// Returns a grant of that name for that bucket; `changes` are members of its spec.
pub fn grant(name: &str, bucket: &str, changes: Value) -> Value {
    let mut spec = json!({
        "bucket": {"name": bucket, "region": REGION, "ownerUID": ACCOUNT_B},
        "grantee": {"accountUID": ACCOUNT_A},
        "access": {"preset": "Minimal"},
        "credentials": {"source": "Secret", "secretRef": {"name": "owner"}},
    });
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    json!({"apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrant",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

/// Returns the reason of Ready, or `None` if the status is not of the current generation.
pub fn reason(grant: &DynamicObject) -> Option<&str> {
    let status = grant.data.get("status")?;
    let seen = status.get("observedGeneration").and_then(Value::as_i64);
    if seen != grant.metadata.generation {
        return None;
    }
    let mut conditions = status.get("conditions")?.as_array()?.iter();
    conditions
        .find(|one| one.get("type").and_then(Value::as_str) == Some("Ready"))?
        .get("reason")?
        .as_str()
}

/// Returns a count as a measurement.
pub fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
