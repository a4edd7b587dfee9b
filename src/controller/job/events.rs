//! Handles the events of a run: answers of IMM, pages of the source, limits of the project, and results of stores.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::run::{Calls, JobRun, RunEvent, ScoreResponse, StopReason};
use super::source_page::{PageUse, SourcePage, read_page};
use super::source_reader::check_manifest_items;
use super::store_status::WriteResult;
use crate::api::{EventReason, JobReason, ObservedSource};
use crate::controller::object_events::publish_job_event;
use crate::core::job::{End, Phase, ResponseEffect};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, ProjectLimits};

/// Delay before a page that could not be read is read again.
const RETRY_PAGE: Duration = Duration::from_secs(2);

impl<'a> JobRun<'a> {
    /// Takes the next items of the source, or starts to read its next page. Returns why the run has to stop; `None`
    /// when it continues.
    pub(super) async fn read_on(&mut self, calls: &mut Calls<'a>) -> Option<StopReason> {
        if self.source.page.is_some() {
            return self.take_batch().await;
        }
        calls.push(self.read_next_page());
        None
    }

    /// Adds the next items of the page. Returns why the run has to stop; `None` when it continues.
    async fn take_batch(&mut self) -> Option<StopReason> {
        let page = self.source.page.as_mut()?;
        let found = page.next_batch();
        let used_up = page.is_used_up();
        let last = used_up && page.next.is_none();
        if used_up {
            self.source.position = self.source.page.take().and_then(|page| page.next);
        }
        let (namespace, grant) = (&self.writer.job.key.namespace, self.input.grant.as_ref());
        let allowed = &mut self.source.allowed;
        match check_manifest_items(self.context, namespace, (&self.spec, grant), &found, allowed).await {
            Ok(()) => {}
            Err(Phase::Ended(end)) => return Some(StopReason::Finished(end)),
            Err(phase) => return Some(StopReason::Blocked(phase)),
        }
        self.progress.add_items(found, last);
        None
    }

