//! Adapter for the API server: grants, jobs, reports, Secrets, tokens, namespaces, events and policy backups.

pub(crate) mod access_review;
mod bounded;
mod commands;
pub mod connect;
mod credentials;
pub(crate) mod decode;
mod events;
pub mod fence;
mod kept_grants;
pub(crate) mod lease;
mod list_items;
mod patches;
mod policy_backups;
mod reports;
pub(crate) mod request;
pub(crate) mod served_crds;
pub(crate) mod stored_ledger;
mod token_file;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::api::{GetParams, ListParams, ObjectMeta, PartialObjectMeta, Request};
use kube::client::Body;
use kube::{Api, Client, Resource};

use self::decode::{DecodedGrant, Page};
use self::events::EventPublisher;
use self::kept_grants::KeptGrants;
use self::request::{RequestError, WriteMethod, WrittenPart, logged, read, send, send_with_deadline, write};
use self::stored_ledger::LedgerText;
use crate::api::{BackupRef, GrantStatus, ImageScoreJob, ImmBucketGrant, JobStatus};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::core::scopes::scopes;
use crate::core::tenancy::Tenant;
use crate::core::validate::{is_namespace_name, is_object_name};
use crate::ports::{KubeError, ObjectEvent, PolicyBackup};

/// Grants per page of a list: the API server holds a page in memory, and a grant can have 1.5 MB.
const GRANTS_PAGE: u32 = 25;

/// Client of the API server.
#[derive(Clone)]
pub struct Kubernetes {
    pub(crate) client: Client,
    events: Arc<EventPublisher>,
    namespaces: Vec<String>,
    /// The operator's own ServiceAccount as NAMESPACE:NAME, used in messages only.
    account: Option<String>,
    /// Namespace where policy backups are stored.
    backups: Option<String>,
}

impl Kubernetes {
    /// Creates the adapter. `namespaces` are the watched namespaces, empty for all; policy backups are stored in namespace
    /// `backups`.
    pub fn new(
        client: Client,
        namespaces: Vec<String>,
        account: Option<String>,
        backups: Option<String>,
    ) -> Self {
        Self {
            events: Arc::default(),
            client,
            namespaces,
            account,
            backups,
        }
    }

