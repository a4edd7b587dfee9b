//! The gate that every effect of a process of a history passes: it counts the effect, lets the player act between two
//! effects, and lets armed faults strike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::BucketRef;
use imm_operator::core::identity::Identity;
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind};
use imm_operator::runtime::memory_budget::MemoryBudget;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::future::pending;
use tokio::sync::Notify;
use tokio::task;
use tokio::time::Instant;

use super::super::fake_world::statements;
use super::super::fault::{Call, Effect, Fault, Refusal, refused};
use super::super::process::{no_answer, pass_time};
use super::arming::fits;
use super::world::World;
use super::writes::Arrival;

/// What a process knows about a bucket.
#[derive(Clone, Default)]
pub struct Known {
    pub policy: Option<String>,
    pub edits: usize,
    pub listed: u64,
}

/// A task, if it is known which one, and an identity whose keys it uses at a bucket.
type Reader = (Option<task::Id>, String, Option<Identity>);

#[derive(Default)]
struct State {
    dying: bool,
    frozen: Option<u64>,
    /// Whether its end was noted.
    ended: bool,
    /// The version of the grants that each task listed last for a bucket.
    listed: HashMap<(task::Id, String), u64>,
    /// The version that any task listed last for a bucket, and those of the minute before.
    recent_lists: HashMap<String, Vec<(Instant, u64)>>,
    /// The policy read last, and the number of foreign changes by then: by each reconcile, and by any task.
    seen: HashMap<Reader, (Option<String>, usize)>,
}

impl State {
    /// Returns the version at which this task has listed the grants of a bucket. A task that has not works for one that
    /// has: the oldest of the versions that were listed lately.
    fn listed(&self, bucket: &str) -> u64 {
        let own = task::try_id().and_then(|id| self.listed.get(&(id, bucket.to_owned())));
        let recent = self.recent_lists.get(bucket).into_iter().flatten();
        let any = recent.map(|(_, version)| *version).min();
        own.copied().or(any).unwrap_or_default()
    }
}

pub struct Gate {
    pub world: Arc<Mutex<World>>,
    pub number: usize,
    pub dead: Arc<Notify>,
    /// The smallest budget: a page of a listing and an object do not fit into it together.
    pub memory: Arc<MemoryBudget>,
    state: Mutex<State>,
}

impl Gate {
    pub fn new(world: &Arc<Mutex<World>>, number: usize) -> Self {
        Self {
            world: Arc::clone(world),
            number,
            dead: Arc::default(),
            memory: MemoryBudget::of_limit(32 * 1024 * 1024),
            state: Mutex::default(),
        }
    }

    pub fn frozen(&self) -> Option<u64> {
        self.state.lock().unwrap().frozen
    }

    pub fn is_dying(&self) -> bool {
        self.state.lock().unwrap().dying
    }

    /// Admits an effect and returns the fault that strikes it; never returns if the process has ended.
    pub async fn admit(&self, call: Call) -> Option<Fault> {
        // Every effect takes a moment, in which the player can act.
        pass_time(Duration::from_millis(5)).await;
        let struck = {
            let mut world = self.world.lock().unwrap();
            let mut state = self.state.lock().unwrap();
            if state.dying || state.frozen.is_some() {
                None
            } else {
                world.effects += 1;
                if world.wake_at.is_some_and(|at| at <= world.effects) {
                    world.wake_at = None;
                    world.wake.notify_one();
                }
                let armed = world.faults.iter().position(|fault| fits(*fault, call));
                let fault = armed.map(|at| world.faults.remove(at));
                world.audit.disturbed |= fault.is_some();
                world.note(|| {
                    format!(
                        "process {} effect {}: {call:?} {fault:?}",
                        self.number, world.effects
                    )
                });
                state.dying |= call != Call::Score && fault.is_some_and(Fault::stops);
                (fault != Some(Fault::Before)).then_some(fault)
            }
        };
        let Some(fault) = struck else {
            self.end();
            return pending().await;
        };
        fault
    }

