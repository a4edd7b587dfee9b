//! Bucket policies and RAM session policies: parsing, validation, publicity and decisions.
//!
//! Implemented from the documented rules alone and independent of the operator's code, so that the two check each
//! other.

mod condition;
mod document;
mod evaluate;
mod publicity;
mod reading;
mod rights;
mod security;
mod validate;
mod wildcard;

pub use document::{Document, Effect, Principals, Statement};
pub use evaluate::{Access, Decision, Subject, decide, session_allows};
pub use publicity::{SessionWildcard, is_public};
pub use reading::PrincipalReading;
pub(crate) use rights::Rights;
pub(crate) use security::with_security_deny;
pub use validate::{PolicyRefusal, read_submission};
pub(crate) use wildcard::{matches, matches_ignoring_case};

/// The request context for conditions, by condition key.
pub type Context = std::collections::BTreeMap<String, String>;
