//! Alibaba Cloud over HTTP: the only place that knows a URL, a header or an error body. It makes one attempt a call
//! and decides nothing.

mod acs;
mod endpoints;
mod error;
mod http;
mod imm;
mod objects;
mod oss;
pub mod sign;
mod sts;

pub use endpoints::{EndpointError, Endpoints};
pub use http::{Cloud, IMM_DEADLINE, OSS_DEADLINE};
