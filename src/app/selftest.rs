//! Asks an installation the questions of `imm-operator selftest`: reads and access reviews only, and no call to Alibaba Cloud.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep};

use crate::core::doctor::{Check, Level};
use crate::core::selftest::{Installation, LeaseWatch, crds_check, permissions_check};
use crate::kubernetes::access_review::{is_allowed, own_user};
use crate::kubernetes::connect::{ConnectOptions, connect};
use crate::kubernetes::lease::LeaseObject;
use crate::kubernetes::request::RequestError;
use crate::kubernetes::served_crds::{ServedCrds, served_crds};
use crate::runtime::probe_client::read_page;
use crate::runtime::tenancy_file::CurrentRules;

/// Interval at which a check that failed is made again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Settings of the test.
#[derive(Clone, Debug)]
pub struct SelftestSettings {
    /// Where the cluster is configured.
    pub cluster: ConnectOptions,
    /// What to test.
    pub installation: Installation,
    /// File with the tenancy rules, if any.
    pub tenancy_rules: Option<PathBuf>,
    /// HOST:PORT of probes and metrics, if they are to be read.
    pub operator_address: Option<String>,
    /// How long a check may fail, so that an installation has time to start.
    pub timeout: Duration,
}

/// Makes all checks at the same time. Without an answer of the API server, there is only that check.
pub async fn selftest(settings: SelftestSettings) -> Vec<Check> {
    let deadline = Instant::now().checked_add(settings.timeout);
    let deadline = deadline.unwrap_or_else(Instant::now);
    let client = match connect(&settings.cluster) {
        Ok(connection) => connection.client,
        Err(message) => {
            let change = "run the test in a Pod of the operator's ServiceAccount, or set KUBECONFIG";
            return vec![Check::failed("api-server", message, change)];
        }
    };
    let reached = until(deadline, async || reach(&client).await).await;
    if reached.level != Level::Ok {
        return vec![reached];
    }
    // The checks below have the whole time: that a lease is renewed shows only after some seconds.
    let deadline = Instant::now().checked_add(settings.timeout).unwrap_or(deadline);
    let mut checks = vec![reached];
    let mut installation = settings.installation;
    if let Some(path) = &settings.tenancy_rules {
        let rules = CurrentRules::default();
        checks.push(match rules.load(path).await {
            Ok(()) => Check::ok("tenancy-rules", "the rules are valid"),
            Err(error) => Check::failed("tenancy-rules", error.to_string(), "correct the value tenancy"),
        });
        installation.reads_labels = rules.get().needs_namespace_labels();
    }
    let (crds, permissions, lease, metrics) = futures::join!(
        until(deadline, async || check_crds(&client).await),
        check_permissions(&client, &installation, deadline),
        check_lease(&client, &installation, settings.timeout, deadline),
        async {
            match &settings.operator_address {
                Some(address) => Some(until(deadline, async || check_metrics(address).await).await),
                None => None,
            }
        },
    );
    checks.extend([crds, permissions, lease]);
    checks.extend(metrics);
    checks
}

/// Makes a check again until it is ok or the deadline has passed.
async fn until(deadline: Instant, mut check: impl AsyncFnMut() -> Check) -> Check {
    loop {
        let result = check().await;
        if result.level == Level::Ok || Instant::now() >= deadline {
            return result;
        }
        sleep(RETRY_EVERY).await;
    }
}

/// Turns a failed request into a failed check.
fn unanswered(name: &'static str, error: &RequestError, permission: &str) -> Check {
    Check::failed(
        name,
        error.describe(permission),
        "look at the network between the Pod and the API server, and at the ServiceAccount of the Pod",
    )
}

async fn reach(client: &Client) -> Check {
    match own_user(client).await {
        Ok(user) => Check::ok("api-server", format!("reached as {user}")),
        Err(error) => unanswered("api-server", &error, "create selfsubjectreviews"),
    }
}

async fn check_crds(client: &Client) -> Check {
    match served_crds(client).await {
        Ok(ServedCrds::Complete) => crds_check(&[]),
        Ok(ServedCrds::Older(missing)) => crds_check(&missing),
        Err(error) => Check::failed(
            "crds",
            format!("the API server does not describe the CRDs: {error}"),
            "install the CRDs (crds.enabled=true, or apply crds/), and allow get on /openapi/v3",
        ),
    }
}

async fn check_permissions(client: &Client, installation: &Installation, deadline: Instant) -> Check {
    let mut missing = installation.permissions();
    let asked = missing.len();
    until(deadline, async || {
        let mut denied = Vec::new();
        for permission in &missing {
            match is_allowed(client, permission).await {
                Ok(true) => {}
                Ok(false) => denied.push(permission.clone()),
                Err(error) => return unanswered("permissions", &error, "create selfsubjectaccessreviews"),
            }
        }
        missing = denied;
        permissions_check(asked, &missing)
    })
    .await
}

async fn check_lease(
    client: &Client,
    installation: &Installation,
    timeout: Duration,
    deadline: Instant,
) -> Check {
    let (namespace, name) = (&installation.namespace, &installation.lease_name);
    let lease = LeaseObject::new(client, namespace, name.clone());
    let mut watch = LeaseWatch::default();
    until(deadline, async || match lease.read().await {
        Ok(record) => {
            watch.add(record);
            watch.check(&format!("{namespace}/{name}"), timeout)
        }
        Err(error) => unanswered(
            "lease",
            &error,
            &format!("get lease {name} in namespace {namespace}"),
        ),
    })
    .await
}

async fn check_metrics(address: &str) -> Check {
    let failed = |seen: String| {
        Check::failed(
            "metrics",
            seen,
            "look at the logs of the Pods, and at the NetworkPolicies between this Pod and them",
        )
    };
    for (path, expected) in [("/readyz", "ok\n"), ("/metrics", "# EOF\n")] {
        match read_page(address, path).await {
            Ok((status, text)) if status.is_success() && text.ends_with(expected) => {}
            Ok((status, text)) => {
                let first = text.lines().next().unwrap_or_default();
                return failed(format!("{address}{path} answers {}: {first}", status.as_u16()));
            }
            Err(error) => return failed(format!("{address}{path} cannot be read: {error}")),
        }
    }
    Check::ok("metrics", format!("{address} is ready and serves metrics"))
}
