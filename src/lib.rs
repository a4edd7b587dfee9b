//! imm-operator.
pub mod api;
pub mod core;
