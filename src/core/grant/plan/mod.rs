//! The plan: which statements come and go, which ledgers must be written first, and how each grant stands.
//!
//! The same function plans before a write and reads the result after it: planning a document that already holds what
//! is wanted gives `Keep`. It leaves no choice to whoever carries it out.

mod builder;
mod capacity;
mod removal;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use self::builder::PlanBuilder;
use super::GrantInput;
use crate::api::LedgerEntry;
use crate::core::policy::Document;

/// What a plan is made from, beside the grants.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The policy as read; `None` when the bucket has none.
    pub document: Option<&'a Document>,
    /// The time of planning.
    pub now: Timestamp,
    /// Until when a write of an earlier pass, over all grants of the bucket, could still take effect.
    pub unsettled_until: Option<Timestamp>,
    /// Whether an absence may be a late answer to our own last write, so that it does not count.
    pub absence_untrusted: bool,
    /// Fingerprints of statements that grants of other identities have put into the policy: not ours to take out.
    pub placed_by_others: Option<&'a BTreeSet<String>>,
    /// Fingerprints of statements that answered writes of this process have taken out for certain: one that is seen all the
    /// same, and not in an old answer, is somebody else's.
    pub confirmed_removed: Option<&'a BTreeSet<String>>,
}

/// What is to be done to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Write this document.
    Put(String),
    /// Delete the document: nothing would be left in it.
    Delete,
}

/// How a grant stands once the plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOutcome {
    /// Everything it wants is there.
    Applied,
    /// The plan writes for it.
    Writing,
    /// It waits until an answer or an earlier write is certain.
    Propagating,
    /// Statements of it are gone and not put back for now.
    Missing,
    /// An equal statement is there and it may not be adopted.
    ExistingStatement,
    /// Its statements do not fit: bytes needed for the whole document, and bytes free now.
    TooLarge {
        /// Bytes that its missing statements need.
        needed: usize,
        /// Bytes free in the document.
        free: usize,
    },
    /// One statement alone is longer than OSS accepts.
    StatementTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Its ledger has no room.
    LedgerFull,
    /// It is carried as it is.
    Carried,
    /// It owns nothing any more and may go. Statements of others that stay equal to its own: how many.
    Released {
        /// Statements that it leaves behind.
        residual: usize,
    },
}

/// The plan for one identity's grants of one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is to be done to the policy.
    pub change: Change,
    /// Each grant's ledger: to be stored before the change, or as the final one when there is none.
    pub ledgers: Vec<Vec<LedgerEntry>>,
    /// How each grant stands.
    pub outcomes: Vec<GrantOutcome>,
    /// Statements that the plan adds for each grant.
    pub added: Vec<usize>,
    /// Statements that the plan takes out for each grant.
    pub removed: Vec<usize>,
    /// Statements of each grant that were recorded as applied and are gone.
    pub missing: Vec<usize>,
}

/// Plans for `members`, which are all grants of the bucket with one identity.
pub fn plan(input: PlanInput<'_>, grants: &[GrantInput]) -> Plan {
    let mut set_aside = BTreeMap::new();
    // A grant that does not fit is carried as it is, and the others are planned without it; each round freezes some more.
    loop {
        let builder = PlanBuilder::new(input, grants, &set_aside);
        match builder.build() {
            Ok(plan) => return plan,
            Err(refused) => set_aside.extend(refused),
        }
    }
}
