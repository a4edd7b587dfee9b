//! Input and result of planning.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::api::LedgerEntry;
use crate::core::policy::Document;

/// Input of a plan besides the grants.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanInput<'a> {
    /// The policy as read; `None` when the bucket has none.
    pub document: Option<&'a Document>,
    /// The time of planning.
    pub now: Timestamp,
    /// Until when a write of an earlier reconcile of this bucket, for any of its grants, can still take effect.
    pub unsettled_until: Option<Timestamp>,
    /// Whether a missing statement may be due to a stale read after the operator's last write. It is then not acted on.
    pub absence_untrusted: bool,
    /// Fingerprints of statements that grants of other identities have written: these grants must not remove them.
    pub placed_by_others: Option<&'a BTreeSet<String>>,
    /// Fingerprints of statements whose copy in the document a grant of another identity has written: an intended
    /// write of one of these grants has not placed it.
    pub explained_by_others: Option<&'a BTreeSet<String>>,
    /// Fingerprints of statements that confirmed writes of this process have removed. If a read that is not stale
    /// contains one of them, another writer has added it. With the times of the removals.
    pub confirmed_removed: Option<&'a BTreeMap<String, Timestamp>>,
    /// Digest of the identity that has read the document. Applied entries of enforced grants take it.
    pub identity: Option<&'a str>,
    /// Whether grants of several namespaces share the identity, as they do the operator's own. An applied entry of
    /// another identity then proves nothing: a user who may write statuses in one of the namespaces could have
    /// invented it.
    pub shared_identity: bool,
}

/// The change to make to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave the policy unchanged.
    Keep,
    /// Write this document.
    Put(String),
    /// Delete the document: it would have no statements left.
    Delete,
}

/// The outcome for a grant once the plan is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// All desired statements are in the document.
    Applied,
    /// The plan adds or removes statements for it.
    Writing,
    /// It waits for OSS to return the last write, or until an earlier write can no longer take effect.
    Propagating,
    /// Some of its statements are missing and not restored for now.
    Missing,
    /// An equal statement already exists, and the adoption policy is `Fail`.
    ExistingStatement,
    /// Its missing statements do not fit into the document.
    TooLarge {
        /// Bytes that the missing statements need.
        needed: usize,
        /// Bytes free in the document once the plan's removals are done.
        free: usize,
    },
    /// One statement is longer than OSS accepts.
    StatementTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Its ledger has no free entry.
    LedgerFull,
    /// It is carried unchanged.
    Carried,
    /// It owns no statements any more, so its finalizer can be removed.
    Released {
        /// Number of equal statements that stay in the policy because they are retained or were there before.
        residual: usize,
    },
}

/// The part of a plan that concerns one grant.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantPlan {
    /// Its ledger, to be stored before the change. Without a change it is final.
    pub ledger: Vec<LedgerEntry>,
    /// Its outcome.
    pub outcome: GrantOutcome,
    /// Number of statements that the plan adds for it.
    pub added: usize,
    /// Number of statements that the plan removes for it.
    pub removed: usize,
    /// Number of its statements that the ledger before the plan records as applied and that are missing.
    pub missing: usize,
}

impl GrantPlan {
    /// Whether the plan adds or removes statements of the grant.
    pub fn changes_policy(&self) -> bool {
        self.added > 0 || self.removed > 0
    }

    /// Whether the missing statements of the grant do not fit into the document.
    pub fn is_too_large(&self) -> bool {
        matches!(self.outcome, GrantOutcome::TooLarge { .. })
    }
}

/// The plan for all grants of one bucket that share an identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The change to make to the policy.
    pub change: Change,
    /// The part for each grant, in the order of the input.
    pub grants: Vec<GrantPlan>,
}

impl Plan {
    /// Returns the entries of all ledgers.
    pub fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.grants.iter().flat_map(|grant| &grant.ledger)
    }

    /// Returns the number of statements that the plan adds.
    pub fn added(&self) -> usize {
        self.grants.iter().map(|grant| grant.added).sum()
    }

    /// Returns the number of statements that the plan removes.
    pub fn removed(&self) -> usize {
        self.grants.iter().map(|grant| grant.removed).sum()
    }
}