    /// Returns the call that reads the next page of the source.
    fn read_next_page(&self) -> BoxFuture<'a, RunEvent> {
        let (context, input, place) = (self.context, self.input, self.source.position.clone());
        let namespace = self.writer.job.key.namespace.clone();
        let keys = self.source_keys.clone();
        let observed: ObservedSource = self.writer.job.status.source.clone().unwrap_or_default();
        async move {
            let (Some(place), Some(keys)) = (place, keys) else {
                return RunEvent::Page(Ok(SourcePage::empty()));
            };
            let job = (namespace.as_str(), &input.spec);
            let page = read_page(context, job, &observed, &keys, &place, PageUse::Run).await;
            if page.is_err() {
                sleep(RETRY_PAGE).await;
            }
            RunEvent::Page(page)
        }
        .boxed()
    }

    /// Returns the call that reads the limits of the project; it waits for a permit of the rate limiter like any other
    /// call.
    pub(super) fn ask_limits(&self) -> BoxFuture<'a, RunEvent> {
        let (context, input, keys) = (self.context, self.input, Arc::clone(&self.keys));
        let namespace = self.writer.job.key.namespace.clone();
        async move {
            let permit = input.limiter.acquire(&namespace, &mut None).await;
            let limits = context.ports.project_limits(&input.spec.project, &keys).await;
            drop(permit);
            RunEvent::Limits(limits, keys)
        }
        .boxed()
    }

    /// Applies the limits of the project, or the error of reading them. A wrong service role, a missing project and
    /// rejected credentials are detected without a billed call. Returns why the run has to stop; `None` when it
    /// continues.
    fn handle_limits(
        &mut self,
        limits: Result<ProjectLimits, CloudError>,
        keys: Arc<AccessKeys>,
    ) -> Option<StopReason> {
        let asked_first = std::mem::take(&mut self.awaiting_limits);
        self.input.limiter.on_limits(&limits);
        match limits {
            Err(error) if error.kind == CloudErrorKind::NoSuchProject => {
                let canary = asked_first;
                Some(StopReason::NoProject { canary, error })
            }
            Err(error) if error.is_clock_skew() => Some(StopReason::ClockSkew(error)),
            Err(error)
                if matches!(
                    error.kind,
                    CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
                ) =>
            {
                Some(StopReason::CredentialsRejected(error, keys))
            }
            Ok(_) => {
                self.progress.known_mut().project = true;
                self.check_service_role()
            }
            Err(_) => None,
        }
    }

    /// Returns the end of the run if the project uses another service role than the grant names: every call would be
    /// denied. `None` when the roles match or the role is unknown. The case is ignored, because the spelling that OSS
    /// compares can differ from that of the project.
    pub(super) fn check_service_role(&self) -> Option<StopReason> {
        let granted = &self.input.grant.as_ref()?.grantee.role_name;
        let role = self
            .input
            .limiter
            .service_role()
            .filter(|role| !role.eq_ignore_ascii_case(granted))?;
        let message = format!(
            "The grant is for role {granted}, and project {} reads as {role}: set grantee.roleName of the grant to that role, then create another job",
            self.spec.project.name
        );
        Some(StopReason::Finished(End::Failed(
            JobReason::GrantMismatch,
            message,
        )))
    }

    /// Handles an event that arrives after the run has ended; no new call follows from it. Returns `Some` when nothing
    /// can be stored any more, because the object is deleted or another process has written to it.
    pub(super) async fn handle_late_event(&mut self, event: RunEvent) -> Option<StopReason> {
        match event {
            RunEvent::Response(answer) => {
                self.handle_response(answer).await;
            }
            RunEvent::Limits(limits, keys) => {
                self.handle_limits(limits, keys);
            }
            RunEvent::Persisted(writer, stored) => return self.on_persisted(*writer, stored),
            RunEvent::Page(_) => {}
        }
        None
    }

    /// Handles an event. Returns why the run has to stop; `None` when it continues.
    pub(super) async fn handle_event(&mut self, event: RunEvent) -> Option<StopReason> {
        match event {
            RunEvent::Response(answer) => self.handle_response(answer).await,
            RunEvent::Limits(limits, keys) => self.handle_limits(limits, keys),
            RunEvent::Persisted(writer, stored) => match self.on_persisted(*writer, stored) {
                None if stored == WriteResult::Stored => self.mark_started().await,
                end => end,
            },
            RunEvent::Page(Ok(page)) => {
                self.source.page = Some(page);
                self.take_batch().await
            }
            RunEvent::Page(Err(error)) => {
                self.progress.read_failed();
                (!error.is_transient()).then_some(StopReason::Source(error))
            }
        }
    }

    /// Records the answer to a scoring call and adapts the rate. Returns why the run has to stop; `None` when it
    /// continues.
    async fn handle_response(&mut self, answer: ScoreResponse) -> Option<StopReason> {
        let ScoreResponse { index, result, keys } = answer;
        self.context.metrics.score_call(outcome_label(&result));
        let served = result.is_ok();
        let before_canary = !self.progress.canary_passed();
        match self
            .progress
            .apply_response(index, result, self.context.ports.now())
        {
            ResponseEffect::Continue => {
                if served {
                    self.input.limiter.on_success();
                }
                if before_canary && self.progress.canary_passed() {
                    self.context.enforcement_trials().end(&self.writer.job.uid, true);
                }
                None
            }
            ResponseEffect::SlowDown => {
                self.input.limiter.on_throttled();
                if !self.throttled {
                    self.throttled = true;
                    let note =
                        "IMM throttles the requests; the rate is lowered, and no item fails because of it";
                    publish_job_event(
                        self.context,
                        &self.writer.job,
                        EventReason::Throttled,
                        note,
                        false,
                    )
                    .await;
                }
                None
            }
            ResponseEffect::TimedOut => {
                self.input.limiter.on_throttled();
                None
            }
            ResponseEffect::CredentialsRejected(error) => Some(StopReason::CredentialsRejected(error, keys)),
            ResponseEffect::Denied { canary, error } => Some(StopReason::Denied { canary, error }),
            ResponseEffect::NoProject { canary, error } => Some(StopReason::NoProject { canary, error }),
            ResponseEffect::OtherRegion(error) => Some(StopReason::OtherRegion(error)),
            ResponseEffect::ClockSkew(error) => Some(StopReason::ClockSkew(error)),
        }
    }
}

/// Returns the metric label of an answer.
fn outcome_label(answer: &Result<String, CloudError>) -> &'static str {
    match answer {
        Ok(_) => "scored",
        Err(error) => match error.kind {
            CloudErrorKind::Throttled => "throttled",
            CloudErrorKind::Unavailable | CloudErrorKind::BucketLocked => "unavailable",
            CloudErrorKind::Unanswered => "unanswered",
            CloudErrorKind::AccessDenied => "denied",
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
                "credentials_rejected"
            }
            CloudErrorKind::NoSuchProject => "no_project",
            CloudErrorKind::RequestRejected
            | CloudErrorKind::PublicAccessBlocked
            | CloudErrorKind::NoSuchBucket
            | CloudErrorKind::WrongRegion
            | CloudErrorKind::PolicyRejected => "rejected",
        },
    }
}
