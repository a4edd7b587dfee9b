//! A bucket policy: the document as text, and the statements we render into it.

mod document;
mod effect;
mod statement;

pub use document::{Document, Located, POLICY_LIMIT, Unreadable};
pub use effect::{Effect, Given, effect};
pub use statement::{
    STATEMENT_LIMIT, Statement, access_statement, could_be_ours, fingerprint, pass_role_statement, principal,
};
