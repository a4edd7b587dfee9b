//! Reads which CRDs the API server serves, from its OpenAPI description: every authenticated client may read it.

use kube::api::{GetParams, Request};
use kube::{Client, CustomResourceExt as _, Resource};
use serde_json::Value;

use super::request::send_with_deadline;
use crate::api::{ImageScoreJob, ImageScoreReport, ImmBucketGrant, crds};
use crate::core::served_schema::{missing_members, schema_of};
use crate::ports::KubeError;

/// What the API server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServedCrds {
    /// Every member that this version stores.
    Complete,
    /// Not these members.
    Older(Vec<String>),
}

/// Compares the served CRDs with what this version stores. Fails with `NotFound` if no CRD is installed, and with
/// `Forbidden` if the cluster does not let the operator read the description.
pub(crate) async fn served_crds(client: &Client) -> Result<ServedCrds, KubeError> {
    let version = ImmBucketGrant::api_version(&());
    let place = Request::new(format!("/openapi/v3/apis/{}", ImmBucketGrant::group(&())));
    let name = version.rsplit_once('/').map_or(&*version, |(_, name)| name);
    let request = place
        .get(name, &GetParams::default())
        .map_err(|_| KubeError::Invalid)?;
    let text = send_with_deadline("get", "OpenAPI document".to_owned(), client.request_text(request)).await?;
    let document = serde_json::from_str(&text).map_err(|_| KubeError::Unavailable)?;
    Ok(compared(&document))
}

fn compared(document: &Value) -> ServedCrds {
    let parts = [
        (ImmBucketGrant::crd_name(), ImmBucketGrant::kind(&()), "status"),
        (ImageScoreJob::crd_name(), ImageScoreJob::kind(&()), "status"),
        (
            ImageScoreReport::crd_name(),
            ImageScoreReport::kind(&()),
            "report",
        ),
    ];
    let definitions = crds();
    let mut missing = Vec::new();
    for (name, kind, part) in parts {
        let definition = definitions
            .iter()
            .find(|d| d.metadata.name.as_deref() == Some(name));
        for version in definition.iter().flat_map(|d| &d.spec.versions) {
            let ours = serde_json::to_value(&version.schema).unwrap_or_default();
            let pointer = format!("/openAPIV3Schema/properties/{part}");
            let Some(ours) = ours.pointer(&pointer) else {
                continue;
            };
            let group = ImmBucketGrant::group(&());
            let served = schema_of(document, &group, &version.name, &kind);
            match served.and_then(|schema| schema.pointer(&format!("/properties/{part}"))) {
                Some(served) => missing.extend(missing_members(&format!("{kind}.{part}"), ours, served)),
                None => missing.push(format!("{kind}.{part}")),
            }
        }
    }
    if missing.is_empty() {
        ServedCrds::Complete
    } else {
        ServedCrds::Older(missing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The description of an API server with these CRDs.
    fn described() -> Value {
        let mut schemas = serde_json::Map::new();
        for definition in crds() {
            let version = &definition.spec.versions[0];
            let mut schema = serde_json::to_value(&version.schema).unwrap()["openAPIV3Schema"].take();
            let kind = &definition.spec.names.kind;
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": definition.spec.group, "version": version.name, "kind": kind}]);
            schemas.insert(format!("dev.immops.v1alpha1.{kind}"), schema);
        }
        json!({"components": {"schemas": schemas}})
    }

    #[test]
    fn crds_without_a_member_of_the_ledger_are_older() {
        let mut served = described();
        assert_eq!(compared(&served), ServedCrds::Complete);
        // Earlier versions did not keep members of an entry that they do not know.
        let entry =
            "/components/schemas/dev.immops.v1alpha1.ImmBucketGrant/properties/status/properties/owned/items";
        let entry = served.pointer_mut(entry).unwrap().as_object_mut().unwrap();
        entry.remove("x-kubernetes-preserve-unknown-fields").unwrap();
        entry["properties"]
            .as_object_mut()
            .unwrap()
            .remove("preExisting")
            .unwrap();
        let missing = vec!["ImmBucketGrant.status.owned[].preExisting".to_owned()];
        assert_eq!(compared(&served), ServedCrds::Older(missing));
        let schemas = served["components"]["schemas"].as_object_mut().unwrap();
        schemas.remove("dev.immops.v1alpha1.ImageScoreReport");
        let ServedCrds::Older(missing) = compared(&served) else {
            panic!("a missing CRD counts as older");
        };
        assert!(
            missing.contains(&"ImageScoreReport.report".to_owned()),
            "{missing:?}"
        );
    }
}
