//! The pace of the calls to an IMM project: evenly spaced at 98 % of its rate limit, slower after throttling, and one
//! at a time until its limits are known. Until `GetProject` returns them, the documented defaults apply: 100 requests
//! per second and 100 concurrent requests.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::{CloudError, CloudErrorKind};
use super::identity::Identity;
use super::job::ProjectLimits;

/// Share of the rate limit that is used: the service's one-second window is unknown, so a call can count for the previous
/// second.
const UTILIZATION: f64 = 0.98;
/// Delay of a call that later calls catch up on. Timers fire about 1 ms late, which at one call every 10 ms would cost a
/// tenth of the rate. The resulting bursts stay within the unused 2 % of the limit.
pub const MAX_CATCH_UP: Duration = Duration::from_millis(10);
/// How long the limits from `GetProject` are used before they are read again.
pub const LIMITS_TTL: Duration = Duration::from_secs(300);
/// Retry interval after a transient failure of `GetProject`.
pub const LIMITS_RETRY: Duration = Duration::from_secs(3);
/// The number of failures of `GetProject` in a row after which the defaults apply.
pub const MAX_FAILED_READS: u32 = 5;
/// Minimum interval between two changes of the rate.
pub const ADJUST_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two calls: one request per second at the lowest factor takes 20 s.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// The limits that the documentation names.
pub const DEFAULTS: ProjectLimits = ProjectLimits {
    queries_per_second: 100,
    concurrency: 100,
    service_role: None,
};
/// How long the pace of an unused project is kept, so that short jobs in succession do not each call `GetProject`.
pub const IDLE_TTL: Duration = Duration::from_secs(300);

/// The pace of one project.
pub struct ProjectPace {
    limits: ProjectLimits,
    /// Identities for which `GetProject` was finally rejected, for example without imm:GetProject. They use the defaults
    /// until another identity reads the limits.
    refused_identities: BTreeSet<Identity>,
    /// Whether `GetProject` was answered, or failed often. Until then only one call is in flight at a time, because the
    /// project's limits may be far below the defaults.
    limits_known: bool,
    /// Consecutive transient failures of `GetProject`.
    failed_probes: u32,
    /// Share of the full rate, from 0.05 to 1.
    factor: f64,
    /// Share of the full rate at the last throttling response.
    refused: f64,
}

impl Default for ProjectPace {
    fn default() -> Self {
        Self {
            limits: DEFAULTS,
            refused_identities: BTreeSet::new(),
            limits_known: false,
            failed_probes: 0,
            factor: 1.0,
            refused: 1.0,
        }
    }
}

impl ProjectPace {
    fn exact_rate(&self) -> f64 {
        f64::from(self.limits.queries_per_second) * UTILIZATION * self.factor
    }

    /// Returns the rate in whole calls per second, at least 1.
    pub fn rate(&self) -> i64 {
        // Converts a float to an integer without a cast: whole seconds of a duration.
        let whole = Duration::from_secs_f64(self.exact_rate().clamp(1.0, 1e6)).as_secs();
        i64::try_from(whole).unwrap_or(1).max(1)
    }

    /// Returns the time between two calls, at most 30 s: a limit of zero would otherwise have no interval.
    pub fn interval(&self) -> Duration {
        let wait = Duration::try_from_secs_f64(1.0 / self.exact_rate());
        wait.map_or(MAX_INTERVAL, |wait| wait.min(MAX_INTERVAL))
    }

    /// Returns the maximum number of calls in flight: 1 until the limits are known or cannot be read. Throttling does not
    /// lower it.
    pub fn concurrency_limit(&self) -> u32 {
        if self.limits_known || !self.refused_identities.is_empty() {
            self.limits.concurrency.max(1)
        } else {
            1
        }
    }

    /// Whether `GetProject` was finally rejected for an identity.
    pub fn is_refused(&self, identity: &Identity) -> bool {
        self.refused_identities.contains(identity)
    }

    /// Whether `GetProject` was answered, or finally rejected for an identity.
    pub fn limits_known(&self, identity: &Identity) -> bool {
        self.limits_known || self.is_refused(identity)
    }

    /// Records the response to `GetProject`. Returns the time until it is called again; `None` if that stays as it
    /// is. After a transient failure, it is called again in 3 s; after the fifth in a row the defaults apply for 300
    /// s. A missing project, rejected credentials and clock skew are retried after 3 s, because they may be fixed
    /// before the next job. Any other rejection is final for the identity, because a further request may be billed;
    /// another identity may have the permission and asks at once.
    pub fn limits_answered(
        &mut self,
        identity: &Identity,
        answer: &Result<ProjectLimits, CloudError>,
    ) -> Option<Duration> {
        match answer {
            Ok(limits) => {
                self.limits = limits.clone();
                (self.limits_known, self.failed_probes) = (true, 0);
                None
            }
            Err(error) if error.is_transient() && !error.is_clock_skew() => {
                self.failed_probes += 1;
                let often = self.failed_probes >= MAX_FAILED_READS;
                self.limits_known |= often;
                Some(if often { LIMITS_TTL } else { LIMITS_RETRY })
            }
            Err(error)
                if error.is_clock_skew()
                    || error.rejects_credentials()
                    || error.kind == CloudErrorKind::NoSuchProject =>
            {
                self.limits_known = false;
                Some(LIMITS_RETRY)
            }
            Err(_) => {
                self.refused_identities.insert(identity.clone());
                Some(Duration::ZERO)
            }
        }
    }

