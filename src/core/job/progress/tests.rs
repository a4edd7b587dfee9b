//! Tests of the limits of a run.

use serde_json::json;

use super::*;
use crate::api::{JobSpec, JobStatus};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::result_buffer::MOST_HELD;
use crate::core::job::{SourceItem, StopReason, spec_with};

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn spec(source: &serde_json::Value) -> JobSpec {
    spec_with(&json!({"source": source, "backoffLimitPerItem": 9}))
}

/// A job whose first item is scored. `listed` says whether its spec lists the images; `key` is the length of their keys.
fn after_the_canary_call(items: usize, listed: bool, key: usize) -> Progress {
    let uris: Vec<String> = (0..items).map(|n| format!("oss://pics/{n:0key$}")).collect();
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
    let mut progress = after_the_canary_call(10, true, 4);
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10);
    assert_eq!(
        progress.next_step(NOW, 100, None),
        Step::Wait(None),
        "the reservation is not stored"
    );
    progress.persisted();
    assert_eq!(progress.next_step(NOW, 100, None), Step::Send);
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10, "they are reserved already");
    progress.take_next(NOW).unwrap();
    progress.reserve(98, None);
    assert_eq!(progress.requests().reserved, 10);
}

#[test]
fn items_that_wait_for_a_retry_are_limited_and_stored_with_the_uri_that_the_spec_lacks() {
    let bytes_as_json = 1024;
    let long = bytes_as_json - serialized_len("oss://pics/");
    for (listed, key, limit) in [
        (true, 4, DEFERRED_LIMIT),
        (false, 4, DEFERRED_LIMIT),
        (true, long, DEFERRED_LIMIT),
        (false, long, DEFERRED_BYTES / bytes_as_json),
    ] {
        let mut progress = after_the_canary_call(300, listed, key);
        while let Some(item) = progress.take_next(NOW) {
            let busy = CloudError::new(CloudErrorKind::Unavailable, "ServiceBusy");
            apply_response(&mut progress, item.index, Err(busy), NOW);
        }
        let deferred = progress.deferred();
        assert_eq!(deferred.len(), limit, "{listed} {key}");
        assert!(deferred.iter().all(|item| item.uri.is_none() == listed));
        // Each one that is done makes room for another.
        let later = crate::core::time::after(NOW, k8s_openapi::jiff::SignedDuration::from_hours(1));
        for index in 1..=3 {
            let next = limit + index;
            assert_eq!(progress.take_next(later).map(|item| item.index), Some(index));
            apply_response(&mut progress, index, Ok("0.5".to_owned()), later);
            assert_eq!(progress.take_next(NOW).map(|item| item.index), Some(next));
            assert!(progress.take_next(NOW).is_none());
        }
    }
}

#[test]
fn a_clean_stop_releases_what_is_reserved_and_not_sent() {
    let mut progress = after_the_canary_call(10, true, 4);
    progress.reserve(2, None);
    progress.persisted();
    progress.take_next(NOW).unwrap();
    progress.reserve(5, None);
    progress.release();
    let requests = progress.requests();
    assert_eq!((requests.reserved, requests.sent), (2, 2));
    assert_eq!(
        progress.next_step(NOW, 100, None),
        Step::Reserve,
        "nothing is left to use"
    );
}

#[test]
fn a_source_is_read_again_after_a_failed_read_and_what_it_lacks_at_its_end_is_skipped() {
    let spec = spec(&json!({"prefix": {"bucket": "pics"}}));
    let mut progress = resume_progress(&spec, &JobStatus::default(), (3, false), NOW, "uid");
    assert_eq!(progress.next_step(NOW, 1, None), Step::Read);
    assert_eq!(
        progress.next_step(NOW, 1, None),
        Step::Wait(None),
        "one read at a time"
    );
    progress.read_failed();
    assert_eq!(progress.next_step(NOW, 1, None), Step::Read);
    let rejected = |key: &str| SourceItem {
        uri: format!("oss://pics/{key}"),
        resume_after: Some(key.to_owned()),
        reject_code: Some("TooLarge"),
    };
    for (key, last, done, skipped) in [("a", false, 1, 1), ("b", true, 2, 3)] {
        assert!(progress.has_open_items());
        assert!(add_items(&mut progress, vec![rejected(key)], last));
        assert_eq!(
            (progress.done(), progress.stats().skipped),
            (done, skipped),
            "{key}"
        );
    }
    assert!(!progress.has_open_items());
    assert_eq!(progress.next_step(NOW, 1, None), Step::Finished);
}

#[test]
fn the_source_is_not_read_on_while_many_results_are_not_stored() {
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
    let results = progress.results().reports().unwrap().unpersisted();
    assert!(
        (MOST_HELD / 1_200..MOST_HELD / 1_000 + 100).contains(&results),
        "{results}"
    );
}

