//! Invariants of every call, every report and every status of a job, and of the state at rest.

use std::collections::BTreeMap;

use imm_operator::api::{
    Condition, ConditionStatus, ItemResult, JobCondition, JobStatus, REPORT_BYTES, REPORT_ITEMS, Report,
};
use k8s_openapi::jiff::SignedDuration;

use super::world::{JobWorld, Sent, score};

/// Limit of a status in bytes, far below what the API server accepts.
const STATUS_BYTES: usize = 256 * 1024;
/// Limit of the age of a result that is not stored: 1 s between stores, plus the time to store it.
const UNSTORED: SignedDuration = SignedDuration::from_millis(1_100);

/// Returns the reason of the terminal condition.
fn reason(status: &JobStatus) -> Option<&str> {
    let over = |c: &&Condition| {
        c.status == ConditionStatus::True && (c.is(JobCondition::Complete) || c.is(JobCondition::Failed))
    };
    status.conditions.iter().find(over).map(|c| c.reason.as_str())
}

fn index(result: &ItemResult) -> i32 {
    result.index
}

impl JobWorld {
    pub fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// Returns all results stored in the reports and in `status`; requires that each index occurs once.
    fn results(&mut self, status: &JobStatus) -> BTreeMap<i32, ItemResult> {
        let filed = self.reports.values().flat_map(|r| &r.report.results);
        let all: Vec<ItemResult> = status.results.iter().chain(filed).cloned().collect();
        let results: BTreeMap<i32, ItemResult> = all.iter().map(|r| (r.index, r.clone())).collect();
        self.must(results.len() == all.len(), || {
            "an index is stored twice".to_owned()
        });
        results
    }

    /// Returns whether a fault or a crash explains that the result of a final call is not stored.
    fn is_explained(&self, sent: &Sent) -> bool {
        let end = self.ends.get(&sent.process);
        let unstored = |end| sent.answered.is_none_or(|at| end < at + UNSTORED);
        sent.distorted || end.is_some_and(|end| unstored(*end))
    }

    /// Checks R9, I6 and I7: a call is sent only when it is recorded as reserved, within the budget, and never for an
    /// item whose result is stored; a repeated call has an explanation.
    pub fn check_call(&mut self, uri: &str) {
        let Some(job) = self.job.clone().filter(|_| !self.late) else {
            return;
        };
        let of_reports = self.reports.values().map(|r| r.report.reserved).max();
        let requests = job.status.requests.clone().unwrap_or_default();
        let reserved = requests.reserved.max(requests.sent).max(of_reports.unwrap_or(0));
        let sent = i64::try_from(self.ledger.len() + 1).unwrap();
        self.must(sent <= reserved, || {
            format!("call {sent} is sent, but only {reserved} are reserved")
        });
        let budget = job.spec.as_ref().ok().and_then(|s| s.budget.clone());
        self.must(budget.is_none_or(|b| sent <= b.max_requests), || {
            format!("call {sent} exceeds the budget")
        });
        self.must(job.started.is_some() || self.unmarked, || {
            "a call is sent before the job is marked as started".to_owned()
        });
        self.must(!job.is_finished(), || {
            format!("{uri} is called after the job finished")
        });
        let stored = self.results(&job.status).values().any(|r| r.uri == uri);
        self.must(!stored, || {
            format!("I6: {uri} is called although its result is stored")
        });
        let mut finals = self.ledger.iter().filter(|s| s.uri == uri && s.is_final);
        let odd = finals.find(|s| !self.is_explained(s)).map(|s| format!("{s:?}"));
        self.must(odd.is_none(), || {
            format!("I6: {uri} is billed again after {odd:?}")
        });
    }