    fn end(&self) {
        self.note_end();
        self.doom();
        self.dead.notify_one();
    }

    /// Notes that calls in flight may be lost with the process.
    pub fn note_end(&self) {
        if std::mem::replace(&mut self.state.lock().unwrap().ended, true) {
            return;
        }
        let mut world = self.world.lock().unwrap();
        let now = world.true_time();
        world.audit.process_ended();
        for job in world.jobs.values_mut() {
            job.ends.entry(self.number).or_insert(now);
        }
    }

    /// Stops the process at its next effect.
    pub fn doom(&self) {
        self.state.lock().unwrap().dying = true;
    }

    /// Freezes the process; its pending effect is carried out afterwards.
    pub async fn freeze(&self, seconds: u64) {
        self.state.lock().unwrap().frozen = Some(seconds);
        self.note_end();
        self.dead.notify_one();
        pass_time(Duration::from_secs(seconds)).await;
        let mut world = self.world.lock().unwrap();
        world.jobs.values_mut().for_each(|job| job.late = true);
    }

    pub fn effect<'a, T: Send + 'a, E: Refusal + Send + 'a>(
        &'a self,
        lost: E,
        perform: impl FnOnce(&mut World) -> Result<T, E> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>> {
        self.effect_of(E::CALL, lost, perform)
    }

    /// An effect; `lost` is the error when there is no answer.
    pub fn effect_of<'a, T: Send + 'a, E: Refusal + Send + 'a>(
        &'a self,
        call: Call,
        lost: E,
        perform: impl FnOnce(&mut World) -> Result<T, E> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>> {
        async move {
            let fault = self.admit(call).await;
            let mut world = self.world.lock().unwrap();
            let error = fault.and_then(Fault::error);
            if error == Some(Effect::None) {
                return Err(fault.and_then(E::of).unwrap_or(lost));
            }
            let answer = perform(&mut world);
            match error {
                Some(_) => Err(fault.and_then(E::of).unwrap_or(lost)),
                None => answer,
            }
        }
        .boxed()
    }

    pub fn saw_grants(&self, bucket: &str, version: u64) {
        let mut state = self.state.lock().unwrap();
        if let Some(task) = task::try_id() {
            state.listed.insert((task, bucket.to_owned()), version);
        }
        let now = Instant::now();
        let recent = state.recent_lists.entry(bucket.to_owned()).or_default();
        recent.retain(|(at, _)| now.duration_since(*at) < Duration::from_secs(60));
        recent.push((now, version));
    }

    pub fn saw_policy(&self, bucket: &str, identity: &Identity, policy: Option<&str>, edits: usize) {
        let mut state = self.state.lock().unwrap();
        for task in [task::try_id(), None] {
            let reader = (task, bucket.to_owned(), Some(identity.clone()));
            state.seen.insert(reader, (policy.map(ToOwned::to_owned), edits));
        }
    }

    pub fn listed(&self, bucket: &str) -> u64 {
        self.state.lock().unwrap().listed(bucket)
    }

    /// Returns what this task knows about a bucket: what it has read with the keys of `identity`, or the probe whose
    /// read it uses.
    pub fn known(&self, bucket: &str, identity: Option<&Identity>) -> Known {
        let state = self.state.lock().unwrap();
        let read = |task| state.seen.get(&(task, bucket.to_owned(), identity.cloned()));
        let read = task::try_id()
            .and_then(|id| read(Some(id)))
            .or_else(|| read(None));
        let (policy, edits) = read.cloned().unwrap_or_default();
        Known {
            policy,
            edits,
            listed: state.listed(bucket),
        }
    }

    /// A call to OSS about a bucket.
    pub fn at_bucket<'a, T: Send + 'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        perform: impl FnOnce(&mut World) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, CloudError>> {
        self.effect(no_answer(), move |world| {
            let identity = world.cloud.identity(keys);
            world.check_use(&bucket.name, &identity, self.listed(&bucket.name));
            world.check_age(keys);
            let now = world.true_time();
            world.cloud.admit(keys, &bucket.name, false, now)?;
            Ok(perform(world))
        })
    }

