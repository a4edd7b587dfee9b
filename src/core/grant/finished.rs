//! The grants at the end of a reconcile whose plan changes nothing: their final ledgers, previews and statuses, and
//! the order in which these are stored.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::plan::{GrantOutcome, GrantPlan, Plan, PlanInput};
use super::report::{PolicyView, all_present, final_status, overlaps};
use super::work::GrantWork;
use super::{GrantInput, GrantState, drift, planned_change};
use crate::api::{EntryState, GrantStatus, LedgerEntry, PlannedChange};

/// Whether the plan moves a statement from one grant's ledger to another's: the entry is stored in both before it
/// leaves the first.
pub fn transfers_ownership(batch: &[GrantWork], plan: &Plan) -> bool {
    // Fingerprints that are in `now` and not in `before`.
    fn new_entries<'a>(now: &'a [LedgerEntry], before: &'a [LedgerEntry]) -> impl Iterator<Item = &'a str> {
        let known = |f: &str| before.iter().any(|e| e.fingerprint == f);
        now.iter()
            .map(|e| e.fingerprint.as_str())
            .filter(move |f| !known(f))
    }
    let pairs = || batch.iter().zip(&plan.grants);
    let gained: BTreeSet<&str> = pairs()
        .flat_map(|(p, planned)| new_entries(&planned.ledger, &p.grant.status.owned))
        .collect();
    pairs().any(|(p, planned)| new_entries(&p.input.ledger, &planned.ledger).any(|f| gained.contains(f)))
}

/// Whether a grant waits for OSS to return the last write, or was not processed.
pub fn is_waiting(batch: &[GrantWork], plan: &Plan, view: PolicyView<'_>) -> bool {
    let set_aside = |(work, planned): (&GrantWork, &GrantPlan)| {
        planned.outcome == GrantOutcome::Propagating
            || (planned.outcome == GrantOutcome::Carried && work.decided.is_none())
    };
    let unsure = |work: &GrantWork| work.preview.is_some() && all_present(work, view).is_none();
    batch.iter().zip(&plan.grants).any(set_aside) || batch.iter().any(unsure)
}

/// A grant at the end of a reconcile, with its planned ledger and outcome.
pub struct FinishedGrant {
    /// The grant.
    pub work: GrantWork,
    /// Whether its ledger loses an entry. It may belong to another grant only once the ledger of that grant is
    /// stored: the others are stored first.
    pub loses: bool,
    /// The outcome of the plan.
    pub outcome: GrantOutcome,
    ledger: Vec<LedgerEntry>,
    change: Option<PlannedChange>,
}

impl FinishedGrant {
    /// Returns a grant with its part of the plan.
    pub fn of(work: GrantWork, planned: GrantPlan) -> Self {
        let lost = |old: &LedgerEntry| !planned.ledger.iter().any(|e| e.fingerprint == old.fingerprint);
        Self {
            loses: work.input.ledger.iter().any(lost),
            work,
            outcome: planned.outcome,
            ledger: planned.ledger,
            change: None,
        }
    }

    /// Plans what the grant at `index` of `members` would change: one in mode `Preview`, or one whose statements are
    /// missing. Returns whether there was something to plan.
    pub fn plan_preview(&mut self, input: PlanInput<'_>, members: &mut [GrantInput], index: usize) -> bool {
        let Some(desired) = self
            .work
            .desired_for_preview(self.outcome == GrantOutcome::Missing)
        else {
            return false;
        };
        match planned_change(input, members, index, &desired) {
            Ok(change) => self.change = Some(change),
            // A preview of a change that could not be written reports the reason instead of a plan.
            Err(unfit) => self.work.decided = Some(GrantState::Planned(unfit)),
        }
        true
    }

    /// Makes the planned ledger that of the grant. A write of an earlier reconcile may have taken effect after all:
    /// jobs wait out the propagation delay as after any write.
    pub fn take_ledger(&mut self, now: Timestamp) {
        let landed = |e: &LedgerEntry| e.state == EntryState::Intended && !e.pre_existing;
        let before = &self.work.input.ledger;
        let was_open = |f: &str| before.iter().any(|e| e.fingerprint == f && landed(e));
        let mut applied = self.ledger.iter().filter(|e| e.state == EntryState::Applied);
        if applied.any(|e| !e.pre_existing && was_open(&e.fingerprint)) {
            self.work.late_write_seen = true;
            self.work.last_write = self.work.last_write.or(Some(now));
        }
        self.work.input.ledger = std::mem::take(&mut self.ledger);
    }

