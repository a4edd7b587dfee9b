//! All metrics. Every label has a closed set of values; the name of an object, bucket or account is never a label value.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    api: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What `immops_objects` says about an object. All values are from closed sets.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ObjectLabels {
    /// The kind.
    pub kind: &'static str,
    /// The condition that is true of Failed, Stalled and Reconciling, Ineffective if Effective is False, otherwise Current.
    pub state: &'static str,
    /// The reason of the Ready condition.
    pub reason: &'static str,
}

/// Nine tenths of the 16,384 bytes that OSS accepts: an alert counts the policies above this bound.
const NEARLY_FULL: f64 = 14745.0;

/// Defines the metrics: field, type, name, help, and the value to start with if it is not the default.
macro_rules! metrics {
    (@new $type:ty) => { <$type>::default() };
    (@new $type:ty, $new:expr) => { $new };
    ($($field:ident: $type:ty, $name:literal, $help:literal $(, $new:expr)?;)+) => {
        /// The registry with all counters, gauges and histograms.
        pub struct Metrics { registry: Registry, $($field: $type),+ }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("immops");
                $(
                    let $field = metrics!(@new $type $(, $new)?);
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    reconciles: Family<KindLabels, Counter>, "reconcile", "Reconciles finished, by kind of key";
    reconcile_seconds: Histogram, "reconcile_duration_seconds", "Duration of a reconcile in seconds", Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
    panics: Family<KindLabels, Counter>, "panics", "Reconciles that a bug ended, by kind of key; the key is reconciled again with a backoff";
    queue_depth: Family<KindLabels, Gauge>, "queue_depth", "Keys ready for a worker or being reconciled, by kind";
    calls: Family<CallLabels, Counter>, "cloud_requests", "Requests to OSS, by API and outcome";
    writes: Family<ReasonLabels, Counter>, "policy_writes", "Bucket policy writes with a response, by reason";
    lost_update_window: Histogram, "lost_update_window_seconds", "Seconds from the last read before a policy write to its response: a concurrent change in between is lost", Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]);
    policy_size: Histogram, "policy_size_bytes", "Size of a bucket policy at each read", Histogram::new([2048.0, 4096.0, 8192.0, 12288.0, NEARLY_FULL, 16384.0]);
    stale_reads: Counter, "policy_verify_failures", "Stale reads: policy reads that did not return the last write";
    scores: Family<OutcomeLabels, Counter>, "score_requests", "Requests to DetectImageScore, by outcome";
    objects: Family<ObjectLabels, Gauge>, "objects", "Objects, by kind, state and reason of the Ready condition";
    leader: Gauge, "leader", "1 if this process holds the lease or runs without one, 0 if it is a standby";
    rules: Gauge, "tenancy_rules_valid", "0 if the tenancy rules cannot be read or parsed and the last valid rules stay in force, otherwise 1", valid_rules();
    drift: Counter, "drift_detected", "Reconciles of a grant that found statements missing that another writer had removed";
    finalizers: Counter, "finalizers_restored", "Finalizers of grants that another writer removed and the operator added again";
    deletions: Family<OutcomeLabels, Counter>, "unprotected_deletions", "Grants deleted without their finalizer while they owned statements, by outcome";
    dropped_events: Counter, "events_dropped", "Events that were not published, because their object had ten events within a minute";
    ready: Gauge<f64, AtomicU64>, "ready", "1 once the initial list of grants and jobs is complete";
}

fn valid_rules() -> Gauge {
    let rules = Gauge::default();
    rules.set(1);
    rules
}

impl Metrics {
    /// Records a finished reconcile and its duration.
    pub fn reconcile(&self, kind: &'static str, seconds: f64) {
        self.reconciles.get_or_create(&KindLabels { kind }).inc();
        self.reconcile_seconds.observe(seconds);
    }

    /// Records a reconcile that panicked.
    pub fn panicked(&self, kind: &'static str) {
        self.panics.get_or_create(&KindLabels { kind }).inc();
    }

    /// Sets the number of keys that are ready for a worker or being reconciled.
    pub fn queue_depth(&self, kind: &'static str, depth: usize) {
        self.queue_depth
            .get_or_create(&KindLabels { kind })
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Records a finished request to OSS.
    pub fn cloud_call(&self, api: &'static str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.calls.get_or_create(&CallLabels { api, outcome }).inc();
    }

    /// Records a policy write: its reason (`added` or `removed`), and the seconds from the last read before it to its response.
    pub fn policy_write(&self, reason: &'static str, window_seconds: f64) {
        self.writes.get_or_create(&ReasonLabels { reason }).inc();
        self.lost_update_window.observe(window_seconds);
    }

    /// Records the size of a bucket policy that was read.
    pub fn policy_read(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.policy_size.observe(f64::from(bytes));
    }

    /// Records a stale read: a read that did not return the last policy write.
    pub fn stale_read(&self) {
        self.stale_reads.inc();
    }

    /// Records a finished score request.
    pub fn score_call(&self, outcome: &'static str) {
        self.scores.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Records that statements of a grant were found missing.
    pub fn drift_detected(&self) {
        self.drift.inc();
    }

    /// Records that the finalizer of a grant was added again.
    pub fn finalizer_restored(&self) {
        self.finalizers.inc();
    }

    /// Records a step of removing the statements of a grant that was deleted without its finalizer.
    pub fn unprotected_deletion(&self, outcome: &'static str) {
        self.deletions.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Records an event that was not published.
    pub fn event_dropped(&self) {
        self.dropped_events.inc();
    }

    /// Marks this process as the leader.
    pub fn set_leading(&self) {
        self.leader.set(1);
    }

    /// Sets whether the current tenancy rules file is valid.
    pub fn set_rules_valid(&self, good: bool) {
        self.rules.set(i64::from(good));
    }

    /// Marks the initial list of grants and jobs as complete in the metric; `/readyz` has its own flag.
    pub fn set_ready(&self) {
        self.ready.set(1.0);
    }

    /// Counts an object under `to` and no longer under `from`; `None` stands for no object.
    pub fn object_changed(&self, from: Option<ObjectLabels>, to: Option<ObjectLabels>) {
        if from == to {
            return;
        }
        if let Some(labels) = from {
            self.objects.get_or_create(&labels).dec();
        }
        if let Some(labels) = to {
            self.objects.get_or_create(&labels).inc();
        }
    }

    /// Renders all series in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}
