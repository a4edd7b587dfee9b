//! How the jobs that run at the same time share memory: that for their lists of images, which limits their number,
//! and that for results that are not stored yet.

/// Jobs of one namespace that may run at the same time: without a limit, one namespace could occupy all workers.
pub const MAX_RUNS_PER_NAMESPACE: usize = 32;
/// Namespaces that share the memory for lists.
const NAMESPACES: u64 = 32;
/// Least memory for lists, in all and of a namespace: the longest list that the schema allows fits.
const LEAST: u64 = 16 * 1024 * 1024;
const LEAST_OF_NAMESPACE: u64 = 1024 * 1024;

/// Bytes for the jobs that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMemory {
    /// For all lists.
    pub lists: usize,
    /// For the lists of a namespace.
    pub lists_of_namespace: usize,
    /// For the results of all jobs.
    results: usize,
}

impl RunMemory {
    /// Gives a quarter of the memory limit of the process to lists, and an eighth to results.
    pub fn of_limit(limit: u64) -> Self {
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let lists = (limit / 4).max(LEAST);
        Self {
            lists: bytes(lists),
            lists_of_namespace: bytes((lists / NAMESPACES).max(LEAST_OF_NAMESPACE)),
            results: bytes(limit / 8),
        }
    }

    /// Returns the bytes that the list of a job counts as. A list that is older than the schema can be longer than
    /// the room of a namespace.
    pub fn counted(&self, list: usize) -> usize {
        list.min(self.lists_of_namespace)
    }

    /// Returns the bytes for the results of one of `running` jobs: all have the same part.
    pub fn result_bytes(&self, running: usize) -> usize {
        self.results / running.max(1)
    }
}

/// Whether one more job of a namespace may run beside `running` of it.
pub fn has_slot(running: usize) -> bool {
    running < MAX_RUNS_PER_NAMESPACE
}

/// Returns how many waiting jobs are triggered, as far as there are slots, when a job ends and `running` of its namespace
/// remain. When the last one ends, that is all: no further end would trigger one whose list had no room.
pub fn jobs_to_trigger(running: usize, waiting: usize) -> usize {
    if running == 0 { waiting } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const MIB_OF_LIMIT: u64 = 1 << 20;

    #[test]
    fn memory_is_shared_from_the_limit_and_never_less_than_the_longest_list() {
        let of = |mib: u64| RunMemory::of_limit(mib * MIB_OF_LIMIT);
        for (mib, lists, of_namespace) in [(0, 16, 1), (64, 16, 1), (256, 64, 2), (1024, 256, 8)] {
            let memory = of(mib);
            let found = (memory.lists, memory.lists_of_namespace);
            assert_eq!(found, (lists * MIB, of_namespace * MIB), "{mib} MiB");
        }
        let memory = of(256);
        assert_eq!((memory.counted(10), memory.counted(3 * MIB)), (10, 2 * MIB));
        for (running, part) in [(0, 32), (1, 32), (2, 16), (32, 1)] {
            assert_eq!(memory.result_bytes(running), part * MIB);
        }
        assert!(RunMemory::of_limit(u64::MAX).lists > memory.lists);
    }

    #[test]
    fn a_namespace_has_thirty_two_slots() {
        assert!(has_slot(0) && has_slot(31) && !has_slot(32));
    }

    #[test]
    fn the_last_job_triggers_all_that_wait() {
        for (running, waiting, triggered) in [(0, 7, 7), (0, 0, 0), (3, 7, 1)] {
            assert_eq!(jobs_to_trigger(running, waiting), triggered);
        }
    }
}
