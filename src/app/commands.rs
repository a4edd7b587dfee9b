//! What the commands do in the cluster.

use super::RunError;
use crate::api::ItemResult;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::kubernetes::Kubernetes;
use crate::kubernetes::connect::{ConnectOptions, Connection, connect};
use crate::kubernetes::request::RequestError;

fn client_of(cluster: &ConnectOptions) -> Result<Connection, RunError> {
    connect(cluster).map_err(RunError::Cluster)
}

/// Returns the grants that carry the operator's finalizer, with the number of statements that each owns. Removes the
/// finalizers if `remove` is set. The operator must be stopped meanwhile, because it adds the finalizers again.
///
/// # Errors
/// Returns an error if the grants cannot be listed or a finalizer cannot be removed.
pub async fn release_finalizers(
    cluster: &ConnectOptions,
    remove: bool,
) -> Result<Vec<(ObjectKey, usize)>, RunError> {
    let kubernetes = Kubernetes::new(client_of(cluster)?.client, Vec::new(), None, None);
    let failed = |error: RequestError| {
        RunError::Cluster(error.describe("list and patch immbucketgrants in all namespaces"))
    };
    let mut held = Vec::new();
    for grant in kubernetes
        .all_grants()
        .await
        .map_err(failed)?
        .into_iter()
        .filter(GrantObject::has_finalizer)
    {
        if remove {
            kubernetes.release_grant(&grant).await.map_err(failed)?;
        }
        let entries = grant.status.owned.len() + grant.unverified.len();
        held.push((grant.key, entries));
    }
    Ok(held)
}

/// Passes the stored results of a job to `page_of`, page by page: first those in the status, then those in the
/// reports. Without a namespace, the job is in that of the context.
///
/// # Errors
/// Returns an error if the job does not exist, or if the job or its reports cannot be read.
pub async fn read_results(
    cluster: &ConnectOptions,
    namespace: Option<&str>,
    job: &str,
    mut page_of: impl FnMut(Vec<ItemResult>),
) -> Result<(), RunError> {
    let connection = client_of(cluster)?;
    let kubernetes = Kubernetes::new(connection.client, Vec::new(), None, None);
    let key = ObjectKey {
        namespace: namespace.map_or(connection.namespace, ToOwned::to_owned),
        name: job.to_owned(),
    };
    let permissions = format!(
        "get imagescorejobs and list imagescorereports in namespace {} (included in the built-in ClusterRole view)",
        key.namespace
    );
    let failed = |error: RequestError| RunError::Cluster(error.describe(&permissions));
    let job = kubernetes.find_job(&key).await.map_err(failed)?;
    let job = job.ok_or_else(|| RunError::Cluster(format!("there is no ImageScoreJob {key}")))?;
    page_of(job.status.results.clone());
    let mut page = None;
    while job.status.reports.is_some() {
        let (reports, next) = kubernetes
            .find_reports(&job, page.as_deref())
            .await
            .map_err(failed)?;
        page_of(
            reports
                .into_iter()
                .flat_map(|stored| stored.report.results)
                .collect(),
        );
        page = next;
        if page.is_none() {
            break;
        }
    }
    Ok(())
}
