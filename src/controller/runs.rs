//! The jobs that run at the same time: a number of each namespace, and as many as their lists of images fit into
//! memory. They share the memory for results.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::queue_key::QueueKey;
use super::waiting_jobs::WaitingJobs;
use crate::core::grant::ObjectKey;
use crate::core::job::{RunMemory, has_slot, jobs_to_trigger};
use crate::runtime::kept_bytes::KeptBytes;
use crate::runtime::queue::Trigger;

/// Why a job has to wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// As many jobs of the namespace run as may run.
    Jobs,
    /// The lists of the jobs that run use all memory for lists, or that of the namespace.
    Lists,
}

/// The running jobs, and those that wait for a slot.
pub struct Runs {
    state: Mutex<RunsState>,
    /// Number of running jobs.
    running: AtomicUsize,
    memory: RunMemory,
    /// Triggers reconciles of jobs.
    jobs: mpsc::Sender<Trigger<QueueKey>>,
}

struct RunsState {
    of_namespace: HashMap<String, NamespaceRuns>,
    lists: KeptBytes,
}

/// Running and waiting jobs of a namespace.
#[derive(Default)]
struct NamespaceRuns {
    count: usize,
    waiting: WaitingJobs,
    /// Jobs that were triggered for a free slot, which no other job takes until they have taken it or wait no longer.
    triggered: HashSet<ObjectKey>,
}

impl NamespaceRuns {
    /// Whether there is a slot that no job was triggered for.
    fn has_slot(&self) -> bool {
        has_slot(self.count + self.triggered.len())
    }

    /// Returns the next job to trigger; `None` if none waits, or no slot is left for it.
    fn next(&mut self) -> Option<ObjectKey> {
        let next = self.has_slot().then(|| self.waiting.take_first())??;
        self.triggered.insert(next.clone());
        Some(next)
    }

    fn is_idle(&self) -> bool {
        self.count == 0 && self.waiting.len() == 0 && self.triggered.is_empty()
    }
}

impl Runs {
    /// Shares this memory.
    pub fn new(memory: RunMemory, jobs: mpsc::Sender<Trigger<QueueKey>>) -> Self {
        let state = RunsState {
            of_namespace: HashMap::new(),
            lists: KeptBytes::new(memory.lists_of_namespace, memory.lists),
        };
        Self {
            state: Mutex::new(state),
            running: AtomicUsize::new(0),
            memory,
            jobs,
        }
    }

    /// Returns the memory of a running job for results.
    pub fn result_bytes(&self) -> usize {
        self.memory.result_bytes(self.running.load(Ordering::Relaxed))
    }

    /// Takes a slot for a running job of its namespace, and room for its list; both are freed on drop.
    ///
    /// # Errors
    /// Why there is none: the job is then queued, and triggered when a slot of its namespace is free.
    pub fn try_slot(&self, job: &ObjectKey, list_bytes: usize) -> Result<RunSlot<'_>, NoSlot> {
        let mut runs = self.state.lock();
        let RunsState { of_namespace, lists } = &mut *runs;
        let running = of_namespace.entry(job.namespace.clone()).or_default();
        running.triggered.remove(job);
        let bytes = self.memory.counted(list_bytes);
        let refused = if running.has_slot() {
            (!lists.take(&job.namespace, bytes)).then_some(NoSlot::Lists)
        } else {
            Some(NoSlot::Jobs)
        };
        if let Some(refused) = refused {
            running.waiting.add(job);
            return Err(refused);
        }
        running.count += 1;
        self.running.fetch_add(1, Ordering::Relaxed);
        running.waiting.remove(job);
        let namespace = job.namespace.clone();
        Ok(RunSlot {
            runs: self,
            namespace,
            bytes,
        })
    }

    /// Records that a job takes no slot now, so that a free one does not trigger it in vain.
    pub fn stop_waiting(&self, job: &ObjectKey) {
        let of_namespace = &mut self.state.lock().of_namespace;
        let Some(running) = of_namespace.get_mut(&job.namespace) else {
            return;
        };
        running.waiting.remove(job);
        // The next job takes the slot that this one was triggered for.
        if running.triggered.remove(job) {
            self.trigger_next(running);
        }
        if running.is_idle() {
            of_namespace.remove(&job.namespace);
        }
    }

    /// Triggers the next job that waits for a slot. Returns whether there was one. A full channel drops the trigger: no
    /// slot is kept for such a job, which waits again and is requeued periodically anyway.
    fn trigger_next(&self, running: &mut NamespaceRuns) -> bool {
        let Some(job) = running.next() else {
            return false;
        };
        let trigger = Trigger::now(QueueKey::Job(job.clone()), job.namespace.clone());
        let sent = self.jobs.try_send(trigger).is_ok();
        if !sent {
            running.triggered.remove(&job);
            running.waiting.add(&job);
        }
        sent
    }
}

