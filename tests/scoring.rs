//! A job's progress as a value: which item goes next, what an answer means, and what is reserved. Tables and a property.

#[cfg(test)]
mod scoring {
    use imm_operator::api::JobStatus;
    use imm_operator::core::failure::{CallFailure, FailureKind};
    use imm_operator::core::job::{Outcome, Progress, Step};
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn job(items: usize) -> Progress {
        let uris: Vec<String> = (0..items).map(|n| format!("oss://pics/{n}.jpg")).collect();
        Progress::resume(&uris, &JobStatus::default(), 2, now(), "uid")
    }

    fn failure(kind: FailureKind) -> CallFailure {
        CallFailure {
            kind,
            status: None,
            code: format!("{kind:?}"),
            request_id: None,
            retry_after: None,
        }
    }

    /// Reserves if that is asked for, and sends what comes next.
    fn send(progress: &mut Progress, at: Timestamp) -> Option<usize> {
        if progress.next(at, 100, None) == Step::Reserve {
            progress.reserve(98, None);
        }
        let Step::Send(index) = progress.next(at, 100, None) else {
            return None;
        };
        progress.sent(index);
        Some(index)
    }

    #[test]
    fn the_first_item_goes_alone_until_one_was_scored() {
        let mut progress = job(3);
        assert_eq!(send(&mut progress, now()), Some(0));
        assert_eq!(send(&mut progress, now()), None, "the canary is in flight");
        progress.fold(0, Err(failure(FailureKind::Refused)), now());
        assert_eq!(send(&mut progress, now()), Some(1));
        assert_eq!(send(&mut progress, now()), None, "a refusal proves nothing");
        progress.fold(1, Ok("0.5".to_owned()), now());
        assert_eq!(send(&mut progress, now()), Some(2));
    }

    #[test]
    fn a_due_retry_is_sent_once_while_its_call_is_in_flight() {
        let mut progress = job(3);
        send(&mut progress, now());
        progress.fold(0, Ok("0.5".to_owned()), now());
        send(&mut progress, now());
        progress.fold(1, Err(failure(FailureKind::Unavailable)), now());
        let later = now() + SignedDuration::from_secs(120);
        assert_eq!(send(&mut progress, later), Some(1));
        assert_eq!(send(&mut progress, later), Some(2), "not the retry again");
        assert_eq!(send(&mut progress, later), None);
        progress.fold(2, Ok("0.5".to_owned()), later);
        progress.fold(1, Ok("0.5".to_owned()), later);
        assert_eq!(progress.next(later, 100, None), Step::Done);
        assert_eq!(progress.requests().sent, 4);
    }

    #[test]
    fn what_an_answer_means_is_decided_by_its_kind() {
        let cases = [
            (FailureKind::Throttled, Outcome::SlowDown),
            (FailureKind::Unavailable, Outcome::GoOn),
            (FailureKind::Refused, Outcome::GoOn),
            (
                FailureKind::KeysRejected,
                Outcome::KeysRefused(failure(FailureKind::KeysRejected)),
            ),
            (
                FailureKind::Denied,
                Outcome::Denied {
                    canary: true,
                    failure: failure(FailureKind::Denied),
                },
            ),
            (
                FailureKind::NoSuchProject,
                Outcome::NoProject(failure(FailureKind::NoSuchProject)),
            ),
        ];
        for (kind, expected) in cases {
            let mut progress = job(2);
            send(&mut progress, now());
            assert_eq!(progress.fold(0, Err(failure(kind)), now()), expected, "{kind:?}");
        }
    }

    #[test]
    fn throttling_never_fails_an_item_and_waits_longer_each_time() {
        let mut progress = job(1);
        let mut at = now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(send(&mut progress, at), Some(0));
            progress.fold(0, Err(failure(FailureKind::Throttled)), at);
            let Step::Wait(Some(due)) = progress.next(at, 1, None) else {
                panic!("a retry is due some time")
            };
            waits.push(due.duration_since(at));
            at = due;
        }
        assert_eq!(progress.failed().0, 0);
        assert!(
            waits[11] >= SignedDuration::from_secs(30) && waits[11] <= SignedDuration::from_secs(60),
            "{waits:?}"
        );
    }

    #[test]
    fn after_a_crash_what_was_reserved_counts_as_spent() {
        let mut status = JobStatus::default();
        status.requests.get_or_insert_default().reserved = 98;
        let progress = Progress::resume(&["oss://pics/0.jpg".to_owned()], &status, 2, now(), "uid");
        assert_eq!((progress.requests().sent, progress.requests().reserved), (98, 98));
        assert_eq!(progress.next(now(), 1, Some(98)), Step::OutOfBudget);
    }

    proptest! {
        /// Whatever the answers, every item ends once, the budget holds, and the counters add up.
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
                match progress.next(at, ceiling, Some(budget)) {
                    Step::Done | Step::OutOfBudget => break,
                    Step::Reserve => progress.reserve(7, Some(budget)),
                    Step::Send(index) => {
                        prop_assert!(!flying.contains(&index), "{index} is in flight already");
                        flying.push(index);
                        progress.sent(index);
                        sent += 1;
                    }
                    Step::Wait(until) => match flying.pop() {
                        Some(index) => {
                            let answer = match answers.next().unwrap() {
                                0 => Err(failure(FailureKind::Throttled)),
                                1 => Err(failure(FailureKind::Unavailable)),
                                2 => Err(failure(FailureKind::Unanswered)),
                                3 => Err(failure(FailureKind::Refused)),
                                _ => Ok("0.25".to_owned()),
                            };
                            progress.fold(index, answer, at);
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
            let mut indices: Vec<i32> = progress.results().iter().map(|r| r.index).collect();
            indices.dedup();
            prop_assert_eq!(indices.len(), progress.results().len());
        }
    }
}
