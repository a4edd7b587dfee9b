//! Evaluates responses of IMM: a result, a retry, or the end of the run. Failures are decided by kind and code, because
//! IMM bills rejected requests, and a blind retry would be billed again.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::canary::Denial;
use super::retry::{LONGEST_DELAY, Retry};
use super::settle::{mark_settled, record_result, untrack};
use super::{Item, Progress, Reading};
use crate::api::FailureAction;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::job::ends::names_caller;
use crate::core::job::first_calls::FirstCalls;
use crate::core::job::{Score, StopReason};
use crate::core::{requeue, time};

/// Effect of a response on the whole job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseEffect {
    /// Continue.
    Continue,
    /// IMM has served the call; `passes` says that the run may send more than one call at a time from now on.
    Served {
        /// Whether it was a canary call with a score.
        passes: bool,
    },
    /// Lower the call rate and continue.
    SlowDown,
    /// No response came within the deadline: IMM is slow, so lower the call rate and continue.
    TimedOut,
    /// Make no more calls.
    Stop(StopReason),
}

/// Applies a response to the item with this index and returns the effect on the job.
pub fn apply_response(
    progress: &mut Progress,
    index: usize,
    answer: Result<String, CloudError>,
    now: Timestamp,
) -> ResponseEffect {
    let Some(item) = progress.in_flight.remove(&index) else {
        return ResponseEffect::Continue;
    };
    match answer {
        Ok(text) => {
            let score = Score::parse(&text);
            let before_canary = !progress.canary_passed();
            progress.authenticated = true;
            note_score(progress, index, score.is_some());
            let code = score.is_none().then(|| "ScoreOutOfRange".to_owned());
            untrack(progress, &item.uri);
            record_result(progress, index, item.uri, score.map(Score::into_text), code);
            let passes = before_canary && progress.canary_passed();
            ResponseEffect::Served { passes }
        }
        Err(error) => apply_error(progress, item, error, now),
    }
}

fn apply_error(progress: &mut Progress, item: Item, error: CloudError, now: Timestamp) -> ResponseEffect {
    count_request(progress, &error);
    let slow = error.kind == CloudErrorKind::Unanswered && error.code == "Timeout";
    let canary = progress.canary.is_first();
    let passing = match error.kind {
        CloudErrorKind::Throttled => {
            // Throttling depends on the call rate, not on the item: it is not counted as an attempt.
            let before = progress.retries.get(&item.index).map_or(0, |r| r.throttles);
            let throttles = before.saturating_add(1);
            defer(progress, &item, 0, throttles, error.retry_after, now);
            return ResponseEffect::SlowDown;
        }
        CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
            defer(progress, &item, 0, 0, None, now);
            return ResponseEffect::Stop(StopReason::CredentialsRejected(error));
        }
        // After the first score the project may be deleted: it is read again.
        CloudErrorKind::NoSuchProject if canary && progress.known.project => false,
        CloudErrorKind::NoSuchProject => {
            defer(progress, &item, 0, 0, None, now);
            return ResponseEffect::Stop(StopReason::NoProject { canary, error });
        }
        // After the first score, a wrong region concerns the single image: the item fails, not the job.
        CloudErrorKind::WrongRegion
            if canary
                && !progress.known.region
                && progress.stats.succeeded == 0
                && progress.rules.action(&error.code).is_none() =>
        {
            defer(progress, &item, 0, 0, None, now);
            return ResponseEffect::Stop(StopReason::OtherRegion(error));
        }
        CloudErrorKind::Unavailable if error.is_clock_skew() => {
            defer(progress, &item, 0, 0, None, now);
            return ResponseEffect::Stop(StopReason::ClockSkew(error));
        }
        CloudErrorKind::Unavailable | CloudErrorKind::Unanswered | CloudErrorKind::BucketLocked => true,
        CloudErrorKind::AccessDenied
        | CloudErrorKind::RequestRejected
        | CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::NoSuchBucket
        | CloudErrorKind::WrongRegion
        | CloudErrorKind::PolicyRejected => false,
    };
    // IMM checks the credentials before it rejects what they request.
    progress.authenticated |= !passing && error.status.is_some();
    match progress.rules.action(&error.code) {
        Some(FailureAction::Retry) => retry(progress, item, error, now),
        None if passing => retry(progress, item, error, now),
        None if error.kind == CloudErrorKind::AccessDenied => return denied(progress, item, error, now),
        // A rejected item does not prove that calls can succeed: after a rejected canary call the next call is one
        // too.
        Some(FailureAction::FailJob | FailureAction::FailItem | FailureAction::IgnoreItem) | None => {
            untrack(progress, &item.uri);
            note_refusal(progress, &error.code);
            record_result(progress, item.index, item.uri, None, Some(error.code));
        }
    }
    if slow {
        ResponseEffect::TimedOut
    } else {
        ResponseEffect::Continue
    }
}

