//! Infrastructure of the process: keyed queue, rate limits, notifications, probes, metrics and logs. Independent of the
//! reconcilers of both kinds.

mod connections;
pub(crate) mod deadline;
pub(crate) mod fair_queue;
pub(crate) mod http_server;
pub mod kept_bytes;
pub mod kept_objects;
pub mod memory_budget;
pub mod metric_labels;
pub mod metrics;
pub(crate) mod notify;
pub mod panics;
pub(crate) mod probe_client;
mod process_metrics;
pub mod queue;
pub(crate) mod rate_limit;
mod ready_queue;
pub(crate) mod request_budget;
pub mod telemetry;
pub(crate) mod tenancy_file;
