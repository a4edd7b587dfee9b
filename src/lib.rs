//! A Kubernetes operator that grants IMM in one Alibaba Cloud account read access to an OSS bucket in another, and
//! scores the images in it.
//!
//! - [`api`]: the kinds: fields, validation rules and reasons.
//! - [`core`]: all decisions, as pure functions: no async, no I/O, no clock.
//! - [`ports`]: the trait with every effect: API server, cloud and clock.
//! - [`cloud`], [`kubernetes`]: the adapters for Alibaba Cloud and for the API server.
//! - [`runtime`]: generic machinery: queue, rate limits, metrics, probes.
//! - [`controller`]: the reconcilers of buckets and jobs, and the state that they share.
//! - [`app`]: wiring, start order, leadership and shutdown.
//! - [`cli`]: flags, environment and commands.
//!
//! Invariants of the layout: `core` takes the time as an argument; only `cli` reads environment variables; only
//! `cloud` builds URLs; every policy that is written comes from a plan; foreign statements are never edited.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod api;
pub mod app;
pub mod cli;
pub mod cloud;
pub mod controller;
pub mod core;
pub mod kubernetes;
pub mod ports;
pub mod runtime;
