//! What the commands do in the cluster.

use kube::Resource;

use super::connection::connect;
use super::run_error::RunError;
use crate::api::{ImageScoreJob, ImmBucketGrant, ItemResult};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::core::validate::{check_namespace_name, check_object_name};
use crate::kubernetes::connect::ConnectOptions;
use crate::kubernetes::request::RequestError;
use crate::kubernetes::{Kubernetes, cluster, grants, jobs, patches, reports};

/// Returns the grants that carry the operator's finalizer, with the number of statements that each owns. Removes the
/// finalizers if `remove` is set. The operator must be stopped meanwhile, because it adds the finalizers again.
/// `None` means that the cluster has no CRD of grants.
///
/// # Errors
/// Returns an error if the grants cannot be listed or a finalizer cannot be removed.
pub async fn release_finalizers(
    cluster: &ConnectOptions,
    remove: bool,
) -> Result<Option<Vec<(ObjectKey, usize)>>, RunError> {
    let CallersCluster { kubernetes, .. } = CallersCluster::connect(cluster)?;
    release_all(&kubernetes, remove).await
}

async fn release_all(
    kubernetes: &Kubernetes,
    remove: bool,
) -> Result<Option<Vec<(ObjectKey, usize)>>, RunError> {
    let failed = RunError::cluster("list and patch immbucketgrants in all namespaces");
    let grants = match grants::all_grants(kubernetes).await {
        Err(error) if error.is_not_found() => {
            return match cluster::serves::<ImmBucketGrant>(kubernetes).await {
                Ok(false) => Ok(None),
                Ok(true) => Err(failed(error)),
                Err(cause) => Err(failed(cause)),
            };
        }
        answer => answer.map_err(&failed)?,
    };
    let mut held = Vec::new();
    for grant in grants.into_iter().filter(GrantObject::has_finalizer) {
        if remove {
            patches::release_grant(kubernetes, &grant)
                .await
                .map_err(&failed)?;
        }
        let entries = grant.status.owned.len() + grant.only_stored.unverified;
        held.push((grant.key, entries));
    }
    Ok(Some(held))
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
    let of_caller = CallersCluster::connect(cluster)?;
    let kubernetes = of_caller.kubernetes;
    let key = ObjectKey {
        namespace: namespace.map_or(of_caller.namespace, ToOwned::to_owned),
        name: job.to_owned(),
    };
    // A name is a part of the path of a request.
    check_object_name("the name of the job", &key.name)
        .and_then(|()| check_namespace_name("the namespace", &key.namespace))?;
    let permissions = format!(
        "get imagescorejobs and list imagescorereports in namespace {} (included in the built-in ClusterRole view)",
        key.namespace
    );
    let failed = RunError::cluster(&permissions);
    let Some(job) = jobs::find_job(&kubernetes, &key).await.map_err(&failed)? else {
        return Err(absent::<ImageScoreJob>(&kubernetes, &key).await);
    };
    page_of(job.status.results.clone());
    if job.status.reports.is_none() {
        return Ok(());
    }
    let mut page = None;
    loop {
        let (reports, next) = reports::find_reports(&kubernetes, &job, page.as_deref())
            .await
            .map_err(&failed)?;
        page_of(
            reports
                .into_iter()
                .flat_map(|stored| stored.report.results)
                .collect(),
        );
        page = next;
        if page.is_none() {
            return Ok(());
        }
    }
}

/// Returns the error about an object that does not exist, or whose kind the cluster does not have.
async fn absent<K: Resource<DynamicType = ()>>(kubernetes: &Kubernetes, key: &ObjectKey) -> RunError {
    let kind = K::kind(&()).into_owned();
    match cluster::serves::<K>(kubernetes).await {
        Ok(true) => RunError::NoObject {
            kind,
            key: key.clone(),
        },
        Ok(false) => RunError::NoCrd(kind),
        Err(error) => RunError::cluster("get /apis")(error),
    }
}

/// The cluster as the caller of a command sees it.
pub struct CallersCluster {
    /// The adapter, which has the caller's rights.
    pub kubernetes: Kubernetes,
    /// The namespace of the context.
    pub namespace: String,
}

