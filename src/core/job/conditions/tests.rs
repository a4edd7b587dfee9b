//! The conditions of a job in every phase: without a status, and after items were scored.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::api::{ConditionStatus, EnforcementWait, Items, ObservedSource, Requests};
use crate::core::error::CloudError;
use crate::core::grant::ObjectKey;
use crate::core::job::{SourceItem, add_items, apply_response, job_status, resume_progress};

const NOW: Timestamp = Timestamp::constant(1_770_000_000, 0);

fn shown(condition: &Condition) -> String {
    let status = format!("{:?}", condition.status);
    format!(
        "{}={}/{}",
        condition.kind,
        status.get(..1).unwrap_or_default(),
        condition.reason
    )
}

/// A job with a threshold. `scored` is a job with 5 items, 1 of them failed and 2 pending.
fn job(scored: bool) -> JobObject {
    let spec: crate::api::JobSpec = serde_json::from_value(json!({
        "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": "1234567890123456"},
        "credentials": {"source": "Secret", "secretRef": {"name": "imm-caller"}},
        "grantRef": {"name": "photos"},
        "source": {"prefix": {"bucket": "pics"}},
        "thresholds": {"minScore": "0.5"},
    }))
    .unwrap();
    let mut before = ConditionsBuilder::new(&[], 1, NOW);
    before.set_true(JobCondition::Allowed, JobReason::Permitted, "");
    before.set_true(JobCondition::SourceReady, JobReason::Counted, "");
    before.set_true(JobCondition::GrantReady, JobReason::Live, "");
    before.set_false(JobCondition::CredentialsValid, JobReason::SecretMissing, "");
    let status = JobStatus {
        conditions: before.finish(),
        items: Some(Items {
            total: 5,
            succeeded: 2,
            failed: 1,
            pending: 2,
            ..Items::default()
        }),
        requests: Some(Requests {
            sent: 3,
            ..Requests::default()
        }),
        ..JobStatus::default()
    };
    JobObject {
        key: ObjectKey {
            namespace: "media".to_owned(),
            name: "one".to_owned(),
        },
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        generation: 2,
        deleting: false,
        started: None,
        reconcile_at: None,
        spec: Ok(spec),
        status: if scored { status } else { JobStatus::default() },
    }
}

#[test]
fn each_phase_has_its_conditions() {
    let text = || "message".to_owned();
    let error = |kind| CloudError::new(kind, "Code");
    let wait = EnforcementWait {
        repeats: 1,
        until: Time(NOW),
    };
    let phases = [
        Phase::Waiting(text()),
        Phase::Unenforced(text(), wait),
        Phase::Counting(ObservedSource::default(), 0),
        Phase::SourceUnreadable {
            message: text(),
            stalled: true,
        },
        Phase::SourceUnreadable {
            message: text(),
            stalled: false,
        },
        Phase::Queued(None),
        Phase::Scoring(3),
        Phase::Suspended,
        Phase::Denied(text()),
        Phase::CredentialsFailed(CredentialsError::NotFound, text()),
        Phase::CredentialsFailed(CredentialsError::Unavailable, text()),
        Phase::CredentialsRejected(error(CloudErrorKind::CredentialsRejected), text()),
        Phase::CredentialsRejected(error(CloudErrorKind::CredentialsExpired), text()),
        Phase::OutOfBudget,
        Phase::RestoredFromBackup,
        Phase::ResultsMissing(2),
        Phase::NotStarted(text()),
        Phase::Stalled(JobReason::ResultsUnreadable, text()),
        Phase::Stalled(JobReason::EndpointForbidden, text()),
        Phase::Invalid(text()),
        Phase::Ended(End::Failed(JobReason::MaxFailedItems, text())),
        Phase::Ended(End::Failed(JobReason::SourceChanged, text())),
        Phase::Ended(End::Failed(JobReason::GrantMismatch, text())),
        Phase::Ended(End::Failed(JobReason::BelowThreshold, text())),
        Phase::Ended(End::Complete),
    ];
    let mut seen = String::new();
    for phase in phases {
        let name = format!("{phase:?}");
        let name = name.split([',', ' ']).next().unwrap_or_default();
        for scored in [false, true] {
            let conditions = job_status(&job(scored), &phase, None, NOW).conditions;
            let conditions = conditions.iter().map(shown).collect::<Vec<_>>().join(" ");
            let which = if scored { "scored" } else { "new" };
            seen.extend([name, " ", which, ": ", &conditions, "\n"]);
        }
    }
    assert_eq!(seen, include_str!("conditions.txt"), "{seen}");
}

#[test]
fn a_run_without_budget_has_passed_the_gate() {
    let job = job(false);
    let progress = resume_progress(job.spec.as_ref().unwrap(), &job.status, (2, true), NOW, "uid");
    let conditions = job_status(&job, &Phase::OutOfBudget, Some(&progress), NOW).conditions;
    let conditions = conditions.iter().map(shown).collect::<Vec<_>>().join(" ");
    assert!(
        conditions.contains("Allowed=T/Permitted GrantReady=T/Live"),
        "{conditions}"
    );
}

#[test]
fn only_failed_items_are_failures_of_a_complete_job() {
    for (failed, reason) in [(0, "Completed"), (1, "CompletedWithFailures")] {
        let mut job = job(true);
        job.status.items.as_mut().unwrap().failed = failed;
        let conditions = job_status(&job, &Phase::Ended(End::Complete), None, NOW).conditions;
        let complete = conditions.iter().find(|c| c.is(JobCondition::Complete));
        assert_eq!(complete.unwrap().reason, reason);
    }
}

