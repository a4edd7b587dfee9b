//! Grants that leave without a call to the cloud: released by annotation, kept on purpose, or never owners of anything.

use std::time::Duration;

use super::write_status::{write_grant_state, write_status};
use crate::api::EventReason;
use crate::controller::context::Context;
use crate::core::grant::{
    Disposition, GrantInput, GrantObject, GrantOutcome, GrantState, Observation, PlanInput, Removal, plan,
};
use crate::ports::{EventSubject, ObjectEvent};

/// How long until a grant is looked at again whose spec cannot be used.
const RECHECK_UNUSABLE: Duration = Duration::from_secs(600);

/// Whether a grant leaves its statements where they are: by annotation, or by its deletion policy.
pub(super) fn retains_statements(grant: &GrantObject) -> bool {
    grant.deleting && (grant.abandon || grant.retain)
}

/// A grant whose spec does not even name an identity and a bucket.
pub(super) async fn reconcile_unusable(context: &Context, grant: GrantObject) -> Duration {
    if grant.deleting && (grant.abandon || grant.status.owned.is_empty()) {
        let released = release(context, grant, 0).await;
        return if released {
            RECHECK_UNUSABLE
        } else {
            Duration::from_secs(1)
        };
    }
    let message = grant
        .spec
        .as_ref()
        .err()
        .cloned()
        .unwrap_or_else(|| "spec.credentials cannot be used".to_owned());
    let observation = Observation {
        ledger: grant.status.owned.clone(),
        ..Observation::default()
    };
    write_grant_state(context, grant, &GrantState::Invalid(message), observation).await;
    RECHECK_UNUSABLE
}

/// Lets grants go that keep their statements. The statements are then nobody's, also for their other owners: those are
/// told first, so that none of them removes what was meant to stay.
pub(super) async fn release_retained(
    context: &Context,
    grants: Vec<GrantObject>,
) -> (Vec<GrantObject>, bool) {
    if !grants.iter().any(retains_statements) {
        return (grants, true);
    }
    let members: Vec<GrantInput> = grants.iter().map(retained_or_carried).collect();
    let input = PlanInput {
        document: None,
        now: context.ports.now(),
        unsettled_until: None,
        absence_untrusted: false,
        placed_by_others: None,
        confirmed_removed: None,
    };
    let plan = plan(input, &members);
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for (grant, ledger) in grants.into_iter().zip(plan.ledgers) {
        if retains_statements(&grant) {
            go.push(grant);
        } else {
            stay.push((grant, ledger));
        }
    }
    let mut all_written = true;
    let mut staying = Vec::new();
    for (mut grant, ledger) in stay {
        if ledger != grant.status.owned {
            let status = crate::api::GrantStatus {
                owned: ledger,
                ..grant.status.clone()
            };
            all_written &= write_status(context, &mut grant, status).await;
        }
        staying.push(grant);
    }
    if !all_written {
        staying.extend(go);
        return (staying, false);
    }
    let mut all_gone = true;
    for grant in go {
        let reason = if grant.abandon {
            EventReason::Abandoned
        } else {
            EventReason::Retained
        };
        let (abandoned, count) = (grant.abandon, grant.status.owned.len());
        let copy = grant.clone();
        if release(context, grant, 0).await {
            let note = format!("Released; {count} of its statements may remain in the policy");
            publish_event(context, &copy, reason, note, abandoned).await;
        } else {
            all_gone = false;
            staying.push(copy);
        }
    }
    (staying, all_gone)
}

fn retained_or_carried(grant: &GrantObject) -> GrantInput {
    let disposition = if retains_statements(grant) {
        Disposition::Removing(Removal::Retain)
    } else {
        Disposition::Carried
    };
    GrantInput {
        key: grant.key.clone(),
        created: grant.created,
        disposition,
        ledger: grant.status.owned.clone(),
    }
}

/// Takes the finalizer off: the grant owns nothing any more. `false` when that has to be tried again.
pub(super) async fn release(context: &Context, mut grant: GrantObject, residual: usize) -> bool {
    if residual > 0 {
        let note = format!("{residual} unmanaged statements still name this grantee: access remains");
        publish_event(context, &grant, EventReason::ResidualAccess, note, true).await;
    }
    // An object that stays for the sake of another finalizer must not go on claiming anything.
    if !grant.status.owned.is_empty() && grant.finalizers.len() > 1 {
        let status = crate::api::GrantStatus {
            owned: Vec::new(),
            ..grant.status.clone()
        };
        if !write_status(context, &mut grant, status).await {
            return false;
        }
    }
    let released = context.ports.remove_finalizer(&grant).await;
    if let Err(error) = released {
        tracing::info!(grant = %grant.key, %error, "the finalizer could not be taken off yet");
    }
    released.is_ok()
}

/// Tells people about a change of a grant's state.
pub(super) async fn publish_event(
    context: &Context,
    grant: &GrantObject,
    reason: impl AsRef<str>,
    note: String,
    warning: bool,
) {
    let (key, uid) = (grant.key.clone(), grant.uid.clone());
    context
        .ports
        .publish_event(ObjectEvent {
            subject: EventSubject::Grant,
            key,
            uid,
            reason: reason.as_ref().to_owned(),
            note,
            warning,
        })
        .await;
}

/// The verdict of a grant that may be released, with what it leaves behind.
pub(super) fn released(outcome: &GrantOutcome) -> Option<usize> {
    match outcome {
        GrantOutcome::Released { residual } => Some(*residual),
        GrantOutcome::Applied
        | GrantOutcome::Writing
        | GrantOutcome::Propagating
        | GrantOutcome::Missing
        | GrantOutcome::ExistingStatement
        | GrantOutcome::TooLarge { .. }
        | GrantOutcome::StatementTooLong { .. }
        | GrantOutcome::LedgerFull
        | GrantOutcome::Carried => None,
    }
}
