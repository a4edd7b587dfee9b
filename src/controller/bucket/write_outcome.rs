//! Applies the result of a policy write to the ledgers.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::cache::GrantSetCache;
use super::grant_set::{GrantSet, GrantWork};
use super::observation::{PolicyView, count_owned};
use crate::api::{EntryState, LedgerEntry};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{Change, GrantOutcome, GrantState, PassRoleDecision, Plan};
use crate::core::policy::Document;

/// A policy write that failed.
pub(super) struct WriteFailure {
    pub(super) error: CloudError,
    /// Whether it certainly had no effect.
    pub(super) no_effect: bool,
}

impl GrantSet<'_> {
    /// Applies an answered write: the ledgers become the planned ones, and no write of this reconcile is outstanding.
    /// From now on an added statement is recognized semantically, even if OSS formats it differently.
    pub(super) fn on_write_confirmed(&mut self, batch: &mut [GrantWork], plan: &Plan, read_at: Timestamp) {
        let now = self.context.ports.now();
        self.writes.confirmed(plan, now);
        let text = match &plan.change {
            Change::Put(text) => Some(text.as_bytes()),
            Change::Delete | Change::Keep => None,
        };
        let document = text.and_then(|text| Document::parse(text).ok());
        for (index, work) in batch.iter_mut().enumerate() {
            let count = |counts: &[usize]| counts.get(index).copied().unwrap_or(0);
            work.added += count(&plan.added);
            work.removed += count(&plan.removed);
            if count(&plan.added) + count(&plan.removed) > 0 {
                work.last_write = Some(now);
                let written = PolicyView {
                    document: document.as_ref(),
                    ours: count_owned(&plan.ledgers, document.as_ref()),
                    scheduled_check: false,
                    absence_trusted: false,
                };
                work.written_policy = Some(work.policy_seen(written));
            }
            let earlier = std::mem::take(&mut work.input.ledger);
            let mut ledger = plan.ledgers.get(index).cloned().unwrap_or_default();
            let open = |e: &LedgerEntry| e.state == EntryState::Intended;
            let recorded = ledger.iter().filter(|e| open(e)).cloned().collect::<Vec<_>>();
            confirm_entries(&mut ledger, &earlier, document.as_ref(), now);
            // An edit can come before the confirmed ledger is stored, so that the stored one keeps the intended write.
            let left = |e: &&LedgerEntry| {
                ledger
                    .iter()
                    .any(|now| open(now) && now.fingerprint == e.fingerprint)
            };
            let confirmed = recorded.iter().filter(|e| !left(e));
            self.writes.write_sent(&work.grant.uid, confirmed, now);
            work.input.ledger = ledger;
        }
        let added: usize = plan.added.iter().sum();
        let reason = if added > 0 { "added" } else { "removed" };
        let window = now.duration_since(read_at).as_secs_f64();
        self.context.metrics.policy_write(reason, window);
    }

    /// Applies a failed write. A rejected write had no effect, so the ledgers return to their entries from before. Any
    /// other failed write may still take effect, so the ledgers keep the recorded entries. Returns the time until the
    /// retry.
    pub(super) async fn on_write_failed(
        &mut self,
        batch: Vec<GrantWork>,
        plan: &Plan,
        failure: &WriteFailure,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let WriteFailure { error, no_effect } = failure;
        if error.kind == CloudErrorKind::PublicAccessBlocked
            && batch
                .iter()
                .any(|p| p.pass_role.is_some_and(PassRoleDecision::is_written))
        {
            cache.public_refused = true;
        }
        let now = self.context.ports.now();
        if *no_effect {
            self.writes.rejected();
        } else {
            self.writes.unanswered(now);
        }
        let (mut involved, mut others) = (Vec::new(), Vec::new());
        for (index, mut work) in batch.into_iter().enumerate() {
            let touched = |counts: &[usize]| counts.get(index).is_some_and(|n| *n > 0);
            let (uid, planned) = (&work.grant.uid, plan.ledgers.get(index).map(Vec::as_slice));
            let planned = planned.filter(|_| touched(&plan.added)).unwrap_or_default();
            if *no_effect {
                work.roll_back = true;
                self.writes.write_rejected(uid, planned, &work.input.ledger, now);
            } else {
                let added = planned.iter().filter(|e| e.state == EntryState::Intended);
                self.writes.write_sent(uid, added, now);
                work.input.ledger.clone_from(&work.grant.status.owned);
            }
            if touched(&plan.added) || touched(&plan.removed) {
                involved.push(work);
            } else {
                others.push((
                    work,
                    plan.outcomes.get(index).cloned().unwrap_or(GrantOutcome::Carried),
                ));
            }
        }
        for (work, outcome) in others {
            self.write_state(work, GrantState::Planned(outcome), None).await;
        }
        let wait = self.on_cloud_error(involved, error, cache).await;
        if cache.public_refused {
            Duration::from_secs(1)
        } else {
            wait
        }
    }
}

