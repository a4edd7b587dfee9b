//! Asks an installation the questions of `imm-operator selftest`: reads and access reviews only, and no call to
//! Alibaba Cloud.

use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::connect;
use crate::core::doctor::{Check, Level};
use crate::core::selftest::{
    Installation, LeaseWatch, Permission, crds_check, permissions_check, permissions_unanswered,
};
use crate::kubernetes::access_review::{is_allowed, own_user};
use crate::kubernetes::connect::ConnectOptions;
use crate::kubernetes::lease::LeaseObject;
use crate::kubernetes::request::RequestError;
use crate::kubernetes::served_crds::{ServedCrds, served_crds};
use crate::runtime::probe_client::read_page;
use crate::runtime::tenancy_file::CurrentRules;

/// Interval at which a check that failed is made again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Access reviews that are open at the same time: with many watched namespaces there are hundreds of them.
const REVIEWS_AT_ONCE: usize = 8;

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
        Err(error) => {
            let change = "run the test in a Pod of the operator's ServiceAccount, or set KUBECONFIG";
            return vec![Check::failed("api-server", error.to_string(), change)];
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
    let mut complete: Option<Check> = None;
    until(deadline, async || {
        let round = timeout_at(deadline, denied(client, &missing)).await;
        let check = match round {
            Ok(Ok(denied)) => {
                missing = denied;
                permissions_check(asked, &missing)
            }
            Ok(Err(error)) => return unanswered("permissions", &error, "create selfsubjectaccessreviews"),
            // What the last complete round found says more than that this one was not completed.
            Err(_) => return complete.clone().unwrap_or_else(|| permissions_unanswered(asked)),
        };
        complete = Some(check.clone());
        check
    })
    .await
}

/// Returns the permissions that the client does not have.
async fn denied(client: &Client, asked: &[Permission]) -> Result<Vec<Permission>, RequestError> {
    let reviews = asked.iter().map(async |permission| {
        let allowed = is_allowed(client, permission).await?;
        Ok::<_, RequestError>((!allowed).then(|| permission.clone()))
    });
    let denied: Vec<Option<Permission>> = stream::iter(reviews)
        .buffered(REVIEWS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(denied.into_iter().flatten().collect())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An installation that watches 100 namespaces.
    fn installation() -> Installation {
        Installation {
            namespace: "imm-system".to_owned(),
            lease_name: "imm-operator".to_owned(),
            backup_namespace: "imm-system".to_owned(),
            watched: (0..100).map(|number| format!("team-{number}")).collect(),
            reads_labels: false,
        }
    }

    /// Checks the permissions against an API server that takes `answer` for each review and denies what contains
    /// `denied`. Returns the check, the seconds that it took, and the largest number of open reviews.
    async fn checked(answer: Duration, denied: &'static str, timeout: Duration) -> (Check, u64, usize) {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(answer).await;
                open.fetch_sub(1, Ordering::SeqCst);
                let asked = request.into_body().collect_bytes().await.unwrap();
                let allowed = denied.is_empty() || !String::from_utf8_lossy(&asked).contains(denied);
                let review = serde_json::json!({"apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview", "metadata": {}, "spec": {}, "status": {"allowed": allowed}});
                http::Response::builder()
                    .status(201)
                    .body(kube::client::Body::from(review.to_string().into_bytes()))
            }
        });
        let client = Client::new(server, "n");
        let start = Instant::now();
        let check = check_permissions(&client, &installation(), start + timeout).await;
        (check, start.elapsed().as_secs(), seen.load(Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn the_reviews_of_a_hundred_namespaces_are_made_eight_at_a_time() {
        let (check, seconds, most) = checked(Duration::from_millis(100), "", Duration::from_secs(60)).await;
        assert_eq!(check.level, Level::Ok, "{check:?}");
        assert_eq!(most, 8);
        assert!((18..=25).contains(&seconds), "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn reviews_end_at_the_deadline() {
        let (check, seconds, _) = checked(Duration::from_secs(5), "", Duration::from_secs(60)).await;
        assert_eq!(seconds, 60);
        let line = check.to_line();
        assert!(
            line.contains("not answered") && line.contains("--timeout"),
            "{line}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_complete_round_found_is_kept() {
        // The first round takes 19 s; the rounds about the denied permission are repeated until the deadline cuts one
        // off.
        let (check, seconds, _) = checked(
            Duration::from_millis(100),
            "team-7\"",
            Duration::from_millis(30_050),
        )
        .await;
        assert_eq!(seconds, 30);
        let line = check.to_line();
        assert!(
            line.contains("in namespace team-7") && line.contains(" missing: "),
            "{line}"
        );
    }
}
