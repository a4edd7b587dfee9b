//! The conditions of a grant in every state, for a grant without a status and for one that was applied.

use serde_json::json;

use super::*;
use crate::api::{Condition, EntryState, LedgerEntry, StatementRole};
use crate::core::error::{CloudError, CloudErrorKind, CredentialsError};
use crate::core::grant::GrantOutcome;
use crate::core::policy::{Denies, DenyVerdict, PlanFault, PolicyParseError};

const NOW: Timestamp = Timestamp::constant(1_770_000_000, 0);

/// A grant of generation 2. `applied` is a grant whose statements were in the policy, with every condition that is kept.
fn grant(applied: bool) -> GrantObject {
    let spec: crate::api::GrantSpec = serde_json::from_value(json!({
        "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
        "grantee": {"accountUID": "12345"},
        "credentials": {"source": "Operator"},
    }))
    .unwrap();
    let mut before = ConditionsBuilder::new(&[], 1, NOW);
    before.set_true(GrantCondition::Granted, GrantReason::Applied, "");
    before.set_false(GrantCondition::CredentialsValid, GrantReason::SecretMissing, "");
    before.set_true(GrantCondition::Allowed, GrantReason::Permitted, "");
    before.set_true(GrantCondition::Effective, GrantReason::NoDeny, "");
    before.set_true(GrantCondition::Suspended, GrantReason::Suspended, "");
    let conditions = before.finish();
    GrantObject {
        generation: 2,
        bucket: Some(spec.bucket.clone()),
        spec: Ok(spec),
        status: GrantStatus {
            conditions: if applied { conditions } else { Vec::new() },
            ..GrantStatus::default()
        },
        ..GrantObject::bare("media", "one")
    }
}

/// An observation whose ledger has one applied entry for a grant that was applied, and otherwise none.
fn observation(applied: bool) -> Observation {
    let entry = LedgerEntry {
        fingerprint: "f".to_owned(),
        role: StatementRole::Access,
        state: EntryState::Applied,
        statement: "{}".to_owned(),
        pre_existing: false,
        copies: None,
        unsettled_until: None,
        identity: None,
        other: std::collections::BTreeMap::new(),
    };
    Observation {
        ledger: if applied { vec![entry] } else { Vec::new() },
        ..Observation::default()
    }
}

fn conditions(grant: &GrantObject, state: &GrantState, observation: Observation) -> String {
    let conditions = grant_status(grant, state, observation, NOW).conditions;
    let shown = |c: &Condition| {
        let status = format!("{:?}", c.status);
        format!("{}={}/{}", c.kind, status.get(..1).unwrap_or_default(), c.reason)
    };
    conditions.iter().map(shown).collect::<Vec<_>>().join(" ")
}

fn cloud(kind: CloudErrorKind) -> GrantState {
    GrantState::CloudFailed(CloudError::new(kind, "Code"))
}

