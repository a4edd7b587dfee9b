//! A policy write that is about to be sent: the check of its document, the time with which it is signed, and what the
//! copy of the policy and the audit trail say about it.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::GrantObject;
use super::plan::{Change, Plan};
use super::work::GrantWork;
use crate::api::LedgerEntry;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::policy::{CheckedDeletion, CheckedPolicy, PlanFault};
use crate::core::text::truncate;
use crate::core::time;

/// How far a write is dated back: OSS accepts a signature for 15 minutes, and so rejects the write after 5 minutes.
const SIGNED_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// Longest time from the plan, which dates the ledgers, to the read that dates the write: the minute in
/// `WRITE_LIFE_SECONDS`, less the time of a call.
const MAX_LEDGER_AGE: SignedDuration = SignedDuration::from_secs(50);

/// Most grants that the log line of a write names. With the longest names, they have 12 KiB: container runtimes split a line
/// of more than 16 KiB.
const NAMED_GRANTS: usize = 30;

/// A write that was checked against the policy that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedWrite {
    /// Write this document.
    Put(CheckedPolicy),
    /// Delete the document.
    Delete(CheckedDeletion),
}

impl PlannedWrite {
    /// Checks a change against the policy that it replaces and the ledgers as they are stored.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn of(
        bucket: &str,
        before: Option<&[u8]>,
        change: &Change,
        batch: &[GrantWork],
    ) -> Result<Self, PlanFault> {
        let stored = batch.iter().flat_map(|work| &work.grant.status.owned);
        let stored: Vec<&LedgerEntry> = stored.collect();
        match change {
            Change::Put(text) => CheckedPolicy::of(bucket, before, text, &stored).map(Self::Put),
            Change::Delete => CheckedDeletion::of(bucket, before, &stored).map(Self::Delete),
            Change::Keep => Err(PlanFault::Unchanged),
        }
    }

    /// Returns the name of the call.
    pub fn call(&self) -> &'static str {
        match self {
            Self::Put(_) => "PutBucketPolicy",
            Self::Delete(_) => "DeleteBucketPolicy",
        }
    }

    /// Returns the policy after the write; `None` if the bucket has none then.
    pub fn after(&self) -> Option<&str> {
        match self {
            Self::Put(policy) => Some(policy.text()),
            Self::Delete(_) => None,
        }
    }
}

/// Whether the plan and the ledgers that were stored for it no longer hold for the policy that was read right before the
/// write: it is another one, or storing took so long that the ledgers do not say until when the write can take effect.
pub fn is_outdated(planned: (Option<&[u8]>, Timestamp), read: (Option<&[u8]>, Timestamp)) -> bool {
    let ((before, planned_at), (now, read_at)) = (planned, read);
    before != now || read_at.duration_since(planned_at) > MAX_LEDGER_AGE
}

/// Whether the effect of a failed write has to be looked up: OSS does not document that a rejection by its lock has none.
pub fn is_effect_unknown(error: &CloudError) -> bool {
    error.kind == CloudErrorKind::BucketLocked
}

/// Whether a failed write certainly had no effect. `read` is the policy as it was looked up afterwards; `None` if
/// that failed.
pub fn is_without_effect(error: &CloudError, before: Option<&[u8]>, read: Option<Option<&[u8]>>) -> bool {
    if is_effect_unknown(error) {
        read == Some(before)
    } else {
        error.had_no_effect()
    }
}

/// Returns the time with which a write is signed. `server_time` is the clock of OSS at the read before the write.
pub fn signed_at(server_time: Option<Timestamp>, read_at: Timestamp) -> Timestamp {
    time::before(server_time.unwrap_or(read_at), SIGNED_BEFORE)
}

/// Returns the grants for which a plan adds or removes statements.
fn concerned<'a>(batch: &'a [GrantWork], plan: &'a Plan) -> impl Iterator<Item = &'a GrantWork> {
    let planned = batch.iter().zip(&plan.grants);
    planned
        .filter(|(_, planned)| planned.changes_policy())
        .map(|(work, _)| work)
}

/// Names the grants of a write for the copy of the policy from before it.
pub fn backup_writer(batch: &[GrantWork], plan: &Plan) -> String {
    let names = concerned(batch, plan).map(|work| work.grant.key.to_string());
    truncate(&names.collect::<Vec<_>>().join(", "), 1024)
}

