//! Leader election on a Lease. Only the holder reconciles; a process that loses the lease exits. A lease shortens the
//! overlap of two processes but does not rule it out. Every policy write and billed call is therefore fenced: it starts only
//! if its deadline ends before the lease can expire.
//!
//! Written by hand because no library lease offers a fence that takes the deadline of a call into account.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fence::Fence;
use super::now;
use super::request::{RequestError, send};
use crate::core::error::error_chain;
use crate::core::leader_election::{BILLED_OVERRUN, LeaseAction, LeaseRecord, LeaseTiming, next_action};

/// Deadline of one request for the lease: several requests fit into the remaining lease duration.
const LEASE_REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Attempts to release the lease at the end. With the read in between they take at most 15 s, which the chart's grace
/// period leaves after the time for calls in flight.
const RELEASE_ATTEMPTS: u32 = 2;

/// The Lease object that candidates compete for.
pub(crate) struct LeaseObject {
    api: Api<Lease>,
    name: String,
}

impl LeaseObject {
    pub(crate) fn new(client: &Client, namespace: &str, name: String) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name,
        }
    }

    /// Reads the lease; `None` if it does not exist.
    pub(crate) async fn read(&self) -> Result<Option<LeaseRecord>, RequestError> {
        let found = send(self.api.get_opt(&self.name)).await?;
        Ok(found.as_ref().map(lease_record))
    }
}

/// The lease while this process holds it.
pub(crate) struct Leadership {
    lease: LeaseObject,
    identity: String,
    term: LeaseTiming,
    acquired: Timestamp,
    record: LeaseRecord,
    until: watch::Sender<Option<Instant>>,
    /// When billed calls may start: calls of the previous holder can be in flight until then.
    billing_from: Option<Instant>,
}