    /// Returns how many statements give the same access when the grant is released; `None` if it is not.
    pub fn released_beside(&self, view: PolicyView<'_>) -> Option<usize> {
        let GrantOutcome::Released { residual } = self.outcome else {
            return None;
        };
        let others = overlaps(&self.work, view.document);
        let others = others.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Some(residual.max(others))
    }

    /// Returns the status, as [`final_status`].
    pub fn status(
        &self,
        view: PolicyView<'_>,
        interval: Duration,
        now: Timestamp,
    ) -> (GrantStatus, Option<i32>) {
        let change = self.change.clone();
        final_status(&self.work, &self.outcome, change, view, interval, now)
    }
}

/// The grants in the order in which they are stored: those that lose an entry come last.
pub struct StoreOrder {
    waiting: std::vec::IntoIter<FinishedGrant>,
    all_stored: bool,
    /// Time until the statements of a grant may be restored.
    pub restoration: Option<Duration>,
}

impl StoreOrder {
    /// Puts the grants in order.
    pub fn of(mut grants: Vec<FinishedGrant>) -> Self {
        grants.sort_by_key(|grant| grant.loses);
        Self {
            waiting: grants.into_iter(),
            all_stored: true,
            restoration: None,
        }
    }

    /// Returns the next grant. One that loses an entry is left as it is when the ledger of another one could not be
    /// stored.
    pub fn next_grant(&mut self, now: Timestamp) -> Option<FinishedGrant> {
        let all_stored = self.all_stored;
        let grant = self.waiting.find(|grant| !grant.loses || all_stored)?;
        let left = drift::backoff_left(grant.work.repeated_drift.as_ref(), now);
        self.restoration = self.restoration.into_iter().chain(left).min();
        Some(grant)
    }

