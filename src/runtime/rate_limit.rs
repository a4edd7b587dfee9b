//! One pace a project, whoever's jobs they are: calls evenly spaced a little under the project's limit, no more in flight
//! than it allows, slower after throttling and faster again when that stops. `GetProject` tells the limits; until it has,
//! the documented defaults hold: 100 requests a second and 100 at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::fair_queue::Line;
pub use super::fair_queue::Ticket;
use crate::api::ProjectRef;
use crate::core::identity::Identity;
use crate::ports::{CloudError, CloudErrorKind, ProjectLimits};

/// Share of the limit that is used: the limit's window is not ours, so a call may fall into the second before.
const SHARE: f64 = 0.98;
/// How far behind its time a turn may be without slowing the next ones: timers are late by a millisecond or so, and a call
/// every ten would lose a tenth of the pace. What bunches up is within the share that is left free.
const SLACK: Duration = Duration::from_millis(10);
/// How long limits are believed.
const LIMITS_FRESH: Duration = Duration::from_secs(300);
/// How long until a project that could not be asked is asked again, and how often before the documented limits are taken.
const ASK_AGAIN: Duration = Duration::from_secs(3);
const ASK_TIMES: u32 = 5;
/// How often the pace changes at most.
const STEP: Duration = Duration::from_secs(1);
const DEFAULTS: ProjectLimits = ProjectLimits {
    queries_per_second: 100,
    concurrency: 100,
    service_role: None,
};
/// How long a pace that nobody uses is remembered: small jobs that follow each other do not ask again each time.
const KEPT: Duration = Duration::from_secs(300);

/// Whose project it is: the account that the keys really belong to, because what a spec claims is no proof and nobody may
/// slow another's project down by naming it; while that cannot be found out, the identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The account's UID.
    Account(String),
    /// The identity.
    Identity(Identity),
}

/// Owner, region and name.
type Project = (Owner, String, String);

/// Paces by project.
#[derive(Default)]
pub struct Pacers {
    all: Mutex<HashMap<Project, (Arc<Pacer>, Instant)>>,
}

impl Pacers {
    /// The pace of a project; it lives as long as a job uses it, and a little longer.
    pub fn of(&self, owner: Owner, project: &ProjectRef) -> Arc<Pacer> {
        let key = (owner, project.region.clone(), project.name.clone());
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, (pacer, used)| Arc::strong_count(pacer) > 1 || now.duration_since(*used) < KEPT);
        let (pacer, used) = all.entry(key).or_insert_with(|| (Arc::new(Pacer::new()), now));
        *used = now;
        Arc::clone(pacer)
    }
}

/// The pace of one project.
pub struct Pacer {
    state: Mutex<Pace>,
}

struct Pace {
    limits: ProjectLimits,
    /// When the limits are to be asked for again; `None` once the project has refused to tell them.
    ask_at: Option<Instant>,
    /// Whether the project has told its limits, or why not: until then one call goes at a time, because the defaults may be
    /// far too fast for it.
    answered: bool,
    /// How often in a row it could not be asked.
    unheard: u32,
    /// Share of the full rate, from 0.05 to 1.
    factor: f64,
    /// The share at which the project last refused a call for its rate.
    refused: f64,
    next: Instant,
    /// When the share was last lowered or raised.
    changed: Instant,
    in_flight: u32,
    line: Line,
}

impl Pace {
    /// Calls a second.
    fn rate(&self) -> f64 {
        f64::from(self.limits.queries_per_second) * SHARE * self.factor
    }

    /// As many calls in flight as may be; throttling takes from these as well.
    fn places(&self) -> u32 {
        if self.answered {
            self.limits.concurrency.max(1)
        } else {
            1
        }
    }
}

/// A call's place among those in flight; dropping it gives the place back.
pub struct Place {
    pacer: Arc<Pacer>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pace = self.pacer.pace();
        pace.in_flight -= 1;
        pace.line.ring();
    }
}

/// Standing in line; dropping it leaves the line.
struct Standing<'a> {
    pacer: &'a Pacer,
    ticket: Ticket,
    taken: bool,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.pacer.pace().line.leave(self.ticket, self.taken);
    }
}

