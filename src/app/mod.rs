//! The process: wiring, start order, leader election, probes and shutdown. `core` makes the decisions.

mod caller_credentials;
mod commands;
mod connection;
mod operator_identity;
mod run_error;
#[cfg(test)]
mod secret_answers;
mod selftest;
mod start_checks;
#[cfg(test)]
mod stored_objects;
mod wiring;

pub use self::caller_credentials::CallerCredentials;
pub use self::commands::{CallersCluster, read_results, release_finalizers};
pub use self::operator_identity::{OperatorIdentity, TokenExchange};
pub use self::run_error::RunError;
pub use self::selftest::{SelftestSettings, selftest};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::connection::connect;
use self::start_checks::{crds_are_served, lists_are_answered};
use self::wiring::{Adapters, concurrent_lists};
use crate::cloud::Cloud;
use crate::controller::Controllers;
use crate::controller::feed::{WatchedKind, feed, watch};
use crate::core::endpoints::{EndpointSettings, Endpoints};
use crate::core::memory_plan::limit_of;
use crate::kubernetes::access_review::own_user;
use crate::kubernetes::connect::ConnectOptions;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::lease::{self, Leadership, LeaseObject};
use crate::kubernetes::{Kubernetes, now};
use crate::runtime::memory_budget::MemoryBudget;
use crate::runtime::request_budget::RequestBudget;
use crate::runtime::tenancy_file::CurrentRules;
use crate::runtime::{http_server, metrics};

/// Time for calls in flight after a stop request; longer than the longest call, shorter than the chart's grace period
/// of 90 s.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(65);

/// Settings of the process.
#[derive(Clone)]
pub struct Settings {
    /// Where the cluster is configured.
    pub cluster: ConnectOptions,
    /// Listen address of probes and metrics.
    pub admin_address: SocketAddr,
    /// What decides about the endpoints.
    pub endpoints: EndpointSettings,
    /// Namespaces to watch; an empty list means all.
    pub namespaces: Vec<String>,
    /// The lease; `None` disables leader election.
    pub lease: Option<LeaseSettings>,
    /// Namespace of the policy backups; `None` disables them.
    pub backup_namespace: Option<String>,
    /// File with the tenancy rules, if any.
    pub tenancy_rules: Option<PathBuf>,
    /// The operator's own cloud identity.
    pub operator_identity: OperatorIdentity,
}

/// The lease that the process holds while it works.
#[derive(Clone)]
pub struct LeaseSettings {
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Holder identity of this process.
    pub holder: String,
}

/// Runs the operator until `stop` is cancelled or the lease is lost. After `stop`, calls in flight get 65 s to finish.
///
/// # Errors
/// Returns an error if the process cannot start, or [`RunError::LeaseLost`].
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let endpoints = resolve_endpoints(&settings.endpoints, &settings.operator_identity).await?;
    let [oss, imm] = endpoints.describe();
    let (sts, region) = (endpoints.sts(), endpoints.own_region().map(ToOwned::to_owned));
    tracing::info!(
        oss,
        imm,
        sts,
        region = region.as_deref().unwrap_or("unknown"),
        "cloud endpoints set"
    );
    let listen = |source| RunError::Listen {
        address: settings.admin_address,
        source,
    };
    let listeners = http_server::listen(settings.admin_address)
        .await
        .map_err(listen)?;
    let rules = CurrentRules::default();
    if let Some(path) = &settings.tenancy_rules {
        rules.load(path).await?;
    }
    let client = connect(&settings.cluster)?.client;
    let cloud = Cloud::new(endpoints)?;
    let metrics = Arc::new(metrics::Metrics::default());
    metrics.started(now());
    let _polling = settings.tenancy_rules.clone().map(|path| {
        let alarm = Arc::clone(&metrics);
        let polling = rules.clone().poll(path, move |good| alarm.set_rules_valid(good));
        AbortOnDropHandle::new(tokio::spawn(polling))
    });
    // Probes and metrics are served until the process ends, so that the shutdown can be observed.
    let server = AdminServer::start(listeners, &metrics);
    let parts = ProcessParts {
        cloud,
        rules,
        metrics,
    };
    let outcome = work(&settings, &client, parts, &stop).await;
    server.close().await;
    tracing::info!("operator stopped");
    outcome
}

/// The server of probes and metrics, on each of its addresses.
struct AdminServer {
    closing: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl AdminServer {
    fn start(listeners: Vec<TcpListener>, metrics: &Arc<metrics::Metrics>) -> Self {
        let closing = CancellationToken::new();
        let state = http_server::HttpServerState {
            metrics: Arc::clone(metrics),
        };
        let serve = |listener: TcpListener| {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "HTTP server started");
            }
            tokio::spawn(http_server::serve(listener, state.clone(), closing.clone()))
        };
        let serving = listeners.into_iter().map(serve).collect();
        Self { closing, serving }
    }

    /// Ends when the requests under way are answered.
    async fn close(self) {
        self.closing.cancel();
        for server in self.serving {
            let _ = server.await;
        }
    }
}

/// What the process has made before it works.
struct ProcessParts {
    cloud: Cloud,
    rules: CurrentRules,
    metrics: Arc<metrics::Metrics>,
}

