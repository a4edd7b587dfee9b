//! Reports of large jobs. The job owns its reports, so that they are deleted with it; labels make them listable by job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PartialObjectMeta};
use kube::{Api, Resource};
use serde_json::value::RawValue;

use super::Kubernetes;
use super::decode::{Page, RawReport};
use super::list_items::read_page;
use super::request::{RequestError, WriteMethod, WrittenPart, logged, send, send_with_deadline, write};
use crate::api::{ImageScoreJob, ImageScoreReport, REPORT_JOB, REPORT_JOB_UID, Report};
use crate::core::job::{JobObject, report_name};
use crate::ports::{KubeError, ReportPage, StoredReport};

/// Reports per page. The operator writes reports of 256 KiB, but others can make one as large as an object can be.
const PAGE: u32 = 3;

pub(crate) async fn list_reports(
    kubernetes: &Kubernetes,
    job: &JobObject,
    page: Option<&str>,
) -> Result<ReportPage, KubeError> {
    let found = find_reports(kubernetes, job, page).await;
    logged("list", &format!("ImageScoreReports of {}", job.key), found)
}

/// Lists a page of the reports of a job.
pub(crate) async fn find_reports(
    kubernetes: &Kubernetes,
    job: &JobObject,
    page: Option<&str>,
) -> Result<ReportPage, RequestError> {
    let params = page_params(job, page);
    let list = send(reports_page(kubernetes, job, &params)).await?;
    report_page(job, list).map_err(|_| RequestError::Undecodable)
}

pub(crate) async fn get_report(
    kubernetes: &Kubernetes,
    job: &JobObject,
    number: usize,
) -> Result<Option<StoredReport>, KubeError> {
    // A list with a name selector, so that the permission to list reports suffices.
    let name = report_name(&job.key.name, &job.uid, number);
    let one = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = reports_page(kubernetes, job, &one);
    let list = send_with_deadline("list", format!("ImageScoreReport {name}"), list).await?;
    let (found, _) = list.into_parts();
    found.first().map(|object| decode_report(job, object)).transpose()
}

/// Reads reports as text: without their unused metadata, and their content undecoded.
pub(super) async fn reports_page(
    kubernetes: &Kubernetes,
    job: &JobObject,
    which: &ListParams,
) -> Result<Page<RawReport>, kube::Error> {
    let path = ImageScoreReport::url_path(&(), Some(&job.key.namespace));
    read_page(&kubernetes.client, path, which).await
}

pub(crate) async fn put_report(
    kubernetes: &Kubernetes,
    job: &JobObject,
    report: &Report,
    version: Option<&str>,
) -> Result<String, KubeError> {
    let number = usize::try_from(report.number).unwrap_or_default();
    let name = report_name(&job.key.name, &job.uid, number);
    let mut metadata = report_metadata(job, &name);
    metadata.resource_version = version.map(ToOwned::to_owned);
    let how = version.map_or(WriteMethod::Create, |_| WriteMethod::Replace);
    write::<ImageScoreReport>(&kubernetes.client, how, metadata, WrittenPart::Report(report)).await
}

pub(crate) async fn delete_report(
    kubernetes: &Kubernetes,
    job: &JobObject,
    number: usize,
) -> Result<(), KubeError> {
    let name = report_name(&job.key.name, &job.uid, number);
    let reports: Api<PartialObjectMeta<ImageScoreReport>> =
        Api::namespaced(kubernetes.client.clone(), &job.key.namespace);
    let params = DeleteParams::default();
    let answer = reports.delete(&name, &params);
    match send_with_deadline("delete", format!("ImageScoreReport {name}"), answer).await {
        Ok(_) | Err(KubeError::NotFound) => Ok(()),
        Err(error) => Err(error),
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
pub(super) fn report_page(job: &JobObject, page: Page<RawReport>) -> Result<ReportPage, KubeError> {
    let (items, next) = page.into_parts();
    let reports = items
        .into_iter()
        .map(|object| decode_report(job, &object))
        .collect::<Result<_, _>>()?;
    Ok((reports, next))
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
fn decode_report(job: &JobObject, object: &RawReport) -> Result<StoredReport, KubeError> {
    let body = object.report.as_deref().map_or("null", RawValue::get);
    let report = serde_json::from_str(body).map_err(|error| {
        tracing::error!(report = object.metadata.name, %error, "failed to decode report");
        KubeError::Invalid
    })?;
    Ok(StoredReport {
        report,
        resource_version: object.metadata.resource_version.clone(),
        intact: is_intact(job, object),
    })
}

/// Whether a report has the labels and the owner that the operator sets.
fn is_intact(job: &JobObject, object: &RawReport) -> bool {
    let expected = report_metadata(job, &object.metadata.name);
    let labels = expected.labels.unwrap_or_default();
    let labelled = labels
        .iter()
        .all(|(name, value)| object.metadata.labels.get(name) == Some(value));
    labelled
        && object
            .metadata
            .owner_references
            .iter()
            .any(|owner| owner.uid == job.uid)
}
