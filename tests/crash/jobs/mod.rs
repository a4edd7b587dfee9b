//! Fault injection for jobs, on the machinery of grants.

mod checks;
mod cloud_stories;
mod credential_stories;
mod gate;
mod plans;
mod play;
mod report_stories;
mod scenario;
mod stories;
mod world;

pub use plans::judge;
pub use play::play;
pub use scenario::SCENARIOS;
pub use stories::spec as job_spec;
pub use world::{ACCOUNT, JobWorld, key as job_key};
