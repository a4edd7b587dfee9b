//! What is known about a grant set between its reconciles: when it is due, and what its calls have shown. A restart
//! may lose all of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::bucket_facts::{NeededFacts, PreparationFacts, effective_block, needed_facts};
use super::early_end::{AfterEnd, EarlyEnd, retry_after_refusal};
use super::grant_set_order::GrantSetRecord;
use super::last_credentials::LastCredentials;
use super::next_reconcile::{ApiWrites, Due, drift_check, next_addition, retry_preparation, wait_of_set};
use super::probe::ProbeRead;
use super::rejected_additions::RejectedAdditions;
use super::trust::Trust;
use super::work::GrantWork;
use super::write_history::WriteHistory;
use super::write_result::is_refused_as_public;
use super::{GrantObject, PublicAccessBlock};
use crate::api::ObservedBucket;
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::hash::ChangeDigest;
use crate::core::policy::PolicyRead;
use crate::core::tenancy::TenancyRules;

/// State of a set between reconciles, and during one.
#[derive(Default)]
pub struct GrantSetCache {
    /// Consecutive failures.
    failures: u32,
    /// Writes for the grants of the set.
    api_writes: ApiWrites,
    /// The delay for which the last failed call of this reconcile asked.
    asked: Option<Duration>,
    /// Time until the next attempt at what could not be prepared in this reconcile: a finalizer, or credentials while the
    /// reference is closed.
    retry_within: Option<Duration>,
    /// Consecutive failures, if a finalizer could not be added in this reconcile.
    preparing_failed: Option<u32>,
    /// When the next reconcile is due.
    due: Option<Due>,
    /// What the set was last reconciled for; a change makes it due at once.
    inputs: Option<(ChangeDigest, Arc<TenancyRules>)>,
    /// OSS rejected a write as public: Block Public Access is read again and treated as on.
    pub public_refused: bool,
    /// The grants whose additions OSS has rejected.
    pub rejected: RejectedAdditions,
    /// When the next drift check is due.
    next_drift_check: Option<Timestamp>,
    /// Whether the last reconcile wrote the policy.
    pub wrote: bool,
    /// Whether the identity can read the policy.
    pub trust: Trust,
    /// Whether OSS has denied the last policy write of the identity.
    write_denied: bool,
    /// When the set was last reconciled.
    reconciled_at: Option<Timestamp>,
    /// What a probe read for the next reconcile.
    probed: Option<ProbeRead>,
    /// Credentials that last worked.
    pub last_credentials: LastCredentials,
}

impl GrantSetCache {
    /// Begins a reconcile. Returns the time left if the set is not due, and neither its grants nor the rules have
    /// changed.
    pub fn begin(
        &mut self,
        grants: &[GrantObject],
        rules: Arc<TenancyRules>,
        now: Timestamp,
    ) -> Option<Duration> {
        self.wrote = false;
        let parts = grants
            .iter()
            .map(|g| (&g.uid, g.generation, (g.deleting, g.abandon), &g.reconcile_at));
        let inputs = Some((ChangeDigest::of(parts.collect::<Vec<_>>()), rules));
        let left = self.due.and_then(|due| due.left(now));
        if self.inputs == inputs && left.is_some() {
            return left;
        }
        self.inputs = inputs;
        self.reconciled_at = Some(now);
        let here = |uid: &String| grants.iter().any(|g| g.uid == *uid);
        self.last_credentials.retain(here);
        self.rejected.retain(here);
        if self.next_drift_check.is_some_and(|time| now >= time) {
            self.rejected.retry_some();
        }
        (self.asked, self.retry_within, self.preparing_failed) = (None, None, None);
        None
    }

    /// Ends a reconcile that is to be followed by one after `wait`. `all_stored` says whether the API server accepted
    /// all of its writes. Returns the time until the next reconcile.
    pub fn end(&mut self, wait: Duration, all_stored: bool, seed: &str, now: Timestamp) -> Duration {
        self.failures = self.preparing_failed.unwrap_or(self.failures);
        let wait = self.retry_within.into_iter().fold(wait, Duration::min);
        let retry = self.api_writes.retry_after(all_stored, seed);
        let wait = wait_of_set(wait, retry, self.asked, self.next_drift_check, now);
        self.due = Some(Due::after(wait, now));
        wait
    }

    /// Records that a finalizer could not be added: the set retries.
    pub fn not_prepared(&mut self, seed: &str) {
        let (failures, retry) = retry_preparation(self.failures, seed);
        (self.preparing_failed, self.retry_within) = (Some(failures), Some(retry));
    }

