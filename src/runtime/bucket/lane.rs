//! One identity's grants of one bucket: read the policy, plan, write what the plan says, look again, report.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::letting_go::{announce, gone, keeps_statements, let_keepers_go, release};
use super::told::tell;
use super::{retry_soon, until};
use crate::api::{BucketRef, EventReason, PassRoleStatement};
use crate::core::delay;
use crate::core::failure::{CallFailure, FailureKind, KeysProblem};
use crate::core::grant::{
    BlockState, GrantObject, Leave, Member, PassRoleChoice, Stance, Standing, parse_spec, pass_role_choice,
};
use crate::core::identity::Identity;
use crate::core::policy::could_be_ours;
use crate::ports::Keys;
use crate::runtime::context::Context;

mod conclude;
mod round;
mod seen;

/// How long an answer of OSS may be older than our last write.
const LAG: SignedDuration = SignedDuration::from_secs(30);

/// Our last write, to recognise answers from before it.
#[derive(Clone)]
struct LastWrite {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    at: Timestamp,
}

/// What is remembered of a lane between passes.
#[derive(Default)]
pub(super) struct LaneMemory {
    failures: u32,
    not_before: Option<Timestamp>,
    last_write: Option<LastWrite>,
    /// OSS refused a write as public: Block Public Access has to be read again.
    block_again: bool,
    /// When the live policy is due for a look although nothing changed.
    next_look: Option<Timestamp>,
}

/// A lane of a pass.
pub(super) struct Lane<'a> {
    pub(super) context: &'a Context,
    pub(super) identity: Identity,
    /// Until when a write of an earlier process could still take effect.
    pub(super) unsettled: Option<Timestamp>,
}

/// A grant on its way through the lane.
struct Passenger {
    grant: GrantObject,
    member: Member,
    pass_role: Option<PassRoleChoice>,
    /// Known before any call: paused or invalid.
    verdict: Option<Standing>,
    /// Statements added and taken out for it in this pass.
    added: usize,
    removed: usize,
    drifted: usize,
    /// When the policy was written for it in this pass.
    last_write: Option<Timestamp>,
}

