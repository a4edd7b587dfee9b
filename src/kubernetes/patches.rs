//! Patches of the metadata of grants and jobs. Only the metadata of an answer is decoded.

use kube::Resource;
use kube::api::{Patch, PatchParams, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Kubernetes;
use super::bounded::{KEPT_FINALIZERS, position_of_own};
use super::decode::WriteResponse;
use super::request::{RequestError, read, send, send_with_deadline};
use crate::api::{FINALIZER, ImageScoreJob, ImmBucketGrant, STARTED};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::ports::KubeError;

/// A grant, reduced to the place of the operator's finalizer among all finalizers.
#[derive(Deserialize)]
struct FinalizerPlace {
    metadata: FinalizerMetadata,
}

#[derive(Deserialize)]
struct FinalizerMetadata {
    #[serde(default, deserialize_with = "position_of_own")]
    finalizers: Option<usize>,
}

// The finalizer patches are written by hand because kube's `finalizer` helper wraps the reconcile of one object, while a
// reconcile here covers all grants of a bucket. These patches also test the UID, so that an object that was deleted and
// created again under the same name is not patched.
pub(crate) async fn add_finalizer(kubernetes: &Kubernetes, grant: &GrantObject) -> Result<String, KubeError> {
    let answer = async {
        let patch = finalizer_addition(grant)?;
        send_patch::<ImmBucketGrant>(kubernetes, &grant.key, &patch).await
    };
    send_with_deadline("patch", format!("ImmBucketGrant {}", grant.key), answer).await
}

pub(crate) async fn remove_finalizer(kubernetes: &Kubernetes, grant: &GrantObject) -> Result<(), KubeError> {
    let answer = patch_finalizer_away(kubernetes, grant);
    match send_with_deadline("patch", format!("ImmBucketGrant {}", grant.key), answer).await {
        Err(KubeError::NotFound) => Ok(()),
        answer => answer,
    }
}

/// Removes the operator's finalizer from a grant, if it has one, for a command.
pub(crate) async fn release_grant(kubernetes: &Kubernetes, grant: &GrantObject) -> Result<(), RequestError> {
    match send(patch_finalizer_away(kubernetes, grant)).await {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer,
    }
}

pub(crate) async fn mark_started(kubernetes: &Kubernetes, job: &JobObject) -> Result<String, KubeError> {
    // A merge patch with `resourceVersion`: the API server answers 409 if the job has changed since.
    let patch =
        json!({"metadata": {"resourceVersion": job.resource_version, "annotations": {STARTED: job.uid}}});
    let patch = Patch::Merge(patch);
    let answer = send_patch::<ImageScoreJob>(kubernetes, &job.key, &patch);
    send_with_deadline("patch", format!("ImageScoreJob {}", job.key), answer).await
}

/// Patches an object, and returns its new `resourceVersion`.
async fn send_patch<K: Resource<DynamicType = ()>>(
    kubernetes: &Kubernetes,
    key: &ObjectKey,
    patch: &Patch<Value>,
) -> Result<String, kube::Error> {
    let place = Request::new(K::url_path(&(), Some(&key.namespace)));
    let request = place.patch(&key.name, &PatchParams::default(), patch);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let answer: WriteResponse = kubernetes.client.request(request).await?;
    Ok(answer.into_resource_version())
}

/// Removes the operator's finalizer from a grant, if it has one.
async fn patch_finalizer_away(kubernetes: &Kubernetes, grant: &GrantObject) -> Result<(), kube::Error> {
    let Some(patch) = finalizer_removal(kubernetes, grant).await? else {
        return Ok(());
    };
    send_patch::<ImmBucketGrant>(kubernetes, &grant.key, &patch)
        .await
        .map(drop)
}

/// Returns the JSON patch that removes the operator's finalizer; `None` if the grant has none.
async fn finalizer_removal(
    kubernetes: &Kubernetes,
    grant: &GrantObject,
) -> Result<Option<Patch<Value>>, kube::Error> {
    let mut place = grant.finalizers.iter().position(|f| f == FINALIZER);
    if place.is_some() && grant.finalizers.len() > KEPT_FINALIZERS {
        // Not all finalizers were kept, so the place of ours is not known.
        let found = read::<ImmBucketGrant, FinalizerPlace>(&kubernetes.client, &grant.key).await?;
        place = found.and_then(|found| found.metadata.finalizers);
    }
    let removal = |place| {
        let path = format!("/metadata/finalizers/{place}");
        json_patch(json!([
            {"op": "test", "path": "/metadata/uid", "value": grant.uid},
            {"op": "test", "path": path, "value": FINALIZER},
            {"op": "remove", "path": path},
        ]))
    };
    place.map(removal).transpose()
}

/// Returns the JSON patch that adds the operator's finalizer.
fn finalizer_addition(grant: &GrantObject) -> Result<Patch<Value>, kube::Error> {
    let uid = json!({"op": "test", "path": "/metadata/uid", "value": grant.uid});
    let last = json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER});
    json_patch(match grant.finalizers.as_slice() {
        // `add` would replace a list that another writer created meanwhile, so the patch tests that there is none.
        [] => json!([
            uid,
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
        ]),
        // There can be more finalizers than these.
        [first, ..] if grant.finalizers.len() >= KEPT_FINALIZERS => json!([
            uid,
            {"op": "test", "path": "/metadata/finalizers/0", "value": first},
            last,
        ]),
        all => json!([uid, {"op": "test", "path": "/metadata/finalizers", "value": all}, last]),
    })
}

