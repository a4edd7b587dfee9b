//! A job's progress as a value: the next item, the meaning of an answer, and the reservation. Tables and properties.

#[cfg(test)]
mod job_progress {
    mod first_calls;
    use imm_operator::api::{JobSpec, JobStatus};
    use imm_operator::core::error::{CloudError, CloudErrorKind};
    use imm_operator::core::job::{
        Progress, ResponseEffect, ResultBuffer, SourceItem, Step, StopReason, add_items, add_listed,
        apply_response, build_report, restore_report, resume_progress,
    };
    use imm_operator::core::refusal::Refusal;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn spec(source: &Value) -> JobSpec {
        let credentials = json!({"source": "Secret", "secretRef": {"name": "imm-caller"}});
        let project = json!({"name": "immtest", "region": "cn-hangzhou", "accountUID": "1234567890123456"});
        serde_json::from_value(json!({"project": project, "credentials": credentials, "source": source}))
            .unwrap()
    }

    fn job(items: usize) -> Progress {
        let uris: Vec<String> = (0..items).map(|n| format!("oss://pics/{n}.jpg")).collect();
        let spec = spec(&json!({"uris": uris}));
        let mut progress = resume_progress(&spec, &JobStatus::default(), (items, true), now(), "uid");
        add_listed(&mut progress, &uris);
        progress
    }

    fn error(kind: CloudErrorKind) -> CloudError {
        answered(kind, None, &format!("{kind:?}"))
    }

    fn answered(kind: CloudErrorKind, status: Option<u16>, code: &str) -> CloudError {
        CloudError {
            kind,
            status,
            code: code.to_owned(),
            request_id: None,
            retry_after: None,
            refusal: Refusal::default(),
        }
    }

    /// Reserves requests, and records the reservation as stored.
    fn reserve(progress: &mut Progress, rate: i64, budget: Option<i64>) {
        progress.reserve(rate, budget);
        progress.persisted();
    }

    /// Sends the next item, after a reservation if one is needed; `None` if no item may be sent.
    fn send(progress: &mut Progress, at: Timestamp) -> Option<usize> {
        if progress.next_step(at, 100, None) == Step::Reserve {
            reserve(progress, 98, None);
        }
        if progress.next_step(at, 100, None) != Step::Send {
            return None;
        }
        progress.take_next(at).map(|item| item.index)
    }

    #[test]
    fn the_canary_call_is_alone_until_one_item_is_scored() {
        let mut progress = job(3);
        assert_eq!(send(&mut progress, now()), Some(0));
        assert_eq!(send(&mut progress, now()), None, "the canary is in flight");
        let refused = Err(error(CloudErrorKind::RequestRejected));
        apply_response(&mut progress, 0, refused, now());
        assert_eq!(send(&mut progress, now()), Some(1));
        assert_eq!(
            send(&mut progress, now()),
            None,
            "a rejection does not complete the canary call"
        );
        apply_response(&mut progress, 1, Ok("0.5".to_owned()), now());
        assert_eq!(send(&mut progress, now()), Some(2));
    }

    #[test]
    fn a_due_retry_is_sent_once_while_its_call_is_in_flight() {
        let mut progress = job(3);
        send(&mut progress, now());
        apply_response(&mut progress, 0, Ok("0.5".to_owned()), now());
        send(&mut progress, now());
        apply_response(&mut progress, 1, Err(error(CloudErrorKind::Unavailable)), now());
        let later = now() + SignedDuration::from_secs(120);
        assert_eq!(send(&mut progress, later), Some(1));
        assert_eq!(send(&mut progress, later), Some(2), "the retry is not sent twice");
        assert_eq!(send(&mut progress, later), None);
        apply_response(&mut progress, 2, Ok("0.5".to_owned()), later);
        apply_response(&mut progress, 1, Ok("0.5".to_owned()), later);
        assert_eq!(progress.next_step(later, 100, None), Step::Finished);
        assert_eq!(progress.requests().sent, 4);
    }

