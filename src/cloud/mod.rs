//! Alibaba Cloud over HTTP: the only place that knows a URL, a header or an error body. It makes one attempt a call
//! and decides nothing.

mod classify;
mod client;
mod endpoints;
mod imm;
mod oss_objects;
mod oss_policy;
mod rpc;
pub mod sign;
mod sts;

pub use client::{Cloud, IMM_DEADLINE, OSS_DEADLINE};
pub use endpoints::{EndpointError, Endpoints};
