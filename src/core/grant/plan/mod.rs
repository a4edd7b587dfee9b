//! The plan: which statements to add and remove, which ledgers to store first, and the outcome for each grant.
//!
//! The same function plans before a write and verifies the result after it: a document that already contains all desired
//! statements yields `Keep`. A plan leaves no decision to the code that executes it.

mod builder;
mod capacity;
mod removal;
mod types;

use std::collections::BTreeMap;

use self::builder::PlanBuilder;
pub use self::types::{Change, GrantOutcome, Plan, PlanInput};
use super::GrantInput;

/// Plans for `grants`, which must be all grants of the bucket with one identity.
pub fn plan(input: PlanInput<'_>, grants: &[GrantInput]) -> Plan {
    let mut set_aside = BTreeMap::new();
    // A grant that cannot be planned is carried unchanged, and the others are planned without it. Each round sets at
    // least one more aside, so the loop ends.
    loop {
        let builder = PlanBuilder::new(input, grants, &set_aside);
        match builder.build() {
            Ok(plan) => return plan,
            Err(refused) => set_aside.extend(refused),
        }
    }
}