    /// Checks that a report keeps its results and stays within its limits.
    pub fn check_report(&mut self, before: Option<&Report>, report: &Report) {
        let kept = before.is_none_or(|b| b.results.iter().all(|r| report.results.contains(r)));
        self.must(kept, || format!("report {} has lost results", report.number));
        let bytes = serde_json::to_vec(&report.results).unwrap().len();
        self.must(
            report.results.len() <= REPORT_ITEMS && bytes <= REPORT_BYTES,
            || format!("report {} is too large", report.number),
        );
    }

    /// Checks that a status counts only stored results, that its cursor passes no item that is neither stored nor
    /// deferred, and that a job finishes only when no call is in flight.
    pub fn check_status(&mut self, before: &JobStatus, status: &JobStatus, process: usize) {
        let results = self.results(status);
        let bytes = serde_json::to_vec(status).unwrap().len();
        self.must(bytes <= STATUS_BYTES, || format!("a status of {bytes} bytes"));
        let items = status.items.clone().unwrap_or_default();
        let counted = usize::try_from(items.succeeded + items.failed).unwrap();
        self.must(counted <= results.len(), || {
            format!("{counted} results are counted, {} stored", results.len())
        });
        let cursor = status.cursor.as_ref().map_or(0, |c| c.index);
        let deferred: Vec<i32> = status.deferred.iter().map(|d| d.index).collect();
        let passed = (0..cursor).find(|i| !results.contains_key(i) && !deferred.contains(i));
        let open = !(status.completion_time.is_some() && passed.is_some_and(|_| items.pending > 0));
        self.must(passed.is_none() || !open, || {
            format!("the cursor is at {cursor} and has passed {passed:?}")
        });
        let sent = |s: &JobStatus| s.requests.as_ref().map_or(0, |r| r.sent);
        self.must(sent(status) >= sent(before), || {
            "the count of sent requests decreased".to_owned()
        });
        let retried = status.requests.as_ref().map_or(0, |r| r.retried);
        let uris: std::collections::BTreeSet<&String> = self.ledger.iter().map(|s| &s.uri).collect();
        let repeats = i64::try_from(self.ledger.len() - uris.len()).unwrap();
        // A call that is counted as sent may not have been sent yet, or may have been lost with its process.
        let unmade = sent(status) - i64::try_from(self.ledger.len()).unwrap();
        self.must(retried <= repeats + unmade.max(0), || {
            format!("{retried} retries are counted, but {repeats} were made")
        });
        let lost = before
            .results
            .iter()
            .find(|r| results.get(&r.index) != Some(r))
            .map(index);
        self.must(lost.is_none(), || format!("the result of {lost:?} is lost"));
        // `observedGeneration` of a finished job is still updated.
        let lasting = |s: &JobStatus| (s.items.clone(), s.requests.clone(), s.completion_time.clone());
        let changed = before.completion_time.is_some() && lasting(before) != lasting(status);
        self.must(!changed, || "the status of a finished job changed".to_owned());
        if status.completion_time.is_some() {
            let own = self.ledger.iter().filter(|s| s.process == process);
            let under_way = own.clone().filter(|s| s.answered.is_none()).count();
            let mut finals = own.filter(|s| s.is_final && !s.distorted);
            let of = |uri: &String| results.values().any(|r| r.uri == *uri);
            let missing = finals.find(|s| !of(&s.uri)).map(|s| s.uri.clone());
            let missing = missing.filter(|_| !self.late && !self.denies);
            self.must(under_way == 0 && items.active == 0, || {
                format!("the job finished with {under_way} calls in flight")
            });
            self.must(missing.is_none(), || {
                format!("the job finished without {missing:?}")
            });
        }
    }

