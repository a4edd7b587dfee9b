//! The end of a pass: everyone is told how they stand, and those that own nothing any more may go.

use std::time::Duration;

use super::seen::{Seen, ours};
use super::{Lane, Passenger, gone, release};
use crate::api::{EventReason, LedgerEntry};
use crate::core::delay;
use crate::core::grant::{PassRoleChoice, Plan, Standing, Verdict};
use crate::core::policy::Document;
use crate::runtime::bucket::letting_go::announce;
use crate::runtime::bucket::told::tell;

impl Lane<'_> {
    /// Nothing is left to write: everyone is told, those that gained first, and those that own nothing any more may go.
    pub(super) async fn conclude(
        &self,
        mut passengers: Vec<Passenger>,
        plan: Plan,
        document: Option<&Document>,
        regular: bool,
        wrote: bool,
    ) -> Duration {
        let ours = ours(&plan.ledgers, document);
        let seen = Seen {
            document,
            ours,
            regular,
        };
        let mut waiting = false;
        let mut order: Vec<(usize, Passenger, Vec<LedgerEntry>, Verdict)> = Vec::new();
        for (index, (passenger, (ledger, verdict))) in passengers
            .drain(..)
            .zip(plan.ledgers.into_iter().zip(plan.verdicts))
            .enumerate()
        {
            let loses = passenger
                .member
                .ledger
                .iter()
                .any(|old| !ledger.iter().any(|e| e.fingerprint == old.fingerprint));
            waiting |= verdict == Verdict::Settling;
            order.push((
                index + if loses { 1_000_000 } else { 0 },
                passenger,
                ledger,
                verdict,
            ));
        }
        order.sort_by_key(|(rank, ..)| *rank);
        let mut all_stored = true;
        for (rank, mut passenger, ledger, verdict) in order {
            // What one grant drops may be another's by now: only if that one's ledger says so.
            if rank >= 1_000_000 && !all_stored {
                continue;
            }
            passenger.member.ledger = ledger;
            self.announce_work(&passenger, &verdict).await;
            if let Some(residual) = gone(&verdict) {
                passenger.grant.status.owned.retain(|_| false);
                release(self.context, passenger.grant, residual).await;
                continue;
            }
            all_stored &= self
                .report(passenger, Standing::Planned(verdict), Some(seen))
                .await;
        }
        if !all_stored {
            Duration::from_secs(1)
        } else if waiting {
            Duration::from_secs(5)
        } else if wrote {
            // A second look catches somebody who had read the policy before our write and wrote after it.
            delay::between(
                Duration::from_secs(15),
                Duration::from_secs(45),
                &format!("{}/{}", self.identity.secret, ours),
            )
        } else {
            Duration::from_secs(3600)
        }
    }

    async fn announce_work(&self, passenger: &Passenger, verdict: &Verdict) {
        let grant = &passenger.grant;
        if passenger.added > 0 && *verdict == Verdict::Applied {
            let (reason, note) = if passenger.drifted > 0 {
                (
                    EventReason::DriftCorrected,
                    format!("put {} statements back into the policy", passenger.added),
                )
            } else {
                (
                    EventReason::StatementAdded,
                    format!("added {} statements to the policy", passenger.added),
                )
            };
            announce(self.context, grant, reason, note, false).await;
        }
        if passenger.removed > 0 {
            let note = format!("took {} statements out of the policy", passenger.removed);
            announce(self.context, grant, EventReason::StatementRemoved, note, false).await;
        }
    }

    pub(super) async fn report_all(&self, passengers: Vec<Passenger>, standing: &Standing) {
        for passenger in passengers {
            self.report(passenger, standing.clone(), None).await;
        }
    }

    /// Tells a grant how it stands, unless it is known otherwise.
    pub(super) async fn report(
        &self,
        passenger: Passenger,
        standing: Standing,
        seen: Option<Seen<'_>>,
    ) -> bool {
        let applied = standing == Standing::Planned(Verdict::Applied);
        let blocked = matches!(passenger.pass_role, Some(PassRoleChoice::Blocked(_)));
        let standing = match (passenger.verdict.clone(), applied && blocked) {
            (Some(known), _) => known,
            (None, true) => Standing::PassRoleBlocked,
            (None, false) => standing,
        };
        let facts = passenger.facts(seen);
        tell(self.context, passenger.grant, &standing, facts).await
    }
}
