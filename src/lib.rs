//! imm-operator.
pub mod api;
