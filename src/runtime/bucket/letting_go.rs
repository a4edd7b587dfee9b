//! Grants that leave without a call to the cloud: released by annotation, kept on purpose, or never owners of anything.

use std::time::Duration;

use super::told::{tell, tell_all};
use crate::api::{DeletionPolicy, EventReason};
use crate::core::grant::{Facts, GrantObject, Leave, Member, Scene, Stance, Standing, Verdict, plan};
use crate::ports::{Announcement, Subject};
use crate::runtime::context::Context;

/// How long until a grant is looked at again whose spec cannot be used.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Whether a grant leaves its statements where they are: by annotation, or by its deletion policy.
pub(super) fn keeps_statements(grant: &GrantObject) -> bool {
    let retains = grant
        .spec
        .as_ref()
        .is_ok_and(|s| s.deletion_policy == DeletionPolicy::Retain);
    grant.deleting && (grant.abandon || retains)
}

/// A grant whose spec does not even name an identity and a bucket.
pub(super) async fn without_identity(context: &Context, grant: GrantObject) -> Duration {
    if grant.deleting && (grant.abandon || grant.status.owned.is_empty()) {
        return release(context, grant, 0).await;
    }
    let message = grant
        .spec
        .as_ref()
        .err()
        .cloned()
        .unwrap_or_else(|| "spec.credentials cannot be used".to_owned());
    let facts = Facts {
        ledger: grant.status.owned.clone(),
        ..Facts::default()
    };
    tell(context, grant, &Standing::Invalid(message), facts).await;
    LOOK_AGAIN
}

/// Lets grants go that keep their statements. The statements are then nobody's, also for their other owners: those are
/// told first, so that none of them removes what was meant to stay.
pub(super) async fn let_keepers_go(context: &Context, grants: Vec<GrantObject>) -> (Vec<GrantObject>, bool) {
    if !grants.iter().any(keeps_statements) {
        return (grants, true);
    }
    let members: Vec<Member> = grants.iter().map(keeper_or_frozen).collect();
    let scene = Scene {
        document: None,
        now: context.effects.now(),
        unsettled_until: None,
        lagging: false,
    };
    let plan = plan(scene, &members);
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for (grant, ledger) in grants.into_iter().zip(plan.ledgers) {
        if keeps_statements(&grant) {
            go.push(grant);
        } else {
            stay.push((grant, ledger));
        }
    }
    let mut all_told = true;
    let mut staying = Vec::new();
    for (mut grant, ledger) in stay {
        if ledger != grant.status.owned {
            let status = crate::api::GrantStatus {
                owned: ledger,
                ..grant.status.clone()
            };
            all_told &= tell_all(context, &mut grant, status).await;
        }
        staying.push(grant);
    }
    if !all_told {
        staying.extend(go);
        return (staying, false);
    }
    for grant in go {
        let reason = if grant.abandon {
            EventReason::Abandoned
        } else {
            EventReason::Retained
        };
        let count = grant.status.owned.len();
        announce(
            context,
            &grant,
            reason,
            format!("released; {count} statements may stay in the policy"),
            grant.abandon,
        )
        .await;
        release(context, grant, 0).await;
    }
    (staying, true)
}

fn keeper_or_frozen(grant: &GrantObject) -> Member {
    let stance = if keeps_statements(grant) {
        Stance::Leaving(Leave::Keep)
    } else {
        Stance::Frozen
    };
    Member {
        key: grant.key.clone(),
        created: grant.created,
        stance,
        ledger: grant.status.owned.clone(),
    }
}

/// Takes the finalizer off: the grant owns nothing any more.
pub(super) async fn release(context: &Context, grant: GrantObject, residual: usize) -> Duration {
    if residual > 0 {
        let note =
            format!("{residual} equal statements were there before or belong to others: the access stays");
        announce(context, &grant, EventReason::ResidualAccess, note, true).await;
    }
    let mut grant = grant;
    if !grant.status.owned.is_empty() {
        let status = crate::api::GrantStatus {
            owned: Vec::new(),
            ..grant.status.clone()
        };
        // The object may stay for the sake of another finalizer; its ledger must then not claim anything.
        if !tell_all(context, &mut grant, status).await {
            return Duration::from_secs(1);
        }
    }
    match context.effects.remove_finalizer(&grant).await {
        Ok(()) => LOOK_AGAIN,
        Err(failure) => {
            tracing::info!(grant = %grant.key, %failure, "the finalizer could not be taken off yet");
            Duration::from_secs(1)
        }
    }
}

/// Tells people about a change of a grant's state.
pub(super) async fn announce(
    context: &Context,
    grant: &GrantObject,
    reason: EventReason,
    note: String,
    warning: bool,
) {
    let (key, uid) = (grant.key.clone(), grant.uid.clone());
    context
        .effects
        .announce(Announcement {
            subject: Subject::Grant,
            key,
            uid,
            reason,
            note,
            warning,
        })
        .await;
}

/// The verdict of a grant that may be released, with what it leaves behind.
pub(super) fn gone(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Gone { residual } => Some(*residual),
        Verdict::Applied
        | Verdict::Writing
        | Verdict::Settling
        | Verdict::ExistingStatement
        | Verdict::TooLarge { .. }
        | Verdict::StatementTooLong { .. }
        | Verdict::LedgerFull
        | Verdict::Frozen => None,
    }
}
