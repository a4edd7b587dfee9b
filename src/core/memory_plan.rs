//! How the memory limit of the process is divided. The parts leave a quarter to statuses, connections and the rest.

use super::job::RunMemory;

/// The memory limit that counts when the process has none: that of the chart.
pub const DEFAULT_LIMIT: u64 = 256 * 1024 * 1024;
/// Memory of an object of the API server while it is decoded: at most 1.5 MB, as text two or three times, or as text
/// and twice in parts.
pub const OBJECT_BYTES: u64 = 5 * 1024 * 1024;
/// Memory of a list of grants while it is decoded: a page is read object by object.
pub const LIST_BYTES: u64 = 8 * 1024 * 1024;
/// The smallest memory for large parts: the largest one that is read fits.
const LEAST_PARTS: u64 = 8 * 1024 * 1024;
/// The grants of one bucket take at most this part of the memory limit: every worker can hold those of a bucket.
const BUCKET_SHARE: u64 = 64;

/// Bytes of a unit of room for decoded jobs.
pub const JOB_UNIT: usize = 1024;
/// Units of a job that is not read yet: one with the longest list that the schema allows.
pub const UNREAD_JOB: u32 = 1024;
/// Units of a namespace. A job holds its room for long if the API server rejects its results, so that one namespace
/// must not hold all of it.
pub const JOBS_OF_NAMESPACE: usize = 2 * 1024;

/// The parts of the memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The limit, in bytes.
    pub limit: u64,
    /// Bytes of what is read in large parts: a quarter.
    pub parts: u64,
    /// Lists of grants that are read at a time: they take at most half of the large parts, but one is always read.
    pub lists: usize,
    /// Bytes of the grants of one bucket.
    pub bucket: usize,
    /// Units of room for decoded jobs: an eighth.
    pub decoded_jobs: usize,
    /// Bytes of the jobs that run: a quarter for their lists, and an eighth for their results.
    pub runs: RunMemory,
}

impl MemoryPlan {
    /// Divides a limit in bytes.
    pub fn of_limit(limit: u64) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let parts = (limit / 4).max(LEAST_PARTS);
        Self {
            limit,
            parts,
            lists: size(parts / 2 / LIST_BYTES).max(1),
            bucket: size(limit / BUCKET_SHARE),
            decoded_jobs: (size(limit / 8) / JOB_UNIT).max(JOBS_OF_NAMESPACE),
            runs: RunMemory::of_limit(limit),
        }
    }
}

/// Returns the units that a decoded job of this size does not need of those that it had before it was read.
pub fn surplus_of_job(bytes: usize) -> usize {
    let needed = u32::try_from(bytes.div_ceil(JOB_UNIT)).unwrap_or(UNREAD_JOB);
    usize::try_from(UNREAD_JOB.saturating_sub(needed)).unwrap_or_default()
}

/// Returns the memory limit of a process with these files of its control group, of version 2 or 1; the default of the
/// chart without one.
pub fn limit_of(files: impl IntoIterator<Item = String>) -> u64 {
    // Version 1 reports a number near the largest one when there is no limit.
    let limit = |text: String| text.trim().parse().ok().filter(|limit| *limit < 1 << 50);
    files.into_iter().find_map(limit).unwrap_or(DEFAULT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_parts_leave_a_quarter_of_the_limit_and_fit_the_largest_objects() {
        for (limit, parts, lists, bucket, jobs) in [
            (0, 8, 1, 0, 2 * 1024),
            (64, 16, 1, 1, 8 * 1024),
            (256, 64, 4, 4, 32 * 1024),
            (1024, 256, 16, 16, 128 * 1024),
        ] {
            let plan = MemoryPlan::of_limit(limit * MIB);
            assert_eq!((plan.parts, plan.lists), (parts * MIB, lists), "{limit} MiB");
            assert_eq!(
                (plan.bucket, plan.decoded_jobs),
                (bucket << 20, jobs),
                "{limit} MiB"
            );
            let runs = plan.runs.lists + plan.runs.result_bytes(1);
            let all = parts * MIB + u64::try_from(jobs * JOB_UNIT + runs).unwrap();
            assert!(limit < 64 || all <= limit * MIB / 4 * 3, "{limit} MiB");
        }
    }

    #[test]
    fn a_job_gives_back_the_room_that_it_does_not_need() {
        for (bytes, surplus) in [
            (0, 1024),
            (1, 1023),
            (1024, 1023),
            (1024 * 1024, 0),
            (usize::MAX, 0),
        ] {
            assert_eq!(surplus_of_job(bytes), surplus, "{bytes}");
        }
    }

    #[test]
    fn a_limit_is_read_from_both_versions_of_cgroups() {
        for (files, limit) in [
            (vec!["268435456\n"], 256 * MIB),
            (vec!["max\n"], DEFAULT_LIMIT),
            (vec!["max\n", "1048576"], MIB),
            (vec!["9223372036854771712"], DEFAULT_LIMIT),
            (vec![""], DEFAULT_LIMIT),
            (vec![], DEFAULT_LIMIT),
        ] {
            assert_eq!(
                limit_of(files.iter().map(|text| (*text).to_owned())),
                limit,
                "{files:?}"
            );
        }
    }
}
