//! A process that can be stopped at any effect. Each of its effects passes a gate and is counted; all waits are on paused
//! time.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::controller::{Context, Controllers, QueueKey};
use imm_operator::core::grant::{GrantObject, ObjectKey};
use imm_operator::ports::{CloudError, CloudErrorKind, KubeError, Ports};
use imm_operator::runtime::queue::Trigger;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::fake_world::FakeWorld;
use super::fault::{Call, Effect, Fault, Refusal};

/// Advances the paused time.
pub async fn pass_time(time: Duration) {
    let _ = timeout(time, pending::<()>()).await;
}

#[derive(Default)]
struct State {
    /// Effects so far, by kind.
    calls: Vec<Call>,
    dying: bool,
    /// The fault that has struck, until `was_struck` takes it.
    struck: Option<Fault>,
    frozen: bool,
    /// The fault of the next write of a job.
    next_store: Option<Fault>,
    /// Whether no more faults may strike.
    spared: bool,
    /// The policy read last, and the number of foreign changes by then: by any task, and by each reconcile.
    seen: Seen,
    seen_by: HashMap<Option<tokio::task::Id>, Seen>,
    /// Reads of a policy since a reconcile has awaited the lease for a write.
    reads_since_wait: HashMap<Option<tokio::task::Id>, usize>,
}

pub(super) type Seen = (Option<String>, usize);

/// The gate that every effect of one process passes.
pub struct Gate {
    pub(super) outside: Arc<Mutex<FakeWorld>>,
    /// The number of the process.
    pub(super) number: usize,
    fault: Option<(usize, Fault)>,
    state: Mutex<State>,
    dead: Arc<Notify>,
    pub(super) start: (Timestamp, Instant),
}

impl Gate {
    pub(super) fn time(&self) -> Timestamp {
        self.start.0 + SignedDuration::try_from(self.start.1.elapsed()).unwrap()
    }

