//! Since when the jobs that score show the same progress. A metric says it of the job that has shown none for the
//! longest: a job without progress is seen although others score.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::core::hash::ChangeDigest;
use crate::core::object_state::shows_progress;
use crate::runtime::metrics::{Metrics, ObjectLabels};

/// What a job shows, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShownProgress {
    progress: ChangeDigest,
    /// Seconds since 1970.
    since: i64,
}

/// The times of all jobs.
#[derive(Default)]
pub(super) struct ProgressTimes {
    /// Number of jobs by time.
    jobs: BTreeMap<i64, usize>,
}

impl ProgressTimes {
    /// Counts a job that shows this progress now and showed `before`. Returns what it shows; `None` if it does not score.
    pub(super) fn change(
        &mut self,
        metrics: &Metrics,
        before: Option<ShownProgress>,
        now: Option<(ObjectLabels, ChangeDigest, Timestamp)>,
    ) -> Option<ShownProgress> {
        let now = now.filter(|(labels, ..)| shows_progress(labels.state, labels.reason));
        let shown = now.map(|(_, progress, now)| {
            let same = before.filter(|shown| shown.progress == progress);
            let since = same.map_or(now.as_second(), |shown| shown.since);
            ShownProgress { progress, since }
        });
        if shown == before {
            return shown;
        }
        if let Some(ShownProgress { since, .. }) = before
            && let Some(count) = self.jobs.get_mut(&since)
        {
            *count -= 1;
            if *count == 0 {
                self.jobs.remove(&since);
            }
        }
        if let Some(ShownProgress { since, .. }) = shown {
            *self.jobs.entry(since).or_default() += 1;
        }
        let oldest = self.jobs.keys().next();
        metrics.oldest_progress.set(oldest.copied().unwrap_or(0));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::JobReason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(reason: JobReason, progress: &str, second: i64) -> (ObjectLabels, ChangeDigest, Timestamp) {
        let labels = ObjectLabels {
            kind: "ImageScoreJob",
            state: "Reconciling",
            reason: reason.as_str(),
        };
        (labels, ChangeDigest::of(progress), at(second))
    }

    #[test]
    fn the_job_that_shows_the_same_for_the_longest_is_exported() {
        let (metrics, mut times) = (Metrics::default(), ProgressTimes::default());
        let shown = || metrics.oldest_progress.get();
        let scoring = JobReason::Scoring;
        let first = times.change(&metrics, None, Some(job(scoring, "1/9", 100)));
        let second = times.change(&metrics, None, Some(job(scoring, "1/9", 200)));
        assert_eq!(shown(), 100);
        assert_eq!(
            times.change(&metrics, first, Some(job(scoring, "1/9", 300))),
            first,
            "no progress"
        );
        assert_eq!(shown(), 100);
        let first = times.change(&metrics, first, Some(job(scoring, "2/9", 400)));
        assert_eq!(shown(), 200);
        assert_eq!(times.change(&metrics, second, None), None, "deleted");
        assert_eq!(shown(), 400);
        assert_eq!(
            times.change(&metrics, first, Some(job(JobReason::Suspended, "2/9", 600))),
            None
        );
        assert_eq!(shown(), 0, "no job scores");
    }

    #[test]
    fn jobs_with_one_time_are_counted() {
        let (metrics, mut times) = (Metrics::default(), ProgressTimes::default());
        let first = times.change(&metrics, None, Some(job(JobReason::Scoring, "1/9", 100)));
        times.change(&metrics, None, Some(job(JobReason::Scoring, "7/9", 100)));
        times.change(&metrics, first, None);
        assert_eq!(metrics.oldest_progress.get(), 100);
    }
}
