//! Starts and stops what the tests, the demo and the benchmarks share: a real control plane, the clients that
//! talk to it, and the operator under test. Everything runs on loopback ports given by the system, in a folder
//! of its own, and nothing of it outlives the process that started it.

pub mod demo;
pub mod environment;
pub mod error;
pub mod generate;
pub mod operator;
pub mod plane;
pub mod process;
pub mod suite;
pub mod tools;
pub mod wait;

pub use error::{HarnessError, Result};
pub use operator::{Operator, OperatorOptions};
pub use plane::{ControlPlane, Helm, Options};
pub use wait::until;

/// Part of every secret in the seeds: whatever is printed, logged or stored outside of a Secret must not hold it.
pub const CANARY: &str = "canary-secret";
