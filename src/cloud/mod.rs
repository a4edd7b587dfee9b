//! Adapter for Alibaba Cloud over HTTP: the only module that uses URLs, headers and error bodies. Each call is one attempt;
//! retries are decided elsewhere.

mod answer;
mod answer_head;
mod classify;
mod client;
mod error_text;
#[cfg(test)]
mod hostile_answers;
mod imm;
mod machine_keys;
mod oss_objects;
mod oss_policy;
mod reachability;
mod refusal_body;
mod rpc;
pub mod sign;
mod sts;
mod tls;

pub use client::{Cloud, IMM_DEADLINE, OSS_DEADLINE};
pub use machine_keys::{CredentialsUri, CredentialsUriError, MetadataService};
pub use rpc::UnsignedQuery;