#[test]
fn the_credentials_are_valid_once_a_call_was_made_with_them() {
    let job = job(true);
    let spec = job.spec.clone().unwrap();
    let status = |progress: &Progress, phase| {
        let conditions = job_status(&job, phase, Some(progress), NOW).conditions;
        let mut found = conditions.iter().filter(|c| c.is(JobCondition::CredentialsValid));
        found.next().map(|c| c.status)
    };
    let phases = [Phase::Scoring(1), Phase::OutOfBudget, Phase::Ended(End::Complete)];
    let rejected = CloudError {
        status: Some(400),
        ..CloudError::new(CloudErrorKind::RequestRejected, "InvalidImage")
    };
    let unanswered = CloudError::new(CloudErrorKind::Unanswered, "Timeout");
    for (answer, valid) in [
        (None, None),
        (Some(Err(unanswered)), None),
        (Some(Err(rejected)), Some(ConditionStatus::True)),
        (Some(Ok("0.5".to_owned())), Some(ConditionStatus::True)),
    ] {
        let mut progress = resume_progress(&spec, &JobStatus::default(), (2, true), NOW, "uid");
        let item = |key: &str, reject_code| SourceItem {
            uri: format!("oss://pics/{key}"),
            resume_after: Some(key.to_owned()),
            reject_code,
        };
        let page = vec![item("1.jpg", Some("Archived")), item("2.jpg", None)];
        assert!(add_items(&mut progress, page, true));
        if let Some(answer) = answer.clone() {
            let index = progress.take_next(NOW).unwrap().index;
            apply_response(&mut progress, index, answer, NOW);
        }
        for phase in &phases {
            assert_eq!(status(&progress, phase), valid, "{phase:?} after {answer:?}");
        }
    }
}

#[test]
fn the_threshold_is_reported_after_the_first_score() {
    let job = job(true);
    let spec = job.spec.clone().unwrap();
    for (score, expected) in [
        (None, None),
        (Some("0.5"), Some("ThresholdMet=T/WithinThreshold")),
        (Some("0.49"), Some("ThresholdMet=F/BelowThreshold")),
    ] {
        let mut progress = resume_progress(&spec, &JobStatus::default(), (1, true), NOW, "uid");
        let item = SourceItem {
            uri: "oss://pics/1.jpg".to_owned(),
            resume_after: Some("1.jpg".to_owned()),
            reject_code: None,
        };
        assert!(add_items(&mut progress, vec![item], true));
        let index = progress.take_next(NOW).unwrap().index;
        if let Some(score) = score {
            apply_response(&mut progress, index, Ok(score.to_owned()), NOW);
        }
        let conditions = job_status(&job, &Phase::Scoring(1), Some(&progress), NOW).conditions;
        let mut found = conditions.iter().filter(|c| c.is(JobCondition::ThresholdMet));
        let found = found.next();
        assert_eq!(found.map(shown).as_deref(), expected, "{score:?}");
        // Of all items, as in the message of a job that fails by it.
        let counted = found.is_none_or(|c| c.message.contains(" of 1 item, and thresholds.maxBelow allows"));
        assert!(counted, "{found:?}");
    }
}

#[test]
fn a_job_that_fails_by_an_answer_of_imm_no_longer_reports_missing_credentials() {
    let job = job(true);
    let spec = job.spec.clone().unwrap();
    let ends = [
        End::Failed(JobReason::ProjectNotFound, String::new()),
        End::Failed(JobReason::GrantMismatch, String::new()),
    ];
    for end in ends {
        let mut progress = resume_progress(&spec, &JobStatus::default(), (2, true), NOW, "uid");
        let status = |progress: &Progress| {
            let status = job_status(&job, &Phase::Ended(end.clone()), Some(progress), NOW);
            let mut found = status
                .conditions
                .into_iter()
                .filter(|c| c.is(JobCondition::CredentialsValid));
            found.next().map(|c| c.status)
        };
        assert_eq!(status(&progress), Some(ConditionStatus::False));
        progress.authenticated = true;
        assert_eq!(status(&progress), Some(ConditionStatus::True));
    }
}

#[test]
fn results_that_were_left_out_are_reported_and_an_unreadable_status_stalls_the_job() {
    let mut job = job(true);
    let stored = |job: &JobObject| {
        let status = job_status(job, &Phase::Ended(End::Complete), None, NOW);
        let mut found = status
            .conditions
            .into_iter()
            .filter(|c| c.is(JobCondition::ResultsStored));
        found.next().unwrap().message
    };
    assert_eq!(stored(&job), "Every counted result is in status.results");
    job.status.results_pruned = true;
    assert_eq!(stored(&job), RESULTS_KEPT_MESSAGE);

    let stalled = crate::core::job::unreadable_status(&job, NOW);
    let stalled = stalled.conditions.iter().map(shown).collect::<Vec<_>>().join(" ");
    assert_eq!(
        stalled,
        "Ready=F/StatusUnreadable Stalled=T/StatusUnreadable Allowed=T/Permitted SourceReady=T/Counted GrantReady=T/Live CredentialsValid=F/SecretMissing"
    );
}

#[test]
fn results_are_lacking_only_if_the_condition_about_them_says_so() {
    for (kind, reason, expected) in [
        (JobCondition::ResultsStored, JobReason::ResultsMissing, true),
        (JobCondition::ResultsStored, JobReason::ResultsUnreadable, true),
        (JobCondition::ResultsStored, JobReason::Stored, false),
        (JobCondition::Ready, JobReason::ResultsMissing, false),
    ] {
        let mut list = ConditionsBuilder::new(&[], 1, NOW);
        list.set_false(kind, reason, "");
        assert_eq!(lacks_results(&list.finish()), expected, "{kind:?} {reason:?}");
    }
}