#[test]
fn each_state_has_its_conditions() {
    let failed = || CloudError::new(CloudErrorKind::Unavailable, "Code");
    let states = [
        GrantState::Planned(GrantOutcome::Applied),
        GrantState::Planned(GrantOutcome::Writing),
        GrantState::Planned(GrantOutcome::Propagating),
        GrantState::Planned(GrantOutcome::Missing),
        GrantState::Planned(GrantOutcome::ExistingStatement),
        GrantState::Planned(GrantOutcome::TooLarge { needed: 2, free: 1 }),
        GrantState::Planned(GrantOutcome::StatementTooLong { bytes: 5000 }),
        GrantState::Planned(GrantOutcome::LedgerFull),
        GrantState::Planned(GrantOutcome::Carried),
        GrantState::Planned(GrantOutcome::Released { residual: 0 }),
        GrantState::Planned(GrantOutcome::Released { residual: 1 }),
        GrantState::Suspended,
        GrantState::Preview,
        GrantState::Invalid("spec.x".to_owned()),
        GrantState::Denied("no rule".to_owned()),
        GrantState::NamespaceUnknown,
        GrantState::WrongOwner("1".to_owned()),
        GrantState::WrongRegion("oss-eu".to_owned()),
        GrantState::OwnerUnverified,
        GrantState::DriftReported,
        GrantState::RepeatedDrift,
        GrantState::CredentialsFailed(CredentialsError::NotFound),
        GrantState::CredentialsFailed(CredentialsError::NotConfigured),
        GrantState::CredentialsFailed(CredentialsError::StsUnavailable(failed())),
        cloud(CloudErrorKind::AccessDenied),
        cloud(CloudErrorKind::PublicAccessBlocked),
        cloud(CloudErrorKind::NoSuchBucket),
        cloud(CloudErrorKind::CredentialsRejected),
        cloud(CloudErrorKind::CredentialsExpired),
        cloud(CloudErrorKind::Throttled),
        cloud(CloudErrorKind::BucketLocked),
        cloud(CloudErrorKind::PolicyRejected),
        cloud(CloudErrorKind::Unavailable),
        GrantState::PolicyUnreadable(PolicyParseError::NotUtf8),
        GrantState::WriteConflict,
        GrantState::InvalidPlan(PlanFault::Frame),
        GrantState::PassRoleBlocked,
    ];
    let mut seen = String::new();
    for state in states {
        let name = if let GrantState::CloudFailed(error) = &state {
            format!("CloudFailed({:?})", error.kind)
        } else {
            format!("{state:?}")
                .split([' ', '{', '"'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        for applied in [false, true] {
            let shown = conditions(&grant(applied), &state, observation(applied));
            let which = if applied { "applied" } else { "new" };
            seen.extend([name.as_str(), " ", which, ": ", &shown, "\n"]);
        }
    }
    assert_eq!(seen, include_str!("conditions.txt"), "{seen}");
}

fn message(
    grant: &GrantObject,
    state: &GrantState,
    observation: Observation,
    kind: GrantCondition,
) -> String {
    let conditions = grant_status(grant, state, observation, NOW).conditions;
    let mut found = conditions.into_iter().filter(|c| c.is(kind));
    found.next().unwrap().message
}

#[test]
fn what_was_observed_holds_for_its_generation_and_for_a_deletion() {
    let kept = |generation, deleting| {
        let mut grant = grant(true);
        grant.deleting = deleting;
        grant.status.observed_generation = Some(generation);
        grant.status.denied_objects = vec!["pics-1/a*".to_owned()];
        let status = grant_status(&grant, &GrantState::Suspended, observation(true), NOW);
        !status.denied_objects.is_empty()
    };
    assert!(kept(2, false));
    assert!(kept(1, true));
    assert!(!kept(1, false));
}

#[test]
fn a_deny_of_alibaba_cloud_is_not_to_be_removed() {
    for by_alibaba_cloud in [true, false] {
        let denies = Denies {
            verdict: DenyVerdict::ExplicitDeny,
            objects: Vec::new(),
            by_alibaba_cloud,
        };
        let observation = Observation {
            denies: Some(denies),
            ..observation(true)
        };
        let state = GrantState::Planned(GrantOutcome::Applied);
        let message = message(&grant(true), &state, observation, GrantCondition::Effective);
        assert_eq!(
            message.contains("do not remove it before"),
            by_alibaba_cloud,
            "{message}"
        );
    }
}

#[test]
fn the_statements_of_a_grant_are_granted_as_they_were_seen() {
    let writing = || GrantState::Planned(GrantOutcome::Writing);
    let preview = || GrantState::Preview;
    for (state, owns, all_present, missing, deleting, expected) in [
        (preview(), true, Some(true), 0, false, "T/Applied"),
        (preview(), true, Some(false), 0, false, "F/Missing"),
        (preview(), true, None, 0, false, "T/Applied"),
        (preview(), false, Some(false), 0, false, "F/Preview"),
        (writing(), true, None, 0, false, "F/Pending"),
        (writing(), true, None, 1, false, "F/Missing"),
        (writing(), true, None, 0, true, "F/Missing"),
    ] {
        let mut grant = grant(true);
        grant.deleting = deleting;
        let observation = Observation {
            all_present,
            missing,
            ..observation(owns)
        };
        let shown = conditions(&grant, &state, observation);
        assert!(
            shown.contains(&format!("Granted={expected}")),
            "{state:?} {all_present:?} {missing} {deleting}: {shown}"
        );
    }
}

#[test]
fn access_that_remains_is_counted() {
    let state = GrantState::Planned(GrantOutcome::Released { residual: 2 });
    let kind = GrantCondition::ResidualAccess;
    let message = message(&grant(true), &state, observation(false), kind);
    assert!(message.starts_with("Access remains: 2 statements"), "{message}");
}
