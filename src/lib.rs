//! imm-operator: Alibaba Cloud's recipe "Grant cross-account access to OSS resources" as two Kubernetes kinds.
//!
//! - [`api`]: the kinds, data only.
//! - [`core`]: every decision, pure: no async, no I/O, no clock.
//! - [`ports`]: the one trait through which everything outside is reached.
//! - [`cloud`]: OSS and IMM over HTTP.
//! - [`runtime`]: watches, queues, passes, probes.
//! - [`commands`]: what the program does besides running.
//! - [`config`], [`docs`]: the command line, and generated files.
//!
//! What is deliberately absent: `core` knows no time but its arguments; nothing outside `config` reads the environment;
//! nothing outside `cloud` knows a URL; nothing sends a policy that was not planned; no foreign statement is ever edited.

pub mod api;
pub mod cloud;
pub mod commands;
pub mod config;
pub mod core;
pub mod docs;
pub mod ports;
pub mod runtime;
