//! One pace a project, whoever's jobs they are: calls evenly spaced a little under the project's limit, no more in flight
//! than it allows, slower after throttling and faster again when that stops. `GetProject` tells the limits; until it has,
//! the documented defaults hold: 100 requests a second and 100 at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::fair_queue::FairQueue;
pub use super::fair_queue::QueueTicket;
use crate::api::ProjectRef;
use crate::core::identity::Identity;
use crate::ports::{CloudError, CloudErrorKind, ProjectLimits};

/// Share of the limit that is used: the limit's window is not ours, so a call may fall into the second before.
const UTILIZATION: f64 = 0.98;
/// How far behind its time a turn may be without slowing the next ones: timers are late by a millisecond or so, and a call
/// every ten would lose a tenth of the pace. What bunches up is within the share that is left free.
const MAX_CATCH_UP: Duration = Duration::from_millis(10);
/// How long limits are believed.
const LIMITS_TTL: Duration = Duration::from_secs(300);
/// How long until a project that could not be asked is asked again, and how often before the documented limits are taken.
const PROBE_RETRY: Duration = Duration::from_secs(3);
const MAX_FAILED_PROBES: u32 = 5;
/// How often the pace changes at most.
const ADJUST_EVERY: Duration = Duration::from_secs(1);
const DEFAULTS: ProjectLimits = ProjectLimits {
    queries_per_second: 100,
    concurrency: 100,
    service_role: None,
};
/// How long a pace that nobody uses is remembered: small jobs that follow each other do not ask again each time.
const IDLE_TTL: Duration = Duration::from_secs(300);

/// Whose project it is: the account that the keys really belong to, because what a spec claims is no proof and nobody may
/// slow another's project down by naming it; while that cannot be found out, the identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProjectOwner {
    /// The account's UID.
    Account(String),
    /// The identity.
    Identity(Identity),
}

/// Owner, region and name.
type ProjectKey = (ProjectOwner, String, String);

/// Paces by project.
#[derive(Default)]
pub struct ProjectLimiters {
    all: Mutex<HashMap<ProjectKey, (Arc<ProjectLimiter>, Instant)>>,
}

impl ProjectLimiters {
    /// The pace of a project; it lives as long as a job uses it, and a little longer.
    pub fn of(&self, owner: ProjectOwner, project: &ProjectRef) -> Arc<ProjectLimiter> {
        let key = (owner, project.region.clone(), project.name.clone());
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The pace of one project.
pub struct ProjectLimiter {
    state: Mutex<LimiterState>,
}

struct LimiterState {
    limits: ProjectLimits,
    /// When the limits are to be asked for again; `None` once the project has refused to tell them.
    probe_at: Option<Instant>,
    /// Whether the project has told its limits, or why not: until then one call goes at a time, because the defaults may be
    /// far too fast for it.
    limits_known: bool,
    /// How often in a row it could not be asked.
    failed_probes: u32,
    /// Share of the full rate, from 0.05 to 1.
    factor: f64,
    /// The share at which the project last refused a call for its rate.
    refused: f64,
    next: Instant,
    /// When the share was last lowered or raised.
    changed: Instant,
    in_flight: u32,
    queue: FairQueue,
}

impl LimiterState {
    /// Calls a second.
    fn rate(&self) -> f64 {
        f64::from(self.limits.queries_per_second) * UTILIZATION * self.factor
    }

    /// As many calls in flight as may be; throttling takes from these as well.
    fn concurrency_limit(&self) -> u32 {
        if self.limits_known {
            self.limits.concurrency.max(1)
        } else {
            1
        }
    }
}

/// A call's place among those in flight; dropping it gives the place back.
pub struct Permit {
    limiter: Arc<ProjectLimiter>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.in_flight -= 1;
        state.queue.wake_first();
    }
}

/// Standing in line; dropping it leaves the line.
struct QueueGuard<'a> {
    limiter: &'a ProjectLimiter,
    ticket: QueueTicket,
    taken: bool,
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        self.limiter.state().queue.dequeue(self.ticket, self.taken);
    }
}