impl Lane<'_> {
    /// Makes a pass; gives the time until the next one.
    pub(super) async fn pass(&self, grants: Vec<GrantObject>, memory: &mut LaneMemory) -> Duration {
        let now = self.context.effects.now();
        let (grants, told) = let_keepers_go(self.context, grants).await;
        if !told {
            return Duration::from_secs(1);
        }
        let grants: Vec<GrantObject> = grants.into_iter().filter(|g| !keeps_statements(g)).collect();
        let changed = grants.iter().any(|g| {
            g.deleting
                || g.status.observed_generation != Some(g.generation)
                || g.status.last_handled_reconcile_at != g.reconcile_at
        });
        if let Some(time) = memory.not_before
            && time > now
            && !changed
        {
            return until(now, time);
        }
        let Some(place) = grants.iter().find_map(|g| g.place.clone()) else {
            return Duration::from_secs(3600);
        };
        let keys = match self
            .context
            .keys
            .get(self.context.effects.as_ref(), &self.identity)
            .await
        {
            Ok(keys) => keys,
            Err(problem) => return self.without_keys(grants, &problem).await,
        };
        let block = match self.block_state(&grants, &place, &keys, memory).await {
            Ok(block) => block,
            Err(failure) => return self.without_block(grants, &failure, memory).await,
        };
        let mut passengers = Vec::new();
        for grant in grants {
            if let Some(passenger) = self.board(grant, block).await {
                passengers.push(passenger);
            }
        }
        if passengers.is_empty() {
            return Duration::from_secs(3600);
        }
        let interval = look_interval(&passengers);
        let wait = self.rounds(passengers, &place, &keys, memory).await;
        let now = self.context.effects.now();
        let look = memory.next_look.map_or(interval, |time| until(now, time));
        let wait = wait.min(look);
        memory.not_before = Some(now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO));
        wait
    }

    /// Nobody can be looked at: everyone is told, and the Secret is read again soon.
    async fn without_keys(&self, grants: Vec<GrantObject>, problem: &KeysProblem) -> Duration {
        for grant in grants {
            let standing = if suspended(&grant) {
                Standing::Suspended
            } else {
                Standing::Keys(problem.clone())
            };
            if grant.deleting && grant.status.owned.is_empty() {
                release(self.context, grant, 0).await;
                continue;
            }
            let facts = crate::core::grant::Facts {
                ledger: grant.status.owned.clone(),
                ..Default::default()
            };
            tell(self.context, grant, &standing, facts).await;
        }
        match problem {
            KeysProblem::Unreachable => retry_soon(2, &self.identity.secret),
            KeysProblem::Missing | KeysProblem::Invalid(_) | KeysProblem::Denied { .. } => {
                Duration::from_secs(30)
            }
        }
    }

    /// Block Public Access, read only when a decision is open: it costs two calls.
    async fn block_state(
        &self,
        grants: &[GrantObject],
        place: &BucketRef,
        keys: &Keys,
        memory: &mut LaneMemory,
    ) -> Result<Option<BlockState>, CallFailure> {
        let open = |g: &GrantObject| {
            let spec = g.spec.as_ref().ok();
            !g.deleting
                && spec.is_some_and(|s| {
                    !s.suspend && pass_role_choice(s, g.generation, &g.status, None).is_none()
                })
        };
        let concerned = |g: &GrantObject| {
            let wish = g.spec.as_ref().ok().map(|s| s.access.pass_role_statement);
            wish.is_some_and(|w| w != PassRoleStatement::Omit)
        };
        let again = memory.block_again && grants.iter().any(concerned);
        if !again && !grants.iter().any(open) {
            return Ok(None);
        }
        let state = self.context.effects.read_block(place, keys).await;
        self.context.metrics.call(
            "GetBucketPublicAccessBlock",
            if state.is_ok() { "ok" } else { "failed" },
        );
        memory.block_again &= state.is_err();
        state.map(Some)
    }

    /// Block Public Access could not be read for now: nobody is decided about.
    async fn without_block(
        &self,
        grants: Vec<GrantObject>,
        failure: &CallFailure,
        memory: &mut LaneMemory,
    ) -> Duration {
        let aboard = |grant: GrantObject| {
            let ledger = grant.status.owned.clone();
            let member = Member {
                key: grant.key.clone(),
                created: grant.created,
                stance: Stance::Frozen,
                ledger,
            };
            let verdict = suspended(&grant).then_some(Standing::Suspended);
            Passenger {
                grant,
                member,
                pass_role: None,
                verdict,
                added: 0,
                removed: 0,
                drifted: 0,
                last_write: None,
            }
        };
        self.failed(grants.into_iter().map(aboard).collect(), failure, memory)
            .await
    }

    /// Decides a grant's stance, and puts our finalizer on before anything can be written for it.
    async fn board(&self, mut grant: GrantObject, block: Option<BlockState>) -> Option<Passenger> {
        let bucket = grant.place.as_ref().map(|p| p.name.clone()).unwrap_or_default();
        let mut ledger = grant.status.owned.clone();
        // Whoever may write status could forge an entry; what we could not have written is never acted on.
        ledger.retain(|e| could_be_ours(&bucket, &e.statement, &e.fingerprint));
        let (mut pass_role, mut verdict) = (None, None);
        let stance = if grant.deleting {
            Stance::Leaving(Leave::Remove)
        } else if suspended(&grant) {
            verdict = Some(Standing::Suspended);
            Stance::Frozen
        } else {
            match wanted(&grant, block) {
                Ok((wanted, choice)) => {
                    pass_role = Some(choice);
                    Stance::Active(wanted)
                }
                Err(message) => {
                    verdict = Some(Standing::Invalid(message));
                    Stance::Frozen
                }
            }
        };
        if matches!(stance, Stance::Active(_)) && !grant.guarded() {
            match self.context.effects.add_finalizer(&grant).await {
                Ok(version) => {
                    grant.resource_version = version;
                    grant.finalizers.push(crate::api::FINALIZER.to_owned());
                }
                Err(failure) => {
                    // Its watch event brings the bucket back; without a finalizer nothing is written for it.
                    tracing::info!(grant = %grant.key, %failure, "the finalizer could not be put on yet");
                    self.context.look_at(&bucket);
                    return None;
                }
            }
        }
        let member = Member {
            key: grant.key.clone(),
            created: grant.created,
            stance,
            ledger,
        };
        Some(Passenger {
            grant,
            member,
            pass_role,
            verdict,
            added: 0,
            removed: 0,
            drifted: 0,
            last_write: None,
        })
    }

    /// A failed call: what everyone is told, and when to try again.
    async fn failed(
        &self,
        passengers: Vec<Passenger>,
        failure: &CallFailure,
        memory: &mut LaneMemory,
    ) -> Duration {
        if matches!(failure.kind, FailureKind::KeysRejected | FailureKind::KeysExpired) {
            self.context.keys.forget(&self.identity);
        }
        let interval = look_interval(&passengers);
        for passenger in passengers {
            if passenger.grant.deleting && failure.kind == FailureKind::NoSuchBucket {
                announce(
                    self.context,
                    &passenger.grant,
                    EventReason::BucketGone,
                    "the bucket is gone, and its policy with it".to_owned(),
                    false,
                )
                .await;
                release(self.context, passenger.grant, 0).await;
                continue;
            }
            self.report(passenger, Standing::Failed(failure.clone()), None)
                .await;
        }
        memory.failures = memory.failures.saturating_add(1);
        match failure.kind {
            FailureKind::Throttled | FailureKind::Unavailable | FailureKind::Unanswered => {
                let grown = delay::after_failures(
                    memory.failures,
                    Duration::from_secs(1),
                    Duration::from_secs(420),
                    &self.identity.secret,
                );
                failure.retry_after.map_or(grown, |wait| wait.max(grown))
            }
            FailureKind::KeysRejected | FailureKind::KeysExpired => Duration::from_secs(60),
            FailureKind::Denied
            | FailureKind::PublicBlocked
            | FailureKind::NoSuchBucket
            | FailureKind::NoSuchProject
            | FailureKind::WrongRegion
            | FailureKind::DocumentRefused
            | FailureKind::Refused => interval,
        }
    }
}

