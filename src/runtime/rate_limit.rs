//! One rate limiter per IMM project, shared by all jobs of all namespaces: calls are evenly spaced at 98 % of the project's
//! rate limit, calls in flight stay within the project's concurrency limit, and the rate drops after throttling and recovers
//! afterwards. `GetProject` returns both limits; until then the documented defaults apply: 100 requests per second and 100
//! concurrent requests.
//!
//! Written by hand because the crate `governor` supports neither quotas that change nor fairness between callers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::deadline;
pub use super::fair_queue::QueueTicket;
use super::fair_queue::{FairQueue, QueuePlace};
use crate::api::ProjectRef;
use crate::core::identity::Identity;
use crate::ports::{CloudError, CloudErrorKind, ProjectLimits};

/// Share of the rate limit that is used: the service's one-second window is unknown, so a call can count for the previous
/// second.
const UTILIZATION: f64 = 0.98;
/// Delay of a call that later calls catch up on. Timers fire about 1 ms late, which at one call every 10 ms would cost a
/// tenth of the rate. The resulting bursts stay within the unused 2 % of the limit.
const MAX_CATCH_UP: Duration = Duration::from_millis(10);
/// How long the limits from `GetProject` are used before they are read again.
const LIMITS_TTL: Duration = Duration::from_secs(300);
/// Retry interval after a transient failure of `GetProject`, and the number of failures after which the defaults apply.
const PROBE_RETRY: Duration = Duration::from_secs(3);
const MAX_FAILED_PROBES: u32 = 5;
/// Minimum interval between two changes of the rate.
const ADJUST_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two calls: one request per second at the lowest factor takes 20 s.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULTS: ProjectLimits = ProjectLimits {
    queries_per_second: 100,
    concurrency: 100,
    service_role: None,
};
/// How long an unused limiter is kept, so that short jobs in succession do not each call `GetProject`.
const IDLE_TTL: Duration = Duration::from_secs(300);

/// Owner of a project: the account that STS returns for the credentials. The account in a spec is unverified; if it counted,
/// a job could slow down another account's project by naming it. The identity is used while the account is unknown.
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
    limits: ProjectLimits,
    /// When to call `GetProject` again.
    probe_at: Instant,
    /// Identities for which `GetProject` was finally rejected, for example without imm:GetProject. They use the defaults
    /// until another identity reads the limits.
    refused_identities: HashSet<Identity>,
    /// Whether `GetProject` was answered, or failed often. Until then only one call is in flight at a time, because the
    /// project's limits may be far below the defaults.
    limits_known: bool,
    /// Consecutive transient failures of `GetProject`.
    failed_probes: u32,
    /// Share of the full rate, from 0.05 to 1.
    factor: f64,
    /// Share of the full rate at the last throttling response.
    refused: f64,
    /// Earliest time of the next call.
    next: Instant,
    /// When `factor` last changed.
    changed: Instant,
    in_flight: u32,
    queue: FairQueue,
}

impl LimiterState {
    /// Returns the current rate in calls per second.
    fn rate(&self) -> f64 {
        f64::from(self.limits.queries_per_second) * UTILIZATION * self.factor
    }