    /// Records whether the ledger of a grant was stored. Nothing waits for a grant that is released or only loses
    /// entries.
    pub fn stored(&mut self, loses: bool, stored: bool) {
        self.all_stored &= stored || loses;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::grant::{Change, policy_of, work_of};

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn part(ledger: Vec<LedgerEntry>, outcome: GrantOutcome) -> GrantPlan {
        GrantPlan {
            ledger,
            outcome,
            added: 0,
            removed: 0,
            missing: 0,
        }
    }

    fn keep(grants: Vec<GrantPlan>) -> Plan {
        Plan {
            change: Change::Keep,
            grants,
        }
    }

    #[test]
    fn an_entry_that_leaves_one_ledger_for_another_is_a_transfer() {
        let batch = [work_of("a", Some(EntryState::Applied)), work_of("b", None)];
        let entry = batch[0].input.ledger.clone();
        let plan = |first, second| {
            keep(vec![
                part(first, GrantOutcome::Applied),
                part(second, GrantOutcome::Applied),
            ])
        };
        assert!(transfers_ownership(&batch, &plan(Vec::new(), entry.clone())));
        assert!(
            !transfers_ownership(&batch, &plan(entry.clone(), entry)),
            "both have it"
        );
        assert!(
            !transfers_ownership(&batch, &plan(Vec::new(), Vec::new())),
            "it is dropped"
        );
    }

    #[test]
    fn a_grant_waits_that_was_not_processed_or_whose_preview_is_unsure() {
        let mut batch = [work_of("a", Some(EntryState::Applied))];
        let waits = |batch: &[GrantWork], outcome| {
            let plan = keep(vec![part(Vec::new(), outcome)]);
            is_waiting(batch, &plan, PolicyView::of_plan(&plan, None))
        };
        assert!(waits(&batch, GrantOutcome::Propagating));
        assert!(waits(&batch, GrantOutcome::Carried));
        assert!(!waits(&batch, GrantOutcome::Applied));
        batch[0].preview = batch[0].desired_for_preview(true);
        batch[0].carry(GrantState::Preview);
        assert!(waits(&batch, GrantOutcome::Carried), "the read may be stale");
        batch[0].decided = Some(GrantState::Suspended);
        batch[0].preview = None;
        assert!(!waits(&batch, GrantOutcome::Carried));
    }

    #[test]
    fn a_write_that_took_effect_late_counts_as_a_write_of_now() {
        for (before, late) in [(EntryState::Intended, true), (EntryState::Applied, false)] {
            let work = work_of("a", Some(before));
            let mut ledger = work.input.ledger.clone();
            ledger[0].state = EntryState::Applied;
            let mut grant = FinishedGrant::of(work, part(ledger.clone(), GrantOutcome::Applied));
            assert!(!grant.loses);
            grant.take_ledger(NOW);
            assert_eq!(grant.work.late_write_seen, late, "{before:?}");
            assert_eq!(grant.work.last_write.is_some(), late, "{before:?}");
            assert_eq!(grant.work.input.ledger, ledger);
        }
        let lost = part(Vec::new(), GrantOutcome::Released { residual: 1 });
        let grant = FinishedGrant::of(work_of("a", Some(EntryState::Applied)), lost);
        assert!(grant.loses);
        let view = PolicyView::of_plan(&keep(Vec::new()), None);
        assert_eq!(grant.released_beside(view), Some(1));
    }

    #[test]
    fn foreign_statements_for_the_same_role_count_for_a_release_and_are_reported_once() {
        let (work, foreign) = (work_of("a", Some(EntryState::Applied)), work_of("foreign", None));
        let document = policy_of(&[&work, &foreign]);
        let ledger = work.input.ledger.clone();
        let plan = keep(vec![part(ledger, GrantOutcome::Applied)]);
        let view = PolicyView {
            scheduled_check: true,
            absence_trusted: true,
            ..PolicyView::of_plan(&plan, Some(&document))
        };
        let mut grant = FinishedGrant::of(work, plan.grants[0].clone());
        grant.take_ledger(NOW);
        let (status, grown) = grant.status(view, Duration::from_secs(600), NOW);
        assert_eq!((status.overlaps, grown), (Some(1), Some(1)));
        grant.work.grant.status = status;
        let (_, grown) = grant.status(view, Duration::from_secs(600), NOW);
        assert_eq!(grown, None);
        grant.outcome = GrantOutcome::Released { residual: 0 };
        assert_eq!(grant.released_beside(view), Some(1));
    }

    #[test]
    fn a_grant_that_loses_an_entry_is_stored_last_and_only_if_the_others_were_stored() {
        let finished = |name: &str, loses| {
            let work = work_of(name, Some(EntryState::Applied));
            let ledger = if loses {
                Vec::new()
            } else {
                work.input.ledger.clone()
            };
            FinishedGrant::of(work, part(ledger, GrantOutcome::Applied))
        };
        for (stored, expected) in [(true, vec!["b", "c", "a", "d"]), (false, vec!["b", "c"])] {
            let grants = [("a", true), ("b", false), ("c", false), ("d", true)];
            let mut order = StoreOrder::of(grants.map(|(name, loses)| finished(name, loses)).into());
            let mut names = Vec::new();
            while let Some(grant) = order.next_grant(NOW) {
                names.push(grant.work.grant.uid.clone());
                let fails = grant.loses || (names.len() == 1 && !stored);
                order.stored(grant.loses, !fails);
            }
            assert_eq!(names, expected, "nothing waits for one that only loses entries");
            assert_eq!(order.restoration, None);
        }
        let mut drifting = finished("a", false);
        let removed = (0..3).fold(None, |before, _| Some(drift::on_removed(before.as_ref(), NOW)));
        drifting.work.repeated_drift = removed;
        let mut order = StoreOrder::of(vec![drifting, finished("b", false)]);
        while order.next_grant(NOW).is_some() {}
        assert_eq!(order.restoration, Some(Duration::from_secs(600)));
    }

    #[test]
    fn a_preview_that_could_not_be_written_has_a_state_instead_of_a_change() {
        let mut work = work_of("a", None);
        work.preview = work.desired_for_preview(true);
        let mut members = vec![work.input.clone()];
        work.carry(GrantState::Preview);
        let input = PlanInput {
            now: NOW,
            ..PlanInput::default()
        };
        let mut grant = FinishedGrant::of(work, part(Vec::new(), GrantOutcome::Carried));
        assert!(grant.plan_preview(input, &mut members, 0));
        assert_eq!(grant.change.as_ref().map(|change| change.add.len()), Some(1));
        assert!(
            grant.plan_preview(input, &mut members, 1),
            "there is no such grant"
        );
        assert_eq!(
            grant.work.decided,
            Some(GrantState::Planned(GrantOutcome::Carried))
        );
        grant.work.preview = None;
        assert!(!grant.plan_preview(input, &mut members, 0));
    }
}
