//! imm-operator: Alibaba Cloud's cross-account procedure for IMM and OSS as Kubernetes resources.
//!
//! - [`api`]: the kinds: data, apply-time rules and reasons.
//! - [`core`]: every decision, pure: no async, no I/O, no clock.
//! - [`ports`]: the traits through which everything outside is reached.
//! - [`cloud`], [`kubernetes`]: the adapters for Alibaba Cloud and for the API server.
//! - [`runtime`]: generic machinery: queue, rate limits, metrics, probes.
//! - [`controller`]: the reconcilers of buckets and jobs, and what they share.
//! - [`app`]: wiring, start order, leadership and shutdown.
//! - [`cli`]: flags, environment and commands.
//!
//! Invariants of the layout: `core` knows no time but its arguments; nothing outside `cli` reads the environment; nothing
//! outside `cloud` knows a URL; nothing sends a policy that was not planned; no foreign statement is ever edited.

pub mod api;
pub mod app;
pub mod cli;
pub mod cloud;
pub mod controller;
pub mod core;
pub mod kubernetes;
pub mod ports;
pub mod runtime;
