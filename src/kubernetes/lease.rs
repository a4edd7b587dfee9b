//! Holding the lease. Only its holder works; whoever loses it ends. A lease narrows the overlap of two processes and does
//! not forbid it: every cloud write and paid call is therefore fenced, so that its deadline ends before the lease can.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::now;
use crate::core::leader_election::{LeaseAction, LeaseRecord, LeaseTiming, next_action};

/// Name of the Lease object.
const LEASE_NAME: &str = "imm-operator";
/// Time for one request about the lease: several fit into what is left of it.
const LEASE_REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Until when calls may be in flight.
#[derive(Clone)]
pub struct Fence {
    until: watch::Receiver<Option<Instant>>,
}

impl Fence {
    /// No lease: nothing is fenced.
    pub fn disabled() -> Self {
        Self {
            until: watch::channel(None).1,
        }
    }

    /// A lease that is over.
    #[cfg(test)]
    pub fn expired() -> Self {
        Self {
            until: watch::channel(Some(Instant::now())).1,
        }
    }

    /// Returns when a call of at most `deadline` would end before the lease can. Never, once the lease is lost: the process
    /// is about to end then.
    pub async fn wait_until_safe(&self, deadline: Duration) {
        let mut until = self.until.clone();
        loop {
            let Some(end) = *until.borrow_and_update() else {
                return;
            };
            if end.saturating_duration_since(Instant::now()) > deadline {
                return;
            }
            if until.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// A lease that we hold.
pub(crate) struct Leadership {
    api: Api<Lease>,
    identity: String,
    term: LeaseTiming,
    acquired: Timestamp,
    record: LeaseRecord,
    until: watch::Sender<Option<Instant>>,
}

/// Waits until the lease is ours; `None` when told to stop before.
pub(crate) async fn acquire(
    client: &Client,
    namespace: &str,
    me: String,
    stop: &CancellationToken,
) -> Option<Leadership> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let term = LeaseTiming::default();
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        let wait = match timeout(LEASE_REQUEST_DEADLINE, api.get_opt(LEASE_NAME)).await {
            Ok(Ok(found)) => {
                let record = found.as_ref().map(lease_record);
                if record != seen {
                    (seen, since) = (record.clone(), Instant::now());
                }
                match next_action(record.as_ref(), since.elapsed(), term) {
                    LeaseAction::Wait(wait) => wait,
                    LeaseAction::Take { transitions } => {
                        let (sent, acquired) = (Instant::now(), now());
                        let version = record.map(|r| r.version);
                        if let Some(record) =
                            write_lease(&api, Some(&me), acquired, transitions, version, term).await
                        {
                            tracing::info!(me, transitions, "holding the lease");
                            let until = watch::channel(Some(sent + term.duration)).0;
                            return Some(Leadership {
                                api,
                                identity: me,
                                term,
                                acquired,
                                record,
                                until,
                            });
                        }
                        Duration::from_secs(1)
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease cannot be read");
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
    /// The fence that goes with the lease.
    pub(crate) fn fence(&self) -> Fence {
        Fence {
            until: self.until.subscribe(),
        }
    }

    /// Renews until the lease is lost.
    pub(crate) async fn renew_until_lost(&mut self) {
        loop {
            let end = self.until.borrow().unwrap_or_else(Instant::now);
            tokio::select! {
                () = sleep(self.term.renew_every) => {}
                () = sleep_until(end) => return,
            }
            let sent = Instant::now();
            let version = Some(self.record.version.clone());
            match write_lease(
                &self.api,
                Some(&self.identity),
                self.acquired,
                self.record.transitions,
                version,
                self.term,
            )
            .await
            {
                Some(record) => {
                    self.record = record;
                    self.until.send_replace(Some(sent + self.term.duration));
                }
                None if !self.is_still_holder().await => return,
                None => {}
            }
        }
    }

    /// Whether the record still names us; unknown counts as yes until the term is over.
    async fn is_still_holder(&mut self) -> bool {
        match timeout(LEASE_REQUEST_DEADLINE, self.api.get_opt(LEASE_NAME)).await {
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

    /// Gives the lease back after everything under way has ended, so that the next holder need not wait.
    pub(crate) async fn release(self) {
        let version = Some(self.record.version.clone());
        let transitions = self.record.transitions;
        if write_lease(&self.api, None, self.acquired, transitions, version, self.term)
            .await
            .is_some()
        {
            tracing::info!("the lease is given back");
        }
    }
}

/// Writes the record; whoever planned on an older version loses.
async fn write_lease(
    api: &Api<Lease>,
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
        name: Some(LEASE_NAME.to_owned()),
        resource_version: version.clone(),
        ..ObjectMeta::default()
    };
    let lease = Lease {
        metadata,
        spec: Some(spec),
    };
    let params = PostParams::default();
    let written = match version {
        Some(_) => timeout(LEASE_REQUEST_DEADLINE, api.replace(LEASE_NAME, &params, &lease)).await,
        None => timeout(LEASE_REQUEST_DEADLINE, api.create(&params, &lease)).await,
    };
    match written {
        Ok(Ok(lease)) => Some(lease_record(&lease)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the lease was not written");
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
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_starts_only_when_its_whole_deadline_fits_into_the_lease() {
        let seconds = Duration::from_secs;
        let (until, receiver) = watch::channel(Some(Instant::now() + seconds(40)));
        let fence = Fence { until: receiver };
        assert!(fence.wait_until_safe(seconds(30)).now_or_never().is_some());
        tokio::time::advance(seconds(10)).await;
        assert!(fence.wait_until_safe(seconds(29)).now_or_never().is_some());
        let mut call = std::pin::pin!(fence.wait_until_safe(seconds(30)));
        assert!(
            call.as_mut().now_or_never().is_none(),
            "it could still be under way when the lease is over"
        );
        until.send_replace(Some(Instant::now() + seconds(20)));
        assert!(call.as_mut().now_or_never().is_none(), "that is not enough");
        until.send_replace(Some(Instant::now() + seconds(40)));
        assert!(call.now_or_never().is_some(), "the renewal lets it go on");

        let mut late = std::pin::pin!(fence.wait_until_safe(seconds(50)));
        assert!(late.as_mut().now_or_never().is_none());
        drop(until);
        let ever = timeout(seconds(3600), late).await;
        assert!(ever.is_err(), "a lease that is lost never comes back");
        assert!(
            Fence::disabled()
                .wait_until_safe(seconds(30))
                .now_or_never()
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_holds_for_the_term_from_when_it_was_sent_and_no_longer() {
        // An API server that takes two seconds for a renewal, and answers no more after the first one.
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
        let (start, term) = (Instant::now(), LeaseTiming::default());
        let mut leadership = Leadership {
            api: Api::namespaced(Client::new(server, "n"), "n"),
            identity: "me".to_owned(),
            term,
            acquired: now(),
            record: LeaseRecord {
                holder: Some("me".to_owned()),
                duration: term.duration,
                transitions: 0,
                version: "1".to_owned(),
            },
            until: watch::channel(Some(start + term.duration)).0,
        };
        leadership.renew_until_lost().await;
        // Sent after five seconds, and good for forty from then on.
        assert_eq!(start.elapsed().as_secs(), 45);
    }
}
