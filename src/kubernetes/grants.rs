//! Reads of grants, and writes of their status.

use kube::Resource;
use kube::api::ListParams;

use super::Kubernetes;
use super::decode::{DecodedGrant, Page};
use super::kept_grants::KeptGrants;
use super::list_items::read_page;
use super::request::{
    RequestError, WriteMethod, WrittenPart, is_addressable, logged, read, send, send_with_deadline, write,
    write_metadata,
};
use super::stored_ledger::LedgerText;
use crate::api::{GrantStatus, ImmBucketGrant};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::scopes::scopes;
use crate::ports::KubeError;

/// Grants per page of a list: the API server holds a page in memory, and a grant can have 1.5 MB.
const GRANTS_PAGE: u32 = 25;

/// Lists the grants of a bucket, as many as `memory` bytes can hold.
pub(crate) async fn list_grants(
    kubernetes: &Kubernetes,
    bucket: &str,
    memory: usize,
) -> Result<Vec<GrantObject>, KubeError> {
    // A name with a comma would add a condition to the selector.
    let escaped = bucket
        .replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace('=', "\\=");
    let of_bucket = ListParams::default().fields(&format!("spec.bucket.name={escaped}"));
    let mut found = KeptGrants::new(memory);
    let mut refused = None;
    let mut any_listed = false;
    for scope in scopes(&kubernetes.namespaces) {
        let name = scope.map(String::as_str);
        let listed = list_grants_in(kubernetes, name, of_bucket.clone(), &mut found).await;
        match logged("list", "ImmBucketGrants", listed) {
            Ok(()) => any_listed = true,
            // The administrators of a namespace can remove the operator's RoleBinding there, and must not stop the grants
            // of the others.
            Err(error @ KubeError::Forbidden) if scope.is_some() => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = refused.filter(|_| !any_listed) {
        return Err(error);
    }
    let (grants, ignored) = found.into_parts();
    for (namespace, count) in ignored {
        tracing::error!(
            bucket,
            namespace,
            count,
            "ignoring the newest grants of the namespace: the grants of the bucket take too much memory"
        );
    }
    Ok(grants)
}

/// Lists the grants of all namespaces.
pub(crate) async fn all_grants(kubernetes: &Kubernetes) -> Result<Vec<GrantObject>, RequestError> {
    let mut grants = KeptGrants::new(usize::MAX);
    list_grants_in(kubernetes, None, ListParams::default(), &mut grants).await?;
    Ok(grants.into_parts().0)
}

/// Lists grants in pages, without kube's `ObjectList`: each grant is reduced to the fields in use while it is
/// deserialized.
async fn list_grants_in(
    kubernetes: &Kubernetes,
    scope: Option<&str>,
    mut which: ListParams,
    grants: &mut KeptGrants,
) -> Result<(), RequestError> {
    loop {
        let page = send(grants_page(kubernetes, scope, &which)).await?;
        let (items, next) = page.into_parts();
        for item in items {
            grants.add(item);
        }
        if next.is_none() {
            return Ok(());
        }
        which.continue_token = next;
    }
}

async fn grants_page(
    kubernetes: &Kubernetes,
    scope: Option<&str>,
    which: &ListParams,
) -> Result<Page<DecodedGrant>, kube::Error> {
    let which = which.clone().limit(GRANTS_PAGE);
    read_page(&kubernetes.client, ImmBucketGrant::url_path(&(), scope), &which).await
}

pub(crate) async fn get_grant(
    kubernetes: &Kubernetes,
    key: &ObjectKey,
) -> Result<Option<GrantObject>, KubeError> {
    if !is_addressable(key) {
        return Ok(None);
    }
    logged(
        "get",
        &format!("ImmBucketGrant {key}"),
        find_grant(kubernetes, key).await,
    )
}

/// Reads a grant; `None` if it does not exist.
pub(crate) async fn find_grant(
    kubernetes: &Kubernetes,
    key: &ObjectKey,
) -> Result<Option<GrantObject>, RequestError> {
    let found = send(read::<ImmBucketGrant, DecodedGrant>(&kubernetes.client, key)).await?;
    Ok(found.map(|decoded| decoded.grant))
}

pub(crate) async fn replace_grant_status(
    kubernetes: &Kubernetes,
    grant: &GrantObject,
    status: &GrantStatus,
) -> Result<String, KubeError> {
    let metadata = write_metadata(&grant.key, &grant.uid, &grant.resource_version);
    let how = WriteMethod::ReplaceStatus;
    if grant.only_stored.is_nothing() {
        return write::<ImmBucketGrant>(&kubernetes.client, how, metadata, WrittenPart::Status(status)).await;
    }
    let stored = read::<ImmBucketGrant, LedgerText>(&kubernetes.client, &grant.key);
    let stored = send_with_deadline("get", format!("ImmBucketGrant {}", grant.key), stored).await?;
    let stored = stored.ok_or(KubeError::NotFound)?;
    if !stored.is_of(grant) {
        return Err(KubeError::Conflict);
    }
    let complete = stored.complete(grant, status)?;
    write::<ImmBucketGrant>(&kubernetes.client, how, metadata, WrittenPart::Status(complete)).await
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_the_operator_may_not_list_hides_no_grant_of_the_others() {
        let server = tower::service_fn(|request: http::Request<Body>| async move {
            let media = request.uri().path().contains("/namespaces/media/");
            let (code, said) = if media {
                (
                    200,
                    r#"{"kind": "ImmBucketGrantList", "apiVersion": "immops.dev/v1alpha1", "metadata": {}, "items": [
                    {"metadata": {"name": "grant", "namespace": "media", "uid": "1", "resourceVersion": "1"}, "spec": {}}]}"#,
                )
            } else {
                (
                    403,
                    r#"{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}"#,
                )
            };
            http::Response::builder()
                .status(code)
                .body(Body::from(said.as_bytes().to_vec()))
        });
        let list = async |namespaces: &[&str]| {
            let names = namespaces.iter().map(|name| (*name).to_owned()).collect();
            let kubernetes = Kubernetes::new(Client::new(server, "n"), names, None, None);
            let grants = list_grants(&kubernetes, "pics", 1_000_000).await;
            grants.map(|grants| grants.len())
        };
        assert_eq!(list(&["press", "media"]).await, Ok(1));
        assert_eq!(list(&["press"]).await, Err(KubeError::Forbidden));
        assert_eq!(list(&[]).await, Err(KubeError::Forbidden));
    }
}
