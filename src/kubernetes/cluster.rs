//! What else the operator asks the API server: its kinds, its clock, and the labels of a namespace.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::api::{GetParams, PartialObjectMeta, Request};
use kube::client::Body;
use kube::{Api, Resource};

use super::Kubernetes;
use super::request::{RequestError, send, send_with_deadline};
use crate::core::tenancy::Tenant;
use crate::ports::KubeError;

/// Whether the API server serves a kind of the operator, by what every authenticated client may read. A 404 of a list
/// alone can come from another server in its place.
pub(crate) async fn serves<K: Resource<DynamicType = ()>>(
    kubernetes: &Kubernetes,
) -> Result<bool, RequestError> {
    let group = K::group(&());
    let groups = send(kubernetes.client.list_api_groups()).await?.groups;
    let found = groups.iter().find(|served| served.name == group);
    let Some(_) = found else {
        return Ok(false);
    };
    let of_version = K::api_version(&());
    let of_group = kubernetes.client.list_api_group_resources(&of_version);
    let resources = send(of_group).await?.resources;
    Ok(resources.iter().any(|resource| resource.name == K::plural(&())))
}

pub(crate) async fn server_time(kubernetes: &Kubernetes) -> Result<Timestamp, KubeError> {
    // Every client may read the version.
    let request = Request::new("").get("version", &GetParams::default());
    let request = request.map_err(|_| KubeError::Invalid)?;
    let answer = send_with_deadline(
        "get",
        "version".to_owned(),
        kubernetes.client.send(request.map(Body::from)),
    )
    .await?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let time = date.and_then(|date| rfc2822::parse(date).ok());
    time.map(|time| time.timestamp()).ok_or(KubeError::Unavailable)
}

pub(crate) async fn tenant_of(kubernetes: &Kubernetes, namespace: &str) -> Result<Tenant, KubeError> {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(kubernetes.client.clone());
    let found =
        send_with_deadline("get", format!("Namespace {namespace}"), namespaces.get(namespace)).await?;
    Ok(Tenant {
        name: namespace.to_owned(),
        labels: found.metadata.labels.unwrap_or_default(),
    })
}
