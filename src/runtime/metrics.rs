//! All metrics. Every label has a closed set of values; the name of an object, bucket or account is never a label
//! value. Every counter is exported from the start of the process, so that its first event counts.

use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metric_labels::{
    CallOutcome, ClosedSet, CloudApi, DeletionOutcome, KeyKind, ScoreOutcome, WriteDirection,
};
use super::process_metrics::ProcessMetrics;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabels {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    api: CloudApi,
    outcome: CallOutcome,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiLabels {
    api: CloudApi,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: KeyKind,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    reason: WriteDirection,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ScoreLabels {
    outcome: ScoreOutcome,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeletionLabels {
    outcome: DeletionOutcome,
}

/// What `immops_objects` says about an object. All values are from closed sets.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ObjectLabels {
    /// The kind.
    pub kind: &'static str,
    /// The condition that is true of Failed, Stalled and Reconciling, Ineffective if Effective is False, otherwise
    /// Current.
    pub state: &'static str,
    /// The reason of the Ready condition.
    pub reason: &'static str,
}

/// Returns a family that has these series from the start, at 0. PromQL's `increase` and `rate` need a sample from
/// before an event: they do not count the first sample of a series, so a series must not appear with its first event.
fn at_zero<L, M>(labels: impl IntoIterator<Item = L>) -> Family<L, M>
where
    L: Clone + Hash + Eq,
    M: Default,
{
    let family: Family<L, M> = Family::default();
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
    family
}

/// Makes the histogram of a series.
type NewHistogram = fn() -> Histogram;

/// Returns a family that has the histograms of these labels from the start, without an observation.
fn histograms<L>(new: NewHistogram, labels: impl IntoIterator<Item = L>) -> Family<L, Histogram, NewHistogram>
where
    L: Clone + Hash + Eq,
{
    let family = Family::new_with_constructor(new);
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
    family
}

fn reconcile_seconds() -> Histogram {
    Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
}

fn call_seconds() -> Histogram {
    Histogram::new([0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0])
}

/// Returns the labels for each value of a set.
fn each<T: ClosedSet + Copy, L>(labels: impl Fn(T) -> L) -> impl Iterator<Item = L> {
    T::ALL.iter().copied().map(labels)
}

/// The calls that are counted by operation. Score requests are not: their outcomes say more.
fn calls() -> impl Iterator<Item = CallLabels> {
    let outcomes = |&api| {
        CallOutcome::ALL
            .iter()
            .map(move |&outcome| CallLabels { api, outcome })
    };
    let counted = CloudApi::ALL
        .iter()
        .filter(|&&api| api != CloudApi::DetectImageScore);
    counted.flat_map(outcomes)
}

/// Defines the metrics: field, type, name, help, and the value to start with if it is not the default. A field is
/// public if its caller only counts or sets it.
macro_rules! metrics {
    (@new $type:ty) => { <$type>::default() };
    (@new $type:ty, $new:expr) => { $new };
    ($($vis:vis $field:ident: $type:ty, $name:literal, $help:literal $(, $new:expr)?;)+) => {
        /// The registry with all counters, gauges and histograms.
        pub struct Metrics { registry: Registry, process: ProcessMetrics, $(#[doc = $help] $vis $field: $type),+ }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("immops");
                $(
                    let $field = metrics!(@new $type $(, $new)?);
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry, process: ProcessMetrics::default(), $($field),+ }
            }
        }
    };
}

metrics! {
    build: Family<VersionLabels, Gauge>, "build_info", "Always 1; the label has the version of the operator";
    reconciles: Family<KindLabels, Counter>, "reconcile", "Reconciles finished, by kind of key", at_zero(each(|kind| KindLabels { kind }));
    reconcile_seconds: Family<KindLabels, Histogram, NewHistogram>, "reconcile_duration_seconds", "Duration of a reconcile in seconds, by kind of key; the run of a job is one reconcile", histograms(reconcile_seconds, each(|kind| KindLabels { kind }));
    panics: Family<KindLabels, Counter>, "panics", "Reconciles that a bug ended, by kind of key; the key is reconciled again with a backoff", at_zero(each(|kind| KindLabels { kind }));
    queue_depth: Family<KindLabels, Gauge>, "queue_depth", "Keys ready for a worker or being reconciled, by kind", at_zero(each(|kind| KindLabels { kind }));
    calls: Family<CallLabels, Counter>, "cloud_requests", "Calls of OSS, STS and IMM except score requests, by API and outcome", at_zero(calls());
    call_seconds: Family<ApiLabels, Histogram, NewHistogram>, "cloud_request_duration_seconds", "Seconds from the start of a call of OSS, STS or IMM, score requests included, to its answer or its failure, by API", histograms(call_seconds, each(|api| ApiLabels { api }));
    writes: Family<WriteLabels, Counter>, "policy_writes", "Bucket policy writes with a response, by reason", at_zero(each(|reason| WriteLabels { reason }));
    pub backups_failed: Counter, "policy_backups_failed", "Copies of a bucket policy that could not be stored before a write";
    lost_update_window: Histogram, "lost_update_window_seconds", "Seconds from the last read before a policy write to its response: a concurrent change in between is lost", Histogram::new([0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0]);
    policy_size: Histogram, "policy_size_bytes", "Size of a bucket policy at each read", Histogram::new([2048.0, 4096.0, 8192.0, 12288.0, 14745.0, 16384.0]);
    nearly_full: Gauge, "policies_nearly_full", "Buckets with a grant whose policy had more than 90 % of the size that OSS accepts at the last read";
    pub stale_reads: Counter, "policy_verify_failures", "Stale reads: policy reads that did not return the last write";
    scores: Family<ScoreLabels, Counter>, "score_requests", "Requests to DetectImageScore, by outcome", at_zero(each(|outcome| ScoreLabels { outcome }));
    billable_scores: Counter, "score_requests_billable", "Requests to DetectImageScore that may be billed: all that ended, but for those that failed in the service or did not reach it";
    pub reports: Counter, "reports_stored", "Reports of jobs created or replaced";
    pub reports_rejected: Counter, "reports_rejected", "Attempts to store results, in a report or in the status of a job, that the API server rejected; the results are in memory only meanwhile";
    pub oldest_progress: Gauge, "scoring_jobs_progress_timestamp_seconds", "Time since which the scoring job that has shown no progress for the longest shows none, in seconds since 1970; 0 if no job scores";
    objects: Family<ObjectLabels, Gauge>, "objects", "Objects, by kind, state and reason of the Ready condition";
    pub leader: Gauge, "leader", "1 if this process holds the lease or runs without one, 0 if it is a standby";
    rules: Gauge, "tenancy_rules_valid", "0 if the tenancy rules cannot be read or parsed and the last valid rules stay in force, otherwise 1", valid_rules();
    pub drift: Counter, "drift_detected", "Reconciles of a grant that found statements missing that another writer had removed";
    pub finalizers: Counter, "finalizers_restored", "Finalizers of grants that another writer removed and the operator added again";
    deletions: Family<DeletionLabels, Counter>, "unprotected_deletions", "Grants deleted without their finalizer while they owned statements, by outcome", at_zero(each(|outcome| DeletionLabels { outcome }));
    pub dropped_events: Counter, "events_dropped", "Events that were not published, because their object had ten events within a minute";
    ready: Gauge<f64, AtomicU64>, "ready", "1 while /readyz answers 200: in a leader once every first list of grants and jobs was complete or, with watched namespaces, denied, also if a watch fails later; in a standby while it can take over";
    pub watches_failing: Gauge, "watches_failing", "Watches of grants or jobs whose last request was rejected or got no usable answer; there are two in all, or two for each watched namespace";
}

fn valid_rules() -> Gauge {
    let rules = Gauge::default();
    rules.set(1);
    rules
}

impl Metrics {
    /// Sets whether this process works as the leader, or can take over as a standby.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(f64::from(u8::from(ready)));
    }

    /// Returns what was set last.
    pub fn is_ready(&self) -> bool {
        self.ready.get() > 0.5
    }

    /// Records a finished reconcile and its duration.
    pub fn reconcile(&self, kind: KeyKind, seconds: f64) {
        self.reconciles.get_or_create(&KindLabels { kind }).inc();
        self.reconcile_seconds
            .get_or_create(&KindLabels { kind })
            .observe(seconds);
    }

    /// Records a reconcile that panicked.
    pub fn panicked(&self, kind: KeyKind) {
        self.panics.get_or_create(&KindLabels { kind }).inc();
    }

    /// Sets the number of keys that are ready for a worker or being reconciled.
    pub fn queue_depth(&self, kind: KeyKind, depth: usize) {
        self.queue_depth
            .get_or_create(&KindLabels { kind })
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Records a finished call of OSS, STS or IMM and its duration. A score request is not counted here.
    pub fn cloud_call(&self, api: CloudApi, ok: bool, seconds: f64) {
        let outcome = if ok { CallOutcome::Ok } else { CallOutcome::Failed };
        if api != CloudApi::DetectImageScore {
            self.calls.get_or_create(&CallLabels { api, outcome }).inc();
        }
        self.call_seconds
            .get_or_create(&ApiLabels { api })
            .observe(seconds);
    }

    /// Records a policy write: its reason, and the seconds from the last read before it to its response.
    pub fn policy_write(&self, reason: WriteDirection, window_seconds: f64) {
        self.writes.get_or_create(&WriteLabels { reason }).inc();
        self.lost_update_window.observe(window_seconds);
    }

    /// Records the size of a bucket policy that was read.
    pub fn policy_read(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.policy_size.observe(f64::from(bytes));
    }

    /// Sets the number of buckets whose policy was nearly full at its last read.
    pub fn set_policies_nearly_full(&self, buckets: usize) {
        self.nearly_full.set(i64::try_from(buckets).unwrap_or(i64::MAX));
    }

    /// Records a finished score request, and whether it may be billed.
    pub fn score_call(&self, outcome: ScoreOutcome, billable: bool) {
        self.scores.get_or_create(&ScoreLabels { outcome }).inc();
        self.billable_scores.inc_by(u64::from(billable));
    }

    /// Records a step of removing the statements of a grant that was deleted without its finalizer.
    pub fn unprotected_deletion(&self, outcome: DeletionOutcome) {
        self.deletions.get_or_create(&DeletionLabels { outcome }).inc();
    }

    /// Records the start of the process, and its version.
    pub fn started(&self, time: Timestamp) {
        let version = env!("CARGO_PKG_VERSION");
        self.build.get_or_create(&VersionLabels { version }).set(1);
        self.process.set_start(time);
    }

    /// Sets whether the current tenancy rules file is valid.
    pub fn set_rules_valid(&self, good: bool) {
        self.rules.set(i64::from(good));
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
        let _ = encode_registry(&mut out, &self.registry)
            .and_then(|()| encode_registry(&mut out, self.process.current()))
            .and_then(|()| encode_eof(&mut out));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_starts_at_0() {
        let text = Metrics::default().render();
        let value = |series: &str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            found
                .unwrap_or_else(|| panic!("{series} is missing: {text}"))
                .to_owned()
        };
        for series in [
            r#"immops_reconcile_total{kind="job"}"#,
            r#"immops_panics_total{kind="finalizer"}"#,
            r#"immops_queue_depth{kind="probe"}"#,
            r#"immops_cloud_requests_total{api="PutBucketPolicy",outcome="failed"}"#,
            r#"immops_policy_writes_total{reason="removed"}"#,
            r#"immops_score_requests_total{outcome="credentials_rejected"}"#,
            r#"immops_unprotected_deletions_total{outcome="expired"}"#,
            "immops_drift_detected_total",
            "immops_events_dropped_total",
            "immops_watches_failing",
            r#"immops_cloud_request_duration_seconds_count{api="DetectImageScore"}"#,
            r#"immops_cloud_request_duration_seconds_bucket{le="60.0",api="GetBucketPolicy"}"#,
            r#"immops_reconcile_duration_seconds_count{kind="probe"}"#,
            r#"immops_unprotected_deletions_total{outcome="restored"}"#,
        ] {
            assert_eq!(value(series), "0");
        }
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for name in types.filter_map(|line| line.strip_suffix(" counter")) {
            assert!(text.contains(&format!("\n{name}_total")), "{name} has no series");
        }
    }

    #[test]
    fn version_start_and_memory_are_exported() {
        let metrics = Metrics::default();
        metrics.started(Timestamp::from_second(1_790_000_000).unwrap());
        let text = metrics.render();
        let version = concat!(
            "\nimmops_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1\n"
        );
        assert!(text.contains(version), "{text}");
        for name in ["process_start_time_seconds", "process_resident_memory_bytes"] {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name}: {text}");
        }
        assert!(
            text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1,
            "{text}"
        );
    }

    #[test]
    fn an_event_changes_the_series_that_existed_before() {
        let metrics = Metrics::default();
        let before = metrics.render().lines().count();
        metrics.panicked(KeyKind::Bucket);
        metrics.cloud_call(CloudApi::GetBucketPolicy, false, 0.3);
        metrics.cloud_call(CloudApi::DetectImageScore, true, 2.0);
        metrics.reconcile(KeyKind::Finalizer, 0.1);
        metrics.score_call(ScoreOutcome::Denied, true);
        metrics.score_call(ScoreOutcome::Unavailable, false);
        let after = metrics.render();
        assert_eq!(after.lines().count(), before, "{after}");
        assert!(
            after.contains("immops_score_requests_billable_total 1\n"),
            "{after}"
        );
        assert!(
            after.contains("immops_score_requests_total{outcome=\"denied\"} 1\n"),
            "{after}"
        );
        for (api, seconds) in [("GetBucketPolicy", "0.3"), ("DetectImageScore", "2.0")] {
            let sum = format!("immops_cloud_request_duration_seconds_sum{{api=\"{api}\"}} {seconds}\n");
            assert!(after.contains(&sum), "{after}");
        }
        assert!(
            !after.contains("cloud_requests_total{api=\"DetectImageScore\""),
            "{after}"
        );
    }
}
