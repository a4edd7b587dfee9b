//! Who comes aboard, and how: what can be said of a grant without any call, what has to be asked about the bucket first,
//! and our finalizer before anything can be written for it.

use futures::future::OptionFuture;

use super::grant_set::{BucketFacts, GrantSet, GrantWork};
use crate::api::{BucketRef, FINALIZER, GrantSpec, Mode, ObservedBucket, PassRoleStatement};
use crate::controller::bucket::cache::GrantSetCache;
use crate::core::error::CloudError;
use crate::core::grant::{
    Desired, Disposition, GrantInput, GrantObject, GrantOutcome, GrantState, OnDrift, PassRoleDecision,
    PublicAccessBlock, Removal, decide_pass_role, drift, parse_spec,
};
use crate::core::identity::CredentialOrigin;
use crate::core::policy::is_plausible;
use crate::ports::AccessKeys;

impl GrantSet<'_> {
    /// Says what can be said without a call to the cloud.
    pub(super) async fn validate(&self, grant: GrantObject) -> GrantWork {
        let bucket = grant.bucket.as_ref().map(|p| p.name.clone()).unwrap_or_default();
        let mut ledger = grant.status.owned.clone();
        // Whoever may write status could forge an entry; what we could not have written is never acted on.
        ledger.retain(|e| is_plausible(&bucket, &e.statement, &e.fingerprint));
        let disposition = if grant.deleting {
            Disposition::Removing(Removal::Delete)
        } else {
            Disposition::Carried
        };
        let outcome = if grant.deleting {
            None
        } else {
            self.known_state(&grant).await
        };
        let member = GrantInput {
            key: grant.key.clone(),
            created: grant.created,
            disposition,
            ledger,
        };
        let repeated_drift = grant.status.repeated_drift.clone();
        GrantWork {
            grant,
            input: member,
            outcome,
            pass_role: None,
            preview: None,
            bucket: None,
            added: 0,
            removed: 0,
            missing: 0,
            late_write_seen: false,
            unreported_drift: 0,
            repeated_drift,
            last_write: None,
            public: None,
            backup: None,
        }
    }

    async fn known_state(&self, grant: &GrantObject) -> Option<GrantState> {
        let spec = match &grant.spec {
            Ok(spec) if spec.suspend => return Some(GrantState::Suspended),
            Ok(spec) => spec,
            Err(message) => return Some(GrantState::Invalid(message.clone())),
        };
        if let Err(error) = parse_spec(spec, PassRoleDecision::Omitted) {
            return Some(GrantState::Invalid(error.to_string()));
        }
        self.tenancy_denial(grant).await
    }

    /// Whether the tenancy rules deny a grant; asked again directly before a write.
    pub(super) async fn tenancy_denial(&self, grant: &GrantObject) -> Option<GrantState> {
        let spec = grant.spec.as_ref().ok()?;
        match self.context.tenant(&grant.key.namespace).await {
            Ok(tenant) => self
                .context
                .ports
                .tenancy_rules()
                .allow_grant(&tenant, spec)
                .err()
                .map(GrantState::Denied),
            Err(_) => Some(GrantState::NamespaceUnknown),
        }
    }

    /// Asks what has to be known about the bucket. Each answer costs a call, so one once given for a generation stays until
    /// the spec changes, it was a no, or OSS refuses a write.
    pub(super) async fn read_bucket_facts(
        &self,
        batch: &[GrantWork],
        place: &BucketRef,
        keys: &AccessKeys,
        cache: &mut GrantSetCache,
    ) -> Result<BucketFacts, CloudError> {
        let going = || batch.iter().filter(|p| p.outcome.is_none() && !p.grant.deleting);
        let mut known = BucketFacts::default();
        let unseen = |g: &GrantObject| {
            let new = g.status.observed_generation != Some(g.generation);
            g.status
                .bucket
                .as_ref()
                .is_none_or(|observed| new || self.bucket_mismatch(g, observed).is_some())
        };
        let requested = |g: &GrantObject| g.spec.as_ref().ok().map(|s| s.access.pass_role_statement);
        let open = |g: &GrantObject| {
            let spec = g.spec.as_ref().ok();
            spec.is_some_and(|s| decide_pass_role(s, g.generation, &g.status, None).is_none())
        };
        let retry =
            cache.public_refused && going().any(|p| requested(&p.grant) != Some(PassRoleStatement::Omit));
        let (ask_bucket, ask_block) = (
            going().any(|p| unseen(&p.grant)),
            retry || going().any(|p| open(&p.grant)),
        );
        // Both at once: a new grant waits for these answers.
        let ports = &self.context.ports;
        let (bucket, block) = futures::join!(
            OptionFuture::from(ask_bucket.then(|| ports.bucket_info(place, keys))),
            OptionFuture::from(ask_block.then(|| ports.read_public_access_block(place, keys))),
        );
        if let Some(observed) = bucket {
            self.context
                .metrics
                .cloud_call("GetBucketInfo", if observed.is_ok() { "ok" } else { "failed" });
            known.bucket = Some(observed?);
        }
        if let Some(state) = block {
            self.context.metrics.cloud_call(
                "GetBucketPublicAccessBlock",
                if state.is_ok() { "ok" } else { "failed" },
            );
            // OSS has just refused a public policy: whatever it says, or may not say, the block is on.
            known.block = Some(match (state?, retry) {
                (PublicAccessBlock::Off | PublicAccessBlock::Unreadable, true) => {
                    PublicAccessBlock::RefusedByOss
                }
                (state, _) => state,
            });
            cache.public_refused = false;
        }
        Ok(known)
    }

    /// Why the bucket is not the one that the grant means.
    fn bucket_mismatch(&self, grant: &GrantObject, observed: &ObservedBucket) -> Option<GrantState> {
        let spec = grant.spec.as_ref().ok()?;
        match (&observed.owner_uid, &observed.region) {
            (Some(owner), _) if *owner != spec.bucket.owner_uid => {
                Some(GrantState::WrongOwner(owner.clone()))
            }
            (_, Some(region)) if *region != spec.bucket.region => {
                Some(GrantState::WrongRegion(region.clone()))
            }
            (None, _) if self.identity.origin == CredentialOrigin::Operator => {
                Some(GrantState::OwnerUnverified)
            }
            _ => None,
        }
    }

    /// Decides a grant's stance. `false` when its finalizer could not be put on yet: it is carried then.
    pub(super) async fn prepare(&self, work: &mut GrantWork, known: &BucketFacts) -> bool {
        if work.grant.deleting || work.outcome.is_some() {
            return true;
        }
        let grant = &work.grant;
        let observed = known.bucket.clone().or_else(|| grant.status.bucket.clone());
        work.outcome = observed
            .as_ref()
            .and_then(|observed| self.bucket_mismatch(grant, observed));
        work.bucket.clone_from(&known.bucket);
        if work.outcome.is_some() {
            return true;
        }
        // A spec that cannot be used has a verdict already.
        let Some((spec, (desired, choice))) = grant
            .spec
            .as_ref()
            .ok()
            .and_then(|spec| Some((spec, self.desired(spec, grant, known.block)?)))
        else {
            return false;
        };
        work.pass_role = Some(choice);
        if spec.mode == Mode::Preview {
            work.outcome = Some(GrantState::Preview);
            work.preview = Some(desired);
            return true;
        }
        if !grant.has_finalizer() {
            match self.context.ports.add_finalizer(grant).await {
                Ok(version) => {
                    work.grant.resource_version = version;
                    work.grant.finalizers.push(FINALIZER.to_owned());
                }
                Err(error) => {
                    tracing::warn!(grant = %grant.key, %error, "the finalizer could not be put on yet");
                    work.outcome = Some(GrantState::Planned(GrantOutcome::Carried));
                    return false;
                }
            }
        }
        work.input.disposition = Disposition::Enforced(desired);
        true
    }

    /// What a grant wants, and what was decided about `ram:PassRole`.
    fn desired(
        &self,
        spec: &GrantSpec,
        grant: &GrantObject,
        block: Option<PublicAccessBlock>,
    ) -> Option<(Desired, PassRoleDecision)> {
        let choice = decide_pass_role(spec, grant.generation, &grant.status, block)
            .unwrap_or(PassRoleDecision::OmittedBecause(PublicAccessBlock::Unreadable));
        let mut desired = parse_spec(spec, choice).ok()?;
        if drift::backoff_left(grant.status.repeated_drift.as_ref(), self.context.ports.now()).is_some() {
            desired.on_drift = OnDrift::Report;
        }
        Some((desired, choice))
    }
}
