//! Asks the API server who the client is and what it may do, which every authenticated client may ask, and tries the lists.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, Client};

use super::request::{RequestError, send};
use crate::api::{ImageScoreJob, ImmBucketGrant};
use crate::core::scopes::scopes;
use crate::core::selftest::Permission;
use crate::ports::KubeError;

/// Returns the user name of the client, such as `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) async fn own_user(client: &Client) -> Result<String, RequestError> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, question) = (PostParams::default(), SelfSubjectReview::default());
    let review = send(reviews.create(&params, &question)).await?;
    let user = review.status.and_then(|status| status.user_info?.username);
    user.ok_or(RequestError::Undecodable)
}

/// Returns whether the client has a permission.
pub(crate) async fn is_allowed(client: &Client, permission: &Permission) -> Result<bool, RequestError> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let attributes = ResourceAttributes {
        verb: some(permission.verb),
        group: some(permission.group),
        resource: some(permission.resource),
        subresource: some(permission.subresource),
        namespace: permission.namespace.clone(),
        name: permission.name.clone(),
        ..ResourceAttributes::default()
    };
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = send(reviews.create(&PostParams::default(), &question)).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// Lists one grant and one job, in all namespaces or in each of those given. One of those that denies it is passed over, as
/// by the watches.
///
/// # Errors
/// Why the first list failed that did.
pub(crate) async fn list_first(client: &Client, namespaces: &[String]) -> Result<(), RequestError> {
    let kinds = [
        ApiResource::erase::<ImmBucketGrant>(&()),
        ApiResource::erase::<ImageScoreJob>(&()),
    ];
    let one = ListParams::default().limit(1);
    for scope in scopes(namespaces) {
        for kind in &kinds {
            let api: Api<DynamicObject> = match scope {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
                None => Api::all_with(client.clone(), kind),
            };
            match send(api.list_metadata(&one)).await {
                Err(error) if scope.is_some() && error.kind() == KubeError::Forbidden => {}
                listed => drop(listed?),
            }
        }
    }
    Ok(())
}
