//! A bucket policy: the document as text, and the statements we render into it.

mod deny;
mod document;
mod statement;

pub use deny::{Effect, Given, effect};
pub use document::{Document, Located, POLICY_LIMIT, Unreadable};
pub use statement::{
    STATEMENT_LIMIT, Statement, access_statement, could_be_ours, fingerprint, pass_role_statement, principal,
};