/// The statements that a grant wants, and what was decided about `ram:PassRole`.
fn wanted(
    grant: &GrantObject,
    block: Option<BlockState>,
) -> Result<(crate::core::grant::Wanted, PassRoleChoice), String> {
    let spec = grant.spec.as_ref().map_err(Clone::clone)?;
    let choice = pass_role_choice(spec, grant.generation, &grant.status, block)
        .unwrap_or(PassRoleChoice::OmittedBecause(BlockState::Unreadable));
    let wanted = parse_spec(spec, choice).map_err(|e| e.to_string())?;
    Ok((wanted, choice))
}

fn suspended(grant: &GrantObject) -> bool {
    !grant.deleting && grant.spec.as_ref().is_ok_and(|s| s.suspend)
}

/// The shortest drift interval, spread by a tenth.
fn look_interval(passengers: &[Passenger]) -> Duration {
    let seconds = passengers
        .iter()
        .filter_map(|p| p.grant.spec.as_ref().ok())
        .map(|s| s.drift_interval_seconds)
        .min();
    let seconds = u64::try_from(seconds.unwrap_or(600))
        .unwrap_or(600)
        .clamp(60, 86_400);
    let seed = passengers.first().map_or("", |p| p.grant.uid.as_str());
    delay::spread_by_a_tenth(Duration::from_secs(seconds), seed)
}