    /// Records that the last credentials are in use after a refusal: the reference is tried again.
    pub fn reference_closed(&mut self, refusal: &CredentialRefusal, seed: &str) {
        self.retry_within = Some(retry_after_refusal(refusal, seed));
    }

    /// Begins the rounds of a reconcile. Returns whether it is a scheduled drift check.
    pub fn begin_rounds(&mut self, batch: &[GrantWork], now: Timestamp) -> bool {
        let (scheduled_check, next_check) = drift_check(self.next_drift_check, batch, now);
        self.next_drift_check = Some(next_check);
        scheduled_check
    }

    /// Records that a plan changes nothing. Returns the time until what was held back is written.
    pub fn settled(&mut self, batch: &[GrantWork], seed: &str) -> Option<Duration> {
        self.failures = 0;
        next_addition(batch, &mut self.rejected, self.wrote, seed)
    }

    /// Records a policy write that OSS answered.
    pub fn written(&mut self) {
        (self.wrote, self.write_denied) = (true, false);
    }

    /// Records a policy write that failed.
    pub fn write_failed(&mut self, batch: &[GrantWork], error: &CloudError) {
        self.public_refused |= is_refused_as_public(batch, error);
        self.write_denied |= error.kind == CloudErrorKind::AccessDenied;
    }

    /// Records that a reconcile ends early; `batch` are the grants that the end concerns. Returns what follows.
    pub fn ended_early<'a>(&mut self, end: &EarlyEnd, batch: &[GrantWork], seed: &'a str) -> AfterEnd<'a> {
        if matches!(end, EarlyEnd::NothingLeft) {
            self.inputs = None;
        }
        let before = self.failures;
        // Nobody is to blame for a write that OSS has rejected: it is planned again.
        if !batch.is_empty() && end.is_failure() {
            self.failures = before.saturating_add(1);
        }
        let after = end.after(batch, before, self.failures, seed);
        if let (Some(error), true) = (end.failed_call(), after.state.is_some()) {
            self.answered(Some(error));
            self.asked = error.retry_after;
        }
        after
    }

    /// Records what a probe has read for the next reconcile.
    pub fn probe_done(&mut self, read: ProbeRead) {
        (self.trust, self.probed) = (Trust::Proven, Some(read));
    }

    /// Returns the policy that the probe read, once and if it can serve as a first read.
    pub fn take_probed_policy(&mut self, writes: &WriteHistory, now: Timestamp) -> Option<PolicyRead> {
        let probed = self.probed.take()?;
        probed.policy.filter(|_| writes.is_fresh_read(probed.at, now))
    }

    /// Returns the facts about the bucket that have to be read for the grants, and its owner and region if a probe
    /// has read them, once.
    pub fn needed_facts(
        &mut self,
        batch: &[GrantWork],
        is_operator: bool,
    ) -> (NeededFacts, Option<ObservedBucket>) {
        let needed = needed_facts(batch, is_operator, self.public_refused);
        self.public_refused = needed.public_refused;
        let probed = self.probed.as_mut().and_then(|probed| probed.bucket.take());
        let probed = probed.filter(|_| needed.bucket || is_operator);
        let bucket = needed.bucket && probed.is_none();
        (NeededFacts { bucket, ..needed }, probed)
    }

    /// Records what was read of the needed facts. Returns what counts.
    pub fn facts_read(
        &mut self,
        needed: NeededFacts,
        bucket: Option<ObservedBucket>,
        block: Option<PublicAccessBlock>,
    ) -> PreparationFacts {
        self.public_refused &= block.is_none();
        PreparationFacts {
            bucket,
            block: block.map(|read| effective_block(read, needed.public_refused)),
            public_refused: needed.public_refused,
        }
    }

    /// Records the end of a policy read or another call.
    pub fn answered(&mut self, error: Option<&CloudError>) {
        self.trust = self.trust.after(error.map(|error| error.kind));
    }

    /// Returns what is known about the set for its turn.
    pub fn record(&self) -> GrantSetRecord {
        GrantSetRecord {
            doubted: self.write_denied || self.trust == Trust::Doubtful,
            reconciled_at: self.reconciled_at,
        }
    }

    /// Makes the set due at once: a recheck was requested, a probe is done, or another set's write may have removed a
    /// statement that this set wants.
    pub fn clear_backoff(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests;
