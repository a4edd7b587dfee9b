//! Invariants at rest, when nothing has disturbed the operator for a while.

use std::collections::BTreeSet;
use std::sync::Arc;

use imm_operator::api::{AdoptionPolicy, ConditionStatus, DriftPolicy, EntryState, Mode, PassRoleStatement};
use imm_operator::core::grant::GrantObject;
use imm_operator::core::identity::Identity;
use imm_operator::core::job::JobObject;
use imm_operator::core::tenancy::Tenant;

use super::super::jobs::JobWorld;
use super::acts::is_unrestricted;
use super::audit::{explains, meaning, ready};
use super::step::Rotation;
use super::world::World;

/// Whether a grant names the operator's own identity, which removes nothing that another identity has written.
fn has_entries_of_others(grant: &GrantObject) -> bool {
    let digest = grant
        .identity
        .as_ref()
        .filter(|i| i.is_operator())
        .map(Identity::digest);
    digest.is_some_and(|own| {
        grant
            .status
            .owned
            .iter()
            .any(|e| e.identity.as_ref() != Some(&own))
    })
}

impl World {
    /// Whether the rules allow a grant now.
    fn is_allowed(&self, grant: &GrantObject) -> bool {
        let tenant = Tenant {
            name: grant.key.namespace.clone(),
            ..Tenant::default()
        };
        let spec = grant.spec.as_ref();
        spec.is_ok_and(|spec| self.rules().allow_grant(&tenant, spec).is_ok())
    }

    /// Whether the credentials of a grant can be used at its bucket.
    fn has_credentials(&self, grant: &GrantObject) -> bool {
        let Some(identity) = &grant.identity else {
            return false;
        };
        let closed = matches!(
            self.credentials.get(identity),
            Some(Rotation::Deleted | Rotation::Closed)
        );
        let bucket = &grant.bucket.as_ref().unwrap().name;
        !closed && is_unrestricted(self, identity, bucket)
    }

    /// Whether nothing but the operator can keep a grant from being `Applied`.
    fn is_healthy(&self, grant: &GrantObject) -> bool {
        let Ok(spec) = &grant.spec else { return false };
        let forged = self.audit.forged.contains(&grant.uid);
        let plain = !spec.suspend
            && spec.mode == Mode::Enforce
            && spec.adoption_policy != AdoptionPolicy::Fail
            && spec.drift_policy == DriftPolicy::Correct
            && spec.access.pass_role_statement != PassRoleStatement::Include
            && spec.drift_interval_seconds <= 600;
        plain
            && !forged
            && grant.status.repeated_drift.is_none()
            && self.is_allowed(grant)
            && self.has_credentials(grant)
    }

    /// Whether nothing is left that could need a write: every grant can be applied, and every job has finished.
    pub fn is_settled(&self) -> bool {
        let healthy = |g: &Arc<GrantObject>| !g.deleting && self.is_healthy(g);
        let finished = |job: &JobWorld| job.job.as_ref().is_none_or(JobObject::is_finished);
        // A removal that is denied is tried again and again.
        let removable =
            |g: &Arc<GrantObject>| self.has_credentials(g) && self.is_allowed(g) && !has_entries_of_others(g);
        self.grants.values().all(healthy)
            && self.audit.gone.iter().all(removable)
            && self.jobs.values().all(finished)
            && !self.audit.jumped
    }

    /// Checks I4, I10, I11 and I14.
    pub fn check_at_rest(&mut self) {
        let grants: Vec<Arc<GrantObject>> = self.grants.values().cloned().collect();
        for grant in &grants {
            self.check_grant_at_rest(grant);
        }
        for bucket in self.cloud.buckets.keys().cloned().collect::<Vec<_>>() {
            self.check_bucket_at_rest(&bucket);
        }
        self.check_jobs_at_rest();
    }

