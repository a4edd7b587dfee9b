//! IMM projects and their two limits: requests in a second, and requests at one time.
//! The service documents a window of one second and not how it moves; ours is fixed, which is the simpler to test.

use std::time::{Duration, Instant};

use super::accounts::DEFAULT_SERVICE_ROLE;
use crate::seed::ProjectSeed;

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) service_role: String,
    pub(crate) queries_per_second: u32,
    pub(crate) concurrency: u32,
    pub(crate) latency: Duration,
    pub(crate) description: String,
    pub(crate) created: Option<String>,
    pub(crate) attached: Vec<String>,
    window: (Instant, u32),
    in_flight: u32,
}

impl Project {
    pub(crate) fn new(seed: ProjectSeed) -> Self {
        Self {
            name: seed.name,
            region: seed.region,
            account: seed.account,
            service_role: seed
                .service_role
                .unwrap_or_else(|| DEFAULT_SERVICE_ROLE.to_owned()),
            queries_per_second: seed.queries_per_second.unwrap_or(100),
            concurrency: seed.concurrency.unwrap_or(100),
            latency: Duration::from_millis(seed.latency_ms),
            description: String::new(),
            created: None,
            attached: Vec::new(),
            window: (Instant::now(), 0),
            in_flight: 0,
        }
    }

    /// Counts one request; false if the second's quota is used up. Windows are fixed and a second long.
    pub(crate) fn admit(&mut self) -> bool {
        let seconds = Duration::from_secs(self.window.0.elapsed().as_secs());
        if !seconds.is_zero() {
            self.window = (self.window.0 + seconds, 0);
        }
        self.window.1 += 1;
        self.window.1 <= self.queries_per_second
    }

    /// Takes a place among the requests in flight; false if all are taken.
    pub(crate) fn enter(&mut self) -> bool {
        let free = self.in_flight < self.concurrency;
        self.in_flight += u32::from(free);
        free
    }

    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}
