//! All decisions: pure functions, and state that only they change. No async, no I/O, no clock, no randomness: time is an
//! argument.

pub mod bounded_map;
pub mod condition_builder;
pub mod credential_use;
pub mod doctor;
pub mod endpoints;
pub mod error;
pub mod event_content;
pub mod event_limits;
pub mod freshness;
pub mod grant;
pub mod hash;
pub mod identity;
pub mod job;
pub(crate) mod json;
pub mod kept_credentials;
pub mod leader_election;
pub mod list_pages;
pub mod memory_plan;
pub mod object_state;
pub mod place;
pub mod policy;
pub mod project_pace;
pub mod proxy;
pub mod refusal;
pub mod requeue;
pub mod schema;
pub mod scopes;
pub mod selftest;
pub mod served_schema;
pub mod tenancy;
pub mod text;
pub mod time;
pub mod token_bucket;
pub mod validate;