    /// Admits an effect and returns the fault that strikes it; never returns if the process is stopped.
    pub(super) async fn admit(&self, call: Call) -> Option<Fault> {
        // Every effect takes a moment of paused time.
        pass_time(Duration::from_millis(5)).await;
        let struck = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(call);
            let here = self.fault.filter(|(at, _)| *at == state.calls.len());
            let here = here
                .map(|(_, fault)| fault)
                .filter(|_| !state.spared)
                .filter(|fault| !self.outside.lock().unwrap().would_lie(*fault));
            let next = (call == Call::Store).then(|| state.next_store.take());
            let here = here.or(next.flatten());
            if here == Some(Fault::RefusedThenUnanswered) {
                state.next_store = Some(Fault::UnansweredOnly);
            }
            if state.dying || state.frozen {
                Err(())
            } else {
                state.struck = state.struck.or(here);
                // The answer to a billed call takes a while, so the process is stopped only after it.
                state.dying |= call != Call::Score && here.is_some_and(Fault::stops);
                here.filter(|fault| *fault == Fault::Before)
                    .map_or(Ok(here), |_| Err(()))
            }
        };
        let Ok(fault) = struck else {
            self.end();
            return pending().await;
        };
        self.befall(fault);
        fault
    }

    /// Ends the process: none of its later effects reaches the outside.
    fn end(&self) {
        let mut outside = self.outside.lock().unwrap();
        outside.jobs.ends.entry(self.number).or_insert(self.time());
        self.dead.notify_one();
    }

    /// Stops the process at its next effect.
    pub(super) fn doom(&self) {
        self.state.lock().unwrap().dying = true;
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.state.lock().unwrap().frozen
    }

    /// Freezes the process; its pending effect is carried out afterwards.
    pub(super) async fn freeze(&self, seconds: u64) {
        self.state.lock().unwrap().frozen = true;
        self.end();
        pass_time(Duration::from_secs(seconds)).await;
        self.outside.lock().unwrap().jobs.late = true;
    }

    /// Applies what a fault changes outside the process.
    fn befall(&self, fault: Option<Fault>) {
        let mut outside = self.outside.lock().unwrap();
        if let Some(Fault::Rival(edit)) = fault {
            let edited = outside.rival(edit);
            outside.rival_has_edited |= edited;
        }
        if fault == Some(Fault::Edited) {
            outside.annotate_all();
        }
        // Credentials are rotated when a call reports that they are rejected or expired.
        let refused = |kind| {
            matches!(
                kind,
                CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
            )
        };
        let rotated = matches!(fault, Some(Fault::Cloud(kind, _)) if refused(kind));
        outside.jobs.keys += usize::from(rotated);
        outside.public_refused |= matches!(fault, Some(Fault::Cloud(CloudErrorKind::PublicAccessBlocked, _)));
    }

    /// Performs an effect of the kind that its error type belongs to; `lost` is the error when there is no answer.
    pub(super) fn effect<'a, T: Send + 'a, E: Refusal + Send + 'a>(
        &'a self,
        lost: E,
        perform: impl FnOnce(&mut FakeWorld) -> Result<T, E> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>> {
        self.effect_of(E::CALL, lost, move |o, _| perform(o))
    }

    pub(super) fn effect_of<'a, T: Send + 'a, E: Refusal + Send + 'a>(
        &'a self,
        call: Call,
        lost: E,
        perform: impl FnOnce(&mut FakeWorld, Option<Fault>) -> Result<T, E> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>> {
        async move {
            let fault = self.admit(call).await;
            if let Some(Fault::Frozen(seconds)) = fault {
                self.freeze(seconds).await;
            }
            let mut outside = self.outside.lock().unwrap();
            let error = fault.and_then(Fault::error);
            if error == Some(Effect::None) {
                return Err(fault.and_then(E::of).unwrap_or(lost));
            }
            let answer = perform(&mut outside, fault);
            match error {
                Some(_) => Err(fault.and_then(E::of).unwrap_or(lost)),
                None => answer,
            }
        }
        .boxed()
    }

    /// Lists the grants of a bucket; the list may be stale.
    pub(super) fn listing<'a>(
        &'a self,
        bucket: &'a str,
    ) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>> {
        self.effect_of(Call::List, KubeError::Unavailable, move |o, fault| {
            let behind = match fault {
                Some(Fault::Behind(changes)) => changes,
                _ => 0,
            };
            Ok(o.list(bucket, behind))
        })
    }

    /// Returns the policy read last: by this reconcile, or by the probe whose read it uses.
    pub(super) fn seen(&self) -> Option<String> {
        self.last_seen().0
    }

    /// Returns the policy read last, and the number of foreign changes by then.
    pub(super) fn last_seen(&self) -> Seen {
        let state = self.state.lock().unwrap();
        let own = state.seen_by.get(&tokio::task::try_id());
        own.unwrap_or(&state.seen).clone()
    }

    pub(super) fn saw(&self, policy: Option<String>, edits: usize) {
        let mut state = self.state.lock().unwrap();
        state.seen = (policy, edits);
        let seen = state.seen.clone();
        state.seen_by.insert(tokio::task::try_id(), seen);
    }

    pub(super) fn lease_awaited(&self) {
        let mut state = self.state.lock().unwrap();
        state.reads_since_wait.insert(tokio::task::try_id(), 0);
    }

    pub(super) fn policy_read_since_wait(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some(reads) = state.reads_since_wait.get_mut(&tokio::task::try_id()) {
            *reads += 1;
        }
    }

    /// A wait for the lease after the last read would widen the window in which another writer's change is lost.
    pub(super) fn must_have_awaited_the_lease(&self) {
        let mut state = self.state.lock().unwrap();
        let reads = state.reads_since_wait.remove(&tokio::task::try_id());
        assert_eq!(
            reads,
            Some(1),
            "a write follows a wait for the lease and one read"
        );
    }
}

pub(super) fn no_answer() -> CloudError {
    CloudError {
        kind: CloudErrorKind::Unanswered,
        status: None,
        code: "Timeout".to_owned(),
        request_id: None,
        retry_after: None,
        refusal: imm_operator::core::refusal::Refusal::default(),
    }
}

/// A running process, and the signal of its end.
pub struct Process {
    gate: Arc<Gate>,
    buckets: Sender<Trigger<QueueKey>>,
    runs: Sender<Trigger<QueueKey>>,
    finalizers: Sender<Trigger<QueueKey>>,
    context: Arc<Context>,
    task: JoinHandle<()>,
    dead: Arc<Notify>,
}

