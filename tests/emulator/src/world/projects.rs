//! IMM projects and their two limits: requests per second and requests in flight.
//! The service documents a window of one second but not how it moves; the emulator uses a fixed window, which is
//! simpler to test.

use std::time::{Duration, Instant};

use super::accounts::DEFAULT_SERVICE_ROLE;
use crate::seed::{PassedRole, ProjectSeed};

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) service_role: String,
    pub(crate) principal_role: Option<String>,
    pub(crate) session_name: Option<String>,
    pub(crate) reads_from: Option<String>,
    pub(crate) pass_role_required: bool,
    pub(crate) caller_passes: PassedRole,
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
            principal_role: seed.principal_role,
            session_name: seed.session_name,
            reads_from: seed.reads_from,
            pass_role_required: seed.pass_role_required,
            caller_passes: seed.caller_passes,
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

    /// Counts one request. Returns `false` if the quota of the current one-second window is used up.
    pub(crate) fn admit(&mut self) -> bool {
        let seconds = Duration::from_secs(self.window.0.elapsed().as_secs());
        if !seconds.is_zero() {
            self.window = (self.window.0 + seconds, 0);
        }
        self.window.1 += 1;
        self.window.1 <= self.queries_per_second
    }

    /// Occupies a slot among the requests in flight. Returns `false` if none is free.
    pub(crate) fn enter(&mut self) -> bool {
        let free = self.in_flight < self.concurrency;
        self.in_flight += u32::from(free);
        free
    }

    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}
