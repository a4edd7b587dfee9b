//! A tenant whose grants are reconciled by processes of its own, which compete for a lease of their own. Many such pairs
//! can run at the same time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imm_harness::{Operator, OperatorOptions, until};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Stage, Tenant};

/// Longer than the lease duration of 40 s.
pub const TERM: Duration = Duration::from_secs(50);

/// A bucket's policy before the first grant.
pub const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;

/// A process that competes for the lease.
pub struct Rival {
    pub name: String,
    stage: Arc<Stage>,
    home: String,
    pub operator: Operator,
}

impl Rival {
    /// Starts a process under a name, with a log of its own, for one tenant, with its file of tenancy rules.
    pub async fn start(tenant: &Tenant, name: &str) -> Self {
        let stage = &tenant.stage;
        let mut options = stage.options(&format!("operator-{name}-{}.log", stage.token()));
        let rules = rules_file(tenant);
        if rules.is_file() {
            let mut flags = options.extra_args.iter_mut();
            assert!(flags.any(|flag| flag == "--tenancy-rules"));
            *flags.next().unwrap() = rules.display().to_string();
        }
        let only = ["--watch-namespaces".to_owned(), tenant.name.clone()];
        let options = OperatorOptions {
            leader_election: true,
            namespace: home(tenant),
            extra_args: options.extra_args.iter().cloned().chain(only).collect(),
            extra_env: vec![("IMM_OPERATOR_LEADER_NAME".to_owned(), name.to_owned())],
            ..options
        };
        Self {
            name: name.to_owned(),
            stage: Arc::clone(stage),
            home: home(tenant),
            operator: Operator::start(options).await.unwrap(),
        }
    }

    /// Waits until the process holds the lease.
    pub async fn leads(&self, within: Duration) {
        let what = format!("{} to hold the lease", self.name);
        until(&what, within, || async {
            let holder = holder(&self.stage, &self.home).await;
            if holder.starts_with(&format!("{}_", self.name)) {
                Ok(())
            } else {
                Err(holder)
            }
        })
        .await
        .unwrap();
    }

    /// Returns whether the process reports that it leads.
    pub async fn works(&self) -> bool {
        let (_, metrics) = self.operator.admin_get("/metrics").await.unwrap();
        metrics.lines().any(|line| line == "immops_leader 1")
    }
}

/// Returns the path of the tenancy rules of a tenant's processes. If the file is missing, the rules of the stage apply.
pub fn rules_file(tenant: &Tenant) -> PathBuf {
    let folder = tenant.stage.plane.folder();
    folder.join(format!("rules-of-{}.yaml", tenant.name))
}

/// Returns the namespace of the lease and the policy backups of a tenant's processes.
pub fn home(tenant: &Tenant) -> String {
    format!("home-of-{}", tenant.name)
}

/// Returns the holder of the lease in a namespace; empty without a holder.
pub async fn holder(stage: &Stage, home: &str) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    stage
        .kubectl(&["get", "lease", "imm-operator", "-n", home, "-o", path])
        .await
}

/// Creates a tenant that the stage's operator ignores, and a namespace with the permissions of the chart's own one.
pub async fn room(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = Tenant::with_policy(stage, name, OTHERS).await;
    let home = home(&tenant);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}});
    let mut manifests = vec![namespace.to_string()];
    for kind in ["role", "rolebinding"] {
        let own = ["get", kind, "imm-operator-own", "-n", "imm-system", "-o", "json"];
        let mut own: Value = serde_json::from_str(&stage.kubectl(&own).await).unwrap();
        own["metadata"] = json!({"name": "imm-operator-own", "namespace": home});
        manifests.push(own.to_string());
    }
    tenant.apply(&manifests.join("\n---\n")).await;
    tenant
}

/// Starts two processes that compete for the lease of a tenant; the first one leads.
pub async fn two(tenant: &Tenant, leader: &str, standby: &str) -> (Rival, Rival) {
    let first = Rival::start(tenant, leader).await;
    first.leads(PATIENCE).await;
    let second = Rival::start(tenant, standby).await;
    assert!(first.works().await && !second.works().await);
    let held = format!("\"holder\":\"{leader}_");
    until(
        "the standby to name the holder of the lease",
        PATIENCE,
        || async {
            let log = second.operator.log();
            let mut lines = log.lines();
            if lines.any(|line| line.contains("waiting for lease") && line.contains(&held)) {
                Ok(())
            } else {
                Err(log)
            }
        },
    )
    .await
    .unwrap();
    (first, second)
}
