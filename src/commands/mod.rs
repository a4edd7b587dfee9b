//! What the program does besides running: each command prints and ends with an exit code of its own.

pub mod drain;
pub mod plan;
pub mod results;
