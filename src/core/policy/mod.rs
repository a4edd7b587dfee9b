//! A bucket policy: the document as text, and the statements we render into it.

mod deny;
mod document;
mod statement;

pub use deny::{DenyVerdict, GrantedAccess, evaluate_denies};
pub use document::{Document, POLICY_LIMIT, PolicyParseError, StatementSpan};
pub use statement::{
    STATEMENT_LIMIT, Statement, access_statement, fingerprint, is_plausible, pass_role_statement, principal,
};
