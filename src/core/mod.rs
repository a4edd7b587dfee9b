//! All decisions, as pure functions: no async, no I/O, no clock, no randomness. Time is an argument.

pub mod condition_builder;
pub mod credential_use;
pub mod doctor;
pub mod endpoints;
pub mod error;
pub mod event_content;
pub mod grant;
pub mod hash;
pub mod identity;
pub mod job;
pub(crate) mod json;
pub mod leader_election;
pub mod place;
pub mod policy;
pub mod proxy;
pub mod refusal;
pub mod requeue;
pub mod schema;
pub mod scopes;
pub mod selftest;
pub mod served_schema;
pub mod tenancy;
pub mod time;
pub mod validate;
