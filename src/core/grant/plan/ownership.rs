//! Whose a statement in the document is: the operator's, by a ledger that proves it, or another writer's.

use super::types::PlanInput;
use crate::api::{EntryState, LedgerEntry};
use crate::core::grant::GrantInput;

/// What tells whose the copies of one statement in the document are.
pub(super) struct Evidence<'a> {
    /// Ledger entries with its fingerprint, and whether each is an intended write that can have taken effect.
    pub(super) entries: &'a [(&'a LedgerEntry, bool)],
    /// Texts of the copies in the document.
    pub(super) live: Vec<&'a str>,
    /// Identity that plans.
    pub(super) identity: Option<&'a str>,
    /// Whether grants of several namespaces share that identity.
    pub(super) shared_identity: bool,
}

impl Evidence<'_> {
    /// Whether the statement counts as foreign: no ledger proves that this identity has written it, and an entry
    /// records that it was there before, or none that it was applied.
    pub(super) fn is_pre_existing(&self) -> bool {
        if self
            .entries
            .iter()
            .any(|(entry, may)| self.proves_own(entry, *may))
        {
            return false;
        }
        let mut entries = self.entries.iter().map(|(entry, _)| entry);
        entries.clone().any(|entry| entry.pre_existing)
            || entries.all(|entry| entry.state == EntryState::Intended)
    }

    /// Whether an entry proves that this identity has written the statement.
    fn proves_own(&self, entry: &LedgerEntry, may_have_landed: bool) -> bool {
        // An unconfirmed write could have been made by another writer as well: only byte equality proves ownership.
        let landed = may_have_landed && self.live.contains(&entry.statement.as_str());
        // Another grant may have recorded what the operator wrote, under a different identity.
        let of_identity = entry.identity.is_some() && entry.identity.as_deref() == self.identity;
        let is_own = of_identity || !self.shared_identity;
        landed || (is_own && entry.state == EntryState::Applied && !entry.pre_existing)
    }
}

/// Whether an entry is an intended write that can have placed the statement that is in the document now.
pub(super) fn may_have_landed(
    entry: &LedgerEntry,
    grant: Option<&GrantInput>,
    input: &PlanInput<'_>,
) -> bool {
    let is_in = |set: &std::collections::BTreeSet<String>| set.contains(&entry.fingerprint);
    let unproven = grant.is_some_and(|grant| is_in(&grant.unproven));
    let explained = input.explained_by_others.is_some_and(is_in);
    entry.state == EntryState::Intended && !unproven && !explained
}

#[cfg(test)]
mod tests {
    use EntryState::{Applied, Intended, Removing};

    use super::*;
    use crate::core::grant::entry_of;

    fn entry(state: EntryState, identity: Option<&str>, pre_existing: bool) -> LedgerEntry {
        LedgerEntry {
            identity: identity.map(ToOwned::to_owned),
            pre_existing,
            statement: "text".to_owned(),
            ..entry_of("f", state)
        }
    }

    #[test]
    fn only_what_a_ledger_proves_is_not_foreign() {
        let (mine, other) = (Some("mine"), Some("other"));
        // The entry, whether its write can have taken effect, the text in the document, whether several namespaces
        // share the identity; whether the statement counts as foreign.
        let cases = [
            ((Applied, mine, false), false, "text", true, false),
            ((Applied, mine, true), false, "text", true, true),
            ((Applied, other, false), false, "text", false, false),
            ((Applied, other, true), false, "text", true, true),
            ((Applied, None, false), false, "text", false, false),
            ((Intended, mine, false), true, "text", true, false),
            ((Intended, mine, false), true, "texT", true, true),
            ((Intended, mine, false), false, "text", true, true),
            ((Removing, mine, false), false, "text", true, false),
            ((Removing, mine, true), false, "text", true, true),
        ];
        for ((state, identity, pre_existing), may, live, shared_identity, expected) in cases {
            let entry = entry(state, identity, pre_existing);
            let evidence = Evidence {
                entries: &[(&entry, may)],
                live: vec![live],
                identity: mine,
                shared_identity,
            };
            assert_eq!(
                evidence.is_pre_existing(),
                expected,
                "{entry:?} {may} {live} {shared_identity}"
            );
        }
    }

    #[test]
    fn one_proof_outweighs_what_other_ledgers_found_there() {
        let (found, written) = (entry(Applied, None, true), entry(Applied, Some("mine"), false));
        let is_pre_existing = |entries: &[(&LedgerEntry, bool)]| {
            let evidence = Evidence {
                entries,
                live: vec!["text"],
                identity: Some("mine"),
                shared_identity: true,
            };
            evidence.is_pre_existing()
        };
        assert!(is_pre_existing(&[(&found, false)]));
        assert!(!is_pre_existing(&[(&found, false), (&written, false)]));
        assert!(is_pre_existing(&[]));
    }
}
