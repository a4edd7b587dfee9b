//! Room for jobs from their read until they run or are left again. A job with the longest list has half a megabyte
//! when it is decoded, and a thousand workers can each have one while the API server is slow: a job waits for room
//! before it is read.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::memory_plan::{JOBS_OF_NAMESPACE, UNREAD_JOB, surplus_of_job};

/// The room for decoded jobs.
pub struct DecodedJobs {
    all: Arc<Semaphore>,
    namespaces: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The room of a job; dropping it returns the room.
pub struct JobRoom {
    permits: [Option<OwnedSemaphorePermit>; 2],
}

impl DecodedJobs {
    /// Creates room of this number of units.
    pub fn new(units: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            namespaces: Mutex::default(),
        }
    }

    /// Waits until there is room for a job of a namespace, whatever its size. At most two jobs of a namespace wait
    /// for the room that all share, so that each namespace gets its turn.
    pub async fn reserve(&self, namespace: &str) -> JobRoom {
        let of_namespace = self.of_namespace(namespace);
        // Neither semaphore is ever closed.
        let of_namespace = of_namespace.acquire_many_owned(UNREAD_JOB).await.ok();
        let of_all = Arc::clone(&self.all).acquire_many_owned(UNREAD_JOB).await.ok();
        JobRoom {
            permits: [of_namespace, of_all],
        }
    }

    fn of_namespace(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock();
        if !namespaces.contains_key(namespace) {
            // Those that no job uses or waits for.
            namespaces.retain(|_, units| Arc::strong_count(units) > 1);
        }
        let units = namespaces.entry(namespace.to_owned());
        Arc::clone(units.or_insert_with(|| Arc::new(Semaphore::new(JOBS_OF_NAMESPACE))))
    }
}

impl JobRoom {
    /// Returns what a job of this size does not need.
    pub fn reduce(&mut self, bytes: usize) {
        let surplus = surplus_of_job(bytes);
        for permit in self.permits.iter_mut().flatten() {
            drop(permit.split(surplus));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::core::memory_plan::JOB_UNIT;

    const UNITS: usize = 32 * 1024;
    const SOON: Duration = Duration::from_secs(1);

    /// Returns the room of as many jobs of a namespace as have room at once, each reduced to a size.
    async fn fill(jobs: &DecodedJobs, namespace: &str, bytes: usize) -> Vec<JobRoom> {
        let mut held = Vec::new();
        while held.len() < 1_000 {
            let Ok(mut room) = timeout(SOON, jobs.reserve(namespace)).await else {
                break;
            };
            room.reduce(bytes);
            held.push(room);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn large_jobs_wait_for_room_and_small_ones_do_not() {
        let jobs = DecodedJobs::new(UNITS);
        assert_eq!(fill(&jobs, "small", 2 * JOB_UNIT).await.len(), 513);
        let large = fill(&jobs, "large", 600 * JOB_UNIT).await;
        assert_eq!(large.len(), 2, "one, and one that is not read yet");
        drop(large);
        let oversized = fill(&jobs, "large", usize::MAX).await;
        assert_eq!(oversized.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_namespaces_share_the_room_and_all_of_it_is_returned() {
        let jobs = DecodedJobs::new(UNITS);
        for _ in 0..2 {
            let mut held = Vec::new();
            for number in 0..100 {
                held.extend(fill(&jobs, &format!("n{number}"), 1024 * JOB_UNIT).await);
            }
            assert_eq!(held.len(), 32);
        }
        drop(fill(&jobs, "last", JOB_UNIT).await);
        assert_eq!(jobs.namespaces.lock().len(), 1, "others are forgotten");
    }
}
