//! Tests of the rate limit of a project.

use super::*;
use crate::core::error::CLOCK_SKEW_CODES;
use crate::core::identity::CredentialOrigin;
use crate::core::project_pace::{ADJUST_EVERY, DEFAULTS, LIMITS_RETRY, MAX_FAILED_READS};
use crate::ports::CloudErrorKind;

fn caller(namespace: &str) -> Identity {
    Identity {
        origin: CredentialOrigin::Operator {
            namespace: namespace.to_owned(),
        },
        assumed_role: None,
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_evenly_spaced_under_the_limit_and_slower_after_throttling() {
    let limiter = Arc::new(ProjectLimiter::new());
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    let start = Instant::now();
    for _ in 0..980 {
        drop(limiter.acquire("n", &mut None).await);
    }
    let tenth = start.elapsed();
    assert!(
        tenth >= Duration::from_millis(9_950) && tenth <= Duration::from_millis(10_050),
        "late timers must not add up: {tenth:?}"
    );
    limiter.on_throttled();
    limiter.on_throttled();
    assert_eq!(limiter.rate(), 64, "once per second");
    for _ in 0..3 {
        tokio::time::advance(ADJUST_EVERY).await;
        limiter.on_success();
        limiter.on_success();
    }
    assert_eq!(
        limiter.rate(),
        88,
        "once per second, up to 90 % of the throttled rate"
    );
    tokio::time::advance(ADJUST_EVERY).await;
    limiter.on_success();
    assert_eq!(limiter.rate(), 88, "slower above that");
    tokio::time::advance(ADJUST_EVERY).await;
    limiter.on_throttled();
    assert_eq!(limiter.rate(), 58, "throttled again");
    limiter.on_limits(
        &caller("a"),
        &Ok(ProjectLimits {
            queries_per_second: 5,
            concurrency: 1,
            service_role: None,
        }),
    );
    assert_eq!(limiter.rate(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_stay_within_the_limit_and_a_released_permit_is_reused() {
    let limiter = Arc::new(ProjectLimiter::new());
    let early = limiter.acquire("a", &mut None).await;
    let soon = tokio::time::timeout(Duration::from_secs(5), limiter.acquire("b", &mut None)).await;
    assert!(soon.is_err(), "one call in flight until the limits are known");
    drop(early);
    limiter.on_limits(
        &caller("a"),
        &Ok(ProjectLimits {
            queries_per_second: 1_000,
            concurrency: 2,
            service_role: None,
        }),
    );
    let first = limiter.acquire("a", &mut None).await;
    let _second = limiter.acquire("b", &mut None).await;
    let mut ticket = None;
    let third = limiter.acquire("c", &mut ticket);
    tokio::pin!(third);
    let waits = tokio::time::timeout(Duration::from_secs(5), &mut third).await;
    assert!(waits.is_err(), "a third call is in flight");
    drop(first);
    assert!(tokio::time::timeout(Duration::from_secs(1), third).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_does_not_block_the_queue() {
    let limiter = Arc::new(ProjectLimiter::new());
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    drop(limiter.acquire("a", &mut None).await);
    let mut kept = None;
    let soon = tokio::time::timeout(Duration::from_millis(1), limiter.acquire("a", &mut kept)).await;
    assert!(soon.is_err() && kept.is_some());
    let mut other = None;
    let next = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("b", &mut other)).await;
    assert!(next.is_ok());
    let back = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("a", &mut kept)).await;
    assert!(
        back.is_ok() && kept.is_none(),
        "the kept ticket resumes its position"
    );
}

fn failed(kind: CloudErrorKind, code: &str) -> Result<ProjectLimits, CloudError> {
    Err(CloudError::new(kind, code))
}

#[tokio::test(start_paused = true)]
async fn the_limits_are_requested_by_one_caller_whenever_they_are_due() {
    let limiter = ProjectLimiter::new();
    assert!(limiter.claim_limits_request(&caller("a")), "due at once");
    assert!(!limiter.claim_limits_request(&caller("a")), "claimed");
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    tokio::time::advance(LIMITS_TTL.saturating_sub(Duration::from_secs(1))).await;
    assert!(!limiter.claim_limits_request(&caller("a")));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(
        limiter.claim_limits_request(&caller("a")),
        "due exactly at the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_for_the_limits_is_repeated_and_given_up_as_its_error_allows() {
    let (soon, late) = (Some(LIMITS_RETRY), Some(LIMITS_TTL));
    for (kind, code, failures, known, wait) in [
        (CloudErrorKind::Unavailable, "InternalError", 1, false, soon),
        (CloudErrorKind::Unavailable, "InternalError", 4, false, soon),
        (CloudErrorKind::Unavailable, "InternalError", 5, true, late),
        (CloudErrorKind::Unavailable, CLOCK_SKEW_CODES[0], 5, false, soon),
        (
            CloudErrorKind::CredentialsRejected,
            "InvalidAccessKeyId",
            5,
            false,
            soon,
        ),
        (CloudErrorKind::NoSuchProject, "ResourceNotFound", 5, false, soon),
        (CloudErrorKind::AccessDenied, "AccessDenied", 1, true, None),
    ] {
        let limiter = ProjectLimiter::new();
        for _ in 0..failures {
            limiter.on_limits(&caller("a"), &failed(kind, code));
        }
        let case = format!("{kind:?} {code} {failures} times");
        assert_eq!(limiter.limits_known(&caller("a")), known, "{case}");
        assert!(!limiter.claim_limits_request(&caller("a")), "{case}: not at once");
        if let Some(wait) = wait {
            tokio::time::advance(wait).await;
            assert!(limiter.claim_limits_request(&caller("a")), "{case}");
        } else {
            tokio::time::advance(10 * LIMITS_TTL).await;
            assert!(
                !limiter.claim_limits_request(&caller("a")),
                "{case}: a further request may be billed"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_a_series_of_failures() {
    let limiter = ProjectLimiter::new();
    for _ in 0..MAX_FAILED_READS - 1 {
        limiter.on_limits(
            &caller("a"),
            &failed(CloudErrorKind::Unavailable, "InternalError"),
        );
    }
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    limiter.invalidate();
    limiter.on_limits(
        &caller("a"),
        &failed(CloudErrorKind::Unavailable, "InternalError"),
    );
    assert!(!limiter.limits_known(&caller("a")));
}

#[tokio::test(start_paused = true)]
async fn the_service_role_is_known_from_an_answer_until_the_limits_are_discarded() {
    let limiter = ProjectLimiter::new();
    assert_eq!(limiter.service_role(), None);
    let role = Some("AliyunIMMDefaultRole".to_owned());
    let answer = ProjectLimits {
        service_role: role.clone(),
        ..DEFAULTS
    };
    limiter.on_limits(&caller("a"), &Ok(answer));
    assert_eq!(limiter.service_role(), role);
    limiter.invalidate();
    assert_eq!(limiter.service_role(), None);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_permission_does_not_keep_others_from_reading_the_limits() {
    let limiter = Arc::new(ProjectLimiter::new());
    assert!(limiter.claim_limits_request(&caller("a")));
    limiter.on_limits(
        &caller("a"),
        &failed(CloudErrorKind::AccessDenied, "NoPermission"),
    );
    assert!(limiter.limits_known(&caller("a")) && !limiter.limits_known(&caller("b")));
    let _first = limiter.acquire("a", &mut None).await;
    let mut ticket = None;
    let second = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("a", &mut ticket));
    assert!(second.await.is_ok(), "the defaults apply");

    assert!(!limiter.claim_limits_request(&caller("a")));
    assert!(limiter.claim_limits_request(&caller("b")), "at once");
    limiter.on_limits(&caller("b"), &Ok(DEFAULTS));
    assert!(limiter.limits_known(&caller("b")));
    tokio::time::advance(LIMITS_TTL).await;
    assert!(!limiter.claim_limits_request(&caller("a")));
    assert!(limiter.claim_limits_request(&caller("b")));
}

/// A run waits for its turn to read the limits while it reads its credentials.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_not_polled_does_not_stop_the_queue() {
    let limiter = Arc::new(ProjectLimiter::new());
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    drop(limiter.acquire("a", &mut None).await);
    let mut first = Box::pin(limiter.acquire_unpolled("a"));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let mut kept = None;
    let second = tokio::time::timeout(Duration::from_secs(60), limiter.acquire("b", &mut kept));
    assert!(second.await.is_ok(), "the second caller waits for the first");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn the_full_rate_returns_slowly_above_the_throttled_one() {
    let limiter = ProjectLimiter::new();
    limiter.on_limits(&caller("a"), &Ok(DEFAULTS));
    limiter.on_throttled();
    let mut rates = Vec::new();
    for _ in 0..38 {
        tokio::time::advance(ADJUST_EVERY).await;
        limiter.on_success();
        rates.push(limiter.rate());
    }
    assert_eq!(rates[..3], [74, 84, 88]);
    assert!(rates.is_sorted());
    assert_eq!(rates.last(), Some(&98), "{rates:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limiter_is_kept_while_a_job_uses_it_and_for_a_while_afterwards() {
    let limiters = ProjectLimiters::default();
    let project = |name: &str| ProjectRef {
        name: name.to_owned(),
        region: "cn-hangzhou".to_owned(),
        account_uid: "1".to_owned(),
    };
    let of = |name: &str| limiters.of(ProjectOwner::Account("1".to_owned()), &project(name));
    let used = of("one");
    tokio::time::advance(2 * IDLE_TTL).await;
    assert!(Arc::ptr_eq(&used, &of("one")), "a job uses it");
    assert!(!Arc::ptr_eq(&used, &of("two")));
    let left = Arc::downgrade(&used);
    drop(used);
    tokio::time::advance(IDLE_TTL.saturating_sub(Duration::from_secs(1))).await;
    drop(of("two"));
    assert!(left.upgrade().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(of("two"));
    assert!(left.upgrade().is_none());
}