    /// Discards the known limits and service role.
    pub fn invalidate(&mut self) {
        self.limits_known = false;
        self.refused_identities.clear();
        self.limits.service_role = None;
    }

    /// Returns the project's service role; `None` while it is unknown.
    pub fn service_role(&self) -> Option<&String> {
        self.limits.service_role.as_ref()
    }

    /// Records a throttling response or a time-out: lowers the rate to 66 %, at most once per second and not below 5
    /// % of the full rate. Returns whether the rate, which last changed `unchanged` ago, changes.
    pub fn throttled(&mut self, unchanged: Duration) -> bool {
        let lowers = unchanged >= ADJUST_EVERY || self.factor >= 1.0;
        if lowers {
            self.refused = self.factor;
            self.factor = (self.factor * 0.66).max(0.05);
        }
        lowers
    }

    /// Records a successful call and raises the rate at most once per second: by 10 % of the last throttled rate up
    /// to 90 % of it, then by 0.3 % of the full rate. The slow part avoids further throttling responses, which may be
    /// billed. Returns whether the rate, which last changed `unchanged` ago, changes.
    pub fn succeeded(&mut self, unchanged: Duration) -> bool {
        if self.factor >= 1.0 || unchanged < ADJUST_EVERY {
            return false;
        }
        let near = self.refused * 0.9;
        self.factor = if self.factor < near {
            (self.factor + self.refused * 0.1).min(near)
        } else {
            (self.factor + 0.003).min(1.0)
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_below_the_limit_slower_after_throttling_and_recovers_in_two_parts() {
        let mut pace = ProjectPace::default();
        assert_eq!((pace.rate(), pace.interval().as_micros()), (98, 10_204));
        assert!(!pace.succeeded(ADJUST_EVERY), "it is full");
        let (soon, due) = (Duration::from_millis(999), ADJUST_EVERY);
        assert!(pace.throttled(soon), "the first time at once");
        assert!(!pace.throttled(soon) && !pace.succeeded(soon));
        let mut rates = vec![pace.rate()];
        for _ in 0..4 {
            assert!(pace.succeeded(due));
            rates.push(pace.rate());
        }
        assert_eq!(
            rates,
            [64, 74, 84, 88, 88],
            "slower near the rate that was throttled"
        );
        for _ in 0..20 {
            pace.throttled(due);
        }
        assert_eq!(pace.rate(), 4, "5 % at least");
        let none = ProjectLimits {
            queries_per_second: 0,
            ..DEFAULTS
        };
        pace.limits_answered(&identity(), &Ok(none));
        assert_eq!((pace.rate(), pace.interval()), (1, MAX_INTERVAL));
    }

    fn identity() -> Identity {
        Identity {
            origin: crate::core::identity::CredentialOrigin::Operator {
                namespace: "media".to_owned(),
            },
            assumed_role: None,
        }
    }

    #[test]
    fn one_call_is_in_flight_until_the_limits_are_known_or_cannot_be_read() {
        let error = |kind| Err(CloudError::new(kind, "Code"));
        for (kind, again, concurrency) in [
            (CloudErrorKind::Unavailable, LIMITS_RETRY, 1),
            (CloudErrorKind::NoSuchProject, LIMITS_RETRY, 1),
            (CloudErrorKind::CredentialsRejected, LIMITS_RETRY, 1),
            (CloudErrorKind::AccessDenied, Duration::ZERO, 100),
        ] {
            let mut pace = ProjectPace::default();
            assert_eq!(
                pace.limits_answered(&identity(), &error(kind)),
                Some(again),
                "{kind:?}"
            );
            assert_eq!(pace.concurrency_limit(), concurrency, "{kind:?}");
            assert_eq!(pace.limits_known(&identity()), concurrency > 1, "{kind:?}");
        }
        let mut pace = ProjectPace::default();
        let unavailable = error(CloudErrorKind::Unavailable);
        let waits = (0..5).map(|_| pace.limits_answered(&identity(), &unavailable));
        assert_eq!(waits.last(), Some(Some(LIMITS_TTL)), "the defaults apply");
        assert_eq!(pace.concurrency_limit(), 100);
        assert_eq!(pace.limits_answered(&identity(), &Ok(DEFAULTS)), None);
        pace.invalidate();
        assert!(!pace.limits_known(&identity()) && pace.service_role().is_none());
    }
}
