//! What the ledger of one grant says about statements to the grants of other identities.

use std::collections::{BTreeMap, BTreeSet};

use super::GrantObject;
use crate::api::{EntryState, LedgerEntry};

/// Claims by the uid of the grant.
pub type ClaimsByGrant = BTreeMap<String, Claims>;

/// Fingerprints of statements that a grant owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Statements that others must not remove, because the grant has seen them in the policy and keeps them.
    pub holds: BTreeSet<String>,
    /// Statements whose copy in the policy the grant has written, also while it removes them.
    pub explains: BTreeSet<String>,
}

impl Claims {
    /// Returns the claims of a ledger. An intended write claims nothing: everybody who can create a grant can have one,
    /// without credentials that may write. A grant that is being deleted holds nothing.
    pub fn of(deleting: bool, ledger: &[LedgerEntry]) -> Self {
        let seen = ledger
            .iter()
            .filter(|e| !e.pre_existing && e.state != EntryState::Intended);
        let holds = seen
            .clone()
            .filter(|e| !deleting && e.state == EntryState::Applied);
        Self {
            holds: holds.map(|e| e.fingerprint.clone()).collect(),
            explains: seen.map(|e| e.fingerprint.clone()).collect(),
        }
    }

    /// Returns what is certain when either of two ledgers is stored.
    pub fn either(before: &Self, after: &Self) -> Self {
        Self {
            holds: &before.holds & &after.holds,
            explains: &before.explains | &after.explains,
        }
    }
}

/// Returns what the stored ledgers of these grants claim.
pub fn claims_of(grants: &[GrantObject]) -> ClaimsByGrant {
    let claims = |grant: &GrantObject| {
        let claims = Claims::of(grant.deleting, &grant.status.owned);
        (grant.uid.clone(), claims)
    };
    grants.iter().map(claims).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StatementRole;

    fn ledger() -> Vec<LedgerEntry> {
        let entry = |fingerprint: &str, state, pre_existing| LedgerEntry {
            fingerprint: fingerprint.to_owned(),
            role: StatementRole::Access,
            state,
            pre_existing,
            statement: String::new(),
            copies: None,
            unsettled_until: None,
            identity: None,
            other: BTreeMap::new(),
        };
        vec![
            entry("applied", EntryState::Applied, false),
            entry("found", EntryState::Applied, true),
            entry("intended", EntryState::Intended, false),
            entry("missing", EntryState::Missing, false),
            entry("removing", EntryState::Removing, false),
        ]
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn an_intended_write_claims_nothing() {
        let claims = Claims::of(false, &ledger());
        assert_eq!(names(&claims.holds), ["applied"]);
        assert_eq!(names(&claims.explains), ["applied", "missing", "removing"]);
    }

    #[test]
    fn a_deleted_grant_holds_nothing_and_still_explains_what_it_wrote() {
        let claims = Claims::of(true, &ledger());
        assert!(claims.holds.is_empty());
        assert_eq!(names(&claims.explains), ["applied", "missing", "removing"]);
        let unsure = Claims::either(&Claims::of(false, &ledger()), &claims);
        assert_eq!(unsure, claims);
    }
}