    /// Checks that the job has finished as expected, and that each billed image has its result unless a fault
    /// explains the loss.
    pub fn check_at_rest(&mut self, as_expected: bool) {
        let Some(job) = self.job.clone() else {
            let reports = self.reports.len();
            return self.must(reports == 0, || {
                format!("{reports} reports are left without a job")
            });
        };
        let status = &job.status;
        let results = self.results(status);
        let items = status.items.clone().unwrap_or_default();
        let current = status.observed_generation == Some(job.generation);
        self.must(job.is_finished() && current, || {
            format!("the job has not finished: {:#?}", status.conditions)
        });
        let marked = job.started.as_ref() == Some(&job.uid);
        let called = !self.ledger.is_empty();
        self.must(marked || !called, || {
            "calls were made, and the started annotation is missing".to_owned()
        });
        let done = usize::try_from(items.succeeded + items.failed).unwrap();
        self.must(done == results.len(), || {
            format!("{done} results are counted, {} stored", results.len())
        });
        let complete = reason(status) == Some("Completed");
        self.must(
            !complete || (items.pending == 0 && items.total == items.succeeded + items.failed),
            || format!("Completed with {items:?}"),
        );
        for result in results.values() {
            let matches = result.score.as_ref().is_none_or(|s| *s == score(&result.uri));
            let paid = self.ledger.iter().any(|s| s.uri == result.uri && s.is_final);
            self.must(matches && (paid || result.score.is_none()), || {
                format!("unexpected result: {result:?}")
            });
        }
        let stored = |s: &Sent| results.values().any(|r| r.uri == s.uri);
        let mut finals = self.ledger.iter().filter(|s| s.is_final);
        let missing = finals
            .find(|s| !stored(s) && !self.is_explained(s))
            .map(|s| s.uri.clone());
        let missing = missing.filter(|_| !self.late && !self.denies);
        self.must(missing.is_none(), || {
            format!("{missing:?} is billed and not stored")
        });
        let sent = status.requests.as_ref().map_or(0, |r| r.sent);
        let left = i64::try_from(self.ledger.len()).unwrap();
        self.must(sent >= left, || {
            format!("{left} calls were sent, but {sent} are reported")
        });
        if let Some((why, counts)) = self.expected.filter(|_| as_expected) {
            let counted = (items.succeeded, items.failed);
            let matches = reason(status) == Some(why) && counts.is_none_or(|c| c == counted);
            self.must(matches, || {
                format!("the job finished as {:?} with {items:?}", reason(status))
            });
        }
    }

    /// Checks that the counts are exact; they need be only in a run without faults.
    pub fn check_counts(&mut self) {
        let Some(job) = self.job.clone() else { return };
        let requests = job.status.requests.unwrap_or_default();
        let billed = self.ledger.iter().filter(|s| s.billed).count();
        let reported = (requests.sent, requests.estimated_billable);
        let true_ones = (self.ledger.len(), billed);
        self.must(
            reported == (true_ones.0.try_into().unwrap(), true_ones.1.try_into().unwrap()),
            || format!("{reported:?} sent and billed requests are reported, {true_ones:?} were made"),
        );
        let mut paid: Vec<&String> = self
            .ledger
            .iter()
            .filter(|s| s.is_final)
            .map(|s| &s.uri)
            .collect();
        let all = paid.len();
        paid.sort_unstable();
        paid.dedup();
        let once = paid.len() == all;
        self.must(once, || "an image is billed twice".to_owned());
    }

    /// Returns the final state that runs are compared by: the terminal reason and each result. For jobs that are stopped
    /// only the reason counts, because their progress depends on the time that faults take.
    pub fn end(&mut self) -> String {
        let Some(job) = self.job.clone() else {
            return "deleted".to_owned();
        };
        let exact = self.expected.is_some_and(|(_, counts)| counts.is_some());
        let results = self.results(&job.status);
        // Faults can change which of two bad images is requested first.
        let failures = job.status.failures.iter().map(|f| (&f.code, f.count));
        let failures: Vec<(&String, i32)> = failures.collect();
        let counts = (&job.status.items, &job.status.summary, failures, results);
        let reason = format!("{:?}", reason(&job.status));
        if exact {
            format!("{reason} {counts:?}")
        } else {
            reason
        }
    }
}
