//! The kinds of group `immops.dev/v1alpha1`: data, apply-time rules, and every constant that users see.
//! Depends on no other module.
#![expect(
    clippy::doc_link_with_quotes,
    reason = "kubectl explain prints these comments, and would print back-ticks as well"
)]

mod condition;
mod credentials;
mod grant;
mod grant_status;
mod grantee;
mod job;
mod job_source;
mod job_status;
pub(crate) mod reason;
mod report;
mod rules;

pub use condition::{Condition, ConditionStatus, ConditionType, GrantCondition, JobCondition};
pub use credentials::{AssumeRole, CredentialSource, Credentials, SecretRef, ServiceAccountRef};
pub use grant::{
    Access, AdoptionPolicy, AllowedConsumers, BucketRef, DeletionPolicy, DriftPolicy, GrantSpec,
    ImmBucketGrant, Mode, OssAction, PassRoleStatement, Preset,
};
pub use grant_status::{
    BackupRef, Drift, DriftKind, EntryState, GrantStatus, LedgerEntry, ObservedBucket, ObservedPolicy,
    PassRoleCause, PassRoleReport, PlannedChange, RepeatedDrift, StatementRole, WriteReason,
};
pub use grantee::{Grantee, PrincipalForm};
pub use job::{
    Budget, FailureAction, FailureRule, GrantRef, GrantWait, ImageScoreJob, JobSpec, OnBelow, OnExceeded,
    ProjectRef, ResultRules, Select, Thresholds,
};
pub use job_source::{
    AccessMode, ChainLink, ITEMS_LIMIT, JobAccess, ManifestSource, PrefixSource, RequestPayer, RoleChain,
    RoleType, Source,
};
pub use job_status::{
    Cursor, Deferred, EnforcementWait, FailureCount, ItemResult, Items, JobStatus, ObservedSource,
    ReportsSummary, Requests, Summary, SuspendCause,
};
pub use reason::{EventReason, GrantReason, JobReason};
pub use report::{ImageScoreReport, REPORT_BYTES, REPORT_ITEMS, REPORT_JOB, REPORT_JOB_UID, Report};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

/// API group of the kinds.
pub const GROUP: &str = "immops.dev";
/// Version of the kinds.
pub const VERSION: &str = "v1alpha1";
/// Finalizer that keeps a grant until its statements are removed from the policy.
pub const FINALIZER: &str = "immops.dev/grant";
/// Annotation whose change triggers an immediate reconcile.
pub const RECONCILE_AT: &str = "immops.dev/reconcile-at";
/// Annotation that releases a grant that cannot remove its statements.
pub const ABANDON: &str = "immops.dev/abandon";
/// Annotation that marks a job as started, with the uid of the object that started.
pub const STARTED: &str = "immops.dev/started";
/// Maximum number of entries in the ledger of a grant.
pub const LEDGER_LIMIT: usize = 12;

/// The CRDs of all kinds as they are served, in the order of installation.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        ImmBucketGrant::crd(),
        ImageScoreJob::crd(),
        with_report(ImageScoreReport::crd()),
    ]
    .into_iter()
    .map(with_status_default)
    .collect()
}

/// Renames the body of a report from `spec` to `report`: a report is an output, not a desired state.
fn with_report(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let versions = definition.spec.versions.iter_mut();
    let roots = versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    for root in roots {
        let body = root.properties.as_mut().and_then(|p| p.remove("spec"));
        root.properties
            .get_or_insert_default()
            .extend(body.map(|b| ("report".to_owned(), b)));
        root.required = Some(vec!["report".to_owned()]);
    }
    definition
}

/// Sets the default of `status`: kstatus considers an object without an observed generation finished, so a new object has
/// -1 until the operator has reconciled it.
fn with_status_default(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let properties = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|root| root.properties.as_mut());
        if let Some(status) = properties.and_then(|p| p.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
            status.nullable = None;
        }
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            clean_schema(root);
            if let Some(spec) = root.properties.as_mut().and_then(|p| p.get_mut("spec")) {
                rules::add_messages(spec);
            }
        }
    }
    definition
}

/// Removes `nullable`: optional fields are omitted when absent and never written as null. Removes the description of list
/// items that are times as well, which is documentation of Go's type.
fn clean_schema(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        clean_schema(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        if items.format.as_deref() == Some("date-time") {
            items.description = None;
        }
        clean_schema(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects what `kubectl explain` prints badly: values without a meaning, and a sentence that list and item share.
    fn collect(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
        let said = schema.description.as_deref().unwrap_or_default();
        for value in schema.enum_.iter().flatten() {
            let meaning = format!("- {}: ", value.0.as_str().unwrap_or_default());
            if !said.contains(&meaning) && !path.ends_with(".conditions.status") {
                found.push(format!("{path} does not explain {value:?}"));
            }
        }
        for (name, property) in schema.properties.iter().flatten() {
            collect(property, &format!("{path}.{name}"), found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            let first = |text: &str| text.split(['.', ';']).next().map(ToOwned::to_owned);
            let item = items.description.as_deref().and_then(first);
            if item.is_some() && item == first(said) {
                found.push(format!("{path} repeats its first sentence"));
            }
            // The values of a list are explained beside it.
            let items = JSONSchemaProps {
                enum_: None,
                ..(**items).clone()
            };
            collect(&items, path, found);
        }
    }

    #[test]
    fn kubectl_explain_says_what_each_value_means_and_nothing_twice() {
        let mut found = Vec::new();
        for definition in crds() {
            let schema = definition.spec.versions[0].schema.as_ref().unwrap();
            collect(
                schema.open_api_v3_schema.as_ref().unwrap(),
                &definition.spec.names.kind,
                &mut found,
            );
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}