/// Slot of a running job in its namespace. Dropping the slot triggers the next waiting job, or as many as there are slots
/// when no job of the namespace runs any more.
pub struct RunSlot<'a> {
    runs: &'a Runs,
    namespace: String,
    bytes: usize,
}

impl Drop for RunSlot<'_> {
    fn drop(&mut self) {
        let mut runs = self.runs.state.lock();
        self.runs.running.fetch_sub(1, Ordering::Relaxed);
        runs.lists.give_back(&self.namespace, self.bytes);
        let Some(running) = runs.of_namespace.get_mut(&self.namespace) else {
            return;
        };
        running.count = running.count.saturating_sub(1);
        let free = jobs_to_trigger(running.count, running.waiting.len());
        let _ = (0..free).all(|_| self.runs.trigger_next(running));
        if running.is_idle() {
            runs.of_namespace.remove(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::job::MAX_RUNS_PER_NAMESPACE;

    #[test]
    fn a_free_slot_is_kept_for_the_job_that_has_waited_longest() {
        let (sender, mut triggers) = mpsc::channel(8);
        let runs = Runs::new(RunMemory::of_limit(256 * 1024 * 1024), sender);
        let key = |name: &str| ObjectKey {
            namespace: "media".to_owned(),
            name: name.to_owned(),
        };
        let mut triggered = || triggers.try_recv().ok().map(|trigger| trigger.key);
        let mut slots: Vec<_> = (0..MAX_RUNS_PER_NAMESPACE)
            .map(|number| runs.try_slot(&key(&format!("running-{number}")), 0).ok())
            .collect();
        for name in ["first", "second", "third"] {
            assert_eq!(runs.try_slot(&key(name), 0).err(), Some(NoSlot::Jobs));
        }
        slots.pop();
        assert_eq!(triggered(), Some(QueueKey::Job(key("first"))));
        // A new job and one that waits behind ask before the first one has.
        assert!(runs.try_slot(&key("new"), 0).is_err() && runs.try_slot(&key("second"), 0).is_err());
        slots.push(runs.try_slot(&key("first"), 0).ok());
        assert!(slots.iter().all(Option::is_some));
        slots.pop();
        assert_eq!(triggered(), Some(QueueKey::Job(key("second"))));
        // It cannot run any more: the slot is for the next one, and for a new job when no other waits.
        runs.stop_waiting(&key("second"));
        assert_eq!(triggered(), Some(QueueKey::Job(key("third"))));
        runs.stop_waiting(&key("third"));
        assert_eq!(triggered(), Some(QueueKey::Job(key("new"))));
        runs.stop_waiting(&key("new"));
        assert_eq!(triggered(), None);
        slots.push(runs.try_slot(&key("newer"), 0).ok());
        assert!(slots.iter().all(Option::is_some));
        drop(slots);
        assert!(runs.state.lock().of_namespace.is_empty());
    }

    #[test]
    fn no_slot_is_kept_for_a_job_whose_trigger_was_dropped() {
        let (sender, mut triggers) = mpsc::channel(1);
        let runs = Runs::new(RunMemory::of_limit(256 * 1024 * 1024), sender);
        let key = |name: &str| ObjectKey {
            namespace: "media".to_owned(),
            name: name.to_owned(),
        };
        let mut slots: Vec<_> = (0..MAX_RUNS_PER_NAMESPACE)
            .map(|number| runs.try_slot(&key(&format!("running-{number}")), 0).ok())
            .collect();
        assert!(runs.try_slot(&key("first"), 0).is_err() && runs.try_slot(&key("second"), 0).is_err());
        slots.truncate(MAX_RUNS_PER_NAMESPACE - 2);
        assert_eq!(triggers.try_recv().unwrap().key, QueueKey::Job(key("first")));
        assert!(triggers.try_recv().is_err());
        slots.push(runs.try_slot(&key("new"), 0).ok());
        assert!(runs.try_slot(&key("newer"), 0).is_err());
        slots.push(runs.try_slot(&key("first"), 0).ok());
        assert!(slots.iter().all(Option::is_some));
    }

    #[test]
    fn running_jobs_share_the_memory_for_results() {
        let runs = Runs::new(RunMemory::of_limit(256 * 1024 * 1024), mpsc::channel(1).0);
        let key = |number: usize| ObjectKey {
            namespace: format!("n{}", number / MAX_RUNS_PER_NAMESPACE),
            name: format!("j{number}"),
        };
        let all = 32 * 1024 * 1024;
        assert_eq!(runs.result_bytes(), all);
        let slots: Vec<_> = (0..64)
            .map(|number| runs.try_slot(&key(number), 0).ok())
            .collect();
        assert!(slots.iter().all(Option::is_some) && runs.try_slot(&key(0), 0).is_err());
        assert_eq!(runs.result_bytes(), all / 64);
        drop(slots);
        assert_eq!(runs.result_bytes(), all);
    }
}
