//! What a report says about the policy, and when mere figures of it are brought up to date.

use std::collections::BTreeSet;

use super::Passenger;
use crate::api::{LedgerEntry, PolicySeen, WriteReason};
use crate::core::condition::seconds;
use crate::core::grant::Facts;
use crate::core::policy::{Document, Located, POLICY_LIMIT, principal, sha256};

/// What a report says about the policy.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) document: Option<&'a Document>,
    pub(super) ours: usize,
    /// Whether this pass is a regular look: only then are mere figures of the policy brought up to date.
    pub(super) regular: bool,
}

impl Passenger {
    pub(super) fn facts(&self, seen: Option<Seen<'_>>) -> Facts {
        let written = self.added > 0 || self.removed > 0;
        let before = self.grant.status.policy.as_ref();
        let policy = seen
            .filter(|s| s.regular || written || before.is_none())
            .map(|seen| {
                let text = seen.document.map(Document::text);
                let statements = seen.document.map_or(0, |d| d.statements().len());
                let size = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
                let reason = if self.added > 0 {
                    WriteReason::StatementMissing
                } else {
                    WriteReason::StatementUnwanted
                };
                PolicySeen {
                    sha256: text.map(sha256),
                    bytes: i64::try_from(text.map_or(0, str::len)).unwrap_or(i64::MAX),
                    limit_bytes: i64::try_from(POLICY_LIMIT).unwrap_or(i64::MAX),
                    statements: size(statements),
                    foreign_statements: size(statements.saturating_sub(seen.ours)),
                    last_write_time: self
                        .last_write
                        .map(seconds)
                        .or_else(|| before.and_then(|p| p.last_write_time.clone())),
                    last_write_reason: if written {
                        Some(reason)
                    } else {
                        before.and_then(|p| p.last_write_reason)
                    },
                }
            });
        let grantee = self.grant.spec.as_ref().ok().map(|s| principal(&s.grantee));
        let overlaps = seen
            .filter(|s| s.regular || written || before.is_none())
            .and_then(|seen| {
                let grantee = grantee?;
                let document = seen.document?;
                let owned = |s: &&Located| {
                    s.fingerprint
                        .as_ref()
                        .is_some_and(|f| self.member.ledger.iter().any(|e| e.fingerprint == *f))
                };
                let foreign = document
                    .statements()
                    .iter()
                    .filter(|s| !owned(s) && s.principals.contains(&grantee));
                i32::try_from(foreign.count()).ok()
            });
        Facts {
            policy,
            ledger: self.member.ledger.clone(),
            pass_role: self.pass_role,
            overlaps,
            drifted: 0,
        }
    }
}

/// Live statements that some ledger holds as ours.
pub(super) fn ours(ledgers: &[Vec<LedgerEntry>], document: Option<&Document>) -> usize {
    let held: BTreeSet<&str> = ledgers
        .iter()
        .flatten()
        .filter(|e| !e.pre_existing)
        .map(|e| e.fingerprint.as_str())
        .collect();
    document.map_or(0, |d| held.iter().filter(|f| !d.live(f).is_empty()).count())
}