#[test]
fn the_source_is_not_read_on_while_one_call_takes_long_although_all_other_items_are_rejected() {
    let spec = spec(&json!({"manifest": {"uri": "oss://pics/list.txt"}}));
    let mut progress = resume_progress(&spec, &JobStatus::default(), (250_000, false), NOW, "uid");
    let line = |index: usize, reject_code| SourceItem {
        uri: "x".to_owned(),
        resume_after: Some(format!("{index}:{index}")),
        reject_code,
    };
    assert_eq!(progress.next_step(NOW, 1, None), Step::Read);
    assert!(add_items(&mut progress, vec![line(0, None)], false));
    progress.reserve(1, None);
    progress.persisted();
    progress.take_next(NOW).unwrap();
    let mut read = 1;
    while progress.next_step(NOW, 1, None) == Step::Read {
        let page = (read..read + 100).map(|index| line(index, Some("InvalidUri")));
        assert!(add_items(&mut progress, page.collect(), false));
        read += 100;
        if let ResultBuffer::Reports(reports) = progress.results_mut() {
            reports.take_pending(false);
        }
        progress.persisted();
    }
    assert_eq!(read, 4_001);
    apply_response(&mut progress, 0, Ok("0.5".to_owned()), NOW);
    assert_eq!(
        progress.next_step(NOW, 1, None),
        Step::Read,
        "the cursor has passed all of them"
    );
}

fn denial() -> CloudError {
    CloudError {
        status: Some(403),
        ..CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied")
    }
}

/// Takes the next item, which must be this one.
fn send(progress: &mut Progress, index: usize, now: Timestamp) {
    progress.reserve(1, None);
    progress.persisted();
    assert_eq!(progress.take_next(now).map(|item| item.index), Some(index));
}

#[test]
fn an_image_that_is_denied_alone_fails_and_the_job_continues() {
    let later = crate::core::time::after(NOW, k8s_openapi::jiff::SignedDuration::from_secs(90));
    let mut progress = after_the_canary_call(4, false, 4);
    send(&mut progress, 1, NOW);
    let effect = apply_response(&mut progress, 1, Err(denial()), NOW);
    assert_eq!(effect, ResponseEffect::Continue);
    assert!(!progress.canary_passed());
    // Another image decides, although the retry is due.
    send(&mut progress, 2, later);
    assert_eq!(
        progress.next_step(later, 9, None),
        Step::Wait(None),
        "one call at a time"
    );
    let effect = apply_response(&mut progress, 2, Ok("0.5".to_owned()), later);
    assert_eq!(effect, ResponseEffect::Served { passes: true });
    send(&mut progress, 1, later);
    let effect = apply_response(&mut progress, 1, Err(denial()), later);
    assert_eq!(effect, ResponseEffect::Continue);
    assert_eq!((progress.done(), progress.stats().succeeded), (3, 2));
    assert_eq!(progress.stats().failures()[0].code, "AccessDenied");

    // No image is left to decide about the last one: the grant is checked, and then the image fails.
    send(&mut progress, 3, later);
    let effect = apply_response(&mut progress, 3, Err(denial()), later);
    assert_eq!(
        effect,
        ResponseEffect::Stop(StopReason::Denied {
            canary: false,
            error: denial()
        })
    );
    progress.canary = Canary::default();
    let much_later = crate::core::time::after(later, k8s_openapi::jiff::SignedDuration::from_secs(90));
    send(&mut progress, 3, much_later);
    let effect = apply_response(&mut progress, 3, Err(denial()), much_later);
    assert_eq!(effect, ResponseEffect::Continue);
    assert_eq!(progress.next_step(much_later, 9, None), Step::Finished);
}

#[test]
fn three_denied_deciding_calls_stop_the_run_and_one_about_the_caller_does() {
    let mut progress = after_the_canary_call(40, false, 4);
    send(&mut progress, 1, NOW);
    apply_response(&mut progress, 1, Err(denial()), NOW);
    for (index, last) in [(2, false), (15, false), (28, true)] {
        send(&mut progress, index, NOW);
        let effect = apply_response(&mut progress, index, Err(denial()), NOW);
        let stops = effect
            == ResponseEffect::Stop(StopReason::Denied {
                canary: false,
                error: denial(),
            });
        assert_eq!(stops, last, "{index}");
    }
    assert_eq!(progress.done(), 1, "no image has failed");

    let mut progress = after_the_canary_call(4, false, 4);
    send(&mut progress, 1, NOW);
    let error = CloudError::new(CloudErrorKind::AccessDenied, "NoPermission");
    let effect = apply_response(&mut progress, 1, Err(error.clone()), NOW);
    assert_eq!(
        effect,
        ResponseEffect::Stop(StopReason::Denied { canary: false, error })
    );
}

#[test]
fn the_open_report_is_stored_again_when_its_reservation_is_outdated() {
    let mut progress = after_the_canary_call(10, true, 4);
    let filed = Some(progress.requests().reserved);
    assert_eq!(progress.reports_to_store(filed).len(), 1, "it has a new result");
    progress.persisted();
    assert!(progress.reports_to_store(filed).is_empty());
    progress.reserve(5, None);
    assert_eq!(progress.reports_to_store(filed).len(), 1);
}
