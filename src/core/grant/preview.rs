//! What would be written if it were allowed: the same plan as for real, with one grant's stance changed. Status shows it in
//! preview, and `imm-operator plan` prints it.

use std::mem;

use super::{Change, Desired, Disposition, GrantInput, GrantOutcome, OnDrift, PlanInput, plan};
use crate::api::{EntryState, PlannedChange};
use crate::core::hash::sha256;
use crate::core::policy::Document;

/// The change that `wanted` would bring for the grant at `index`; else why its statements would not get in. `members` are
/// afterwards as they were.
pub fn planned_change(
    input: PlanInput<'_>,
    grants: &mut [GrantInput],
    index: usize,
    desired: &Desired,
) -> Result<PlannedChange, GrantOutcome> {
    let mut disposition = Disposition::Enforced(Desired {
        on_drift: OnDrift::Restore,
        ..desired.clone()
    });
    // Lent for the time of the plan: to copy all grants for each one that is shown would take longer than to plan.
    let mut swap = |grants: &mut [GrantInput]| {
        grants
            .get_mut(index)
            .map(|m| mem::swap(&mut m.disposition, &mut disposition))
    };
    swap(grants).ok_or(GrantOutcome::Carried)?;
    let plan = plan(input, grants);
    swap(grants);
    let outcome = plan.outcomes.get(index).unwrap_or(&GrantOutcome::Carried);
    if matches!(
        outcome,
        GrantOutcome::TooLarge { .. }
            | GrantOutcome::StatementTooLong { .. }
            | GrantOutcome::LedgerFull
            | GrantOutcome::ExistingStatement
    ) {
        return Err(outcome.clone());
    }
    let live = |fingerprint: &str| {
        input
            .document
            .is_some_and(|d| !d.positions_of(fingerprint).is_empty())
    };
    let add = desired
        .statements
        .iter()
        .filter(|s| !live(&s.fingerprint))
        .map(|s| s.text.clone())
        .collect();
    let leaving = plan
        .ledgers
        .get(index)
        .into_iter()
        .flatten()
        .filter(|e| e.state == EntryState::Removing);
    let remove = leaving
        .filter(|e| live(&e.fingerprint))
        .map(|e| e.statement.clone())
        .collect();
    let text = match &plan.change {
        Change::Keep => input.document.map(Document::text),
        Change::Put(text) => Some(text.as_str()),
        Change::Delete => None,
    };
    Ok(PlannedChange {
        add,
        remove,
        resulting_bytes: i64::try_from(text.map_or(0, str::len)).unwrap_or(i64::MAX),
        resulting_sha256: text.map(sha256),
    })
}