    #[test]
    fn the_kind_of_an_error_decides_its_effect() {
        type EffectOf = fn(CloudError) -> ResponseEffect;
        let cases: [(CloudErrorKind, EffectOf); 6] = [
            (CloudErrorKind::Throttled, |_| ResponseEffect::SlowDown),
            (CloudErrorKind::Unavailable, |_| ResponseEffect::Continue),
            (CloudErrorKind::RequestRejected, |_| ResponseEffect::Continue),
            (CloudErrorKind::CredentialsRejected, |error| {
                ResponseEffect::Stop(StopReason::CredentialsRejected(error))
            }),
            (CloudErrorKind::AccessDenied, |error| {
                ResponseEffect::Stop(StopReason::Denied { canary: true, error })
            }),
            (CloudErrorKind::NoSuchProject, |error| {
                ResponseEffect::Stop(StopReason::NoProject { canary: true, error })
            }),
        ];
        for (kind, expected) in cases {
            let mut progress = job(2);
            send(&mut progress, now());
            assert_eq!(
                apply_response(&mut progress, 0, Err(error(kind)), now()),
                expected(error(kind)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn throttling_never_fails_an_item_and_waits_longer_each_time() {
        let mut progress = job(1);
        let mut at = now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(send(&mut progress, at), Some(0));
            apply_response(&mut progress, 0, Err(error(CloudErrorKind::Throttled)), at);
            let Step::Wait(Some(due)) = progress.next_step(at, 1, None) else {
                panic!("the retry has no due time")
            };
            waits.push(due.duration_since(at));
            at = due;
        }
        assert_eq!(progress.stats().failed, 0);
        assert!(
            waits[11] >= SignedDuration::from_secs(30) && waits[11] <= SignedDuration::from_secs(60),
            "{waits:?}"
        );
    }

    #[test]
    fn a_lowered_budget_limits_earlier_reservations() {
        let mut progress = job(10);
        send(&mut progress, now());
        apply_response(&mut progress, 0, Ok("0.5".to_owned()), now());
        for index in [1, 2] {
            assert_eq!(send(&mut progress, now()), Some(index));
        }
        assert_eq!(progress.requests().sent, 3);
        assert!(
            progress.requests().reserved > 4,
            "part of the reservation is unused: {:?}",
            progress.requests()
        );
        // One more request than already sent may be sent, and then none.
        assert_eq!(progress.next_step(now(), 100, Some(4)), Step::Send);
        assert_eq!(progress.take_next(now()).unwrap().index, 3);
        for limit in [4, 3, 1] {
            assert_eq!(
                progress.next_step(now(), 100, Some(limit)),
                Step::Wait(None),
                "the job waits for its answers"
            );
        }
        for index in [1, 2, 3] {
            apply_response(&mut progress, index, Ok("0.5".to_owned()), now());
        }
        for limit in [4, 3, 1] {
            assert_eq!(progress.next_step(now(), 100, Some(limit)), Step::OutOfBudget);
        }
        let raised = progress.next_step(now(), 100, Some(5));
        assert!(matches!(raised, Step::Send | Step::Reserve), "{raised:?}");
    }

    #[test]
    fn billing_follows_the_http_status_and_the_cause_follows_the_kind() {
        use CloudErrorKind::{AccessDenied, RequestRejected, Throttled, Unanswered, Unavailable};
        // Counters: clientErrors, serverErrors, unanswered, throttled, estimatedBillable.
        let cases = [
            (RequestRejected, Some(400), "InvalidArgument", [1, 0, 0, 0, 1]),
            (RequestRejected, Some(200), "NoScoreInResponse", [0, 0, 0, 0, 1]),
            (AccessDenied, Some(403), "AccessDenied", [1, 0, 0, 0, 1]),
            (Unavailable, Some(400), "ServiceUnavailable", [1, 0, 0, 0, 1]),
            (Unavailable, Some(500), "InternalError", [0, 1, 0, 0, 0]),
            (Unavailable, Some(503), "ServiceUnavailable", [0, 1, 0, 0, 0]),
            (Throttled, Some(400), "Throttling.User", [0, 0, 0, 1, 1]),
            (Throttled, Some(429), "Throttling", [0, 0, 0, 1, 1]),
            (Throttled, Some(503), "Throttling.User", [0, 1, 0, 1, 0]),
            (Unanswered, None, "ConnectionFailed", [0, 1, 0, 0, 0]),
            (Unanswered, None, "Timeout", [0, 0, 1, 0, 1]),
        ];
        for (kind, status, code, expected) in cases {
            let mut progress = job(1);
            send(&mut progress, now());
            apply_response(&mut progress, 0, Err(answered(kind, status, code)), now());
            let seen = progress.requests();
            let counted = [
                seen.client_errors,
                seen.server_errors,
                seen.unanswered,
                seen.throttled,
                seen.estimated_billable,
            ];
            assert_eq!(counted, expected, "{kind:?} {status:?} {code}");
            assert_eq!(seen.sent, 1);
        }
    }

    #[test]
    fn a_repeated_call_counts_as_retried_after_any_error() {
        for kind in [
            CloudErrorKind::Unavailable,
            CloudErrorKind::Unanswered,
            CloudErrorKind::Throttled,
        ] {
            let mut progress = job(1);
            let mut at = now();
            for repeats in 0..3 {
                assert_eq!(send(&mut progress, at), Some(0));
                assert_eq!(progress.requests().retried, repeats, "{kind:?}");
                apply_response(&mut progress, 0, Err(error(kind)), at);
                at += SignedDuration::from_secs(120);
            }
        }
    }

    /// Stores pending results in `reports`, as the API server would.
    fn store(progress: &mut Progress, reports: &mut Vec<imm_operator::api::Report>) {
        let ResultBuffer::Reports(filing) = progress.results_mut() else {
            panic!("a large job stores reports")
        };
        for (number, results) in filing.take_pending(false) {
            reports.truncate(number);
            reports.push(build_report("j", number, &results, 0));
        }
        progress.persisted();
    }

    #[test]
    fn after_a_crash_reserved_requests_count_as_sent() {
        let mut status = JobStatus::default();
        status.requests.get_or_insert_default().reserved = 98;
        let uris = ["oss://pics/0.jpg".to_owned()];
        let mut progress = resume_progress(&spec(&json!({"uris": uris})), &status, (1, true), now(), "uid");
        add_listed(&mut progress, &uris);
        assert_eq!((progress.requests().sent, progress.requests().reserved), (98, 98));
        assert_eq!(progress.next_step(now(), 1, Some(98)), Step::OutOfBudget);
    }

    fn page(keys: &[String]) -> Vec<SourceItem> {
        let found = |key: &String| SourceItem {
            uri: format!("oss://pics/{key}"),
            resume_after: Some(key.clone()),
            reject_code: None,
        };
        keys.iter().map(found).collect()
    }

    proptest! {
        /// A job over a prefix is killed repeatedly, between any two stores, while objects are deleted: no stored
        /// result is requested again, no index is used twice, and each object that stays is scored.
        #[test]
        fn a_prefix_job_that_is_killed_has_each_object_once(
            items in 101usize..220,
            lives in proptest::collection::vec((1usize..60, 0usize..4, any::<bool>()), 1..8),
            vanishing in proptest::collection::vec(0usize..220, 0..6),
        ) {
            let spec = spec(&json!({"prefix": {"bucket": "pics"}}));
            let mut keys: Vec<String> = (0..items).map(|n| format!("{n:04}.jpg")).collect();
            let mut status = JobStatus::default();
            let mut reports = Vec::new();
            let mut vanishing = vanishing.into_iter();
            let endless = std::iter::repeat((1_000, 0, true));
            let mut stored_twice = false;
            for (answers, unstored, with_status) in lives.into_iter().chain(endless) {
                let mut progress = resume_progress(&spec, &status, (items, false), now(), "uid");
                for report in &reports {
                    restore_report(&mut progress, report);
                }
                let after = progress.cursor().key.clone();
                let rest: Vec<String> = keys.iter().filter(|k| after.as_ref().is_none_or(|a| *k > a)).cloned().collect();
                let mut flying: Vec<(usize, String)> = Vec::new();
                let mut done = false;
                let mut since_store = 0;
                for step in 0..answers * 3 {
                    match progress.next_step(now(), 5, None) {
                        Step::Finished => { done = true; break }
                        Step::Read => assert!(add_items(&mut progress, page(&rest), true)),
                        Step::Reserve => reserve(&mut progress, 7, None),
                        Step::Send => {
                            let item = progress.take_next(now()).unwrap();
                            stored_twice |= reports.iter().any(|r: &imm_operator::api::Report| {
                                r.results.iter().any(|result| result.uri == item.uri)
                            });
                            flying.push((item.index, item.uri));
                        }
                        Step::Wait(_) | Step::OutOfBudget => {
                            // Answers arrive in any order.
                            let (index, _) = flying.swap_remove(step % flying.len());
                            apply_response(&mut progress, index, Ok("0.5".to_owned()), now());
                            since_store += 1;
                        }
                    }
                    if since_store > unstored {
                        since_store = 0;
                        store(&mut progress, &mut reports);
                        if with_status {
                            status.cursor = Some(progress.cursor().clone());
                        }
                    }
                }
                if done {
                    store(&mut progress, &mut reports);
                    prop_assert_eq!(progress.stats().done(), items);
                    break;
                }
                // While no process runs, an object is deleted.
                if let Some(deleted) = vanishing.next().filter(|n| *n < keys.len()) {
                    keys.remove(deleted);
                }
            }
            prop_assert!(!stored_twice, "a stored result was requested again");
            let mut indices: Vec<i32> = reports.iter().flat_map(|r| r.results.iter().map(|r| r.index)).collect();
            let count = indices.len();
            indices.sort_unstable();
            indices.dedup();
            prop_assert_eq!(indices.len(), count, "an index was used twice");
            let scored: Vec<&String> = reports.iter().flat_map(|r| r.results.iter().map(|r| &r.uri)).collect();
            for key in &keys {
                prop_assert!(scored.iter().any(|uri| uri.ends_with(key.as_str())), "{} is missing", key);
            }
        }

        /// For any sequence of answers, every item ends once, the budget holds, and the counters add up.
        #[test]
        fn every_item_ends_once_within_the_budget(
            items in 1usize..30,
            answers in proptest::collection::vec(0u8..6, 1..400),
            budget in 1i64..200,
            ceiling in 1usize..10,
        ) {
            let mut progress = job(items);
            let mut at = now();
            let mut flying: Vec<usize> = Vec::new();
            let mut answers = answers.into_iter().cycle();
            let mut sent = 0i64;
            for _ in 0..5_000 {
                match progress.next_step(at, ceiling, Some(budget)) {
                    Step::Finished | Step::OutOfBudget => break,
                    Step::Reserve => reserve(&mut progress, 7, Some(budget)),
                    Step::Send => {
                        let index = progress.take_next(at).unwrap().index;
                        prop_assert!(!flying.contains(&index), "{index} is in flight already");
                        flying.push(index);
                        sent += 1;
                    }
                    Step::Read => prop_assert!(false, "a list is read at once"),
                    Step::Wait(until) => match flying.pop() {
                        Some(index) => {
                            let answer = match answers.next().unwrap() {
                                0 => Err(error(CloudErrorKind::Throttled)),
                                1 => Err(error(CloudErrorKind::Unavailable)),
                                2 => Err(error(CloudErrorKind::Unanswered)),
                                3 => Err(error(CloudErrorKind::RequestRejected)),
                                _ => Ok("0.25".to_owned()),
                            };
                            apply_response(&mut progress, index, answer, at);
                        }
                        None => at = until.unwrap_or(at + SignedDuration::from_secs(1)),
                    },
                }
                prop_assert!(flying.len() <= ceiling);
                prop_assert!(sent <= budget);
            }
            let requests = progress.requests();
            prop_assert_eq!(requests.sent, sent);
            prop_assert!(requests.reserved >= requests.sent && requests.reserved <= budget);
            let ResultBuffer::Inline(results) = progress.results() else { panic!("a small job stores its results inline") };
            prop_assert_eq!(results.len(), progress.stats().done());
        }
    }
}