    pub(crate) async fn store_policy_backup(
        &self,
        backup: PolicyBackup,
    ) -> Result<Option<BackupRef>, KubeError> {
        match &self.backups {
            Some(namespace) => policy_backups::store_backup(&self.client, namespace, backup)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Lists the grants of a bucket, as many as `memory` bytes can hold.
    pub(crate) async fn list_grants(
        &self,
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
        for scope in scopes(&self.namespaces) {
            let name = scope.map(String::as_str);
            let listed = self.list_grants_in(name, of_bucket.clone(), &mut found).await;
            match logged("list", "ImmBucketGrants", listed) {
                Ok(()) => any_listed = true,
                // Whoever administers a namespace can remove the operator's RoleBinding there, and must not stop the grants
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

    /// Lists grants in pages, without kube's `ObjectList`: each grant is reduced to the fields in use while it is
    /// deserialized.
    async fn list_grants_in(
        &self,
        scope: Option<&str>,
        mut which: ListParams,
        grants: &mut KeptGrants,
    ) -> Result<(), RequestError> {
        loop {
            let page = send(self.grants_page(scope, &which)).await?;
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
        &self,
        scope: Option<&str>,
        which: &ListParams,
    ) -> Result<Page<DecodedGrant>, kube::Error> {
        let which = which.clone().limit(GRANTS_PAGE);
        list_items::read_page(&self.client, ImmBucketGrant::url_path(&(), scope), &which).await
    }

    pub(crate) async fn get_grant(&self, key: &ObjectKey) -> Result<Option<GrantObject>, KubeError> {
        if !is_addressable(key) {
            return Ok(None);
        }
        logged(
            "get",
            &format!("ImmBucketGrant {key}"),
            self.find_grant(key).await,
        )
    }

    pub(crate) async fn get_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, KubeError> {
        if !is_addressable(key) {
            return Ok(None);
        }
        logged("get", &format!("ImageScoreJob {key}"), self.find_job(key).await)
    }

    pub(crate) async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError> {
        let metadata = write_metadata(&grant.key, &grant.uid, &grant.resource_version);
        let how = WriteMethod::ReplaceStatus;
        if grant.only_stored.is_nothing() {
            return write::<ImmBucketGrant>(&self.client, how, metadata, WrittenPart::Status(status)).await;
        }
        let stored = read::<ImmBucketGrant, LedgerText>(&self.client, &grant.key);
        let stored = send_with_deadline("get", format!("ImmBucketGrant {}", grant.key), stored).await?;
        let stored = stored.ok_or(KubeError::NotFound)?;
        if !stored.is_of(grant) {
            return Err(KubeError::Conflict);
        }
        let complete = stored.complete(grant, status)?;
        write::<ImmBucketGrant>(&self.client, how, metadata, WrittenPart::Status(complete)).await
    }

    pub(crate) async fn replace_job_status(
        &self,
        job: &JobObject,
        status: &JobStatus,
    ) -> Result<String, KubeError> {
        let metadata = write_metadata(&job.key, &job.uid, &job.resource_version);
        write::<ImageScoreJob>(
            &self.client,
            WriteMethod::ReplaceStatus,
            metadata,
            WrittenPart::Status(status),
        )
        .await
    }

    pub(crate) async fn server_time(&self) -> Result<Timestamp, KubeError> {
        // Every client may read the version.
        let request = Request::new("").get("version", &GetParams::default());
        let request = request.map_err(|_| KubeError::Invalid)?;
        let answer = send_with_deadline(
            "get",
            "version".to_owned(),
            self.client.send(request.map(Body::from)),
        )
        .await?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let time = date.and_then(|date| rfc2822::parse(date).ok());
        time.map(|time| time.timestamp()).ok_or(KubeError::Unavailable)
    }

    pub(crate) async fn tenant_of(&self, namespace: &str) -> Result<Tenant, KubeError> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let found =
            send_with_deadline("get", format!("Namespace {namespace}"), namespaces.get(namespace)).await?;
        Ok(Tenant {
            name: namespace.to_owned(),
            labels: found.metadata.labels.unwrap_or_default(),
        })
    }

    pub(crate) async fn publish_event(&self, announcement: ObjectEvent) {
        self.events.publish(&self.client, announcement, now()).await;
    }
}

/// Returns `true` if an object of this name can exist. kube puts names into the path of a request as they are: a name such
/// as `?limit=500` or `../..` would address something else.
fn is_addressable(key: &ObjectKey) -> bool {
    is_namespace_name(&key.namespace) && is_object_name(&key.name)
}

/// Metadata of a status write: the API server rejects the write unless UID and `resourceVersion` match.
fn write_metadata(key: &ObjectKey, uid: &str, version: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectMeta::default()
    }
}

/// Returns the current time. No other function of this process reads the system clock.
#[expect(clippy::disallowed_methods, reason = "the only reader of the system clock")]
pub fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::CredentialsError;

    #[tokio::test]
    async fn a_name_that_is_more_than_one_part_of_a_path_is_not_requested() {
        // An API server that finds every object.
        let server = tower::service_fn(|request: http::Request<Body>| async move {
            assert_eq!(request.uri().path(), "/api/v1/namespaces/media/secrets/keys");
            let found = r#"{"kind": "Secret", "metadata": {"name": "other"}, "data": {}}"#;
            http::Response::builder().body(Body::from(found.as_bytes().to_vec()))
        });
        let kubernetes = Kubernetes::new(Client::new(server, "n"), Vec::new(), None, None);
        for name in ["?limit=500", "../..", "a/../../b", "", "a#b", "a%2f..%2fb"] {
            let key = |namespace: &str, name: &str| ObjectKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            for key in [key("media", name), key(name, "open")] {
                assert_eq!(kubernetes.get_grant(&key).await, Ok(None), "{key}");
                assert_eq!(kubernetes.get_job(&key).await, Ok(None), "{key}");
            }
            let read = kubernetes.read_secret("media", name).await;
            assert_eq!(read.err(), Some(CredentialsError::NotFound), "{name}");
            let token = kubernetes.request_token("media", name).await;
            assert_eq!(token.err(), Some(CredentialsError::NotFound), "{name}");
        }
        // An answer about another object is not used.
        let read = kubernetes.read_secret("media", "keys").await;
        assert_eq!(read.err(), Some(CredentialsError::Unavailable));
    }
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
            let grants = kubernetes.list_grants("pics", 1_000_000).await;
            grants.map(|grants| grants.len())
        };
        assert_eq!(list(&["press", "media"]).await, Ok(1));
        assert_eq!(list(&["press"]).await, Err(KubeError::Forbidden));
        assert_eq!(list(&[]).await, Err(KubeError::Forbidden));
    }
}