/// Waits until this process holds the lease. Returns `None` if `stop` is cancelled first.
pub(crate) async fn acquire(lease: LeaseObject, me: String, stop: &CancellationToken) -> Option<Leadership> {
    let term = LeaseTiming::default();
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        let wait = match timeout(LEASE_REQUEST_DEADLINE, lease.api.get_opt(&lease.name)).await {
            Ok(Ok(found)) => {
                let record = found.as_ref().map(lease_record);
                if record != seen {
                    let holder_of = |record: &Option<LeaseRecord>| record.as_ref()?.holder.clone();
                    let holder = holder_of(&record);
                    if holder.is_some() && holder != holder_of(&seen) {
                        tracing::info!(lease = lease.name, holder, "waiting for lease");
                    }
                    (seen, since) = (record.clone(), Instant::now());
                }
                match next_action(record.as_ref(), since.elapsed(), term) {
                    LeaseAction::Wait(wait) => wait,
                    LeaseAction::Take { transitions, expired } => {
                        let (sent, acquired) = (Instant::now(), now());
                        let version = record.map(|r| r.version);
                        if let Some(record) =
                            write_lease(&lease, Some(&me), acquired, transitions, version, term).await
                        {
                            tracing::info!(me, transitions, "acquired lease");
                            let until = watch::channel(Some(expiry_of(sent, term))).0;
                            return Some(Leadership {
                                lease,
                                identity: me,
                                term,
                                acquired,
                                record,
                                until,
                                billing_from: expired
                                    .then(Instant::now)
                                    .and_then(|now| now.checked_add(BILLED_OVERRUN)),
                            });
                        }
                        Duration::from_secs(1)
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(error = error_chain(&error), "failed to read lease");
                term.renew_every
            }
            Err(_) => term.renew_every,
        };
        tokio::select! {
            () = sleep(wait.max(Duration::from_millis(50))) => {}
            () = stop.cancelled() => return None,
        }
    }
}

impl Leadership {
    /// Returns a fence bound to this lease.
    pub(crate) fn fence(&self) -> Fence {
        Fence::new(self.until.subscribe(), self.billing_from)
    }

    /// Renews the lease until it is lost, then returns.
    pub(crate) async fn renew_until_lost(&mut self) {
        loop {
            let end = self.until.borrow().unwrap_or_else(Instant::now);
            tokio::select! {
                () = sleep(self.term.renew_every) => {}
                () = sleep_until(end) => return,
            }
            let sent = Instant::now();
            match self.write(Some(&self.identity)).await {
                Some(record) => {
                    self.record = record;
                    self.until.send_replace(Some(expiry_of(sent, self.term)));
                }
                None if !self.is_still_holder().await => return,
                None => {}
            }
        }
    }

    async fn write(&self, holder: Option<&str>) -> Option<LeaseRecord> {
        let (version, transitions) = (Some(self.record.version.clone()), self.record.transitions);
        write_lease(
            &self.lease,
            holder,
            self.acquired,
            transitions,
            version,
            self.term,
        )
        .await
    }

    /// Returns `false` if the lease has another holder or no holder. A failed read counts as `true` until the lease expires.
    async fn is_still_holder(&mut self) -> bool {
        match timeout(LEASE_REQUEST_DEADLINE, self.lease.api.get_opt(&self.lease.name)).await {
            Ok(Ok(found)) => {
                let found = found.as_ref().map(lease_record);
                let ours = found
                    .as_ref()
                    .is_some_and(|r| r.holder.as_deref() == Some(&self.identity));
                if let (true, Some(record)) = (ours, found) {
                    self.record = record;
                }
                ours
            }
            Ok(Err(_)) | Err(_) => true,
        }
    }

    /// Releases the lease, so that a standby need not wait for its expiry. Call this after all calls under way have ended.
    ///
    /// A renewal that was under way when the process was asked to stop may have taken effect, so that this process knows
    /// an older version of the lease only: the lease is then read again and released at its version.
    pub(crate) async fn release(mut self) {
        for attempt in 0..RELEASE_ATTEMPTS {
            if attempt > 0 && !self.is_still_holder().await {
                return;
            }
            if self.write(None).await.is_some() {
                tracing::info!("released lease");
                return;
            }
        }
        tracing::warn!("failed to release lease: a standby waits until it expires");
    }
}

/// Returns when a lease that was written at `sent` can expire; `sent` itself if that time cannot be represented.
fn expiry_of(sent: Instant, term: LeaseTiming) -> Instant {
    sent.checked_add(term.duration).unwrap_or(sent)
}

/// Creates the lease, or replaces it at `version`. Returns `None` if the write failed, for example on a newer version.
async fn write_lease(
    LeaseObject { api, name }: &LeaseObject,
    holder: Option<&str>,
    acquired: Timestamp,
    transitions: i32,
    version: Option<String>,
    term: LeaseTiming,
) -> Option<LeaseRecord> {
    let spec = LeaseSpec {
        holder_identity: holder.map(ToOwned::to_owned),
        lease_duration_seconds: i32::try_from(term.duration.as_secs()).ok(),
        renew_time: Some(MicroTime(now())),
        acquire_time: Some(MicroTime(acquired)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        resource_version: version.clone(),
        ..ObjectMeta::default()
    };
    let lease = Lease {
        metadata,
        spec: Some(spec),
    };
    let params = PostParams::default();
    let written = match version {
        Some(_) => timeout(LEASE_REQUEST_DEADLINE, api.replace(name, &params, &lease)).await,
        None => timeout(LEASE_REQUEST_DEADLINE, api.create(&params, &lease)).await,
    };
    match written {
        Ok(Ok(lease)) => Some(lease_record(&lease)),
        Ok(Err(error)) => {
            tracing::debug!(error = error_chain(&error), "failed to write lease");
            None
        }
        Err(_) => None,
    }
}

fn lease_record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .unwrap_or(0);
    LeaseRecord {
        holder: spec.holder_identity.filter(|h| !h.is_empty()),
        duration: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A process that just acquired the lease, which it knows at version 1.
    fn leadership(client: &Client) -> Leadership {
        let term = LeaseTiming::default();
        Leadership {
            lease: LeaseObject::new(client, "n", "imm-operator".to_owned()),
            identity: "me".to_owned(),
            term,
            acquired: now(),
            record: LeaseRecord {
                holder: Some("me".to_owned()),
                duration: term.duration,
                transitions: 0,
                version: "1".to_owned(),
            },
            until: watch::channel(Some(Instant::now() + term.duration)).0,
            billing_from: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_whoever_takes_over_an_expired_lease_waits_before_billed_calls() {
        for (holder, wait) in [("other", 30), ("", 0)] {
            let server = tower::service_fn(move |request: http::Request<kube::client::Body>| async move {
                let holder = if request.method() == http::Method::GET {
                    holder
                } else {
                    "me"
                };
                let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": holder}});
                http::Response::builder()
                    .status(200)
                    .body(kube::client::Body::from(lease.to_string().into_bytes()))
            });
            let lease = LeaseObject::new(&Client::new(server, "n"), "n", "lease".to_owned());
            let taken = acquire(lease, "me".to_owned(), &CancellationToken::new())
                .await
                .unwrap();
            let start = Instant::now();
            taken.fence().wait_until_billable().await;
            assert_eq!(start.elapsed().as_secs(), wait, "{holder}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_holds_for_the_term_from_when_it_was_sent_and_no_longer() {
        // An API server that takes 2 s per renewal and fails every renewal after the first.
        let mut renewals = 0;
        let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            renewals += 1;
            let first = renewals == 1;
            async move {
                sleep(Duration::from_secs(2)).await;
                let lease = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": "me"}}"#;
                let (code, body) = if first { (200, lease) } else { (503, "{}") };
                http::Response::builder()
                    .status(code)
                    .body(kube::client::Body::from(body.as_bytes().to_vec()))
            }
        });
        let start = Instant::now();
        let mut leadership = leadership(&Client::new(server, "n"));
        leadership.renew_until_lost().await;
        // Sent after 5 s and valid for 40 s from then on.
        assert_eq!(start.elapsed().as_secs(), 45);
    }

    #[tokio::test]
    async fn a_lease_is_released_although_a_cancelled_renewal_took_effect() {
        // The lease is at version 2, the process knows version 1.
        let released = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&released);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let done = Arc::clone(&done);
            async move {
                let write = request.method() == http::Method::PUT;
                let body = request.into_body().collect_bytes().await.unwrap();
                let sent: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                let (code, holder) = match (write, sent["metadata"]["resourceVersion"].as_str()) {
                    (true, Some("2")) => {
                        done.store(sent["spec"]["holderIdentity"].is_null(), Ordering::SeqCst);
                        (200, "")
                    }
                    (true, _) => (409, "me"),
                    (false, _) => (200, "me"),
                };
                let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"resourceVersion": "2"}, "spec": {"holderIdentity": holder}});
                http::Response::builder()
                    .status(code)
                    .body(kube::client::Body::from(lease.to_string().into_bytes()))
            }
        });
        leadership(&Client::new(server, "n")).release().await;
        assert!(released.load(Ordering::SeqCst));
    }
}
