//! Generic machinery: the keyed queue, rate limits, notifications, probes, metrics and logs. Knows neither kind.

pub(crate) mod fair_queue;
pub(crate) mod http_server;
pub mod metrics;
pub(crate) mod notify;
pub mod queue;
pub(crate) mod rate_limit;
pub mod telemetry;
pub(crate) mod tenancy_file;