    /// Returns the time between two calls, at most 30 s: a limit of zero would otherwise have no interval.
    fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.rate()).map_or(MAX_INTERVAL, |wait| wait.min(MAX_INTERVAL))
    }

    /// Returns the maximum number of calls in flight: 1 until the limits are known or cannot be read. Throttling does not
    /// lower it.
    fn concurrency_limit(&self) -> u32 {
        if self.limits_known || !self.refused_identities.is_empty() {
            self.limits.concurrency.max(1)
        } else {
            1
        }
    }
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
            limits: DEFAULTS,
            probe_at: now,
            refused_identities: HashSet::new(),
            limits_known: false,
            failed_probes: 0,
            factor: 1.0,
            refused: 1.0,
            next: now,
            changed: now,
            in_flight: 0,
            queue: FairQueue::default(),
        });
        Self { state }
    }

    /// Returns the current rate in whole calls per second, at least 1.
    pub fn rate(&self) -> i64 {
        let rate = self.state.lock().rate();
        // Converts a float to an integer without a cast: whole seconds of a duration.
        let whole = Duration::from_secs_f64(rate.clamp(1.0, 1e6)).as_secs();
        i64::try_from(whole).unwrap_or(1).max(1)
    }

    /// Waits until the namespace is served, a permit is free and the rate allows a call. Dropping the future leaves the
    /// queue; the ticket stays in `kept`, and a later call with it resumes the same position.
    pub async fn acquire(self: &Arc<Self>, namespace: &str, kept: &mut Option<QueueTicket>) -> Permit {
        let ticket = |queue: &mut FairQueue| *kept.get_or_insert_with(|| queue.issue_ticket(namespace));
        let place = QueuePlace::enter(&self.state, |state| &mut state.queue, ticket);
        let take = |state: &mut LimiterState, first: bool| {
            let free = first && state.in_flight < state.concurrency_limit();
            let (now, due) = (Instant::now(), state.next);
            if !free || due > now {
                return Err(free.then_some(due));
            }
            let interval = state.interval();
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

    /// Waits like [`Self::acquire`], in a task of its own: a caller that does not poll this future, because it handles
    /// another event, must not keep the first place of the queue.
    pub async fn acquire_unpolled(self: &Arc<Self>, namespace: &str) -> Permit {
        let (limiter, owned) = (Arc::clone(self), namespace.to_owned());
        let turn = tokio::spawn(async move { limiter.acquire(&owned, &mut None).await });
        match AbortOnDropHandle::new(turn).await {
            Ok(permit) => permit,
            Err(_) => self.acquire(namespace, &mut None).await,
        }
    }

    /// Returns `true` if the caller must call `GetProject` now and report the response to [`Self::on_limits`]. Only one
    /// caller gets `true` for each due time.
    pub fn claim_limits_request(&self, identity: &Identity) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        let due = state.probe_at <= now && !state.refused_identities.contains(identity);
        if due {
            // Prevents a second caller from sending the same request.
            state.probe_at = deadline::after(now, LIMITS_TTL);
        }
        due
    }

    /// Records the response to `GetProject`. After a transient failure, `GetProject` is called again in 3 s; after the fifth
    /// in a row the defaults apply for 300 s. A missing project, rejected credentials and clock skew are retried after 3 s,
    /// because they may be fixed before the next job. Any other rejection is final for the identity, because a further request
    /// may be billed; another identity may have the permission and asks at once.
    pub fn on_limits(&self, identity: &Identity, answer: &Result<ProjectLimits, CloudError>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        match answer {
            Ok(limits) => {
                state.limits = limits.clone();
                (state.limits_known, state.failed_probes) = (true, 0);
            }
            Err(error) if error.is_transient() && !error.is_clock_skew() => {
                state.failed_probes += 1;
                let often = state.failed_probes >= MAX_FAILED_PROBES;
                state.limits_known |= often;
                let wait = if often { LIMITS_TTL } else { PROBE_RETRY };
                state.probe_at = deadline::after(now, wait);
            }
            Err(error)
                if error.is_clock_skew()
                    || error.rejects_credentials()
                    || error.kind == CloudErrorKind::NoSuchProject =>
            {
                (state.limits_known, state.probe_at) = (false, deadline::after(now, PROBE_RETRY));
            }
            Err(_) => {
                state.refused_identities.insert(identity.clone());
                state.probe_at = now;
            }
        }
        // `GetProject` itself was sent at a rate that may exceed the new limit.
        state.next = state.next.max(deadline::after(now, state.interval()));
        state.queue.wake_first();
    }

    /// Returns `true` if `GetProject` was answered, or finally rejected for the identity.
    pub fn limits_known(&self, identity: &Identity) -> bool {
        let state = self.state.lock();
        state.limits_known || state.refused_identities.contains(identity)
    }

    /// Discards the known limits and service role, so that `GetProject` is called before the next job's first call.
    pub fn invalidate(&self) {
        let mut state = self.state.lock();
        state.limits_known = false;
        state.refused_identities.clear();
        state.probe_at = Instant::now();
        state.limits.service_role = None;
    }

    /// Returns the project's service role; `None` while it is unknown.
    pub fn service_role(&self) -> Option<String> {
        self.state.lock().limits.service_role.clone()
    }

    /// Records a throttling response or a time-out: lowers the rate to 66 %, at most once per second and not below 5 % of the full rate.
    pub fn on_throttled(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if now.duration_since(state.changed) >= ADJUST_EVERY || state.factor >= 1.0 {
            state.refused = state.factor;
            state.factor = (state.factor * 0.66).max(0.05);
            state.changed = now;
        }
    }

    /// Records a successful call and raises the rate at most once per second: by 10 % of the last throttled rate up to 90 %
    /// of it, then by 0.3 % of the full rate. The slow part avoids further throttling responses, which may be billed.
    pub fn on_success(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.factor >= 1.0 || now.duration_since(state.changed) < ADJUST_EVERY {
            return;
        }
        let near = state.refused * 0.9;
        state.factor = if state.factor < near {
            (state.factor + state.refused * 0.1).min(near)
        } else {
            (state.factor + 0.003).min(1.0)
        };
        state.changed = now;
    }
}

#[cfg(test)]
mod tests;