impl ProjectLimiter {
    fn new() -> Self {
        let now = Instant::now();
        let state = Mutex::new(LimiterState {
            limits: DEFAULTS,
            probe_at: Some(now),
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

    /// Calls a second at the present pace, at least one.
    pub fn rate(&self) -> i64 {
        let rate = self.state().rate();
        // A float becomes an integer without a cast: the longest duration that holds so many milliseconds.
        let whole = Duration::from_secs_f64(rate.clamp(1.0, 1e6)).as_secs();
        i64::try_from(whole).unwrap_or(1).max(1)
    }

    /// Waits for this namespace's turn, for a place and for the time. Dropping the future leaves the line; with the ticket
    /// that is left then, a later call comes back to the same place in it.
    pub async fn acquire(self: &Arc<Self>, namespace: &str, kept: &mut Option<QueueTicket>) -> Permit {
        let (ticket, bell) = {
            let mut state = self.state();
            let ticket = *kept.get_or_insert_with(|| state.queue.issue_ticket(namespace));
            (ticket, state.queue.enqueue(ticket))
        };
        let mut guard = QueueGuard {
            limiter: self,
            ticket,
            taken: false,
        };
        loop {
            let due = {
                let mut state = self.state();
                let free = state.queue.is_first(ticket) && state.in_flight < state.concurrency_limit();
                let (now, due) = (Instant::now(), state.next);
                if free && due <= now {
                    let interval = Duration::from_secs_f64(1.0 / state.rate());
                    let earliest = now.checked_sub(MAX_CATCH_UP).unwrap_or(now);
                    state.next = due.max(earliest) + interval;
                    state.in_flight += 1;
                    guard.taken = true;
                    *kept = None;
                    let limiter = Arc::clone(self);
                    return Permit { limiter };
                }
                free.then_some(due)
            };
            match due {
                // Somebody of another namespace may come first meanwhile; then it is theirs.
                Some(due) => sleep_until(due).await,
                None => bell.notified().await,
            }
        }
    }

    /// Whether the limits are to be asked for; the asker has to say what came of it.
    pub fn needs_limits(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let due = state.probe_at.is_some_and(|at| at <= now);
        if due {
            // Nobody else asks meanwhile.
            state.probe_at = Some(now + LIMITS_TTL);
        }
        due
    }

    /// What came of the question for the limits. A project that refuses to tell is not asked again, because each further
    /// question might be billed; one that could not be reached is, soon; and whatever is wrong with the project or the keys
    /// may be right for the next job.
    pub fn on_limits(&self, answer: &Result<ProjectLimits, CloudError>) {
        let mut state = self.state();
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
                state.probe_at = Some(now + if often { LIMITS_TTL } else { PROBE_RETRY });
            }
            Err(error)
                if error.is_clock_skew()
                    || matches!(
                        error.kind,
                        CloudErrorKind::NoSuchProject
                            | CloudErrorKind::CredentialsRejected
                            | CloudErrorKind::CredentialsExpired
                    ) =>
            {
                (state.limits_known, state.probe_at) = (false, Some(now + PROBE_RETRY));
            }
            Err(_) => (state.limits_known, state.probe_at) = (true, None),
        }
        // The question itself took its turn at a pace that may have been too fast.
        state.next = state.next.max(now + Duration::from_secs_f64(1.0 / state.rate()));
        state.queue.wake_first();
    }

    /// Whether it is known at which pace the project may be called, as far as it can be.
    pub fn limits_known(&self) -> bool {
        self.state().limits_known
    }

    /// What the project has told may be out of date: it is asked before the next job's first call.
    pub fn invalidate(&self) {
        let mut state = self.state();
        state.limits_known = false;
        state.probe_at = Some(Instant::now());
        state.limits.service_role = None;
    }

    /// The role as which the project reads, when it has told.
    pub fn service_role(&self) -> Option<String> {
        self.state().limits.service_role.clone()
    }

    /// The project refused a call because of its rate: two thirds of the pace, at most once a second.
    pub fn on_throttled(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if now.duration_since(state.changed) >= ADJUST_EVERY || state.factor >= 1.0 {
            state.refused = state.factor;
            state.factor = (state.factor * 0.66).max(0.05);
            state.changed = now;
        }
    }

    /// A call was served: once a second a little faster, quickly up to nine tenths of what was refused last and slowly
    /// beyond, because a refusal may be billed.
    pub fn on_success(&self) {
        let mut state = self.state();
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

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_evenly_spaced_under_the_limit_and_slower_after_throttling() {
        let limiter = Arc::new(ProjectLimiter::new());
        limiter.on_limits(&Ok(DEFAULTS));
        let start = Instant::now();
        for _ in 0..980 {
            drop(limiter.acquire("n", &mut None).await);
        }
        let tenth = start.elapsed();
        assert!(
            tenth >= Duration::from_millis(9_950) && tenth <= Duration::from_millis(10_050),
            "late timers do not add up: {tenth:?}"
        );
        limiter.on_throttled();
        assert_eq!(limiter.rate(), 64);
        for _ in 0..3 {
            tokio::time::advance(ADJUST_EVERY).await;
            limiter.on_success();
            limiter.on_success();
        }
        assert_eq!(
            limiter.rate(),
            88,
            "once a second, up to nine tenths of what was refused"
        );
        tokio::time::advance(ADJUST_EVERY).await;
        limiter.on_success();
        assert_eq!(limiter.rate(), 88, "slowly beyond");
        limiter.on_limits(&Ok(ProjectLimits {
            queries_per_second: 5,
            concurrency: 1,
            service_role: None,
        }));
        assert_eq!(limiter.rate(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_in_flight_than_the_project_allows_and_a_place_given_back_is_taken() {
        let limiter = Arc::new(ProjectLimiter::new());
        let early = limiter.acquire("a", &mut None).await;
        let soon = tokio::time::timeout(Duration::from_secs(5), limiter.acquire("b", &mut None)).await;
        assert!(
            soon.is_err(),
            "before the limits are known, one call goes at a time"
        );
        drop(early);
        limiter.on_limits(&Ok(ProjectLimits {
            queries_per_second: 1_000,
            concurrency: 2,
            service_role: None,
        }));
        let first = limiter.acquire("a", &mut None).await;
        let _second = limiter.acquire("b", &mut None).await;
        let mut ticket = None;
        let third = limiter.acquire("c", &mut ticket);
        tokio::pin!(third);
        let waits = tokio::time::timeout(Duration::from_secs(5), &mut third).await;
        assert!(waits.is_err(), "a third call is in flight");
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(1), third).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_its_turn_holds_nobody_back() {
        let limiter = Arc::new(ProjectLimiter::new());
        limiter.on_limits(&Ok(DEFAULTS));
        drop(limiter.acquire("a", &mut None).await);
        let mut kept = None;
        let soon = tokio::time::timeout(Duration::from_millis(1), limiter.acquire("a", &mut kept)).await;
        assert!(soon.is_err() && kept.is_some());
        let mut other = None;
        let next = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("b", &mut other)).await;
        assert!(next.is_ok());
        let back = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("a", &mut kept)).await;
        assert!(back.is_ok() && kept.is_none(), "whoever comes back has its place");
    }
}
