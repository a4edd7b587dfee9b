//! Leader election on a Lease. Only the holder reconciles; a process that loses the lease exits. A lease shortens the
//! overlap of two processes but does not rule it out. Every policy write and billed call is therefore fenced: it
//! starts only if its deadline ends before the lease can expire.
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
    namespace: String,
    name: String,
}

/// A request for the lease that failed; it is logged.
struct Unanswered {
    /// Whether the API server refused it: without a change of a Role, the next one fails too.
    forbidden: bool,
}

impl Unanswered {
    /// Returns when a candidate asks again: after `usual`, or later while it is forbidden, which `ready` is told.
    fn retry_after(&self, usual: Duration, ready: &impl Fn(bool)) -> Duration {
        if !self.forbidden {
            return usual;
        }
        ready(false);
        LeaseTiming::default().renew_every
    }
}

impl LeaseObject {
    pub(crate) fn new(client: &Client, namespace: &str, name: String) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            name,
        }
    }

    /// Reads the lease; `None` if it does not exist.
    pub(crate) async fn read(&self) -> Result<Option<LeaseRecord>, RequestError> {
        let found = send(self.api.get_opt(&self.name)).await?;
        Ok(found.as_ref().map(lease_record))
    }

    /// Reads the lease for the election; `None` if it does not exist.
    async fn find(&self) -> Result<Option<LeaseRecord>, Unanswered> {
        let found = self.answer("get", self.api.get_opt(&self.name)).await?;
        Ok(found.as_ref().map(lease_record))
    }

    /// Waits for the answer to a request, and logs why there is none.
    async fn answer<T>(
        &self,
        verb: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Unanswered> {
        let (code, error) = match timeout(LEASE_REQUEST_DEADLINE, request).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) => (Some(status.code), status.message.clone()),
            Ok(Err(error)) => (None, error_chain(&error)),
            Err(_) => (
                None,
                format!("no answer within {} s", LEASE_REQUEST_DEADLINE.as_secs()),
            ),
        };
        let (namespace, lease) = (&self.namespace, &self.name);
        if code == Some(409) {
            // Every candidate but one loses the race for a lease that is free.
            tracing::debug!(namespace, lease, verb, code, error, "failed to use lease");
        } else {
            tracing::warn!(namespace, lease, verb, code, error, "failed to use lease");
        }
        Err(Unanswered {
            forbidden: code == Some(403),
        })
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

/// Waits until this process holds the lease. Returns `None` if `stop` is cancelled first. `ready` is told whether this
/// process can take over from the holder: not while the API server forbids it to read or write the lease.
pub(crate) async fn acquire(
    lease: LeaseObject,
    me: String,
    stop: &CancellationToken,
    ready: impl Fn(bool),
) -> Option<Leadership> {
    let term = LeaseTiming::default();
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        let wait = match lease.find().await {
            Ok(record) => {
                if record != seen {
                    let holder_of = |record: &Option<LeaseRecord>| record.as_ref()?.holder.clone();
                    let holder = holder_of(&record);
                    if holder.is_some() && holder != holder_of(&seen) {
                        tracing::info!(lease = lease.name, holder, "waiting for lease");
                    }
                    (seen, since) = (record.clone(), Instant::now());
                }
                match next_action(record.as_ref(), since.elapsed(), term) {
                    LeaseAction::Wait(wait) => {
                        ready(true);
                        wait
                    }
                    LeaseAction::Take { transitions, expired } => {
                        let (sent, acquired) = (Instant::now(), now());
                        let version = record.map(|r| r.version);
                        match write_lease(&lease, Some(&me), acquired, transitions, version, term).await {
                            Ok(record) => {
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
                            Err(failed) => failed.retry_after(Duration::from_secs(1), &ready),
                        }
                    }
                }
            }
            Err(failed) => failed.retry_after(term.renew_every, &ready),
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
                Ok(record) => {
                    self.record = record;
                    self.until.send_replace(Some(expiry_of(sent, self.term)));
                }
                Err(_) if !self.is_still_holder().await => return,
                Err(_) => {}
            }
        }
    }

    async fn write(&self, holder: Option<&str>) -> Result<LeaseRecord, Unanswered> {
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

    /// Returns `false` if the lease has another holder or no holder. A failed read counts as `true` until the lease
    /// expires.
    async fn is_still_holder(&mut self) -> bool {
        match self.lease.find().await {
            Ok(found) => {
                let ours = found
                    .as_ref()
                    .is_some_and(|r| r.holder.as_deref() == Some(&self.identity));
                if let (true, Some(record)) = (ours, found) {
                    self.record = record;
                }
                ours
            }
            Err(_) => true,
        }
    }

    /// Releases the lease, so that a standby need not wait for its expiry. Call this after all calls under way have
    /// ended.
    ///
    /// A renewal that was under way when the process was asked to stop may have taken effect, so that this process knows
    /// an older version of the lease only: the lease is then read again and released at its version.
    pub(crate) async fn release(mut self) {
        for attempt in 0..RELEASE_ATTEMPTS {
            if attempt > 0 && !self.is_still_holder().await {
                return;
            }
            if self.write(None).await.is_ok() {
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

/// Creates the lease, or replaces it at `version`. Fails for example on a newer version.
async fn write_lease(
    lease: &LeaseObject,
    holder: Option<&str>,
    acquired: Timestamp,
    transitions: i32,
    version: Option<String>,
    term: LeaseTiming,
) -> Result<LeaseRecord, Unanswered> {
    let spec = LeaseSpec {
        holder_identity: holder.map(ToOwned::to_owned),
        lease_duration_seconds: i32::try_from(term.duration.as_secs()).ok(),
        renew_time: Some(MicroTime(now())),
        acquire_time: Some(MicroTime(acquired)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(lease.name.clone()),
        resource_version: version.clone(),
        ..ObjectMeta::default()
    };
    let written = Lease {
        metadata,
        spec: Some(spec),
    };
    let params = PostParams::default();
    let stored = match version {
        Some(_) => {
            let request = lease.api.replace(&lease.name, &params, &written);
            lease.answer("update", request).await
        }
        None => lease.answer("create", lease.api.create(&params, &written)).await,
    };
    Ok(lease_record(&stored?))
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
mod tests;
