//! The change that a grant would make if it were enforced: the regular plan, with the disposition of one grant replaced.
//! Shown in the status in preview mode and printed by `imm-operator plan`.

use std::mem;

use k8s_openapi::jiff::Timestamp;

use super::{Change, Desired, Disposition, GrantInput, GrantOutcome, OnDrift, PlanInput, plan};
use crate::api::{EntryState, LedgerEntry, PlannedChange};
use crate::core::hash::sha256;
use crate::core::policy::Document;

/// Returns the change that `desired` would make for the grant at `index`. `grants` is restored before the function
/// returns.
///
/// # Errors
/// The outcome that prevents the statements from being written. [`GrantOutcome::Carried`] if `index` is out of range.
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
    // Swap in place: copying all grants for each grant in preview would take longer than planning.
    let mut swap = |grants: &mut [GrantInput]| {
        grants
            .get_mut(index)
            .map(|m| mem::swap(&mut m.disposition, &mut disposition))
    };
    swap(grants).ok_or(GrantOutcome::Carried)?;
    let plan = plan(input, grants);
    swap(grants);
    let planned = plan.grants.get(index).ok_or(GrantOutcome::Carried)?;
    if matches!(
        planned.outcome,
        GrantOutcome::TooLarge { .. }
            | GrantOutcome::StatementTooLong { .. }
            | GrantOutcome::LedgerFull
            | GrantOutcome::ExistingStatement
    ) {
        return Err(planned.outcome.clone());
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
    let leaving = planned.ledger.iter().filter(|e| e.state == EntryState::Removing);
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

/// Returns the change that a grant would make if no other grant were in its bucket. `ledger` has the statements that
/// it owns.
///
/// # Errors
/// As for [`planned_change`].
pub fn planned_change_alone(
    document: Option<&Document>,
    wanted: &Desired,
    ledger: Vec<LedgerEntry>,
    now: Timestamp,
) -> Result<PlannedChange, GrantOutcome> {
    let mut grants = [GrantInput {
        ledger,
        ..GrantInput::default()
    }];
    let input = PlanInput {
        document,
        now,
        ..PlanInput::default()
    };
    planned_change(input, &mut grants, 0, wanted)
}
