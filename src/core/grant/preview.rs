//! What would be written if it were allowed: the same plan as for real, with one grant's stance changed. Status shows it in
//! preview, and `imm-operator plan` prints it.

use super::{Change, Member, Restore, Scene, Stance, Verdict, Wanted, plan};
use crate::api::{EntryState, PlannedChange};
use crate::core::hash::sha256;
use crate::core::policy::Document;

/// The change that `wanted` would bring for the grant at `index`; else why its statements would not get in.
pub fn planned(
    scene: Scene<'_>,
    members: &[Member],
    index: usize,
    wanted: &Wanted,
) -> Result<PlannedChange, Verdict> {
    let mut members = members.to_vec();
    let member = members.get_mut(index).ok_or(Verdict::Frozen)?;
    member.stance = Stance::Active(Wanted {
        restore: Restore::PutBack,
        ..wanted.clone()
    });
    let plan = plan(scene, &members);
    let verdict = plan.verdicts.get(index).unwrap_or(&Verdict::Frozen);
    if matches!(
        verdict,
        Verdict::TooLarge { .. } | Verdict::StatementTooLong { .. } | Verdict::LedgerFull
    ) {
        return Err(verdict.clone());
    }
    let live = |fingerprint: &str| scene.document.is_some_and(|d| !d.live(fingerprint).is_empty());
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
