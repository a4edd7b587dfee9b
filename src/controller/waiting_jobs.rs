//! Jobs of a namespace that wait for a run slot, first in, first out. Every operation is fast however many wait: one
//! namespace can have tens of thousands of jobs.

use std::collections::{BTreeMap, HashMap};

use crate::core::grant::ObjectKey;

/// Waiting jobs in the order of their arrival.
#[derive(Default)]
pub(super) struct WaitingJobs {
    by_number: BTreeMap<u64, ObjectKey>,
    numbers: HashMap<ObjectKey, u64>,
    next: u64,
}

impl WaitingJobs {
    /// Adds a job at the end. A job that waits already keeps its place.
    pub(super) fn add(&mut self, job: &ObjectKey) {
        if self.numbers.contains_key(job) {
            return;
        }
        self.numbers.insert(job.clone(), self.next);
        self.by_number.insert(self.next, job.clone());
        self.next = self.next.saturating_add(1);
    }

    /// Removes a job that waits no longer.
    pub(super) fn remove(&mut self, job: &ObjectKey) {
        if let Some(number) = self.numbers.remove(job) {
            self.by_number.remove(&number);
        }
    }

    /// Removes the first job and returns it.
    pub(super) fn take_first(&mut self) -> Option<ObjectKey> {
        let (_, job) = self.by_number.pop_first()?;
        self.numbers.remove(&job);
        Some(job)
    }

    /// Returns the number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> ObjectKey {
        ObjectKey {
            namespace: "media".to_owned(),
            name: format!("job-{number}"),
        }
    }

    #[test]
    fn jobs_leave_in_the_order_of_their_arrival() {
        let mut waiting = WaitingJobs::default();
        for number in [3, 1, 2, 1, 3] {
            waiting.add(&job(number));
        }
        assert_eq!(waiting.len(), 3);
        waiting.remove(&job(1));
        waiting.remove(&job(9));
        waiting.add(&job(1));
        let order: Vec<_> = std::iter::from_fn(|| waiting.take_first()).collect();
        assert_eq!(order, [job(3), job(2), job(1)]);
        assert_eq!((waiting.len(), waiting.numbers.len()), (0, 0));
    }
}
