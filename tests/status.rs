//! The status of a large job stays small, whatever the outcome of its items.

#[cfg(test)]
mod status {
    use std::collections::HashSet;

    use imm_operator::api::{JobSpec, JobStatus};
    use imm_operator::core::error::{CloudError, CloudErrorKind};
    use imm_operator::core::grant::ObjectKey;
    use imm_operator::core::job::{
        JobObject, Phase, ResultBuffer, SourceItem, Step, add_items, apply_response, job_status,
        resume_progress,
    };
    use imm_operator::core::refusal::Refusal;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use serde_json::{Value, json};

    const ITEMS: usize = 100_000;
    const LIMIT: usize = 128 * 1024;

    fn job() -> JobObject {
        let spec: Value = json!({
            "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": "1234567890123456"},
            "credentials": {"source": "Secret", "secretRef": {"name": "imm-caller"}},
            "source": {"prefix": {"bucket": "pics", "maxObjects": ITEMS}},
            "backoffLimitPerItem": 3,
        });
        JobObject {
            key: ObjectKey {
                namespace: "n".to_owned(),
                name: "large".to_owned(),
            },
            uid: "uid".to_owned(),
            resource_version: "1".to_owned(),
            generation: 1,
            deleting: false,
            started: Some("uid".to_owned()),
            reconcile_at: None,
            spec: Ok(serde_json::from_value::<JobSpec>(spec).unwrap()),
            status: JobStatus::default(),
        }
    }

    /// Returns a page of objects with keys of about 1,000 bytes.
    fn page(from: usize) -> Vec<SourceItem> {
        let found = |n: usize| {
            let key = format!("{}{n:07}.jpg", "k".repeat(990));
            SourceItem {
                uri: format!("oss://pics/{key}"),
                resume_after: Some(key),
                reject_code: None,
            }
        };
        (from..(from + 1_000).min(ITEMS)).map(found).collect()
    }

    /// Answers a call: every third item needs a second call, and every fifth fails with a code of its own.
    fn answer(index: usize, again: bool) -> Result<String, CloudError> {
        let failed = |kind, code| CloudError {
            kind,
            status: None,
            code,
            request_id: None,
            retry_after: None,
            refusal: Refusal::default(),
        };
        match index {
            0 => Ok("0.5".to_owned()),
            n if n % 3 == 0 && !again => Err(failed(CloudErrorKind::Unavailable, "ServiceBusy".to_owned())),
            n if n % 5 == 0 => Err(failed(CloudErrorKind::RequestRejected, format!("Code{n}"))),
            n => Ok(format!("0.{n:06}")),
        }
    }

    #[test]
    fn the_status_of_a_hundred_thousand_items_holds_only_counts_and_deferred_items() {
        let mut job = job();
        let spec = job.spec.clone().unwrap();
        let mut now = Timestamp::from_second(1_790_000_000).unwrap();
        let mut progress = resume_progress(&spec, &job.status, (ITEMS, false), now, "uid");
        let (mut read, mut tried, mut flying) = (0, HashSet::new(), Vec::new());
        let (mut answers, mut largest, mut most_waiting) = (0, 0, 0);
        loop {
            // Without a store, the source is not read on.
            let mut idle = false;
            match progress.next_step(now, 300, None) {
                Step::Finished => break,
                Step::Read => {
                    let found = page(read);
                    read += found.len();
                    assert!(add_items(&mut progress, found, read == ITEMS));
                }
                Step::Reserve => {
                    progress.reserve(1_000, None);
                    progress.persisted();
                }
                Step::Send => flying.push(progress.take_next(now).unwrap().index),
                Step::Wait(due) => {
                    if let Some(index) = flying.pop() {
                        apply_response(&mut progress, index, answer(index, !tried.insert(index)), now);
                        answers += 1;
                    } else {
                        idle = due.is_none();
                        now = due.unwrap_or(now + SignedDuration::from_secs(1));
                    }
                }
                Step::OutOfBudget => panic!("the job has no budget"),
            }
            if idle || answers % 2_000 == 1 {
                answers += usize::from(!idle);
                if let ResultBuffer::Reports(filing) = progress.results_mut() {
                    filing.take_pending(false);
                }
                progress.persisted();
                job.status = job_status(&job, &Phase::Scoring(0), Some(&progress), now);
                largest = largest.max(serde_json::to_string(&job.status).unwrap().len());
                most_waiting = most_waiting.max(job.status.deferred.len());
            }
        }
        assert_eq!(progress.stats().done(), ITEMS);
        assert!(
            most_waiting > 50,
            "only {most_waiting} items were deferred at once"
        );
        assert!(largest < LIMIT, "{largest} bytes, {most_waiting} waiting");
    }
}