/// Names the grants of a write for the audit trail: NAMESPACE/NAME uid=UID generation=NUMBER. Of many, it names the first
/// and the number of the others.
pub fn audit_names(batch: &[GrantWork], plan: &Plan) -> String {
    let mut grants = concerned(batch, plan).map(|work| &work.grant);
    let name =
        |grant: &GrantObject| format!("{} uid={} generation={}", grant.key, grant.uid, grant.generation);
    let mut names: Vec<_> = grants.by_ref().take(NAMED_GRANTS).map(name).collect();
    match grants.count() {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EntryState;
    use crate::core::grant::{GrantInput, PlanInput, plan, policy_of, work_of};

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    #[test]
    fn a_write_is_dated_back_by_the_clock_of_oss() {
        let server = Timestamp::constant(1_790_000_100, 0);
        assert_eq!(signed_at(Some(server), NOW).as_second(), 1_790_000_100 - 600);
        assert_eq!(signed_at(None, NOW).as_second(), 1_790_000_000 - 600);
    }

    #[test]
    fn a_write_that_the_lock_of_oss_rejects_had_no_effect_if_the_policy_is_the_same() {
        let error = |kind| CloudError::new(kind, "Code");
        let (locked, denied) = (
            error(CloudErrorKind::BucketLocked),
            error(CloudErrorKind::AccessDenied),
        );
        let (before, after): (Option<&[u8]>, Option<&[u8]>) = (Some(b"{}"), None);
        assert!(is_effect_unknown(&locked) && !is_effect_unknown(&denied));
        assert!(is_without_effect(&locked, before, Some(before)));
        assert!(!is_without_effect(&locked, before, Some(after)));
        assert!(!is_without_effect(&locked, before, None), "it could not be read");
        assert!(is_without_effect(&denied, before, None));
        assert!(!is_without_effect(
            &error(CloudErrorKind::Unanswered),
            before,
            None
        ));
    }

    #[test]
    fn a_plan_holds_for_the_same_bytes_and_for_the_time_that_its_ledgers_record() {
        let later = |seconds| NOW + SignedDuration::from_secs(seconds);
        let (some, other): (Option<&[u8]>, Option<&[u8]>) = (Some(b"{}"), Some(b"{ }"));
        assert!(!is_outdated((some, NOW), (some, later(50))));
        assert!(is_outdated((some, NOW), (some, later(51))));
        assert!(is_outdated((some, NOW), (other, NOW)));
        assert!(is_outdated((None, NOW), (some, NOW)));
    }

    #[test]
    fn a_write_is_checked_against_the_stored_ledgers_and_names_its_grants() {
        let mut batch = [work_of("a", None), work_of("b", Some(EntryState::Applied))];
        let before = policy_of(&[&batch[1]]);
        let members: Vec<GrantInput> = batch.iter().map(|work| work.input.clone()).collect();
        let input = PlanInput {
            document: Some(&before),
            now: NOW,
            ..PlanInput::default()
        };
        let plan = plan(input, &members);
        let text = Some(before.text().as_bytes());
        let of = |batch: &[GrantWork]| PlannedWrite::of("pics-1", text, &plan.change, batch);
        assert_eq!(of(&batch), Err(PlanFault::Added), "its ledger is not stored");
        batch[0].grant.status.owned.clone_from(&plan.grants[0].ledger);
        let write = of(&batch).unwrap();
        assert_eq!(write.call(), "PutBucketPolicy");
        assert_eq!(plan.change, Change::Put(write.after().unwrap().to_owned()));
        assert_eq!(backup_writer(&batch, &plan), "media/a");
        assert_eq!(audit_names(&batch, &plan), "media/a uid=a generation=1");
        let deletion = PlannedWrite::of("pics-1", text, &Change::Delete, &batch);
        assert_eq!(deletion, Err(PlanFault::Removed));
        let nothing = PlannedWrite::of("pics-1", None, &Change::Keep, &batch);
        assert_eq!(nothing, Err(PlanFault::Unchanged), "no policy is deleted for it");
        batch[1].grant.status.owned[0].state = EntryState::Removing;
        let deletion = PlannedWrite::of("pics-1", text, &Change::Delete, &batch).unwrap();
        assert_eq!((deletion.call(), deletion.after()), ("DeleteBucketPolicy", None));
    }

    #[test]
    fn the_log_line_of_a_write_has_a_bounded_length() {
        let batch: Vec<_> = (0..200)
            .map(|number| {
                let mut work = work_of(&format!("g{number}"), None);
                work.grant.key.namespace = "n".repeat(63);
                work.grant.key.name = format!("{number:0>253}");
                work.grant.uid = "u".repeat(36);
                work
            })
            .collect();
        let members: Vec<GrantInput> = batch.iter().map(|work| work.input.clone()).collect();
        let mut plan = plan(PlanInput::default(), &members);
        let names = |plan: &Plan| audit_names(&batch, plan);
        let concerned = plan
            .grants
            .iter()
            .filter(|planned| planned.changes_policy())
            .count();
        assert!(concerned > NAMED_GRANTS, "{concerned}");
        let text = names(&plan);
        assert!(text.len() < 12 * 1024, "{}", text.len());
        assert!(
            text.ends_with(&format!(", and {} more", concerned - NAMED_GRANTS)),
            "{text}"
        );
        plan.grants.truncate(NAMED_GRANTS);
        assert!(!names(&plan).contains("more"));
    }
}
