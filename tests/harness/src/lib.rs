//! Starts and stops the shared parts of the tests, the demo and the benchmarks: a real control plane, its clients, and
//! the operator under test. Everything listens on loopback ports chosen by the system, uses a temporary folder of its
//! own, and ends with the process that started it.

pub mod cargo_program;
pub mod chart_files;
pub mod current;
pub mod demo;
pub mod environment;
pub mod error;
pub mod generate;
pub mod official_names;
pub mod operator;
pub mod plane;
pub mod process;
pub mod reference;
pub mod release;
pub mod suite;
pub mod tools;
pub mod wait;

pub use error::{HarnessError, Result};
pub use operator::{Operator, OperatorOptions};
pub use plane::{ControlPlane, Helm, Options};
pub use wait::until;

/// A substring of every secret in the seeds. Printed output, logs and stored objects other than Secrets must not
/// contain it.
pub const CANARY: &str = "canary-secret";
