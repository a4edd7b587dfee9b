//! What would be written if it were allowed: the same plan as for real, with one grant's stance changed. Status shows it in
//! preview, and `imm-operator plan` prints it.

use std::mem;

use super::{Change, Member, Restore, Scene, Stance, Verdict, Wanted, plan};
use crate::api::{EntryState, PlannedChange};
use crate::core::hash::sha256;
use crate::core::policy::Document;

/// The change that `wanted` would bring for the grant at `index`; else why its statements would not get in. `members` are
/// afterwards as they were.
pub fn planned(
    scene: Scene<'_>,
    members: &mut [Member],
    index: usize,
    wanted: &Wanted,
) -> Result<PlannedChange, Verdict> {
    let mut stance = Stance::Active(Wanted {
        restore: Restore::PutBack,
        ..wanted.clone()
    });
    // Lent for the time of the plan: to copy all grants for each one that is shown would take longer than to plan.
    let mut swap = |members: &mut [Member]| {
        members
            .get_mut(index)
            .map(|m| mem::swap(&mut m.stance, &mut stance))
    };
    swap(members).ok_or(Verdict::Frozen)?;
    let plan = plan(scene, members);
    swap(members);
    let verdict = plan.verdicts.get(index).unwrap_or(&Verdict::Frozen);
    if matches!(
        verdict,
        Verdict::TooLarge { .. }
            | Verdict::StatementTooLong { .. }
            | Verdict::LedgerFull
            | Verdict::ExistingStatement
    ) {
        return Err(verdict.clone());
    }
    let live = |fingerprint: &str| {
        scene
            .document
            .is_some_and(|d| !d.positions_of(fingerprint).is_empty())
    };
    let add = wanted
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
        Change::Keep => scene.document.map(Document::text),
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