/// Works once the API server serves the CRDs and lists, and the lease, if there is one, is held.
///
/// # Errors
/// Returns [`RunError::LeaseLost`] when the lease is lost; `Ok` after a stop request.
async fn work(
    settings: &Settings,
    client: &Client,
    parts: ProcessParts,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let account = operator_account(client).await;
    tracing::info!(
        account = account.as_deref().unwrap_or("unknown"),
        "kubernetes client created"
    );
    if !crds_are_served(client, stop).await || !lists_are_answered(client, &settings.namespaces, stop).await {
        return Ok(());
    }
    let mut leadership = None;
    if let Some(LeaseSettings {
        namespace,
        name,
        holder,
    }) = &settings.lease
    {
        // A standby is ready: it can fail over at once, and a rolling update must not wait for it to become the leader.
        // One that may not use the lease must not replace a Pod that can.
        let set_ready = |usable| parts.metrics.set_ready(usable);
        let lease = LeaseObject::new(client, namespace, name.clone());
        leadership = lease::acquire(lease, holder.clone(), stop, set_ready).await;
        if leadership.is_none() {
            return Ok(());
        }
    }
    let fence = leadership
        .as_ref()
        .map_or_else(Fence::disabled, Leadership::fence);
    let kubernetes = Kubernetes::new(
        client.clone(),
        settings.namespaces.clone(),
        account,
        settings.backup_namespace.clone(),
    );
    let memory = MemoryBudget::of_limit(memory_limit());
    let ProcessParts {
        cloud,
        rules,
        metrics,
    } = parts;
    metrics.leader.set(1);
    // A leader is ready once it has listed everything.
    metrics.set_ready(false);
    let adapters = Adapters {
        kubernetes,
        cloud,
        fence,
        operator_identity: settings.operator_identity.clone(),
        tenancy_rules: rules,
        requests: RequestBudget::default(),
        lists: concurrent_lists(&memory),
        memory,
        metrics,
    };
    lead(settings, client, adapters, leadership, stop).await
}

/// Returns the memory limit of the process from its control group.
fn memory_limit() -> u64 {
    let names = ["memory.max", "memory/memory.limit_in_bytes"];
    let read = |name| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    limit_of(names.into_iter().filter_map(read))
}

/// Returns the endpoints. The metadata service is asked for the region only if the identity comes from there, no setting
/// names the region, and an endpoint depends on it.
///
/// # Errors
/// Returns an error if a setting cannot be used, or the metadata service names no region.
pub async fn resolve_endpoints(
    settings: &EndpointSettings,
    identity: &OperatorIdentity,
) -> Result<Endpoints, RunError> {
    let service = identity
        .metadata_service()
        .filter(|_| matches!(settings.lacks_region(), Ok(true)));
    let region = match service {
        Some(service) => {
            let asked = service.region().await;
            Some(asked.map_err(RunError::Region)?)
        }
        None => None,
    };
    Ok(settings.resolve(region)?)
}

/// Runs the controllers while the lease is held.
///
/// # Errors
/// Returns [`RunError::LeaseLost`] when the lease is lost; `Ok` after a stop request.
async fn lead(
    settings: &Settings,
    client: &Client,
    adapters: Adapters,
    leadership: Option<Leadership>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let rules = adapters.tenancy_rules.clone();
    let memory = Arc::clone(&adapters.memory);
    let metrics = Arc::clone(&adapters.metrics);
    tracing::debug!(limit = memory.plan().limit, "memory limit of the process");
    let controllers =
        Controllers::with_memory(Arc::new(adapters), Arc::clone(&metrics), stop.clone(), memory);
    let lists = 2 * settings.namespaces.len().max(1);
    let fed = feed(
        watch(client, WatchedKind::Grants, &settings.namespaces, &metrics),
        watch(client, WatchedKind::Jobs, &settings.namespaces, &metrics),
        rules.changes(),
        lists,
        Arc::clone(&controllers.context),
        move || {
            metrics.set_ready(true);
            tracing::info!("initial lists completed");
        },
    );
    let work = controllers.run();
    let drained = async {
        stop.cancelled().await;
        tracing::info!("stop requested; waiting for calls in flight");
        tokio::time::sleep(SHUTDOWN_GRACE).await;
        tracing::warn!("failed to finish calls in flight before the shutdown deadline");
    };
    let mut leadership = leadership;
    let lost = async {
        match &mut leadership {
            Some(leadership) => leadership.renew_until_lost().await,
            None => std::future::pending().await,
        }
    };
    let kept = tokio::select! {
        () = async { tokio::select! { () = fed => std::future::pending().await, () = work => {} } } => true,
        () = drained => true,
        () = lost => false,
    };
    if !kept {
        // Another process may already hold the lease: end at once, without waiting for calls in flight.
        return Err(RunError::LeaseLost);
    }
    if let Some(leadership) = leadership {
        leadership.release().await;
    }
    Ok(())
}

/// Returns the operator's ServiceAccount as NAMESPACE:NAME. `None` when the API server does not answer in time or the
/// user is no ServiceAccount: the name is used only in messages.
async fn operator_account(client: &Client) -> Option<String> {
    let name = own_user(client).await.ok()?;
    name.strip_prefix("system:serviceaccount:").map(ToOwned::to_owned)
}
