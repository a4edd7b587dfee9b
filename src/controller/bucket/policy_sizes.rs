//! Which buckets have nearly full policies. The histogram of reads cannot tell: a bucket without changes is read once in
//! `driftIntervalSeconds`, which can be a day, and each read of one bucket counts again.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::policy::is_nearly_full;
use crate::runtime::metrics::Metrics;

/// The buckets whose policy was nearly full at its last read.
pub struct PolicySizes {
    metrics: Arc<Metrics>,
    nearly_full: Mutex<HashSet<Arc<str>>>,
}

impl PolicySizes {
    /// Counts the buckets in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            nearly_full: Mutex::default(),
        }
    }

    /// Records the size of a policy that was read, 0 if the bucket has none.
    pub fn read(&self, bucket: &str, bytes: usize) {
        let mut nearly_full = self.nearly_full.lock();
        if is_nearly_full(bytes) {
            nearly_full.insert(bucket.into());
        } else {
            nearly_full.remove(bucket);
        }
        self.metrics.set_policies_nearly_full(nearly_full.len());
    }

    /// Forgets a bucket that does not exist or has no grants any more.
    pub fn forget(&self, bucket: &str) {
        self.read(bucket, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::POLICY_LIMIT;

    #[test]
    fn a_bucket_counts_once_and_until_its_policy_shrinks_or_it_is_forgotten() {
        let metrics = Arc::new(Metrics::default());
        let sizes = PolicySizes::new(Arc::clone(&metrics));
        let counted = |number: usize| {
            let series = metrics.render();
            let line = format!("immops_policies_nearly_full {number}\n");
            assert!(series.contains(&line), "not {number}: {series}");
        };
        counted(0);
        sizes.read("a", 0);
        counted(0);
        sizes.read("a", POLICY_LIMIT);
        sizes.read("b", POLICY_LIMIT);
        counted(2);
        sizes.read("a", 0);
        counted(1);
        sizes.forget("b");
        counted(0);
    }
}
