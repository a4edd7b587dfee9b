//! A leader and a standby, and what tells them apart.

use std::sync::Arc;
use std::time::Duration;

use imm_harness::{Operator, OperatorOptions, until};

use crate::support::{PATIENCE, Stage};

/// The term of a lease and some time for a busy machine: a leader that says nothing is followed within it.
pub const TERM: Duration = Duration::from_secs(40 + 10);

/// A process that competes for the lease.
pub struct Rival {
    pub name: String,
    stage: Arc<Stage>,
    pub operator: Operator,
}

impl Rival {
    /// Starts a process under a name, with a log of its own.
    pub async fn start(stage: &Arc<Stage>, name: &str) -> Self {
        let log = format!("operator-{name}-{}.log", stage.token());
        let options = OperatorOptions {
            leader_election: true,
            extra_env: vec![("IMM_OPERATOR_LEADER_NAME".to_owned(), name.to_owned())],
            ..stage.options(&log)
        };
        Self {
            name: name.to_owned(),
            stage: Arc::clone(stage),
            operator: Operator::start(options).await.unwrap(),
        }
    }

    /// Waits until the lease names it.
    pub async fn leads(&self, within: Duration) {
        let what = format!("{} to hold the lease", self.name);
        until(&what, within, || async {
            let holder = holder(&self.stage).await;
            if holder.starts_with(&format!("{}_", self.name)) {
                Ok(())
            } else {
                Err(holder)
            }
        })
        .await
        .unwrap();
    }

    /// Whether it says of itself that it works.
    pub async fn works(&self) -> bool {
        let (_, metrics) = self.operator.admin_get("/metrics").await.unwrap();
        metrics.lines().any(|line| line == "immops_leader 1")
    }
}

/// Who holds the lease; empty when nobody does.
pub async fn holder(stage: &Stage) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    stage
        .kubectl(&["get", "lease", "imm-operator", "-n", "imm-system", "-o", path])
        .await
}

/// Stops the stage's own operator and starts two that compete; the first one leads.
pub async fn two(stage: &Arc<Stage>, leader: &str, standby: &str) -> (Rival, Rival) {
    if stage.running().await {
        assert!(stage.stop_operator().await.success());
    }
    let first = Rival::start(stage, leader).await;
    // A lease that the test before left behind has to run out.
    first.leads(PATIENCE).await;
    let second = Rival::start(stage, standby).await;
    assert!(first.works().await && !second.works().await);
    (first, second)
}
