//! Jobs for the unit tests of `core::job`.

use crate::api::JobSpec;

/// Returns a spec with these fields beside its project and its credentials.
pub(crate) fn spec_with(fields: &serde_json::Value) -> JobSpec {
    let mut spec = serde_json::json!({
        "project": {"name": "p", "region": "cn-hangzhou", "accountUID": "12345"},
        "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
    });
    let fields = fields.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(spec).unwrap()
}
