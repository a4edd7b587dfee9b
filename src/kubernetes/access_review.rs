//! Asks the API server who the client is and what it may do. Every authenticated client may ask both.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::request::{RequestError, send};
use crate::core::selftest::Permission;

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
