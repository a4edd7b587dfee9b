//! Room for jobs from their read until they run or are left again. A job with the longest list has half a megabyte when it is
//! decoded, and a thousand workers can each have one while the API server is slow: a job waits for room before it is read.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a unit of room.
const UNIT: usize = 1024;
/// Units of a job that is not read yet: one with the longest list that the schema allows.
const UNREAD: u32 = 1024;
/// Units of a namespace. A job holds its room for long if the API server rejects its results, so that one namespace must not
/// hold all of it.
const OF_NAMESPACE: usize = 2 * 1024;

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
    /// Gives an eighth of the memory limit of the process to decoded jobs.
    pub fn of_limit(limit: u64) -> Self {
        let bytes = usize::try_from(limit / 8).unwrap_or(usize::MAX);
        let units = (bytes / UNIT).clamp(OF_NAMESPACE, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(units)),
            namespaces: Mutex::default(),
        }
    }

    /// Waits until there is room for a job of a namespace, whatever its size. At most two jobs of a namespace wait for the
    /// room that all share, so that each namespace gets its turn.
    pub async fn reserve(&self, namespace: &str) -> JobRoom {
        let of_namespace = self.of_namespace(namespace);
        // Neither semaphore is ever closed.
        let of_namespace = of_namespace.acquire_many_owned(UNREAD).await.ok();
        let of_all = Arc::clone(&self.all).acquire_many_owned(UNREAD).await.ok();
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
        Arc::clone(units.or_insert_with(|| Arc::new(Semaphore::new(OF_NAMESPACE))))
    }
}

impl JobRoom {
    /// Returns what a job of this size does not need.
    pub fn reduce(&mut self, bytes: usize) {
        let needed = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(UNREAD);
        let surplus = usize::try_from(UNREAD.saturating_sub(needed)).unwrap_or_default();
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

    const LIMIT: u64 = 256 * 1024 * 1024;
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
        let jobs = DecodedJobs::of_limit(LIMIT);
        assert_eq!(fill(&jobs, "small", 2 * UNIT).await.len(), 513);
        let large = fill(&jobs, "large", 600 * UNIT).await;
        assert_eq!(large.len(), 2, "one, and one that is not read yet");
        drop(large);
        let oversized = fill(&jobs, "large", usize::MAX).await;
        assert_eq!(oversized.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_namespaces_share_an_eighth_of_the_memory_and_all_room_is_returned() {
        let jobs = DecodedJobs::of_limit(LIMIT);
        for _ in 0..2 {
            let mut held = Vec::new();
            for number in 0..100 {
                held.extend(fill(&jobs, &format!("n{number}"), 1024 * UNIT).await);
            }
            assert_eq!(held.len(), 32);
        }
        drop(fill(&jobs, "last", UNIT).await);
        assert_eq!(jobs.namespaces.lock().len(), 1, "others are forgotten");
    }
}