    fn check_grant_at_rest(&mut self, grant: &GrantObject) {
        let state = ready(&grant.status).map(|(status, reason)| (status, reason.to_owned()));
        let current = grant.status.observed_generation == Some(grant.generation);
        // What a snapshot takes from a status returns with the next check of the policy, and no promise says when.
        let checked_later = grant.spec.as_ref().is_ok_and(|s| s.drift_interval_seconds > 600);
        let restored = self.audit.restored_at > 0 && checked_later;
        let named = self.audit.forged.contains(&grant.uid) || restored || current;
        self.audit.must(named, || {
            format!("I10: {} has an outdated observedGeneration: {state:?}", grant.key)
        });
        if grant.deleting {
            // A deletion with working credentials ends.
            let of_another = |identity: &Identity| {
                let digests = grant.status.owned.iter().filter_map(|e| e.identity.as_ref());
                identity.is_operator() && digests.into_iter().any(|digest| *digest != identity.digest())
            };
            // The operator's own identity removes nothing that others have written.
            let barred = grant.identity.as_ref().is_some_and(of_another);
            let stuck =
                grant.has_finalizer() && !barred && self.has_credentials(grant) && self.is_allowed(grant);
            self.audit.must(!stuck, || {
                format!("I10: {} is still being deleted: {state:?}", grant.key)
            });
            return;
        }
        if !self.is_healthy(grant) {
            return;
        }
        let applied = state == Some((ConditionStatus::True, "Applied".to_owned()));
        self.audit
            .must(applied, || format!("I14: {} is {state:?} at rest", grant.key));
        let open = grant
            .status
            .owned
            .iter()
            .find(|e| e.state != EntryState::Applied || e.unsettled_until.is_some());
        self.audit.must(open.is_none(), || {
            format!(
                "I10: {} has an unfinished ledger entry at rest: {open:?}",
                grant.key
            )
        });
    }

    fn check_bucket_at_rest(&mut self, bucket: &str) {
        let texts = self.cloud.texts(bucket);
        let live: BTreeSet<String> = texts.iter().map(|text| meaning(text)).collect();
        for meaning in live {
            let of = (bucket.to_owned(), meaning);
            let excused = !self.audit.placed.contains_key(&of)
                || self.audit.ambiguous.contains(&of)
                || self.audit.left.contains(&of)
                || self.audit.jumped;
            let owned = self.grants_of(bucket).any(|g| explains(self, g, &of));
            // The process still tries to remove what such a grant has left.
            let cannot = |g: &&Arc<GrantObject>| {
                !self.has_credentials(g) || !self.is_allowed(g) || has_entries_of_others(g)
            };
            let owned = owned
                || self
                    .audit
                    .gone
                    .iter()
                    .filter(cannot)
                    .any(|g| explains(self, g, &of));
            self.audit.must(excused || owned, || {
                let text = texts.iter().find(|text| super::audit::meaning(text) == of.1);
                format!("I4: a statement of ours has no owner in {bucket}: {text:?}")
            });
        }
    }

    fn check_jobs_at_rest(&mut self) {
        let jobs = self.jobs.keys().cloned().collect::<Vec<_>>();
        for key in jobs {
            let job = self.jobs[&key].job.clone().unwrap();
            let spec = job.spec.clone().unwrap();
            let identity =
                imm_operator::core::identity::Identity::of(&key.namespace, &spec.credentials).unwrap();
            let closed = matches!(
                self.credentials.get(&identity),
                Some(Rotation::Deleted | Rotation::Closed)
            );
            let tenant = Tenant {
                name: key.namespace.clone(),
                ..Tenant::default()
            };
            let allowed = self.rules().allow_job(&tenant, &spec, &[]).is_ok();
            let free = spec.grant_ref.is_none()
                && !spec.suspend
                && spec
                    .budget
                    .as_ref()
                    .is_none_or(|b| b.on_exceeded == imm_operator::api::OnExceeded::Fail)
                && !closed
                && allowed;
            let world = self.jobs.get_mut(&key).unwrap();
            if free && !world.forged && !world.late {
                world.check_at_rest(false);
            }
        }
        self.collect_broken_jobs();
    }
}
