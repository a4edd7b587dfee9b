//! An emulator of Alibaba Cloud OSS, IMM and STS on one loopback port.
//!
//! Official clients work against it unmodified. It checks signatures, evaluates bucket policies, lets IMM read objects
//! only through them, keeps a ledger of every call, and injects faults on request. It shares no code with the operator
//! it tests. `README.md` beside this crate lists the modelled and the omitted features.

mod admin;
mod answer;
mod clock;
mod cloud;
mod denial;
mod digest;
mod emulator;
mod encoding;
mod fault;
mod hold;
mod hosts;
mod imm;
mod ledger;
mod metadata;
mod nonces;
mod options;
mod oss;
pub mod pictures;
pub mod policy;
mod request;
mod rpc;
pub mod score;
pub mod seed;
mod server;
pub mod signing;
mod sts;
mod tls;
mod traffic;
mod world;

/// The type of every time in a seed.
pub use jiff::Timestamp;

pub use emulator::{Emulator, StartError};
pub use fault::{Fault, FaultAnswer, FaultEffect, FaultMatch};
pub use hold::Hold;
pub use ledger::{ActionCount, Call, Counts};
pub use options::{Options, TlsFiles};
pub use oss::Address;
pub use request::Request;
pub use seed::{BucketSeed, ManySeed, ObjectSeed, ProjectSeed, Seed, SeedError};
pub use sts::{TokenFault, check_token};
pub use traffic::ProjectCount;
pub use world::{Lag, StorageClass};
