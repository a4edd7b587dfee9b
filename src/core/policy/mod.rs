//! Bucket policies: the document as text, the statements that the operator renders, and the effect of Deny statements.

mod check;
mod coverage;
mod deny;
mod document;
mod publicity;
mod statement;
mod wildcard;

pub use check::{CheckedDeletion, CheckedPolicy, PlanFault};
pub use coverage::{DENIED_PATTERN_LENGTH, GrantedAccess};
pub use deny::{DENIED_PATTERNS, Denies, DenyVerdict, SECURITY_DENY, evaluate_denies, is_denied};
pub use document::{Document, POLICY_LIMIT, PolicyParseError, PolicyRead, StatementSpan, is_nearly_full};
pub use publicity::{PolicyPublicity, Publicity, publicity};
pub use statement::{
    STATEMENT_LIMIT, Statement, access_statement, fingerprint, is_plausible, is_removed_verbatim_only,
    names_grantee, pass_role_statement, readers,
};
pub use wildcard::pattern_matches;