/// Confirms the entries of an answered write: its removals, and the intended statements that the written policy
/// contains byte for byte. Other intended entries stay as they are: they belong to an earlier write for another grant.
fn confirm_entries(
    ledger: &mut [LedgerEntry],
    earlier: &[LedgerEntry],
    document: Option<&Document>,
    now: Timestamp,
) {
    let written = |entry: &LedgerEntry| {
        let mut statements = document
            .into_iter()
            .flat_map(|d| d.statements().iter().map(|s| d.text_of(s)));
        statements.any(|text| text == entry.statement)
    };
    for entry in ledger {
        match entry.state {
            EntryState::Removing => {}
            EntryState::Intended if written(entry) => entry.state = EntryState::Applied,
            EntryState::Intended | EntryState::Applied | EntryState::Missing => continue,
        }
        let old = earlier.iter().find(|e| e.fingerprint == entry.fingerprint);
        entry.unsettled_until = old.and_then(|e| e.unsettled_until.clone()).filter(|t| t.0 > now);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::SignedDuration;

    use super::*;
    use crate::api::StatementRole;

    #[test]
    fn an_answered_write_confirms_its_statements_and_removals_and_nothing_else() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let entry = |statement: &str, state, seconds: i64| LedgerEntry {
            fingerprint: statement.to_owned(),
            role: StatementRole::Access,
            state,
            pre_existing: false,
            statement: statement.to_owned(),
            copies: None,
            unsettled_until: Some(Time(now + SignedDuration::from_secs(seconds))),
            identity: None,
            other: std::collections::BTreeMap::new(),
        };
        let earlier = [
            entry(r#"{"not":"in it"}"#, EntryState::Intended, 100),
            entry(r#"{"once":"sent before"}"#, EntryState::Intended, 50),
        ];
        let mut ledger = vec![
            entry(r#"{"not":"in it"}"#, EntryState::Intended, 100),
            entry(r#"{"once":"sent before"}"#, EntryState::Intended, 360),
            entry(r#"{"now":"added"}"#, EntryState::Intended, 360),
            entry(r#"{"now":"removed"}"#, EntryState::Removing, 360),
        ];
        let text = r#"{"Statement":[{"once":"sent before"},{"now":"added"}]}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        confirm_entries(&mut ledger, &earlier, Some(&document), now);
        let view = |e: &LedgerEntry| {
            let left = e
                .unsettled_until
                .as_ref()
                .map(|t| t.0.duration_since(now).as_secs());
            (e.state, left)
        };
        assert_eq!(
            ledger.iter().map(view).collect::<Vec<_>>(),
            [
                (EntryState::Intended, Some(100)),
                (EntryState::Applied, Some(50)),
                (EntryState::Applied, None),
                (EntryState::Removing, None),
            ]
        );
    }
}
