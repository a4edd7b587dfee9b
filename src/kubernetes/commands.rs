//! Requests of the commands, for people at a terminal: an error keeps its cause.

use kube::api::{ListParams, PatchParams};

use super::Kubernetes;
use super::decode::{DecodedGrant, decode_job};
use super::request::{RequestError, send};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::ports::ReportPage;

impl Kubernetes {
    /// Lists the grants of all namespaces.
    pub(crate) async fn all_grants(&self) -> Result<Vec<GrantObject>, RequestError> {
        let grants = send(self.grant_list(None, &ListParams::default())).await?;
        Ok(grants
            .items
            .into_iter()
            .map(|DecodedGrant(grant)| grant)
            .collect())
    }

    /// Removes the operator's finalizer from a grant, if it has one.
    pub(crate) async fn release_grant(&self, grant: &GrantObject) -> Result<(), RequestError> {
        let Some(patch) = super::finalizer_removal(grant) else {
            return Ok(());
        };
        let api = self.grants_api(Some(&grant.key.namespace));
        match send(api.patch(&grant.key.name, &PatchParams::default(), &patch)).await {
            Ok(_) => Ok(()),
            Err(RequestError::Kube(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads a job; `None` if it does not exist.
    pub(crate) async fn find_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, RequestError> {
        let found = send(self.jobs_api(&key.namespace).get_opt(&key.name)).await?;
        Ok(found.as_ref().map(decode_job))
    }

    /// Lists a page of the reports of a job.
    pub(crate) async fn find_reports(
        &self,
        job: &JobObject,
        page: Option<&str>,
    ) -> Result<ReportPage, RequestError> {
        let params = super::reports::page_params(job, page);
        let list = send(super::reports::reports_api(&self.client, &job.key.namespace).list(&params)).await?;
        super::reports::report_page(job, &list).map_err(|_| RequestError::Undecodable)
    }
}