impl Pacer {
    fn new() -> Self {
        let now = Instant::now();
        let state = Mutex::new(Pace {
            limits: DEFAULTS,
            ask_at: Some(now),
            answered: false,
            unheard: 0,
            factor: 1.0,
            refused: 1.0,
            next: now,
            changed: now,
            in_flight: 0,
            line: Line::default(),
        });
        Self { state }
    }

    /// Calls a second at the present pace, at least one.
    pub fn rate(&self) -> i64 {
        let rate = self.pace().rate();
        // A float becomes an integer without a cast: the longest duration that holds so many milliseconds.
        let whole = Duration::from_secs_f64(rate.clamp(1.0, 1e6)).as_secs();
        i64::try_from(whole).unwrap_or(1).max(1)
    }

    /// Waits for this namespace's turn, for a place and for the time. Dropping the future leaves the line; with the ticket
    /// that is left then, a later call comes back to the same place in it.
    pub async fn turn(self: &Arc<Self>, namespace: &str, kept: &mut Option<Ticket>) -> Place {
        let (ticket, bell) = {
            let mut pace = self.pace();
            let ticket = *kept.get_or_insert_with(|| pace.line.ticket(namespace));
            (ticket, pace.line.stand(ticket))
        };
        let mut standing = Standing {
            pacer: self,
            ticket,
            taken: false,
        };
        loop {
            let due = {
                let mut pace = self.pace();
                let free = pace.line.first(ticket) && pace.in_flight < pace.places();
                let (now, due) = (Instant::now(), pace.next);
                if free && due <= now {
                    let interval = Duration::from_secs_f64(1.0 / pace.rate());
                    let earliest = now.checked_sub(SLACK).unwrap_or(now);
                    pace.next = due.max(earliest) + interval;
                    pace.in_flight += 1;
                    standing.taken = true;
                    *kept = None;
                    let pacer = Arc::clone(self);
                    return Place { pacer };
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
    pub fn wants_limits(&self) -> bool {
        let mut pace = self.pace();
        let now = Instant::now();
        let due = pace.ask_at.is_some_and(|at| at <= now);
        if due {
            // Nobody else asks meanwhile.
            pace.ask_at = Some(now + LIMITS_FRESH);
        }
        due
    }

    /// What came of the question for the limits. A project that refuses to tell is not asked again, because each further
    /// question might be billed; one that could not be reached is, soon; and whatever is wrong with the project or the keys
    /// may be right for the next job.
    pub fn answer(&self, answer: &Result<ProjectLimits, CloudError>) {
        let mut pace = self.pace();
        let now = Instant::now();
        match answer {
            Ok(limits) => {
                pace.limits = limits.clone();
                (pace.answered, pace.unheard) = (true, 0);
            }
            Err(failure) if failure.is_transient() && !failure.is_clock_skew() => {
                pace.unheard += 1;
                let often = pace.unheard >= ASK_TIMES;
                pace.answered |= often;
                pace.ask_at = Some(now + if often { LIMITS_FRESH } else { ASK_AGAIN });
            }
            Err(failure)
                if failure.is_clock_skew()
                    || matches!(
                        failure.kind,
                        CloudErrorKind::NoSuchProject
                            | CloudErrorKind::CredentialsRejected
                            | CloudErrorKind::CredentialsExpired
                    ) =>
            {
                (pace.answered, pace.ask_at) = (false, Some(now + ASK_AGAIN));
            }
            Err(_) => (pace.answered, pace.ask_at) = (true, None),
        }
        // The question itself took its turn at a pace that may have been too fast.
        pace.next = pace.next.max(now + Duration::from_secs_f64(1.0 / pace.rate()));
        pace.line.ring();
    }

    /// Whether it is known at which pace the project may be called, as far as it can be.
    pub fn answered(&self) -> bool {
        self.pace().answered
    }

    /// What the project has told may be out of date: it is asked before the next job's first call.
    pub fn doubt(&self) {
        let mut pace = self.pace();
        pace.answered = false;
        pace.ask_at = Some(Instant::now());
        pace.limits.service_role = None;
    }

    /// The role as which the project reads, when it has told.
    pub fn service_role(&self) -> Option<String> {
        self.pace().limits.service_role.clone()
    }

    /// The project refused a call because of its rate: two thirds of the pace, at most once a second.
    pub fn slow_down(&self) {
        let mut pace = self.pace();
        let now = Instant::now();
        if now.duration_since(pace.changed) >= STEP || pace.factor >= 1.0 {
            pace.refused = pace.factor;
            pace.factor = (pace.factor * 0.66).max(0.05);
            pace.changed = now;
        }
    }

    /// A call was served: once a second a little faster, quickly up to nine tenths of what was refused last and slowly
    /// beyond, because a refusal may be billed.
    pub fn speed_up(&self) {
        let mut pace = self.pace();
        let now = Instant::now();
        if pace.factor >= 1.0 || now.duration_since(pace.changed) < STEP {
            return;
        }
        let near = pace.refused * 0.9;
        pace.factor = if pace.factor < near {
            (pace.factor + pace.refused * 0.1).min(near)
        } else {
            (pace.factor + 0.003).min(1.0)
        };
        pace.changed = now;
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_evenly_spaced_under_the_limit_and_slower_after_throttling() {
        let pacer = Arc::new(Pacer::new());
        pacer.answer(&Ok(DEFAULTS));
        let start = Instant::now();
        for _ in 0..980 {
            drop(pacer.turn("n", &mut None).await);
        }
        let tenth = start.elapsed();
        assert!(
            tenth >= Duration::from_millis(9_950) && tenth <= Duration::from_millis(10_050),
            "late timers do not add up: {tenth:?}"
        );
        pacer.slow_down();
        assert_eq!(pacer.rate(), 64);
        for _ in 0..3 {
            tokio::time::advance(STEP).await;
            pacer.speed_up();
            pacer.speed_up();
        }
        assert_eq!(
            pacer.rate(),
            88,
            "once a second, up to nine tenths of what was refused"
        );
        tokio::time::advance(STEP).await;
        pacer.speed_up();
        assert_eq!(pacer.rate(), 88, "slowly beyond");
        pacer.answer(&Ok(ProjectLimits {
            queries_per_second: 5,
            concurrency: 1,
            service_role: None,
        }));
        assert_eq!(pacer.rate(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_in_flight_than_the_project_allows_and_a_place_given_back_is_taken() {
        let pacer = Arc::new(Pacer::new());
        let early = pacer.turn("a", &mut None).await;
        let soon = tokio::time::timeout(Duration::from_secs(5), pacer.turn("b", &mut None)).await;
        assert!(
            soon.is_err(),
            "before the limits are known, one call goes at a time"
        );
        drop(early);
        pacer.answer(&Ok(ProjectLimits {
            queries_per_second: 1_000,
            concurrency: 2,
            service_role: None,
        }));
        let first = pacer.turn("a", &mut None).await;
        let _second = pacer.turn("b", &mut None).await;
        let mut ticket = None;
        let third = pacer.turn("c", &mut ticket);
        tokio::pin!(third);
        let waits = tokio::time::timeout(Duration::from_secs(5), &mut third).await;
        assert!(waits.is_err(), "a third call is in flight");
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(1), third).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_its_turn_holds_nobody_back() {
        let pacer = Arc::new(Pacer::new());
        pacer.answer(&Ok(DEFAULTS));
        drop(pacer.turn("a", &mut None).await);
        let mut kept = None;
        let soon = tokio::time::timeout(Duration::from_millis(1), pacer.turn("a", &mut kept)).await;
        assert!(soon.is_err() && kept.is_some());
        let mut other = None;
        let next = tokio::time::timeout(Duration::from_secs(1), pacer.turn("b", &mut other)).await;
        assert!(next.is_ok());
        let back = tokio::time::timeout(Duration::from_secs(1), pacer.turn("a", &mut kept)).await;
        assert!(back.is_ok() && kept.is_none(), "whoever comes back has its place");
    }
}
