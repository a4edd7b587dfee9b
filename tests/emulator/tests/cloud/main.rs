//! The emulator seen from outside: signatures, policies, scores, faults, sessions, and the program itself.
//!
//! One binary for all of it, so that it links once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so by a panic, and helpers of tests are tests"
)]

mod chain;
mod client;
mod counts;
mod decisions;
mod faults;
mod grant;
mod limits;
mod many;
mod orders;
mod pictures;
mod policy_calls;
mod program;
mod ranges;
mod sessions;
mod submissions;
mod tokens;
mod vectors;
