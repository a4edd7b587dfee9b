//! What a running job waits for, and what it does about it: answers of IMM, pages of the source, limits of the project.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::persist::{Stored, announce};
use super::run::{Answer, Event, Run, RunEnd};
use super::source_reader::{Page, admit, read};
use crate::api::{EventReason, JobReason, SourceSeen};
use crate::core::job::{End, Phase, ResponseEffect};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, ProjectLimits};

/// A page that could not be read is asked for again after this.
const PAGE_AGAIN: Duration = Duration::from_secs(2);

impl<'a> Run<'a> {
    /// Asks for the next items of the source.
    pub(super) fn read_on(&mut self) -> BoxFuture<'a, Event> {
        let (context, means, place) = (self.context, self.means, self.place.clone());
        let keys = self.source_keys.clone();
        let seen: SourceSeen = self.work.job.status.source.clone().unwrap_or_default();
        async move {
            let (Some(place), Some(keys)) = (place, keys) else {
                return Event::Page(Ok(Page {
                    found: Vec::new(),
                    next: None,
                }));
            };
            let page = read(context, &means.spec, &seen, &keys, &place).await;
            if page.is_err() {
                sleep(PAGE_AGAIN).await;
            }
            Event::Page(page)
        }
        .boxed()
    }

    /// Asks what the project allows, in its turn like any other call.
    pub(super) fn ask_limits(&self) -> BoxFuture<'a, Event> {
        let (context, means, keys) = (self.context, self.means, Arc::clone(&self.keys));
        let namespace = self.work.job.key.namespace.clone();
        async move {
            let seat = means.pacer.acquire(&namespace, &mut None).await;
            let limits = context.ports.project_limits(&means.spec.project, &keys).await;
            drop(seat);
            Event::Limits(limits, keys)
        }
        .boxed()
    }

    /// What the project allows, or why it does not tell. A wrong role or a missing project is found out without a paid call.
    fn limits(&mut self, limits: Result<ProjectLimits, CloudError>, keys: Arc<AccessKeys>) -> Option<RunEnd> {
        let asked_first = std::mem::take(&mut self.asking);
        self.means.pacer.on_limits(&limits);
        match limits {
            Err(failure) if failure.kind == CloudErrorKind::NoSuchProject => {
                let canary = asked_first;
                Some(RunEnd::NoProject { canary, failure })
            }
            Err(failure) if failure.is_clock_skew() => Some(RunEnd::ClockIsOff(failure)),
            Err(failure)
                if matches!(
                    failure.kind,
                    CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
                ) =>
            {
                Some(RunEnd::KeysRefused(failure, keys))
            }
            Ok(_) => self.other_role(),
            Err(_) => None,
        }
    }

    /// The grant opens the bucket to one role; a project that reads as another is refused each image.
    pub(super) fn other_role(&self) -> Option<RunEnd> {
        let granted = &self.means.grant.as_ref()?.grantee.role_name;
        let role = self.means.pacer.service_role().filter(|role| role != granted)?;
        let message = format!(
            "the grant is for role {granted}, and project {} reads as {role}: set the grant's grantee.roleName to that role, then create the job again",
            self.spec.project.name
        );
        Some(RunEnd::Over(End::Failed(JobReason::GrantMismatch, message)))
    }

    /// Takes in what still comes when the run has ended: nothing new follows from it, but that there may be nothing to store
    /// in any more.
    pub(super) async fn settle(&mut self, event: Event) -> Option<RunEnd> {
        match event {
            Event::Answer(answer) => {
                self.fold(answer).await;
            }
            Event::Limits(limits, keys) => {
                self.limits(limits, keys);
            }
            Event::Kept(work, stored) => return self.kept(*work, stored),
            Event::Page(_) => {}
        }
        None
    }

    pub(super) async fn take_in(&mut self, event: Event) -> Option<RunEnd> {
        match event {
            Event::Answer(answer) => self.fold(answer).await,
            Event::Limits(limits, keys) => self.limits(limits, keys),
            Event::Kept(work, stored) => match self.kept(*work, stored) {
                None if stored == Stored::Yes => self.mark().await,
                end => end,
            },
            Event::Page(Ok(page)) => {
                let grant = self.means.grant.as_ref();
                match admit(self.context, &self.work, &self.spec, grant, &page.found).await {
                    Ok(()) => {}
                    Err(Phase::Ended(end)) => return Some(RunEnd::Over(end)),
                    Err(phase) => return Some(RunEnd::Blocked(phase)),
                }
                self.progress.add_items(page.found, page.next.is_none());
                self.place = page.next;
                None
            }
            Event::Page(Err(failure)) => {
                self.progress.read_failed();
                (!failure.is_transient()).then_some(RunEnd::Source(failure))
            }
        }
    }

    async fn fold(&mut self, answer: Answer) -> Option<RunEnd> {
        let Answer { index, result, keys } = answer;
        self.context.metrics.score_call(outcome(&result));
        let served = result.is_ok();
        match self
            .progress
            .apply_response(index, result, self.context.ports.now())
        {
            ResponseEffect::Continue => {
                if served {
                    self.means.pacer.on_success();
                }
                None
            }
            ResponseEffect::SlowDown => {
                self.means.pacer.on_throttled();
                if !self.throttled {
                    self.throttled = true;
                    let note = "IMM asks to slow down; the pace is lowered and no item fails because of it";
                    announce(self.context, &self.work.job, EventReason::Throttled, note, false).await;
                }
                None
            }
            ResponseEffect::CredentialsRejected(failure) => Some(RunEnd::KeysRefused(failure, keys)),
            ResponseEffect::Denied { canary, failure } => Some(RunEnd::Denied { canary, failure }),
            ResponseEffect::NoProject { canary, failure } => Some(RunEnd::NoProject { canary, failure }),
            ResponseEffect::OtherRegion(failure) => Some(RunEnd::OtherRegion(failure)),
            ResponseEffect::ClockSkew(failure) => Some(RunEnd::ClockIsOff(failure)),
        }
    }
}

fn outcome(answer: &Result<String, CloudError>) -> &'static str {
    match answer {
        Ok(_) => "scored",
        Err(failure) => match failure.kind {
            CloudErrorKind::Throttled => "throttled",
            CloudErrorKind::Unavailable => "unavailable",
            CloudErrorKind::Unanswered => "unanswered",
            CloudErrorKind::AccessDenied => "denied",
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => "keys_refused",
            CloudErrorKind::NoSuchProject => "no_project",
            CloudErrorKind::RequestRejected
            | CloudErrorKind::PublicAccessBlocked
            | CloudErrorKind::NoSuchBucket
            | CloudErrorKind::WrongRegion
            | CloudErrorKind::PolicyRejected => "refused",
        },
    }
}
