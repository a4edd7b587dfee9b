//! Requests whose errors keep their causes, for people at a terminal.

use kube::Resource;
use kube::api::ListParams;

use super::Kubernetes;
use super::decode::{DecodedGrant, DecodedJob};
use super::kept_grants::KeptGrants;
use super::request::{RequestError, read, send};
use crate::api::{ImageScoreJob, ImmBucketGrant};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::ports::ReportPage;

impl Kubernetes {
    /// Lists the grants of all namespaces.
    pub(crate) async fn all_grants(&self) -> Result<Vec<GrantObject>, RequestError> {
        let mut grants = KeptGrants::new(usize::MAX);
        self.list_grants_in(None, ListParams::default(), &mut grants)
            .await?;
        Ok(grants.into_parts().0)
    }

    /// Whether the API server serves a kind of the operator, by what every authenticated client may read. A 404 of a list alone
    /// can come from another server in its place.
    pub(crate) async fn serves<K: Resource<DynamicType = ()>>(&self) -> Result<bool, RequestError> {
        let group = K::group(&());
        let groups = send(self.client.list_api_groups()).await?.groups;
        let found = groups.iter().find(|served| served.name == group);
        let Some(_) = found else {
            return Ok(false);
        };
        let of_version = K::api_version(&());
        let of_group = self.client.list_api_group_resources(&of_version);
        let resources = send(of_group).await?.resources;
        Ok(resources.iter().any(|resource| resource.name == K::plural(&())))
    }

    /// Reads a grant; `None` if it does not exist.
    pub(crate) async fn find_grant(&self, key: &ObjectKey) -> Result<Option<GrantObject>, RequestError> {
        let found = send(read::<ImmBucketGrant, DecodedGrant>(&self.client, key)).await?;
        Ok(found.map(|decoded| decoded.grant))
    }

    /// Reads a job; `None` if it does not exist.
    pub(crate) async fn find_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, RequestError> {
        let found = send(read::<ImageScoreJob, DecodedJob>(&self.client, key)).await?;
        Ok(found.map(|DecodedJob(job)| job))
    }

    /// Lists a page of the reports of a job.
    pub(crate) async fn find_reports(
        &self,
        job: &JobObject,
        page: Option<&str>,
    ) -> Result<ReportPage, RequestError> {
        let params = super::reports::page_params(job, page);
        let list = send(self.reports_page(job, &params)).await?;
        super::reports::report_page(job, list).map_err(|_| RequestError::Undecodable)
    }
}