/// Applies a denial: of the item, which fails, of all calls, or of one of both, which calls for other images decide.
fn denied(progress: &mut Progress, item: Item, error: CloudError, now: Timestamp) -> ResponseEffect {
    let index = item.index;
    if names_caller(&error) {
        // What the caller lacks, it lacks for every image.
        defer(progress, &item, 0, 0, None, now);
        let canary = progress.canary.is_first();
        return ResponseEffect::Stop(StopReason::Denied { canary, error });
    }
    let untried = |other: &usize| *other != index && !progress.canary.was_denied(*other);
    let others = !progress.pending_items.is_empty()
        || progress.reading != Reading::Done
        || progress.retries.keys().any(untried);
    let scored = progress.stats.succeeded > 0;
    match progress.canary.denied(index, scored, others) {
        Denial::OfItem => {
            untrack(progress, &item.uri);
            record_result(progress, index, item.uri, None, Some(error.code));
            ResponseEffect::Continue
        }
        Denial::OfAll { canary } => {
            defer(progress, &item, 0, 0, None, now);
            ResponseEffect::Stop(StopReason::Denied { canary, error })
        }
        Denial::Undecided => {
            defer(progress, &item, 0, 0, None, now);
            ResponseEffect::Continue
        }
    }
}

/// Notes an answer; one with a score proves that calls can succeed.
fn note_score(progress: &mut Progress, index: usize, scored: bool) {
    if scored {
        progress.canary.scored(index);
        progress.first_calls = FirstCalls::default();
    }
}

/// Notes a refusal before the first score of the job.
fn note_refusal(progress: &mut Progress, code: &str) {
    if progress.stats.succeeded == 0 && progress.rules.action(code).is_none() {
        progress
            .first_calls
            .record_refusal(code, progress.rules.may_vanish);
    }
}

/// Counts a failed request.
fn count_request(progress: &mut Progress, error: &CloudError) {
    let throttled = error.kind == CloudErrorKind::Throttled;
    progress.requests.throttled += i64::from(throttled);
    match error.status {
        _ if !error.may_be_billed() => progress.requests.server_errors += 1,
        Some(400..) if !throttled => progress.requests.client_errors += 1,
        // A 2xx response without a score was served and is billable.
        Some(_) => {}
        None => progress.requests.unanswered += 1,
    }
}

/// Defers an item for a retry. The item fails once `backoffLimitPerItem` retries are used up.
fn retry(progress: &mut Progress, item: Item, error: CloudError, now: Timestamp) {
    let before = progress.retries.get(&item.index).map_or(0, |r| r.attempts);
    let attempts = before.saturating_add(1);
    if attempts > progress.backoff_limit {
        progress.exhausted += 1;
        untrack(progress, &item.uri);
        record_result(progress, item.index, item.uri, None, Some(error.code));
    } else {
        defer(progress, &item, 1, 0, error.retry_after, now);
    }
}

