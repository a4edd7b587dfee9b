//! Adapter for the API server: grants, jobs, reports, Secrets, tokens, namespaces, events and policy backups.

pub(crate) mod access_review;
mod bounded;
pub(crate) mod cluster;
pub mod connect;
pub(crate) mod credentials;
pub(crate) mod decode;
mod events;
pub mod fence;
pub(crate) mod grants;
pub(crate) mod jobs;
mod kept_grants;
pub(crate) mod lease;
mod list_items;
pub(crate) mod patches;
pub(crate) mod policy_backups;
pub(crate) mod reports;
pub(crate) mod request;
pub(crate) mod served_crds;
pub(crate) mod stored_ledger;
mod token_file;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Client;

use self::events::EventPublisher;
use crate::ports::ObjectEvent;

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
    /// Creates the adapter. `namespaces` are the watched namespaces, empty for all; policy backups are stored in
    /// namespace `backups`.
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

    pub(crate) async fn publish_event(&self, event: ObjectEvent) {
        self.events.publish(&self.client, event, now()).await;
    }
}

/// Returns the current time. No other function of this process reads the system clock.
#[expect(clippy::disallowed_methods, reason = "the only reader of the system clock")]
pub fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}
