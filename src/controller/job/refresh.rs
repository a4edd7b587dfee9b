//! Refreshes a running job: its object, its credentials, the tenancy rules and its grant.

use std::sync::Arc;

use tokio::time::Instant;

use super::grant_wait::read_grant;
use super::job_credentials::{ValidJob, stops_run};
use super::run::{JobRun, PERSIST_EVERY, REFRESH_EVERY, StopReason};
use crate::core::job::{GateDecision, Phase, evaluate_gate};
use crate::ports::KubeError;
use crate::runtime::deadline;

impl JobRun<'_> {
    /// Applies edits of mutable fields to the run at once.
    pub(super) fn apply_edits(&mut self) {
        if let Ok(spec) = &self.writer.job.spec {
            self.spec.clone_from(spec);
        }
    }

    /// Reads the object and its grant again. The next refresh follows after 10 s, or after 1 s if one of them could
    /// not be read. Returns why the run has to stop; `None` when it continues.
    pub(super) async fn refresh(&mut self) -> Option<StopReason> {
        let refreshed = self.refresh_all().await;
        let wait = if refreshed.is_ok() {
            REFRESH_EVERY
        } else {
            PERSIST_EVERY
        };
        self.refresh_due = Some(deadline::after(Instant::now(), wait));
        refreshed.unwrap_or(None)
    }

    /// Returns why the run has to stop; `None` when it continues.
    ///
    /// # Errors
    /// Returns the error of the API server if the object, the namespace or the grant cannot be read.
    async fn refresh_all(&mut self) -> Result<Option<StopReason>, KubeError> {
        // Not within the memory budget: while this waits, the run does not continue a read that occupies a part of it.
        match self.context.ports.get_job(&self.writer.job.key).await? {
            Some(fresh) if fresh.uid == self.writer.job.uid && !fresh.deleting => {
                // Only the operator writes the status; if it differs, the next write detects the conflict.
                if fresh.status == self.writer.job.status {
                    self.writer.job = fresh;
                    self.apply_edits();
                }
            }
            _ => return Ok(Some(StopReason::Gone)),
        }
        if let Some(phase) = self.renew_credentials().await {
            return Ok(Some(StopReason::Blocked(phase)));
        }
        let source_spec = &self.input.source_spec;
        let tenant = self.context.tenant(&self.writer.job.key.namespace).await?;
        let rules = self.context.ports.tenancy_rules();
        let buckets = source_spec.buckets();
        let owner_allowed = |owner: &String| {
            let bucket = buckets.first().copied().unwrap_or_default();
            rules
                .allow_source_owner(&tenant, &self.spec, bucket, owner)
                .is_ok()
        };
        let allowed = rules.allow_job(&tenant, &self.spec, &buckets).is_ok()
            && self.input.source_owner.as_ref().is_none_or(owner_allowed);
        let grant = read_grant(self.context, &self.writer.job, &self.spec).await?;
        let now = self.context.ports.now();
        let open = evaluate_gate(&self.writer.job, &self.spec, source_spec, grant.as_ref(), now)
            == GateDecision::Open
            // The calls that a Deny fails, or no longer fails, are decided when a run starts.
            && grant.map(|g| g.status.denied_objects).unwrap_or_default() == self.input.denied_objects;
        Ok((!open || !allowed).then_some(StopReason::Reevaluate))
    }

    /// Renews the credentials before they expire: a run may outlast an STS session, and a Secret may be rotated. If
    /// that fails, the current credentials stay in use until a later refresh, unless their reference is closed. A new
    /// AccessKey ID may belong to another account, whose project of the same name would be billed: new credentials are
    /// checked as at the start. Returns the phase of the job if they may not be used, are rejected or belong to another
    /// account; `None` when the run continues.
    async fn renew_credentials(&mut self) -> Option<Phase> {
        let job = ValidJob {
            context: self.context,
            job: &self.writer.job,
            spec: &self.input.spec,
            source_spec: &self.input.source_spec,
        };
        let fresh = match job.scoring_keys(&self.input.identity).await {
            Ok(keys) if keys.id == self.keys.id => Ok(keys),
            Ok(_) => {
                let checked = job.scoring_credentials(&self.input.identity).await;
                checked.map(|(keys, _)| keys)
            }
            Err(phase) => Err(phase),
        };
        let fresh_source = match self.source_keys {
            Some(_) => Some(job.source_credentials().await),
            None => None,
        };
        match fresh {
            Ok(keys) => self.keys = Arc::new(keys),
            Err(phase) if stops_run(&phase) => return Some(phase),
            Err(_) => {}
        }
        match fresh_source {
            Some(Ok(keys)) => self.source_keys = Some(Arc::new(keys)),
            Some(Err(phase)) if stops_run(&phase) => return Some(phase),
            Some(Err(_)) | None => {}
        }
        None
    }
}
