//! One pace a project: calls evenly spaced a little under the project's limit, slower after throttling, faster again
//! when it stops. Without `GetProject` the documented defaults hold: 100 requests a second and 100 at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::api::ProjectRef;
use crate::core::identity::Identity;

/// Share of the limit that is used: the limit's window is not ours, so a call may fall into the second before.
const SHARE: f64 = 0.98;
const DEFAULT_RATE: f64 = 100.0;
const DEFAULT_CONCURRENCY: usize = 100;

/// Paces by project.
#[derive(Default)]
pub struct Pacers {
    all: Mutex<HashMap<(Identity, String, String), Arc<Pacer>>>,
}

impl Pacers {
    /// The pace of a project; it lives as long as a job uses it.
    pub fn of(&self, identity: &Identity, project: &ProjectRef) -> Arc<Pacer> {
        // The account that a spec claims is not proof: nobody may slow another's project down by naming it.
        let key = (identity.clone(), project.region.clone(), project.name.clone());
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|k, pacer| *k == key || Arc::strong_count(pacer) > 1);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(Pacer::new())))
    }
}

/// The pace of one project.
pub struct Pacer {
    state: Mutex<Pace>,
    places: Arc<Semaphore>,
    /// Who is next: first come, first served.
    order: tokio::sync::Mutex<()>,
}

struct Pace {
    /// Share of the full rate, from 0.05 to 1.
    factor: f64,
    next: Instant,
    slowed: Instant,
}

impl Pacer {
    fn new() -> Self {
        let now = Instant::now();
        let state = Mutex::new(Pace {
            factor: 1.0,
            next: now,
            slowed: now,
        });
        Self {
            state,
            places: Arc::new(Semaphore::new(DEFAULT_CONCURRENCY)),
            order: tokio::sync::Mutex::new(()),
        }
    }

    /// Calls a second at the present pace, at least one.
    pub fn rate(&self) -> i64 {
        let factor = self.state.lock().unwrap_or_else(PoisonError::into_inner).factor;
        // Steps of a twentieth keep this in integers: 98 calls a second at most.
        (1..=98)
            .rev()
            .find(|n| f64::from(*n) <= DEFAULT_RATE * SHARE * factor)
            .map_or(1, i64::from)
    }

    /// Waits for a place and for its time, one after the other. Dropping the future gives both back.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let _turn = self.order.lock().await;
        let next = self.pace().next;
        sleep_until(next).await;
        let mut pace = self.pace();
        pace.next =
            next.max(Instant::now()) + Duration::from_secs_f64(1.0 / (DEFAULT_RATE * SHARE * pace.factor));
        Some(permit)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project refused a call because of its rate: two thirds of the pace, at most once a second.
    pub fn slow_down(&self) {
        let mut pace = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(pace.slowed) >= Duration::from_secs(1) || pace.factor >= 1.0 {
            pace.factor = (pace.factor * 0.66).max(0.05);
            pace.slowed = now;
        }
    }

    /// A call was served: a hundredth faster, up to the full pace.
    pub fn speed_up(&self) {
        let mut pace = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.factor < 1.0 {
            pace.factor = (pace.factor + 0.01).min(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_evenly_spaced_under_the_limit_and_slower_after_throttling() {
        let pacer = Pacer::new();
        let start = Instant::now();
        for _ in 0..98 {
            drop(pacer.turn().await);
        }
        let second = start.elapsed();
        assert!(
            second >= Duration::from_millis(980) && second <= Duration::from_millis(1_100),
            "{second:?}"
        );
        pacer.slow_down();
        assert_eq!(pacer.rate(), 64);
        for _ in 0..100 {
            pacer.speed_up();
        }
        assert_eq!(pacer.rate(), 98);
    }
}
