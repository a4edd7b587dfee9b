//! A running job looks up from its work: at its object, the tenancy rules, its grant, and its keys.

use std::sync::Arc;

use tokio::time::Instant;

use super::look_at_grant;
use super::run::{Run, RunEnd};
use super::source::keys_of;
use crate::core::identity::Scope;
use crate::core::job::{Gate, gate};

impl Run<'_> {
    /// What may be edited while a job runs takes effect at once.
    pub(super) fn take_edits(&mut self) {
        if let Ok(spec) = &self.work.job.spec {
            self.spec.clone_from(spec);
        }
    }

    /// Looks at the object and its grant again.
    pub(super) async fn look(&mut self) -> Option<RunEnd> {
        self.looked_at = Some(Instant::now());
        match self.context.effects.get_job(&self.work.job.key).await {
            Ok(Some(fresh)) if fresh.uid == self.work.job.uid && !fresh.deleting => {
                // The status is ours alone; on a conflict the next write finds out who else writes it.
                if fresh.status == self.work.job.status {
                    self.work.job = fresh;
                    self.take_edits();
                }
            }
            Ok(_) => return Some(RunEnd::Gone),
            // It is looked at again soon.
            Err(_) => return None,
        }
        self.renew_keys().await;
        let images = &self.means.images;
        let tenant = self.context.tenant(&self.work.job.key.namespace).await.ok()?;
        let rules = self.context.effects.rules();
        let allowed = rules.allow_job(&tenant, &self.spec, &images.buckets()).is_ok();
        let grant = look_at_grant(self.context, &self.work.job, &self.spec)
            .await
            .ok()?;
        let now = self.context.effects.now();
        let open = gate(&self.work.job, &self.spec, images, grant.as_ref(), now) == Gate::Open;
        (!open || !allowed).then_some(RunEnd::LookAgain)
    }

    /// Takes fresh keys before the old ones end: a run may outlast a session, and a Secret may be rotated. Keys that cannot
    /// be had now are had later; until then the old ones serve.
    async fn renew_keys(&mut self) {
        let effects = self.context.effects.as_ref();
        let scope = Scope::project(&self.means.spec.project);
        if let Ok(keys) = self.context.keys.get(effects, &self.means.identity, &scope).await {
            self.keys = Arc::new(keys);
        }
        if self.source_keys.is_some() {
            let fresh = keys_of(self.context, &self.work, &self.means.spec, &self.means.images).await;
            self.source_keys = fresh.ok().map(Arc::new).or_else(|| self.source_keys.take());
        }
    }
}
