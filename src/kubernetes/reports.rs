//! Reports of large jobs. The job owns its reports, so that they are deleted with it; labels make them listable by job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectList, ObjectMeta};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;

use super::request::{WriteMethod, WrittenPart, send_with_deadline, write};
use super::{Kubernetes, api_for};
use crate::api::{ImageScoreJob, ImageScoreReport, REPORT_JOB, REPORT_JOB_UID, Report};
use crate::core::job::{JobObject, report_name};
use crate::ports::{KubeError, ReportPage, StoredReport};

/// Reports per page: a page of 8 reports has at most about 2 MiB.
const PAGE: u32 = 8;

impl Kubernetes {
    pub(crate) async fn list_reports(
        &self,
        job: &JobObject,
        page: Option<&str>,
    ) -> Result<ReportPage, KubeError> {
        let params = page_params(job, page);
        let list = send_with_deadline(reports_api(&self.client, &job.key.namespace).list(&params)).await?;
        report_page(job, &list)
    }

    pub(crate) async fn get_report(
        &self,
        job: &JobObject,
        number: usize,
    ) -> Result<Option<StoredReport>, KubeError> {
        // A list with a name selector, so that the permission to list reports suffices.
        let name = report_name(&job.key.name, &job.uid, number);
        let one = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = send_with_deadline(reports_api(&self.client, &job.key.namespace).list(&one)).await?;
        let first = found.items.first();
        first.map(|object| decode_report(job, object)).transpose()
    }

    pub(crate) async fn put_report(
        &self,
        job: &JobObject,
        report: &Report,
        version: Option<&str>,
    ) -> Result<String, KubeError> {
        let number = usize::try_from(report.number).unwrap_or_default();
        let name = report_name(&job.key.name, &job.uid, number);
        let mut metadata = report_metadata(job, &name);
        metadata.resource_version = version.map(ToOwned::to_owned);
        let how = version.map_or(WriteMethod::Create, |_| WriteMethod::Replace);
        write::<ImageScoreReport>(&self.client, how, metadata, WrittenPart::Report(report)).await
    }

    pub(crate) async fn delete_report(&self, job: &JobObject, number: usize) -> Result<(), KubeError> {
        let name = report_name(&job.key.name, &job.uid, number);
        let reports = reports_api(&self.client, &job.key.namespace);
        match send_with_deadline(reports.delete(&name, &DeleteParams::default())).await {
            Ok(_) | Err(KubeError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Selects a page of the reports of a job.
pub(super) fn page_params(job: &JobObject, page: Option<&str>) -> ListParams {
    let mut params = ListParams::default()
        .labels(&format!("{REPORT_JOB_UID}={}", job.uid))
        .limit(PAGE);
    params.continue_token = page.map(ToOwned::to_owned);
    params
}

/// Decodes a page of reports.
///
/// # Errors
/// Returns `Invalid` for a report that cannot be decoded.
pub(super) fn report_page(
    job: &JobObject,
    list: &ObjectList<DynamicObject>,
) -> Result<ReportPage, KubeError> {
    let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
    let reports = list
        .items
        .iter()
        .map(|object| decode_report(job, object))
        .collect::<Result<_, _>>()?;
    Ok((reports, next))
}

pub(super) fn reports_api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    api_for(
        client,
        &ApiResource::erase::<ImageScoreReport>(&()),
        Some(namespace),
    )
}

fn report_metadata(job: &JobObject, name: &str) -> ObjectMeta {
    let label: String = job.key.name.chars().take(63).collect();
    let label = label.trim_end_matches(['.', '-']).to_owned();
    let labels = [
        (REPORT_JOB.to_owned(), label),
        (REPORT_JOB_UID.to_owned(), job.uid.clone()),
    ];
    let owner = OwnerReference {
        api_version: ImageScoreJob::api_version(&()).into_owned(),
        kind: ImageScoreJob::kind(&()).into_owned(),
        name: job.key.name.clone(),
        uid: job.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(job.key.namespace.clone()),
        labels: Some(labels.into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Decodes a report. A report that cannot be decoded, for example of another version, is an error: its items must not be
/// billed again.
fn decode_report(job: &JobObject, object: &DynamicObject) -> Result<StoredReport, KubeError> {
    let body: Value = object.data.get("report").cloned().unwrap_or_default();
    let report = serde_json::from_value(body).map_err(|error| {
        tracing::error!(report = object.name_any(), %error, "failed to decode report");
        KubeError::Invalid
    })?;
    Ok(StoredReport {
        report,
        resource_version: object.resource_version().unwrap_or_default(),
        intact: is_intact(job, object),
    })
}

/// Whether a report has the labels and the owner that the operator sets.
fn is_intact(job: &JobObject, object: &DynamicObject) -> bool {
    let expected = report_metadata(job, &object.name_any());
    let labels = expected.labels.unwrap_or_default();
    let labelled = labels
        .iter()
        .all(|(name, value)| object.labels().get(name) == Some(value));
    labelled && object.owner_references().iter().any(|owner| owner.uid == job.uid)
}