/// Schedules a retry after `wait`, or else after an exponential backoff of 1 s to 60 s.
fn defer(
    progress: &mut Progress,
    item: &Item,
    more: i32,
    throttles: i32,
    wait: Option<Duration>,
    now: Timestamp,
) {
    let before = progress.retries.get(&item.index).map_or(0, |r| r.attempts);
    let attempts = before.saturating_add(more);
    let seed = format!("{}/{}", progress.seed, item.index);
    let grown = requeue::exponential_backoff(
        u32::try_from(attempts.max(throttles).max(1)).unwrap_or(1),
        Duration::from_secs(1),
        Duration::from_secs(60),
        &seed,
    );
    let retry = Retry {
        uri: item.uri.clone(),
        attempts,
        throttles,
        due: time::after(now, time::signed(wait.unwrap_or(grown)).min(LONGEST_DELAY)),
    };
    progress.retries.insert(item.index, retry);
    mark_settled(progress, item.index);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{KnownFacts, add_listed, deny_objects, resume_progress, spec_with};
    use crate::core::refusal::Refusal;

    /// Returns a job whose canary call is in flight.
    fn at_the_canary_call(known: KnownFacts) -> Progress {
        let uris = ["oss://pics/regional/a.jpg", "oss://pics/b.jpg"];
        let spec = spec_with(&json!({"source": {"uris": uris}}));
        let now = Timestamp::UNIX_EPOCH;
        let mut progress = resume_progress(&spec, &JobStatus::default(), (2, true), now, "uid");
        *progress.known_mut() = known;
        add_listed(&mut progress, &spec.source.uris);
        progress.reserve(1, None);
        progress.persisted();
        progress.take_next(now).unwrap();
        progress
    }

    #[test]
    fn what_is_known_takes_precedence_over_the_text_of_an_error() {
        let error = |kind| CloudError {
            kind,
            status: Some(400),
            code: "InvalidArgument".to_owned(),
            request_id: None,
            retry_after: None,
            refusal: Refusal::default(),
        };
        let (unknown, region) = (
            KnownFacts::default(),
            KnownFacts {
                region: true,
                project: false,
            },
        );
        let project = KnownFacts {
            region: false,
            project: true,
        };
        for (known, kind, item_fails) in [
            (unknown, CloudErrorKind::WrongRegion, false),
            (region, CloudErrorKind::WrongRegion, true),
            (unknown, CloudErrorKind::NoSuchProject, false),
            (region, CloudErrorKind::NoSuchProject, false),
            (project, CloudErrorKind::NoSuchProject, true),
        ] {
            let mut progress = at_the_canary_call(known);
            let effect = apply_response(&mut progress, 0, Err(error(kind)), Timestamp::UNIX_EPOCH);
            assert_eq!(
                effect == ResponseEffect::Continue,
                item_fails,
                "{known:?} {kind:?}"
            );
            assert_eq!(progress.done(), usize::from(item_fails), "{known:?} {kind:?}");
        }
    }

    #[test]
    fn items_that_a_deny_covers_fail_without_a_call_also_before_a_retry() {
        let mut progress = at_the_canary_call(KnownFacts::default());
        apply_response(
            &mut progress,
            0,
            Err(unanswered("Timeout")),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(progress.done(), 0, "the item waits for a retry");
        deny_objects(&mut progress, vec!["pics/regional/*".to_owned()]);
        assert_eq!((progress.done(), progress.requests().sent), (1, 1));
    }

    #[test]
    fn a_time_out_lowers_the_rate_and_another_lost_answer_does_not() {
        for (code, effect) in [
            ("Timeout", ResponseEffect::TimedOut),
            ("ConnectionLost", ResponseEffect::Continue),
        ] {
            let mut progress = at_the_canary_call(KnownFacts::default());
            let found = apply_response(&mut progress, 0, Err(unanswered(code)), Timestamp::UNIX_EPOCH);
            assert_eq!(found, effect, "{code}");
        }
    }

    #[test]
    fn a_retry_does_not_wait_until_a_clock_that_was_set_back_catches_up() {
        let mut progress = at_the_canary_call(KnownFacts::default());
        let now = Timestamp::UNIX_EPOCH;
        let hour = SignedDuration::from_hours(1);
        let mut error = unanswered("Timeout");
        error.retry_after = Some(Duration::from_secs(120));
        apply_response(&mut progress, 0, Err(error), time::after(now, hour));
        assert!(progress.take_next(time::after(now, hour)).is_none(), "it waits");
        assert!(progress.take_next(now).is_some());
    }

    fn unanswered(code: &str) -> CloudError {
        CloudError::new(CloudErrorKind::Unanswered, code)
    }

    #[test]
    fn refusals_that_a_rule_names_or_that_follow_a_score_prove_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        let proven = |code: &str, scored: bool| {
            let uris: Vec<String> = (0..9).map(|n| format!("oss://pics/{n}.jpg")).collect();
            let spec = spec_with(&json!({
                "source": {"uris": uris},
                "failureRules": [{"codes": ["Known"], "action": "IgnoreItem"}],
            }));
            let mut progress = resume_progress(&spec, &JobStatus::default(), (9, true), now, "uid");
            add_listed(&mut progress, &uris);
            for call in 0..8 {
                progress.reserve(1, None);
                progress.persisted();
                let item = progress.take_next(now).unwrap();
                let refused = CloudError {
                    status: Some(400),
                    ..CloudError::new(CloudErrorKind::RequestRejected, code)
                };
                let answer = if scored && call == 0 {
                    Ok("0.5".to_owned())
                } else {
                    Err(refused)
                };
                apply_response(&mut progress, item.index, answer, now);
            }
            progress.first_calls.proof().is_some()
        };
        assert!(proven("New", false));
        assert!(!proven("New", true));
        assert!(!proven("Known", false));
    }
}
