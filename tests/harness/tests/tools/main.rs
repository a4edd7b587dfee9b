//! The scripts that build the tools and the demo, with programs that only pretend to be Go, kubectl and the others:
//! what is built, what is taken from elsewhere, and what is said about it.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod building;
mod lending;
mod machine;
mod make_demo;
