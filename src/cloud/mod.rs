//! Adapter for Alibaba Cloud over HTTP: the only module that uses URLs, headers and error bodies. Each call is one
//! attempt; retries are decided elsewhere.

mod answer;
pub mod answer_head;
mod classify;
mod client;
mod error_text;
#[cfg(test)]
mod hostile_answers;
pub mod imm;
mod machine_keys;
pub mod oss_objects;
pub mod oss_policy;
pub mod reachability;
mod refusal_body;
mod rpc;
pub mod sign;
pub mod sts;
mod tls;

pub use client::{ClientError, Cloud, IMM_DEADLINE, OSS_DEADLINE};
pub use machine_keys::{CredentialsUri, CredentialsUriError, MetadataService};
pub use rpc::UnsignedQuery;
