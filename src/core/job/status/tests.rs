//! Tests of the counts and times in the status of a job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::api::Cursor;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::{
    End, SourceItem, add_items, apply_response, pinned_source, resume_progress, spec_with,
};

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn spec(thresholds: &Value) -> JobSpec {
    let source = json!({"prefix": {"bucket": "pics"}});
    spec_with(&json!({"source": source, "thresholds": thresholds, "maxFailedItems": 1}))
}

fn progress(spec: &JobSpec, inline: bool) -> Progress {
    resume_progress(spec, &JobStatus::default(), (10, inline), NOW, "uid")
}

fn job() -> JobObject {
    JobObject::bare("media", "one", Ok(spec(&Value::Null)))
}

#[test]
fn the_active_time_of_a_suspended_job_begins_again_when_it_resumes() {
    let before = Time(NOW - SignedDuration::from_hours(1));
    let mut job = job();
    job.status.active_since = Some(before.clone());
    let since = |job: &JobObject, phase| job_status(job, &phase, None, NOW).active_since.unwrap();
    assert_eq!(since(&job, Phase::Scoring(0)), before);
    job.status.suspended_by = Some(SuspendCause::Requested);
    for phase in [Phase::Suspended, Phase::OutOfBudget, Phase::Ended(End::Complete)] {
        assert_eq!(since(&job, phase), before);
    }
    assert_eq!(since(&job, Phase::Scoring(0)), Time(NOW));
}

#[test]
fn a_running_job_reports_its_requests_its_failures_and_its_first_report() {
    let job = job();
    let mut progress = progress(job.spec.as_ref().unwrap(), false);
    let status = |progress: &Progress| job_status(&job, &Phase::Scoring(0), Some(progress), NOW);
    assert_eq!(status(&progress).reports.unwrap().first, None);
    let item = SourceItem {
        uri: "oss://pics/1.jpg".to_owned(),
        resume_after: Some("1.jpg".to_owned()),
        reject_code: None,
    };
    assert!(add_items(&mut progress, vec![item], true));
    progress.reserve(1, None);
    progress.persisted();
    progress.take_next(NOW).unwrap();
    let active = status(&progress).items.unwrap();
    assert_eq!((active.active, active.pending), (1, 9));
    let refused = CloudError::new(CloudErrorKind::RequestRejected, "InvalidImage");
    apply_response(&mut progress, 0, Err(refused), NOW);
    let status = status(&progress);
    assert_eq!(status.requests.unwrap().sent, 1);
    assert_eq!(status.failures.first().unwrap().code, "InvalidImage");
    assert_eq!(status.reports.unwrap().first.as_deref(), Some("one-uid-00000"));
    let next = Cursor {
        index: 1,
        key: Some("1.jpg".to_owned()),
    };
    assert_eq!(status.cursor, Some(next), "a later run does not send it again");
    let recovered = recovered_status(&job, &progress);
    assert_eq!((recovered.items, recovered.cursor), (status.items, status.cursor));
}

#[test]
fn what_a_job_that_ended_without_a_status_has_stored_is_in_its_recovered_status() {
    for inline in [true, false] {
        let mut job = job();
        let mut progress = progress(job.spec.as_ref().unwrap(), inline);
        let item = |key: &str, reject_code| SourceItem {
            uri: format!("oss://pics/{key}"),
            resume_after: Some(key.to_owned()),
            reject_code,
        };
        let page = vec![item("1", None), item("2", Some("KeyNotUtf8")), item("3", None)];
        assert!(add_items(&mut progress, page, true));
        progress.reserve(1, None);
        progress.persisted();
        progress.take_next(NOW).unwrap();
        apply_response(&mut progress, 0, Ok("0.5".to_owned()), NOW);
        progress.reserve(1, None);
        progress.persisted();
        let index = progress.take_next(NOW).unwrap().index;
        let busy = CloudError::new(CloudErrorKind::Unavailable, "ServiceBusy");
        apply_response(&mut progress, index, Err(busy), NOW);
        let mut conditions = ConditionsBuilder::new(&[], 1, NOW);
        conditions.set_false(JobCondition::ResultsStored, JobReason::ResultsMissing, "");
        conditions.set_true(JobCondition::Allowed, JobReason::Permitted, "");
        job.status.conditions = conditions.finish();
        let recovered = recovered_status(&job, &progress);
        let expected = progress_status(&job, &progress, &progress.stats());
        assert_eq!(recovered.progress.as_deref(), Some("2/10"));
        assert_eq!((recovered.deferred.len(), recovered.failures.len()), (1, 1));
        assert!(recovered.summary.is_some() && recovered.requests.is_some());
        assert_eq!(
            (recovered.results.len(), recovered.reports.is_some()),
            (if inline { 2 } else { 0 }, !inline)
        );
        let kinds: Vec<&str> = recovered.conditions.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(kinds, ["Allowed"], "all results were read");
        assert_eq!(
            JobStatus {
                conditions: Vec::new(),
                ..recovered
            },
            expected
        );
    }
}

