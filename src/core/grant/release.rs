//! Grants that need no cloud call: deleted ones that keep their statements, and those whose spec names no usable
//! identity or bucket.

use k8s_openapi::jiff::Timestamp;

use super::plan::{PlanInput, plan};
use super::{
    Disposition, GrantInput, GrantObject, GrantState, Observation, PassRoleDecision, Removal, grant_status,
    parse_spec,
};
use crate::api::{FINALIZER, GrantStatus, LedgerEntry};
use crate::core::identity::INCOMPLETE_CREDENTIALS;

/// Whether a deleted grant leaves its statements in the policy, because of the annotation or its deletion policy.
pub fn retains_statements(grant: &GrantObject) -> bool {
    grant.deleting && (grant.abandon || grant.retain)
}

/// Returns the status of a grant that is released although another finalizer keeps the object: it must no longer claim
/// statements. `None` if it need not be stored.
pub fn status_of_released(grant: &GrantObject) -> Option<GrantStatus> {
    let others = grant.finalizers.iter().any(|name| name != FINALIZER);
    (others && !grant.status.owned.is_empty()).then(|| GrantStatus {
        owned: Vec::new(),
        ..grant.status.clone()
    })
}

/// What is done with the grants of a set of which some keep their statements.
pub struct RetainedPlan {
    /// Those that stay, each with its ledger: what is meant to stay counts as there before, so that no grant removes it.
    pub stay: Vec<(GrantObject, Vec<LedgerEntry>)>,
    /// Those that are released, once the ledgers of the others are stored.
    pub released: Vec<GrantObject>,
}

impl RetainedPlan {
    /// Plans for the grants of a set.
    pub fn of(grants: Vec<GrantObject>, now: Timestamp) -> Self {
        let disposition = |grant: &GrantObject| {
            if retains_statements(grant) {
                Disposition::Removing(Removal::Retain)
            } else {
                Disposition::Carried
            }
        };
        let members = grants
            .iter()
            .map(|grant| GrantInput::of(grant, disposition(grant)));
        let input = PlanInput {
            now,
            ..PlanInput::default()
        };
        let plan = plan(input, &members.collect::<Vec<_>>());
        let (mut stay, mut released) = (Vec::new(), Vec::new());
        for (grant, planned) in grants.into_iter().zip(plan.grants) {
            if retains_statements(&grant) {
                released.push(grant);
            } else {
                stay.push((grant, planned.ledger));
            }
        }
        Self { stay, released }
    }
}

/// Returns the status of a grant whose spec names no usable identity or bucket.
pub fn unusable_status(grant: &GrantObject, now: Timestamp) -> GrantStatus {
    let message = match &grant.spec {
        Ok(spec) => parse_spec(spec, PassRoleDecision::Omitted)
            .err()
            .map_or_else(|| INCOMPLETE_CREDENTIALS.to_owned(), |error| error.to_string()),
        Err(message) => message.clone(),
    };
    let observation = Observation {
        ledger: grant.status.owned.clone(),
        ..Observation::default()
    };
    grant_status(grant, &GrantState::Invalid(message), observation, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EntryState, GrantCondition};
    use crate::core::grant::work_of;

    #[test]
    fn no_other_owner_removes_a_statement_that_is_meant_to_stay() {
        let grant = |name: &str, deleting, retain| {
            let mut grant = work_of("same", Some(EntryState::Applied)).grant;
            name.clone_into(&mut grant.uid);
            (grant.deleting, grant.retain) = (deleting, retain);
            grant
        };
        let (kept, deleted, live) = (
            grant("kept", true, true),
            grant("deleted", true, false),
            grant("live", false, true),
        );
        assert!(retains_statements(&kept) && !retains_statements(&deleted) && !retains_statements(&live));
        let abandoned = GrantObject {
            abandon: true,
            ..deleted.clone()
        };
        assert!(retains_statements(&abandoned));
        let plan = RetainedPlan::of(vec![kept, deleted, live], Timestamp::UNIX_EPOCH);
        assert_eq!(
            plan.released.iter().map(|g| g.uid.as_str()).collect::<Vec<_>>(),
            ["kept"]
        );
        let stay = plan.stay.iter();
        let found = |ledger: &[LedgerEntry]| ledger.iter().all(|entry| entry.pre_existing);
        let ledgers: Vec<_> = stay
            .map(|(grant, ledger)| (grant.uid.as_str(), found(ledger)))
            .collect();
        assert_eq!(
            ledgers,
            [("deleted", true), ("live", true)],
            "they were there before"
        );
    }

    #[test]
    fn a_released_object_that_others_keep_claims_nothing() {
        let mut grant = work_of("a", Some(EntryState::Applied)).grant;
        grant.finalizers = vec![FINALIZER.to_owned()];
        assert_eq!(status_of_released(&grant), None, "it is gone");
        grant.finalizers.push("example.com/other".to_owned());
        assert!(status_of_released(&grant).unwrap().owned.is_empty());
        grant.status.owned.clear();
        assert_eq!(status_of_released(&grant), None);
    }

    #[test]
    fn a_spec_without_a_usable_identity_is_invalid_and_keeps_its_ledger() {
        let mut grant = work_of("a", Some(EntryState::Applied)).grant;
        let message = |grant: &GrantObject| {
            let status = unusable_status(grant, Timestamp::UNIX_EPOCH);
            assert_eq!(status.owned, grant.status.owned);
            let ready = status.conditions.iter().find(|c| c.is(GrantCondition::Ready));
            ready.unwrap().message.clone()
        };
        assert!(message(&grant).contains(INCOMPLETE_CREDENTIALS));
        if let Ok(spec) = &mut grant.spec {
            spec.bucket.name = "No".to_owned();
        }
        assert!(message(&grant).contains("spec.bucket.name"));
        grant.spec = Err("spec.mode is unknown".to_owned());
        assert!(message(&grant).contains("spec.mode is unknown"));
    }
}