impl CallersCluster {
    /// Connects with the caller's own rights.
    ///
    /// # Errors
    /// Returns an error if no configuration can be used.
    pub fn connect(cluster: &ConnectOptions) -> Result<Self, RunError> {
        let connection = connect(cluster)?;
        Ok(Self {
            kubernetes: Kubernetes::new(connection.client, Vec::new(), None, None),
            namespace: connection.namespace,
        })
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// Returns an error if the grant does not exist or cannot be read.
    pub async fn grant(&self, key: &ObjectKey) -> Result<GrantObject, RunError> {
        let permission = format!("get immbucketgrants in namespace {}", key.namespace);
        let found = grants::find_grant(&self.kubernetes, key).await;
        match found.map_err(RunError::cluster(&permission))? {
            Some(grant) => Ok(grant),
            None => Err(absent::<ImmBucketGrant>(&self.kubernetes, key).await),
        }
    }

    /// Reads a job.
    ///
    /// # Errors
    /// Returns an error if the job does not exist or cannot be read.
    pub async fn job(&self, key: &ObjectKey) -> Result<JobObject, RunError> {
        let permission = format!("get imagescorejobs in namespace {}", key.namespace);
        let found = jobs::find_job(&self.kubernetes, key).await;
        match found.map_err(RunError::cluster(&permission))? {
            Some(job) => Ok(job),
            None => Err(absent::<ImageScoreJob>(&self.kubernetes, key).await),
        }
    }

    /// Returns whether a grant of any namespace names a bucket.
    ///
    /// # Errors
    /// Returns an error if the grants cannot be listed: [`RunError::Refused`] if there is a cluster that does not
    /// allow it.
    pub async fn has_grant_of(&self, bucket: &str) -> Result<bool, RunError> {
        let failed = |source: RequestError| {
            let permissions = "list immbucketgrants in all namespaces".to_owned();
            if source.refuses_caller() {
                RunError::Refused { permissions, source }
            } else {
                RunError::Cluster { permissions, source }
            }
        };
        let grants = grants::all_grants(&self.kubernetes).await.map_err(failed)?;
        let names = |grant: &GrantObject| grant.bucket.as_ref().is_some_and(|own| own.name == bucket);
        Ok(grants.iter().any(names))
    }
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::client::Body;

    use super::*;

    /// What answers to lists of grants, to the list of groups, and to that of the group's resources.
    fn answering(answers: [(u16, &'static str); 3]) -> Kubernetes {
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let [lists, groups, resources] = answers;
            let (code, body) = match request.uri().path() {
                "/apis" => groups,
                "/apis/immops.dev/v1alpha1" => resources,
                _ => lists,
            };
            let body = Body::from(body.as_bytes().to_vec());
            async move { http::Response::builder().status(code).body(body) }
        });
        Kubernetes::new(Client::new(server, "media"), Vec::new(), None, None)
    }

    #[tokio::test]
    async fn a_404_says_that_there_is_no_crd_only_if_the_api_server_lists_none() {
        let absent = (404, "404 page not found\n");
        let page = (404, "<html>Not found</html>");
        let none = (
            200,
            r#"{"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}]}"#,
        );
        let ours = (
            200,
            r#"{"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "immops.dev", "versions": [{"groupVersion": "immops.dev/v1alpha1", "version": "v1alpha1"}]}]}"#,
        );
        let no_kind = (
            200,
            r#"{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "immops.dev/v1alpha1", "resources": []}"#,
        );
        let grants = (
            200,
            r#"{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "immops.dev/v1alpha1", "resources": [
                {"name": "immbucketgrants", "singularName": "", "namespaced": true, "kind": "ImmBucketGrant", "verbs": ["list"]}]}"#,
        );
        let key = ObjectKey {
            namespace: "media".to_owned(),
            name: "one".to_owned(),
        };
        for (answers, no_crd, said) in [
            ([absent, none, absent], true, "has no CRD of ImmBucketGrant"),
            ([absent, ours, no_kind], true, "has no CRD of ImmBucketGrant"),
            (
                [absent, ours, grants],
                false,
                "there is no ImmBucketGrant media/one",
            ),
            ([absent, ours, page], false, "not one of a Kubernetes API server"),
            ([absent, absent, absent], false, "404"),
            ([absent, page, page], false, "not one of a Kubernetes API server"),
            ([page, page, page], false, "not one of a Kubernetes API server"),
            ([page, none, absent], false, "not one of a Kubernetes API server"),
        ] {
            let kubernetes = answering(answers);
            let released = release_all(&kubernetes, true).await;
            assert_eq!(matches!(released, Ok(None)), no_crd, "{answers:?}");
            assert_eq!(released.is_err(), !no_crd, "{answers:?}");
            let cluster = CallersCluster {
                kubernetes,
                namespace: "media".to_owned(),
            };
            let read = cluster.grant(&key).await.err().unwrap().to_string();
            assert!(read.contains(said), "{answers:?}: {read}");
        }
    }
}