impl Process {
    /// Starts a process; `start` pairs the simulated time with the test's first instant.
    pub fn start(
        outside: &Arc<Mutex<FakeWorld>>,
        start: (Timestamp, Instant),
        fault: Option<(usize, Fault)>,
    ) -> Self {
        let dead = Arc::new(Notify::new());
        let number = {
            let mut outside = outside.lock().unwrap();
            outside.jobs.processes += 1;
            outside.jobs.processes
        };
        let gate = Arc::new(Gate {
            number,
            outside: Arc::clone(outside),
            fault: fault.filter(|(_, fault)| *fault != Fault::Hidden),
            state: Mutex::default(),
            dead: Arc::clone(&dead),
            start,
        });
        let effects: Arc<dyn Ports> = Arc::<Gate>::clone(&gate);
        let engine = Controllers::new(effects, Arc::default(), CancellationToken::new());
        Self {
            gate,
            buckets: engine.context.buckets.clone(),
            runs: engine.context.jobs.clone(),
            finalizers: engine.context.finalizers.clone(),
            context: Arc::clone(&engine.context),
            task: tokio::spawn(engine.run()),
            dead,
        }
    }

    /// Sends a watch event for the bucket.
    pub async fn mark(&self, bucket: &str) {
        self.mark_by("media", bucket).await;
    }

    /// Sends a watch event for a grant of a namespace.
    pub async fn mark_by(&self, namespace: &str, bucket: &str) {
        let mark = Trigger {
            key: QueueKey::Bucket(bucket.into()),
            debounce: Duration::from_secs(1),
            flow: namespace.into(),
        };
        self.buckets.send(mark).await.unwrap();
    }

    /// Sends the watch events of grants that were deleted or lost their finalizer.
    pub async fn show_changes(&self, outside: &Arc<Mutex<FakeWorld>>) {
        let (deleted, unprotected) = {
            let mut outside = outside.lock().unwrap();
            (
                std::mem::take(&mut outside.deleted),
                std::mem::take(&mut outside.unprotected),
            )
        };
        for grant in deleted {
            self.context.leaving.deleted(grant);
        }
        for grant in unprotected {
            let key = QueueKey::Finalizer(grant.key.clone());
            self.context.missing_finalizers.insert(grant);
            let mark = Trigger {
                key,
                debounce: Duration::ZERO,
                flow: "media".into(),
            };
            self.finalizers.send(mark).await.unwrap();
        }
    }

    /// Sends a watch event for a job.
    pub async fn mark_job(&self, job: ObjectKey) {
        self.context.notifier.notify(&job);
        // The watch shows changes of grants as well.
        self.context.grant_reads.changed(&super::fake_world::key("a"));
        let mark = Trigger {
            debounce: Duration::ZERO,
            flow: job.namespace.as_str().into(),
            key: QueueKey::Job(job),
        };
        self.runs.send(mark).await.unwrap();
    }

    /// Returns the state that the reconciles of the process share.
    pub fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Runs the process for a while; returns `true` if it was stopped before that.
    pub async fn run_for(&self, time: Duration) -> bool {
        timeout(time, self.dead.notified()).await.is_ok()
    }

    /// Returns the fault that has struck since the last call.
    pub fn was_struck(&self) -> Option<Fault> {
        std::mem::take(&mut self.gate.state.lock().unwrap().struck)
    }

    /// Prevents any further fault.
    pub fn spare(&self) {
        self.gate.state.lock().unwrap().spared = true;
    }

    /// Returns how long the process stays frozen; `None` if it is not frozen.
    pub fn frozen(&self) -> Option<Duration> {
        let frozen = self.gate.state.lock().unwrap().frozen;
        match self.gate.fault {
            Some((_, Fault::Frozen(seconds))) if frozen => Some(Duration::from_secs(seconds)),
            _ => None,
        }
    }

    /// Returns the effects so far.
    pub fn calls(&self) -> Vec<Call> {
        self.gate.state.lock().unwrap().calls.clone()
    }

    /// Ends the process immediately.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        let series = self.context.metrics.render();
        let mut panics = series
            .lines()
            .filter(|line| line.starts_with("immops_panics_total{"));
        assert!(panics.all(|line| line.ends_with(" 0")), "a reconcile panicked");
    }
}
