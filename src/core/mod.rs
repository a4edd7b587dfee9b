//! Every decision, and nothing but decisions: no async, no I/O, no clock, no randomness. Time is an argument.

pub mod condition;
pub mod delay;
pub mod failure;
pub mod grant;
pub mod hash;
pub mod identity;
pub mod job;
pub mod lease;
pub mod name;
pub mod policy;
pub mod tenancy;