    /// Writes a policy; OSS rejects a signature that is older than 15 minutes.
    pub fn write<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        text: Option<&'a str>,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CloudError>> {
        async move {
            if self.frozen().is_some() {
                // Fencing: the lease has expired.
                return pending().await;
            }
            let fault = self.admit(Call::Write).await;
            let identity = self.world.lock().unwrap().cloud.identity(keys);
            let known = self.known(&bucket.name, Some(&identity));
            let write = Write {
                world: Arc::clone(&self.world),
                bucket: bucket.name.clone(),
                keys: keys.clone(),
                text: text.map(ToOwned::to_owned),
                known,
                signed_at,
            };
            if let Some(Fault::Frozen(seconds)) = fault {
                self.freeze(seconds).await;
                return write.arrive(true, false);
            }
            let _under_way = UnderWay::begin(&self.world, &bucket.name);
            pass_time(Duration::from_millis(5)).await;
            if let Some(Fault::Late(seconds) | Fault::LateOnly(seconds) | Fault::Twice(seconds)) = fault {
                // The request is in flight on its own: the end of its process does not stop it.
                let (write, again) = (write.clone(), matches!(fault, Some(Fault::Twice(_))));
                self.world.lock().unwrap().audit.late_writes += 1;
                tokio::spawn(async move {
                    pass_time(Duration::from_secs(seconds)).await;
                    let _ = write.arrive(true, again);
                    write.world.lock().unwrap().audit.late_writes -= 1;
                });
            }
            match fault.and_then(Fault::error) {
                Some(Effect::None) => {}
                Some(Effect::Done) => drop(write.arrive(false, false)),
                None => return write.arrive(false, false),
            }
            Err(fault.and_then(CloudError::of).unwrap_or_else(no_answer))
        }
        .boxed()
    }
}

/// A policy write in flight.
#[derive(Clone)]
struct Write {
    world: Arc<Mutex<World>>,
    bucket: String,
    keys: AccessKeys,
    text: Option<String>,
    known: Known,
    signed_at: Timestamp,
}

impl Write {
    /// The write takes effect: `late` after its process has gone on, `again` for a second time.
    fn arrive(&self, late: bool, again: bool) -> Result<(), CloudError> {
        let mut world = self.world.lock().unwrap();
        let now = world.true_time();
        let identity = world.cloud.identity(&self.keys);
        world.note(|| {
            let text = self.text.as_deref().map(statements).unwrap_or_default();
            format!(
                "  policy of {}, late: {late}, {} statements",
                self.bucket,
                text.len()
            )
        });
        if !late {
            world.check_use(&self.bucket, &identity, self.known.listed);
            world.audit.writes += 1;
        }
        if now.duration_since(self.signed_at) > SignedDuration::from_mins(15) {
            return Err(refused(CloudErrorKind::Unavailable));
        }
        world.cloud.admit(&self.keys, &self.bucket, true, now)?;
        world.check_write(&Arrival {
            bucket: &self.bucket,
            text: self.text.as_deref(),
            read: self.known.policy.as_deref(),
            edits: self.known.edits,
            listed: self.known.listed,
            identity: &identity,
            late,
            again,
        });
        world.cloud.put(&self.bucket, self.text.as_deref(), now);
        Ok(())
    }
}

/// Checks I13: no two writes of one bucket are in flight at the same time.
struct UnderWay(Arc<Mutex<World>>, String);

impl UnderWay {
    fn begin(world: &Arc<Mutex<World>>, bucket: &str) -> Self {
        let mut locked = world.lock().unwrap();
        let of_bucket = locked.cloud.buckets.entry(bucket.to_owned()).or_default();
        of_bucket.under_way += 1;
        let alone = of_bucket.under_way == 1;
        locked.audit.must(alone, || {
            format!("I13: two writes of {bucket} are in flight at the same time")
        });
        Self(Arc::clone(world), bucket.to_owned())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        world.cloud.buckets.entry(self.1.clone()).or_default().under_way -= 1;
    }
}
