use serde_json::json;

use super::*;
use crate::core::error::CERTIFICATE_EXPIRED;
use crate::core::policy::PlanFault;

#[test]
fn a_plan_that_fails_its_check_is_not_reported_as_a_conflict() {
    for fault in [
        PlanFault::Unreadable,
        PlanFault::Frame,
        PlanFault::Removed,
        PlanFault::Added,
        PlanFault::Everybody,
        PlanFault::NotAsRendered,
        PlanFault::Size,
        PlanFault::Unchanged,
    ] {
        let (grant, state) = (GrantObject::bare("media", "one"), GrantState::InvalidPlan(fault));
        let summary = ready_summary(&grant, &state, &Observation::default());
        assert_eq!(summary.reason, GrantReason::InvalidPlan, "{fault}");
        assert!(summary.stalled && !summary.ready, "{fault}");
        assert!(
            summary.message.contains(&fault.to_string()),
            "{}",
            summary.message
        );
    }
}

#[test]
fn a_blocked_policy_says_what_to_set_or_whom_to_ask() {
    let blocked = CloudError::new(CloudErrorKind::PublicAccessBlocked, "AccessDenied");
    let message = |pass_role| {
        let observation = Observation {
            pass_role,
            ..Observation::default()
        };
        let state = GrantState::CloudFailed(blocked.clone());
        ready_summary(&GrantObject::bare("media", "one"), &state, &observation).message
    };
    let written = message(Some(PassRoleDecision::Included));
    assert!(
        written.ends_with("set access.passRoleStatement to Auto or Omit"),
        "{written}"
    );
    let omitted = message(Some(PassRoleDecision::Omitted));
    assert!(omitted.contains("RoleChain"), "{omitted}");
}

#[test]
fn a_written_pass_role_statement_is_reported_as_public() {
    let reach = |pass_role| {
        let observation = Observation {
            pass_role: Some(pass_role),
            ..Observation::default()
        };
        reach(&GrantObject::bare("media", "one"), &observation)
    };
    assert!(reach(PassRoleDecision::Included).contains("counts as public"));
    assert_eq!(reach(PassRoleDecision::Omitted), "");
}

#[test]
fn a_policy_that_oss_counts_as_public_is_reported_with_the_ways_around_it() {
    let said = |public| {
        let policy = crate::api::ObservedPolicy {
            sha256: None,
            bytes: 0,
            limit_bytes: 16_384,
            statements: 1,
            foreign_statements: 0,
            public,
            backup_ref: None,
            last_write_time: None,
            last_write_reason: None,
        };
        let observation = Observation {
            policy: Some(policy),
            ..Observation::default()
        };
        reach(&GrantObject::bare("media", "one"), &observation)
    };
    let public = said(Some(true));
    assert!(
        public.contains("counts the policy as public") && public.contains("RoleChain"),
        "{public}"
    );
    assert_eq!((said(Some(false)), said(None)), (String::new(), String::new()));
}

#[test]
fn the_state_of_the_grant_decides_which_message_fits() {
    let bare = || GrantObject::bare("media", "one");
    let summary = |grant: &GrantObject, state| ready_summary(grant, &state, &Observation::default());
    let full = || GrantState::Planned(GrantOutcome::LedgerFull);
    assert!(summary(&bare(), full()).message.contains("12 statements"));
    let mut newer = bare();
    newer.only_stored.unverified = 3;
    let newer = summary(&newer, full());
    assert!(
        newer.message.contains("cannot verify 3 of its 12"),
        "{}",
        newer.message
    );
    assert!(newer.stalled && !summary(&bare(), full()).stalled);

    let failed = |kind, code| GrantState::CloudFailed(CloudError::new(kind, code));
    let gone = || failed(CloudErrorKind::NoSuchBucket, "NoSuchBucket");
    let leaving = GrantObject {
        deleting: true,
        ..bare()
    };
    let lacks = "OSS does not show bucket";
    assert!(summary(&leaving, gone()).message.starts_with(lacks));
    assert!(!summary(&bare(), gone()).message.starts_with(lacks));
    let other = summary(&leaving, failed(CloudErrorKind::Throttled, "Throttling"));
    assert_eq!(other.reason, GrantReason::RateLimited);

    let mut elsewhere = bare();
    let bucket = json!({"name": "pics", "region": "cn-hangzhou", "ownerUID": "1"});
    elsewhere.bucket = serde_json::from_value(bucket).unwrap();
    let found = GrantState::WrongRegion("cn-beijing".to_owned());
    let message = summary(&elsewhere, found).message;
    assert!(message.starts_with("Bucket pics is in cn-beijing, and spec.bucket.region is cn-hangzhou: "));
    let message = summary(&elsewhere, failed(CloudErrorKind::WrongRegion, "AccessDenied")).message;
    assert!(
        message.starts_with(
            "Bucket pics is not in cn-hangzhou, which spec.bucket.region names (AccessDenied): "
        )
    );

    let skewed = failed(CloudErrorKind::Unavailable, "RequestTimeTooSkewed");
    assert!(summary(&bare(), skewed).message.contains(CORRECT_CLOCK));
    let busy = failed(CloudErrorKind::Unavailable, "ServiceBusy");
    assert!(!summary(&bare(), busy).message.contains(CORRECT_CLOCK));
    let expired = CloudError::new(CloudErrorKind::Unanswered, CERTIFICATE_EXPIRED);
    let advice = expired.certificate_advice().unwrap();
    let expired = GrantState::CloudFailed(expired);
    assert!(summary(&bare(), expired).message.ends_with(advice));
}
