//! One rate limiter per IMM project, shared by all jobs of all namespaces, which wait for their turns: see
//! [`ProjectPace`] for the pace.
//!
//! Written by hand because the crate `governor` supports neither quotas that change nor fairness between callers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::deadline;
pub use super::fair_queue::QueueTicket;
use super::fair_queue::{FairQueue, QueuePlace, in_own_task};
use crate::api::ProjectRef;
use crate::core::identity::Identity;
use crate::core::project_pace::{IDLE_TTL, LIMITS_TTL, MAX_CATCH_UP, ProjectPace};
use crate::ports::{CloudError, ProjectLimits};

/// Owner of a project: the account that STS returns for the credentials. The account in a spec is unverified; if it
/// counted, a job could slow down another account's project by naming it. The identity is used while the account is
/// unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProjectOwner {
    /// UID of the account that owns the credentials.
    Account(String),
    /// Identity of the job, while the account is unknown.
    Identity(Identity),
}

/// Owner, region and name of a project.
type ProjectKey = (ProjectOwner, String, String);

/// The rate limiters of all projects.
#[derive(Default)]
pub struct ProjectLimiters {
    all: Mutex<HashMap<ProjectKey, (Arc<ProjectLimiter>, Instant)>>,
}

impl ProjectLimiters {
    /// Returns the limiter of a project. A limiter is dropped once no job has used it for 300 s.
    pub fn of(&self, owner: ProjectOwner, project: &ProjectRef) -> Arc<ProjectLimiter> {
        let key = (owner, project.region.clone(), project.name.clone());
        let mut all = self.all.lock();
        let now = Instant::now();
        all.retain(|_, (limiter, used)| {
            Arc::strong_count(limiter) > 1 || now.duration_since(*used) < IDLE_TTL
        });
        let (limiter, used) = all
            .entry(key)
            .or_insert_with(|| (Arc::new(ProjectLimiter::new()), now));
        *used = now;
        Arc::clone(limiter)
    }
}

/// The rate limiter of one project.
pub struct ProjectLimiter {
    state: Mutex<LimiterState>,
}

struct LimiterState {
    pace: ProjectPace,
    /// When to call `GetProject` again.
    probe_at: Instant,
    /// Earliest time of the next call.
    next: Instant,
    /// When the rate last changed.
    changed: Instant,
    in_flight: u32,
    queue: FairQueue,
}

/// Permit for one call in flight; dropping it releases the permit.
pub struct Permit {
    limiter: Arc<ProjectLimiter>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.queue.wake_first();
    }
}

impl ProjectLimiter {
    fn new() -> Self {
        let now = Instant::now();
        let state = Mutex::new(LimiterState {
            pace: ProjectPace::default(),
            probe_at: now,
            next: now,
            changed: now,
            in_flight: 0,
            queue: FairQueue::default(),
        });
        Self { state }
    }

    /// Returns the current rate in whole calls per second, at least 1.
    pub fn rate(&self) -> i64 {
        self.state.lock().pace.rate()
    }

    /// Waits until the namespace is served, a permit is free and the rate allows a call. Dropping the future leaves the
    /// queue; the ticket stays in `kept`, and a later call with it resumes the same position.
    pub async fn acquire(self: &Arc<Self>, namespace: &str, kept: &mut Option<QueueTicket>) -> Permit {
        let ticket = |queue: &mut FairQueue| *kept.get_or_insert_with(|| queue.issue_ticket(namespace));
        let place = QueuePlace::enter(&self.state, |state| &mut state.queue, ticket);
        let take = |state: &mut LimiterState, first: bool| {
            let free = first && state.in_flight < state.pace.concurrency_limit();
            let (now, due) = (Instant::now(), state.next);
            if !free || due > now {
                return Err(free.then_some(due));
            }
            let interval = state.pace.interval();
            let earliest = now.checked_sub(MAX_CATCH_UP).unwrap_or(now);
            state.next = deadline::after(due.max(earliest), interval);
            state.in_flight += 1;
            Ok(())
        };
        place.wait(take).await;
        *kept = None;
        let limiter = Arc::clone(self);
        Permit { limiter }
    }

    /// Waits like [`Self::acquire`], for a caller that does not poll this future while it handles another event.
    pub async fn acquire_unpolled(self: &Arc<Self>, namespace: &str) -> Permit {
        let (limiter, owned) = (Arc::clone(self), namespace.to_owned());
        match in_own_task(async move { limiter.acquire(&owned, &mut None).await }).await {
            Some(permit) => permit,
            None => self.acquire(namespace, &mut None).await,
        }
    }

    /// Returns `true` if the caller must call `GetProject` now and report the response to [`Self::on_limits`]. Only one
    /// caller gets `true` for each due time.
    pub fn claim_limits_request(&self, identity: &Identity) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        let due = state.probe_at <= now && !state.pace.is_refused(identity);
        if due {
            // Prevents a second caller from sending the same request.
            state.probe_at = deadline::after(now, LIMITS_TTL);
        }
        due
    }

    /// Records the response to `GetProject`, see [`ProjectPace::limits_answered`].
    pub fn on_limits(&self, identity: &Identity, answer: &Result<ProjectLimits, CloudError>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if let Some(wait) = state.pace.limits_answered(identity, answer) {
            state.probe_at = deadline::after(now, wait);
        }
        // `GetProject` itself was sent at a rate that may exceed the new limit.
        state.next = state.next.max(deadline::after(now, state.pace.interval()));
        state.queue.wake_first();
    }

    /// Returns `true` if `GetProject` was answered, or finally rejected for the identity.
    pub fn limits_known(&self, identity: &Identity) -> bool {
        self.state.lock().pace.limits_known(identity)
    }

    /// Discards the known limits and service role, so that `GetProject` is called before the next job's first call.
    pub fn invalidate(&self) {
        let mut state = self.state.lock();
        state.pace.invalidate();
        state.probe_at = Instant::now();
    }

    /// Returns the project's service role; `None` while it is unknown.
    pub fn service_role(&self) -> Option<String> {
        self.state.lock().pace.service_role().cloned()
    }

    /// Records a throttling response or a time-out, see [`ProjectPace::throttled`].
    pub fn on_throttled(&self) {
        self.state.lock().change(ProjectPace::throttled);
    }

    /// Records a successful call, see [`ProjectPace::succeeded`].
    pub fn on_success(&self) {
        self.state.lock().change(ProjectPace::succeeded);
    }
}

impl LimiterState {
    /// Changes the rate by a function that is given the time since the last change, and returns whether it changes
    /// the rate.
    fn change(&mut self, change: fn(&mut ProjectPace, Duration) -> bool) {
        let now = Instant::now();
        if change(&mut self.pace, now.duration_since(self.changed)) {
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests;