/// Returns a JSON patch.
///
/// # Errors
/// The operations are no patch. `None` instead would mean that nothing has to be patched.
fn json_patch(operations: Value) -> Result<Patch<Value>, kube::Error> {
    let operations = serde_json::from_value(operations);
    operations
        .map(Patch::Json)
        .map_err(|error| kube::Error::BuildRequest(kube::core::request::Error::SerializeBody(error)))
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::client::Body;

    use super::*;
    use crate::kubernetes::decode::DecodedGrant;

    fn grant(finalizers: &[String]) -> GrantObject {
        let object =
            json!({"metadata": {"name": "g", "namespace": "n", "uid": "u", "finalizers": finalizers}});
        serde_json::from_value::<DecodedGrant>(object).unwrap().grant
    }

    fn operations(patch: Option<Patch<Value>>) -> Value {
        match patch {
            Some(Patch::Json(operations)) => serde_json::to_value(operations).unwrap(),
            _ => Value::Null,
        }
    }

    /// Returns the operations that remove the finalizer of a grant which the API server stores with these finalizers.
    async fn removal(finalizers: &[String]) -> Value {
        let stored = json!({"metadata": {"finalizers": finalizers}}).to_string();
        let server = tower::service_fn(move |_: http::Request<Body>| {
            let stored = stored.clone();
            async move { http::Response::builder().body(Body::from(stored.into_bytes())) }
        });
        let kubernetes = Kubernetes::new(Client::new(server, "n"), Vec::new(), None, None);
        operations(finalizer_removal(&kubernetes, &grant(finalizers)).await.unwrap())
    }

    #[test]
    fn a_patch_that_cannot_be_built_is_no_patch_that_is_not_needed() {
        for wrong in [
            json!([{"op": "test"}]),
            json!([{"op": "remove", "path": "metadata"}]),
            json!({}),
        ] {
            assert!(json_patch(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_finalizer_is_removed_where_it_is_and_added_at_the_end() {
        for others in [0, 1, KEPT_FINALIZERS - 1, KEPT_FINALIZERS, 5_000] {
            let mut names: Vec<String> = (0..others).map(|n| format!("a/{n}")).collect();
            let added = operations(finalizer_addition(&grant(&names)).ok());
            let tested = match others {
                0 => json!({"op": "test", "path": "/metadata/finalizers", "value": null}),
                others if others < KEPT_FINALIZERS => {
                    json!({"op": "test", "path": "/metadata/finalizers", "value": names})
                }
                _ => json!({"op": "test", "path": "/metadata/finalizers/0", "value": "a/0"}),
            };
            assert_eq!(added[1], tested);
            names.push(FINALIZER.to_owned());
            let removed = removal(&names).await;
            assert_eq!(
                removed[2],
                json!({"op": "remove", "path": format!("/metadata/finalizers/{others}")})
            );
        }
    }
}
