//! What jobs reach: their object and reports, a bucket's images, and an IMM that records what it bills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imm_operator::api::{JobSpec, JobStatus, Report};
use imm_operator::core::grant::ObjectKey;
use imm_operator::core::job::{JobObject, ListedObject};
use imm_operator::core::tenancy::TenancyRules;
use imm_operator::ports::{
    CloudError, CloudErrorKind, KubeError, ListPosition, ObjectChunk, ObjectPage, ProjectLimits, ReportPage,
    StoredReport,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::fault::refused;

/// The grantee account, which scores.
pub const ACCOUNT: &str = "1234567890";
/// Objects of a page of a listing, and bytes of a chunk of a manifest.
const PAGE: usize = 60;
const PIECE: usize = 150;
/// Reports of a page.
const REPORTS: usize = 8;

/// A call that was sent.
#[derive(Debug)]
pub struct Sent {
    pub uri: String,
    pub process: usize,
    /// Whether the answer is final: a score, or an error that a retry does not change.
    pub is_final: bool,
    /// Whether IMM bills the call: it bills everything but its own failures.
    pub billed: bool,
    pub answered: Option<Timestamp>,
    /// Whether a fault replaced the answer.
    pub distorted: bool,
}

/// Everything that jobs reach.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a scenario")]
pub struct JobWorld {
    pub job: Option<JobObject>,
    /// The job before each change.
    past: Vec<Option<JobObject>>,
    pub reports: BTreeMap<usize, StoredReport>,
    /// Keys of the bucket's images, in order.
    pub images: Vec<String>,
    pub manifest: String,
    /// How long OSS takes to list a page.
    pub page_time: Duration,
    /// Whether OSS lists no page.
    pub lists_nothing: bool,
    /// Number of pages that OSS was asked for.
    pub listings: usize,
    /// The tenancy rules. The operator has an identity of its own if there are any.
    pub rules: Arc<TenancyRules>,
    /// Why STS names no account, and how often it was asked for one.
    pub no_account: Option<CloudErrorKind>,
    pub accounts_asked: usize,
    /// How many more calls fail, by image.
    pub flaky: BTreeMap<String, usize>,
    /// An image that IMM does not score before the call is given up.
    pub slow: Option<String>,
    /// How many more calls are throttled.
    pub throttles: usize,
    /// Whether IMM may not read the images.
    pub denies: bool,
    /// Whether IMM may read them later, so that a denied call is repeated.
    pub enforces_late: bool,
    pub ledger: Vec<Sent>,
    /// Number of calls when a scenario recorded it.
    pub recorded_calls: usize,
    /// Number of processes so far, and when each ended.
    pub processes: usize,
    pub ends: BTreeMap<usize, Timestamp>,
    /// Whether something arrived late, so that the process that worked at that time knew an outdated state.
    pub late: bool,
    /// Whether somebody has written the status or the annotations.
    pub forged: bool,
    /// How often the credentials were rotated.
    pub keys: usize,
    /// Whether the user has changed the job, so that a watch event is due.
    pub changed: bool,
    /// Whether another writer has removed the started annotation since the operator set it.
    pub unmarked: bool,
    /// The expected terminal reason, and the expected numbers of scored and failed items.
    pub expected: Option<(&'static str, Option<(i32, i32)>)>,
    pub writes: usize,
    /// Whether the API server rejects every status of the job, and how many it has rejected.
    pub refuses_status: bool,
    pub refused: usize,
    /// An edit that arrives right before the next write of the status.
    pub edit_before_write: Option<fn(&mut JobSpec)>,
    /// Whether the API server forbids to list the reports.
    pub hides_reports: bool,
    /// How many seconds the clock of the API server is behind that of the process.
    pub server_behind: i64,
    pub broken: Vec<String>,
    version: u64,
}

pub fn key() -> ObjectKey {
    super::super::fake_world::key("job")
}

/// Returns the time one day before the test's time, in whole seconds.
fn before(now: Timestamp) -> Timestamp {
    now - SignedDuration::from_hours(24)
}

impl JobWorld {
    fn next_version(&mut self) -> String {
        self.past.push(self.job.clone());
        self.version += 1;
        self.version.to_string()
    }

    /// A user creates the job.
    pub fn create(&mut self, spec: JobSpec) {
        let resource_version = self.next_version();
        self.job = Some(JobObject {
            key: key(),
            uid: "uid-job".to_owned(),
            resource_version,
            generation: 1,
            deleting: false,
            started: None,
            reconcile_at: None,
            spec: Ok(spec),
            status: JobStatus::default(),
        });
        self.changed = true;
    }

    /// Stores a job with a key and uid of its own.
    pub fn place(&mut self, job: JobObject) {
        let resource_version = self.next_version();
        self.job = Some(JobObject {
            resource_version,
            ..job
        });
    }

    /// The API server is restored from a snapshot that is some changes old; the reports stay.
    pub fn restore(&mut self, changes: usize) {
        let index = self.past.len().saturating_sub(changes).max(1);
        if let Some(then) = self.past.get(index).cloned().flatten() {
            self.past.push(self.job.take());
            self.job = Some(then);
        }
        self.late = true;
    }

    /// A user edits the job.
    pub fn edit(&mut self, edit: impl FnOnce(&mut JobSpec)) {
        let version = self.next_version();
        let job = self.job.as_mut().unwrap();
        edit(job.spec.as_mut().unwrap());
        job.generation += 1;
        job.resource_version = version;
        self.changed = true;
    }

    /// A user deletes the job; its reports are deleted with it.
    pub fn delete(&mut self) {
        self.next_version();
        self.job = None;
        self.reports.clear();
        self.changed = true;
    }

    /// Returns the job, or the job one change ago if `behind`.
    pub fn get(&self, wanted: &ObjectKey, behind: bool) -> Option<JobObject> {
        let last = self.past.last().filter(|_| behind);
        last.unwrap_or(&self.job).clone().filter(|job| job.key == *wanted)
    }

    fn current(&self, planned: &JobObject) -> Result<JobObject, KubeError> {
        let stored = self.job.clone().filter(|j| j.uid == planned.uid);
        let stored = stored.ok_or(KubeError::NotFound)?;
        if stored.resource_version == planned.resource_version {
            Ok(stored)
        } else {
            Err(KubeError::Conflict)
        }
    }

    pub fn replace_status(
        &mut self,
        planned: &JobObject,
        status: &JobStatus,
        process: usize,
    ) -> Result<String, KubeError> {
        if let Some(edit) = self.edit_before_write.take() {
            self.edit(edit);
        }
        if self.refuses_status {
            self.refused += 1;
            return Err(KubeError::Invalid);
        }
        let mut stored = self.current(planned)?;
        self.check_status(&stored.status, status, process);
        stored.status = status.clone();
        Ok(self.put(stored))
    }

    fn put(&mut self, mut job: JobObject) -> String {
        job.resource_version = self.next_version();
        let version = job.resource_version.clone();
        self.job = Some(job);
        self.writes += 1;
        version
    }

    pub fn mark_started(&mut self, planned: &JobObject) -> Result<String, KubeError> {
        let mut stored = self.current(planned)?;
        stored.started = Some(stored.uid.clone());
        self.unmarked = false;
        Ok(self.put(stored))
    }

    /// Another writer removes the labels of all reports.
    pub fn remove_labels(&mut self) {
        self.remove_labels_from(0);
    }

    /// Another writer removes the labels of the reports from this number on.
    pub fn remove_labels_from(&mut self, first: usize) {
        for (number, stored) in self.reports.range_mut(first..) {
            self.version += 1;
            stored.intact = false;
            stored.resource_version = format!("{}-{number}", self.version);
        }
    }

    /// Another writer removes the started annotation.
    pub fn remove_mark(&mut self) {
        let version = self.next_version();
        if let Some(job) = &mut self.job {
            self.unmarked |= job.started.take().is_some();
            job.resource_version = version;
        }
        self.changed = true;
    }

    pub fn list_reports(&self, page: Option<&str>) -> ReportPage {
        let from = page.map_or(0, |token| token.parse().unwrap());
        let mut reports: Vec<StoredReport> = self.reports.range(from..).map(|(_, r)| r.clone()).collect();
        let more = reports.len() > REPORTS;
        reports.truncate(REPORTS);
        // The list is by label.
        reports.retain(|stored| stored.intact);
        (reports, more.then(|| (from + REPORTS).to_string()))
    }

    pub fn put_report(&mut self, report: &Report, version: Option<&str>) -> Result<String, KubeError> {
        let number = usize::try_from(report.number).unwrap();
        let stored = self.reports.get(&number);
        match (stored, version) {
            (Some(stored), Some(version)) if stored.resource_version == version => {}
            (None, None) => {}
            (Some(_), _) => return Err(KubeError::Conflict),
            (None, Some(_)) => return Err(KubeError::NotFound),
        }
        self.check_report(stored.map(|s| s.report.clone()).as_ref(), report);
        self.version += 1;
        self.writes += 1;
        let resource_version = self.version.to_string();
        // A report that is stored without its job is garbage-collected immediately.
        if self.job.is_some() {
            let stored = StoredReport {
                report: report.clone(),
                resource_version: resource_version.clone(),
                intact: true,
            };
            self.reports.insert(number, stored);
        }
        Ok(resource_version)
    }

    pub fn list_objects(&self, prefix: &str, after: &ListPosition, now: Timestamp) -> ObjectPage {
        let from = after.token.as_ref().or(after.key.as_ref());
        let keys = self.images.iter().filter(|key| key.starts_with(prefix));
        let keys: Vec<&String> = keys.filter(|key| from.is_none_or(|from| *key > from)).collect();
        let length = after.max_keys.min(PAGE);
        let page = keys.iter().take(length).map(|key| ListedObject {
            key: Ok((*key).clone()),
            modified: before(now),
            size: Some(1),
            archived: false,
        });
        ObjectPage {
            objects: page.collect(),
            next: keys.get(length).map(|_| keys[length - 1].clone()),
            server_time: Some(now),
        }
    }

    pub fn read_manifest(&self, from: u64, now: Timestamp) -> ObjectChunk {
        let from = usize::try_from(from).unwrap();
        let rest = self.manifest.as_bytes().get(from..).unwrap_or_default();
        ObjectChunk {
            bytes: rest.iter().take(PIECE).copied().collect(),
            last: rest.len() <= PIECE,
            etag: "e1".to_owned(),
            server_time: Some(now),
        }
    }

    pub fn limits(&self) -> ProjectLimits {
        ProjectLimits {
            // Jobs over listed images have few items.
            queries_per_second: if self.images.is_empty() { 10 } else { 50 },
            concurrency: 5,
            service_role: Some("AliyunIMMDefaultRole".to_owned()),
        }
    }

    /// A process sends a call; returns the call's index.
    pub fn leave(&mut self, uri: &str, process: usize, _: Timestamp) -> usize {
        self.check_call(uri);
        self.ledger.push(Sent {
            uri: uri.to_owned(),
            process,
            is_final: false,
            billed: false,
            answered: None,
            distorted: false,
        });
        self.ledger.len() - 1
    }

    /// A call arrives at IMM; returns IMM's answer.
    pub fn serve(&mut self, call: usize) -> Result<String, CloudError> {
        let uri = self.ledger[call].uri.clone();
        let served = self.ledger.iter().filter(|sent| sent.is_final).count();
        let passing = match self.flaky.get_mut(&uri) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Some(CloudErrorKind::Unavailable)
            }
            // Throttling starts only after one call was served.
            _ if self.throttles > 0 && served > 0 => {
                self.throttles -= 1;
                Some(CloudErrorKind::Throttled)
            }
            _ => None,
        };
        let sent = &mut self.ledger[call];
        sent.billed = passing != Some(CloudErrorKind::Unavailable);
        if let Some(kind) = passing {
            return Err(refused(kind));
        }
        sent.is_final = !self.enforces_late && self.slow.as_ref() != Some(&uri);
        if self.denies {
            return Err(refused(CloudErrorKind::AccessDenied));
        }
        if uri.contains("bad") {
            return Err(refused(CloudErrorKind::RequestRejected));
        }
        Ok(score(&uri))
    }

    /// The answer to a call comes back; `distorted` says that a fault replaced it.
    pub fn answered(&mut self, call: usize, now: Timestamp, distorted: bool) {
        let sent = &mut self.ledger[call];
        sent.answered = Some(now);
        sent.distorted = distorted;
    }
}

/// Returns the score of an image.
pub fn score(uri: &str) -> String {
    let sum: u32 = uri.bytes().map(u32::from).sum();
    format!("0.{:03}", 100 + sum % 900)
}
