//! The plan: which statements to add and remove, which ledgers to store first, and the outcome for each grant.
//!
//! The same function plans before a write and verifies the result after it: a document that already contains all desired
//! statements yields `Keep`. A plan leaves no decision to the code that executes it.

mod builder;
mod capacity;
mod ownership;
mod removal;
mod types;

use std::collections::BTreeMap;

use self::builder::PlanBuilder;
use self::capacity::check_capacity;
use self::removal::remove_undesired;
pub use self::types::{Change, GrantOutcome, GrantPlan, Plan, PlanInput};
use super::GrantInput;
use crate::core::policy::Document;

/// Plans for `grants`, which must be all grants of the bucket with one identity.
pub fn plan(input: PlanInput<'_>, grants: &[GrantInput]) -> Plan {
    let mut set_aside = BTreeMap::new();
    // A grant that cannot be planned is carried unchanged, and the others are planned without it. Each round sets at
    // least one more aside, so the loop ends.
    loop {
        let builder = PlanBuilder::new(input, grants, &set_aside);
        match build(builder) {
            Ok(plan) => return plan,
            Err(refused) => set_aside.extend(refused),
        }
    }
}

fn build(mut builder: PlanBuilder<'_>) -> Result<Plan, Vec<(usize, GrantOutcome)>> {
    let mut refused = Vec::new();
    for grant in builder.order.clone() {
        refused.extend(builder.ensure_desired(grant).err());
    }
    // Set all of them aside in one round: each round takes time, and a bucket can have any number of grants.
    if !refused.is_empty() {
        return Err(refused);
    }
    for grant in builder.order.clone() {
        remove_undesired(&mut builder, grant);
    }
    check_capacity(&mut builder)?;
    let remove: Vec<usize> = builder.remove.iter().copied().collect();
    if !remove.is_empty() || !builder.add.is_empty() {
        let text = Document::edited(builder.input.document, &remove, &builder.add);
        builder.plan.change = text.map_or(Change::Delete, Change::Put);
    }
    Ok(builder.plan)
}