#[test]
fn expired_results_are_removed_and_those_that_could_not_be_read_are_not_called_complete() {
    use JobReason::{ResultsExpired, ResultsUnreadable, Stored};
    for (before, all, after, kept) in [
        (Stored, false, Stored, 1),
        (Stored, true, ResultsExpired, 0),
        (ResultsUnreadable, false, ResultsUnreadable, 1),
        (ResultsUnreadable, true, ResultsExpired, 0),
    ] {
        let mut job = job();
        let mut conditions = ConditionsBuilder::new(&[], 1, NOW);
        conditions.set_true(JobCondition::ResultsStored, before, "");
        job.status.conditions = conditions.finish();
        job.status.progress = Some("1/1".to_owned());
        job.status.results =
            serde_json::from_value(json!([{"index": 0, "uri": "oss://pics/1.jpg"}])).unwrap();
        let status = pruned_status(&job, all, NOW);
        assert_eq!((status.results_pruned, status.results.len()), (true, kept));
        assert_eq!(status.progress, job.status.progress);
        assert_eq!(status.conditions[0].reason, after.as_str(), "{before:?} {all}");
    }
}

#[test]
fn a_job_that_does_not_run_keeps_its_progress_and_a_new_one_begins_at_zero() {
    let mut job = job();
    let shown = |job: &JobObject| {
        let status = job_status(job, &Phase::Queued(None), None, NOW);
        let items = status.items.map(|items| (items.pending, items.active));
        status.progress.zip(items)
    };
    assert_eq!(shown(&job), None, "it is not counted yet");
    let mut seen = pinned_source(NOW, None, false);
    assert_eq!(seen.as_of, Some(Time(NOW)));
    seen.items = Some(7);
    job.status.source = Some(seen);
    assert_eq!(shown(&job), Some(("0/7".to_owned(), (7, 0))));
    job.status.progress = Some("3/7".to_owned());
    job.status.items = Some(Items {
        total: 7,
        succeeded: 3,
        active: 1,
        pending: 3,
        ..Items::default()
    });
    assert_eq!(
        shown(&job),
        Some(("3/7".to_owned(), (4, 0))),
        "no call is in flight"
    );
}

#[test]
fn results_of_a_status_are_unstored_unless_they_are_counted_or_in_reports() {
    let of = |succeeded: i32, failed: i32, more: Value| -> JobStatus {
        let items = json!({"total": 9, "succeeded": succeeded, "failed": failed, "active": 1});
        let mut status = json!({ "items": items });
        let members = status.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    };
    let none = || json!({});
    let in_reports = json!({"reports": {"count": 1, "items": 3}});
    for (stored, status, unstored) in [
        (JobStatus::default(), of(0, 0, none()), false),
        (JobStatus::default(), of(1, 0, none()), true),
        (of(2, 1, none()), of(2, 1, none()), false),
        (of(2, 1, none()), of(2, 2, none()), true),
        (of(2, 1, none()), of(3, 1, none()), true),
        (of(2, 1, none()), of(3, 1, in_reports), false),
        // Somebody else can write any numbers into the stored one.
        (of(i32::MAX, i32::MAX, none()), of(3, 1, none()), false),
    ] {
        assert_eq!(
            has_unstored_results(&stored, &status),
            unstored,
            "{stored:?} {status:?}"
        );
    }
}
