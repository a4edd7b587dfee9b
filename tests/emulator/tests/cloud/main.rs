//! Black-box tests of the emulator: signatures, policies, scores, faults, sessions, and the binary.
//!
//! All tests are one binary, so that it is linked only once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test panics, and test helpers count as tests"
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
mod regions;
mod sessions;
mod submissions;
mod tokens;
mod vectors;
