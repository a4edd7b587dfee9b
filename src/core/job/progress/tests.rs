//! Tests of the limits of a run.

use serde_json::json;

use super::*;
use crate::api::{JobSpec, JobStatus};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::SourceItem;

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn spec(source: &serde_json::Value) -> JobSpec {
    serde_json::from_value(json!({
        "project": {"name": "p", "region": "cn-hangzhou", "accountUID": "12345"},
        "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
        "source": source,
        "backoffLimitPerItem": 9,
    }))
    .unwrap()
}

/// A job whose first item is scored. `listed` says whether its spec lists the images.
fn after_the_canary_call(items: usize, listed: bool) -> Progress {
    let uris: Vec<String> = (0..items).map(|n| format!("oss://pics/{n:04}.jpg")).collect();
    let source = if listed {
        json!({"uris": uris})
    } else {
        json!({"manifest": {"uri": "oss://pics/list.txt"}})
    };
    let mut progress = resume_progress(&spec(&source), &JobStatus::default(), (items, false), NOW, "uid");
    let found = uris.iter().enumerate().map(|(index, uri)| SourceItem {
        uri: uri.clone(),
        resume_after: (!listed).then(|| index.to_string()),
        reject_code: None,
    });
    assert!(add_items(&mut progress, found.collect(), true));
    progress.reserve(1, None);
    progress.persisted();
    assert!(!progress.canary_passed());
    progress.take_next(NOW).unwrap();
    assert_eq!(progress.in_flight(), 1);
    apply_response(&mut progress, 0, Ok("0.5".to_owned()), NOW);
    assert!(progress.canary_passed());
    progress
}

#[test]
fn no_more_requests_are_reserved_than_items_are_left() {
    let mut progress = after_the_canary_call(10, true);
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10);
    progress.persisted();
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10, "they are reserved already");
    progress.take_next(NOW).unwrap();
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10);
}

#[test]
fn items_that_wait_for_a_retry_are_limited_and_stored_with_the_uri_that_the_spec_lacks() {
    for listed in [true, false] {
        let mut progress = after_the_canary_call(300, listed);
        while let Some(item) = progress.take_next(NOW) {
            let busy = CloudError::new(CloudErrorKind::Unavailable, "ServiceBusy");
            apply_response(&mut progress, item.index, Err(busy), NOW);
        }
        let deferred = progress.deferred();
        assert_eq!(deferred.len(), DEFERRED_LIMIT);
        assert!(deferred.iter().all(|item| item.uri.is_none() == listed));
    }
}

#[test]
fn the_source_is_not_read_on_while_the_results_of_two_reports_are_not_stored() {
    let spec = spec(&json!({"prefix": {"bucket": "pics"}}));
    let mut progress = resume_progress(&spec, &JobStatus::default(), (10_000, false), NOW, "uid");
    let mut reads = 0;
    while progress.next_step(NOW, 100, None) == Step::Read {
        let rejected = (0..100).map(|n| {
            let key = format!("{}{reads:03}{n:03}", "k".repeat(1_000));
            SourceItem {
                uri: format!("oss://pics/{key}"),
                resume_after: Some(key),
                reject_code: Some("TooLarge"),
            }
        });
        assert!(add_items(&mut progress, rejected.collect(), false));
        reads += 1;
    }
    let (results, bytes) = progress.results().reports().unwrap().unpersisted();
    assert!((2 * REPORT_BYTES..3 * REPORT_BYTES).contains(&bytes), "{bytes}");
    assert!(results < UNSTORED_LIMIT, "{results}");
}
