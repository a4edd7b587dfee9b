//! The rounds of a lane: plan on what was read; store the ledgers; read once more, and start over if it changed; write;
//! read again, and plan on that. A round that finds nothing to do ends the pass with its reports.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::seen::{Seen, ours};
use super::{LAG, Lane, LaneMemory, LastWrite, Passenger, look_interval, retry_soon};
use crate::api::{BucketRef, EntryState, EventReason};

use crate::core::failure::{CallFailure, FailureKind};
use crate::core::grant::{
    Change, Member, PassRoleChoice, Plan, Scene, Stance, Standing, Verdict, plan, report,
};
use crate::core::policy::Document;
use crate::ports::{Keys, PolicyRead};
use crate::runtime::bucket::letting_go::announce;
use crate::runtime::bucket::told::tell_all;

/// Rounds in one pass: others may change the policy between two of our reads a few times, not for ever.
const ROUNDS: usize = 6;
/// How far back a write is dated, so that OSS (which accepts 15 minutes) refuses it five minutes later.
const DATED_BACK: SignedDuration = SignedDuration::from_mins(10);

impl Lane<'_> {
    pub(super) async fn rounds(
        &self,
        mut passengers: Vec<Passenger>,
        place: &BucketRef,
        keys: &Keys,
        memory: &mut LaneMemory,
    ) -> Duration {
        let started = self.context.effects.now();
        let regular = memory.next_look.is_none_or(|time| started >= time);
        if regular {
            let interval = SignedDuration::try_from(look_interval(&passengers))
                .unwrap_or(SignedDuration::from_secs(600));
            memory.next_look = Some(started + interval);
        }
        let mut read = match self.read(place, keys).await {
            Ok(read) => read,
            Err(failure) => return self.failed(passengers, &failure, memory).await,
        };
        let mut wrote = false;
        for _ in 0..ROUNDS {
            let now = self.context.effects.now();
            let document = match read.bytes.as_deref().map(Document::parse).transpose() {
                Ok(document) => document,
                Err(why) => {
                    self.report_all(passengers, &Standing::Unreadable(why)).await;
                    return Duration::from_secs(3600);
                }
            };
            if before_our_write(&read, memory, now) {
                self.context.metrics.unverified();
                self.report_all(passengers, &Standing::Planned(Verdict::Settling))
                    .await;
                return Duration::from_secs(2);
            }
            let members: Vec<Member> = passengers.iter().map(|p| p.member.clone()).collect();
            let scene = Scene {
                document: document.as_ref(),
                now,
                unsettled_until: self.unsettled_for(&members),
                lagging: lagging(&read, memory, now),
            };
            let plan = plan(scene, &members);
            if plan.change == Change::Keep {
                memory.failures = 0;
                return self
                    .conclude(passengers, plan, document.as_ref(), regular, wrote)
                    .await;
            }
            if !self
                .store_ledgers(&mut passengers, &plan, document.as_ref())
                .await
            {
                continue;
            }
            let second = match self.read(place, keys).await {
                Ok(second) => second,
                Err(failure) => return self.failed(passengers, &failure, memory).await,
            };
            if second.bytes != read.bytes {
                read = second;
                continue;
            }
            let read_at = self.context.effects.now();
            let signed_at = second.server_time.unwrap_or(read_at) - DATED_BACK;
            let written = match &plan.change {
                Change::Put(text) => {
                    self.context
                        .effects
                        .put_policy(place, keys, text, signed_at)
                        .await
                }
                Change::Delete | Change::Keep => {
                    self.context.effects.delete_policy(place, keys, signed_at).await
                }
            };
            self.context
                .metrics
                .call("PutBucketPolicy", if written.is_ok() { "ok" } else { "failed" });
            if let Err(failure) = written {
                return self.refused(passengers, &plan, &failure, memory).await;
            }
            wrote = true;
            self.written(&mut passengers, &plan, &second, memory, read_at);
            read = match self.read(place, keys).await {
                Ok(read) => read,
                Err(failure) => return self.failed(passengers, &failure, memory).await,
            };
        }
        self.report_all(passengers, &Standing::Contended).await;
        memory.failures = memory.failures.saturating_add(1);
        retry_soon(memory.failures, &self.identity.secret)
    }

    async fn read(&self, place: &BucketRef, keys: &Keys) -> Result<PolicyRead, CallFailure> {
        let read = self.context.effects.get_policy(place, keys).await;
        self.context
            .metrics
            .call("GetBucketPolicy", if read.is_ok() { "ok" } else { "failed" });
        read
    }

    /// Until when an unanswered write, of this or an earlier process, could still take effect.
    fn unsettled_for(&self, members: &[Member]) -> Option<Timestamp> {
        let own = members
            .iter()
            .flat_map(|m| &m.ledger)
            .filter_map(|e| e.unsettled_until.as_ref())
            .map(|t| t.0)
            .max();
        own.max(self.unsettled)
    }

    /// Stores the ledgers that the plan needs before the write. A grant whose ledger cannot be stored is set aside, and
    /// only it; `false` asks for a new plan without it.
    async fn store_ledgers(
        &self,
        passengers: &mut [Passenger],
        plan: &Plan,
        document: Option<&Document>,
    ) -> bool {
        let mut complete = true;
        let ours = ours(&plan.ledgers, document);
        for (index, passenger) in passengers.iter_mut().enumerate() {
            let Some(planned) = plan.ledgers.get(index) else {
                continue;
            };
            // Nothing leaves a stored ledger before the write: what the plan drops may still be another grant's to take over.
            let mut ledger = planned.clone();
            let dropped = passenger
                .member
                .ledger
                .iter()
                .filter(|old| !planned.iter().any(|e| e.fingerprint == old.fingerprint));
            ledger.extend(dropped.cloned());
            if ledger == passenger.grant.status.owned {
                continue;
            }
            let drifted = plan.drifted.get(index).copied().unwrap_or(0);
            let first_drift = drifted > 0 && passenger.drifted == 0;
            let verdict = plan.verdicts.get(index).cloned().unwrap_or(Verdict::Frozen);
            let standing = passenger.verdict.clone().unwrap_or(Standing::Planned(verdict));
            let mut facts = passenger.facts(Some(Seen {
                document,
                ours,
                regular: false,
            }));
            facts.ledger = ledger;
            facts.drifted = if first_drift { drifted } else { 0 };
            let status = report(&passenger.grant, &standing, facts, self.context.effects.now());
            if tell_all(self.context, &mut passenger.grant, status).await {
                if first_drift {
                    passenger.drifted = drifted;
                    let note = format!("{drifted} statements of this grant were gone from the policy");
                    announce(
                        self.context,
                        &passenger.grant,
                        EventReason::DriftDetected,
                        note,
                        true,
                    )
                    .await;
                }
            } else {
                passenger.member.stance = Stance::Frozen;
                passenger.verdict = None;
                complete = false;
            }
        }
        complete
    }

    /// The write was answered: ledgers go on as planned, and nothing of this pass is left unsettled.
    fn written(
        &self,
        passengers: &mut [Passenger],
        plan: &Plan,
        before: &PolicyRead,
        memory: &mut LaneMemory,
        read_at: Timestamp,
    ) {
        let now = self.context.effects.now();
        let after = match &plan.change {
            Change::Put(text) => Some(text.clone().into_bytes()),
            Change::Delete | Change::Keep => None,
        };
        memory.last_write = Some(LastWrite {
            before: before.bytes.clone(),
            after,
            at: now,
        });
        for (index, passenger) in passengers.iter_mut().enumerate() {
            let count = |counts: &[usize]| counts.get(index).copied().unwrap_or(0);
            passenger.added += count(&plan.added);
            passenger.removed += count(&plan.removed);
            if count(&plan.added) + count(&plan.removed) > 0 {
                passenger.last_write = Some(now);
            }
            let earlier = std::mem::take(&mut passenger.member.ledger);
            let mut ledger = plan.ledgers.get(index).cloned().unwrap_or_default();
            for entry in ledger.iter_mut().filter(|e| e.state != EntryState::Applied) {
                let old = earlier.iter().find(|e| e.fingerprint == entry.fingerprint);
                entry.unsettled_until = old.and_then(|e| e.unsettled_until.clone()).filter(|t| t.0 > now);
            }
            passenger.member.ledger = ledger;
        }
        let added: usize = plan.added.iter().sum();
        let reason = if added > 0 { "added" } else { "removed" };
        let window = now.duration_since(read_at).as_secs_f64();
        self.context.metrics.write(reason, window);
        tracing::info!(
            added,
            removed = plan.removed.iter().sum::<usize>(),
            window_seconds = window,
            "policy written"
        );
    }

    /// The write failed. Refused for certain, nothing was intended after all; otherwise it may still take effect, and the
    /// ledgers keep what they recorded.
    async fn refused(
        &self,
        passengers: Vec<Passenger>,
        plan: &Plan,
        failure: &CallFailure,
        memory: &mut LaneMemory,
    ) -> Duration {
        if failure.kind == FailureKind::PublicBlocked
            && passengers
                .iter()
                .any(|p| p.pass_role.is_some_and(PassRoleChoice::written))
        {
            memory.block_again = true;
        }
        let (mut involved, mut others) = (Vec::new(), Vec::new());
        for (index, mut passenger) in passengers.into_iter().enumerate() {
            let touched = |counts: &[usize]| counts.get(index).is_some_and(|n| *n > 0);
            if !failure.certain() {
                passenger.member.ledger.clone_from(&passenger.grant.status.owned);
            }
            if touched(&plan.added) || touched(&plan.removed) {
                involved.push(passenger);
            } else {
                others.push((
                    passenger,
                    plan.verdicts.get(index).cloned().unwrap_or(Verdict::Frozen),
                ));
            }
        }
        for (passenger, verdict) in others {
            self.report(passenger, Standing::Planned(verdict), None).await;
        }
        let wait = self.failed(involved, failure, memory).await;
        if memory.block_again {
            Duration::from_secs(1)
        } else {
            wait
        }
    }
}

/// Whether the answer is the document from before our last write: nothing is planned from it.
fn before_our_write(read: &PolicyRead, memory: &LaneMemory, now: Timestamp) -> bool {
    recent(memory, now).is_some_and(|last| last.before == read.bytes && last.after != read.bytes)
}

/// Whether an absence may be due to an old answer.
fn lagging(read: &PolicyRead, memory: &LaneMemory, now: Timestamp) -> bool {
    recent(memory, now).is_some_and(|last| last.after != read.bytes)
}

fn recent(memory: &LaneMemory, now: Timestamp) -> Option<&LastWrite> {
    memory
        .last_write
        .as_ref()
        .filter(|last| now.duration_since(last.at) < LAG)
}
