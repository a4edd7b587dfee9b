//! Whether the policy of a bucket is public, or would be, and why.

use super::{BucketFacts, Check, GrantFacts, ProbeFacts};
use crate::api::{GrantSpec, GrantStatus};
use crate::core::grant::{PassRoleDecision, PublicAccessBlock, decide_pass_role, parse_spec};
use crate::core::policy::{Document, PolicyPublicity, Publicity, publicity};

/// What decides about the policy of a bucket, as far as it was seen.
pub(super) struct JudgedPolicy {
    /// State of Block Public Access; `Unreadable` if it was not seen.
    pub(super) block: PublicAccessBlock,
    /// The decision about the `ram:PassRole` statement.
    pub(super) pass_role: PassRoleDecision,
    /// What the rule says about the statements of the live policy.
    pub(super) live: PolicyPublicity,
    /// Positions of the public statements that are neither planned nor owned by the grant.
    pub(super) foreign_public: Vec<usize>,
    /// Whether a wildcard for sessions counts as public, if the live policy tells.
    pub(super) by_live_policy: Option<bool>,
    /// The same, if the live policy or a probe tells.
    pub(super) session_wildcard_is_public: Option<bool>,
}

/// Returns the live policy; `None` if it was not read or cannot be parsed.
fn document(bucket: &BucketFacts) -> Option<Document> {
    let bytes = bucket.policy.as_ref().ok()?.as_deref()?;
    Document::parse(bytes).ok()
}

/// Judges the policy of a grant's bucket.
pub(super) fn policy_view(grant: &GrantFacts, probe: Option<&ProbeFacts>) -> JudgedPolicy {
    let bucket = grant.bucket.as_ref();
    let block = bucket
        .and_then(|bucket| bucket.block.as_ref().ok())
        .copied()
        .unwrap_or(PublicAccessBlock::Unreadable);
    let document = bucket.and_then(document);
    let live = PolicyPublicity::of(document.as_ref());
    let said = bucket.and_then(|bucket| bucket.policy_is_public);
    let pass_role = decide_pass_role(&grant.spec, 1, &GrantStatus::default(), Some(block))
        .unwrap_or(PassRoleDecision::Omitted);
    let by_live_policy = live.session_wildcard_is_public(said);
    let probed = probe.and_then(|probe| probe.findings.session_wildcard_is_public);
    let wanted = parse_spec(&grant.spec, pass_role).ok();
    let planned = wanted.iter().flat_map(|wanted| &wanted.statements);
    let own: Vec<&String> = planned
        .map(|statement| &statement.fingerprint)
        .chain(grant.ledger.iter().map(|entry| &entry.fingerprint))
        .collect();
    let is_own = |position: &usize| {
        let positions = |fingerprint: &&String| document.as_ref().map(|d| d.positions_of(fingerprint));
        own.iter()
            .filter_map(positions)
            .any(|found| found.contains(position))
    };
    JudgedPolicy {
        block,
        pass_role,
        foreign_public: live
            .public
            .iter()
            .copied()
            .filter(|position| !is_own(position))
            .collect(),
        by_live_policy,
        session_wildcard_is_public: by_live_policy.or(probed),
        live,
    }
}

/// Whether Block Public Access accepts public policies. `None` if it cannot be read.
pub fn is_open(block: PublicAccessBlock) -> Option<bool> {
    match block {
        PublicAccessBlock::Off => Some(true),
        PublicAccessBlock::OnForBucket
        | PublicAccessBlock::OnForAccount
        | PublicAccessBlock::RefusedByOss => Some(false),
        PublicAccessBlock::Unreadable => None,
    }
}

/// Returns positions as a list for people, from 1.
fn numbered(positions: &[usize]) -> String {
    let numbers: Vec<String> = positions
        .iter()
        .map(|position| (position + 1).to_string())
        .collect();
    numbers.join(", ")
}

/// Whether the policy with the planned statements would be public, and why.
pub(super) fn public_check(spec: &GrantSpec, view: &JudgedPolicy) -> Check {
    let name = "planned-policy-public";
    let open = is_open(view.block);
    if !view.foreign_public.is_empty() {
        let seen = format!(
            "public, because of statement {} of the live policy, which the grant did not write",
            numbered(&view.foreign_public)
        );
        let rejected = format!("{seen}: OSS rejects the whole document while Block Public Access is on");
        let remove =
            "ask the owner of the bucket to remove it, or score with access.mode RoleChain of the job";
        return match open {
            Some(true) => Check::warning(name, seen, "ask the owner of the bucket whether that is wanted"),
            Some(false) => Check::failed(name, rejected, remove),
            None => Check::warning(name, format!("{rejected}, which cannot be read"), remove),
        };
    }
    if let PassRoleDecision::Blocked(_) = view.pass_role {
        return Check::failed(
            name,
            "public, because access.passRoleStatement is Include and its empty Principal means everyone: OSS rejects it while Block Public Access is on",
            "set access.passRoleStatement to Omit or Auto",
        );
    }
    if view.pass_role.is_written() {
        return Check::warning(
            name,
            "public, because the ram:PassRole statement has an empty Principal, which means everyone",
            "set access.passRoleStatement to Omit; if images can then not be scored, set Include",
        );
    }
    if !view.live.unclear.is_empty() {
        return Check::warning(
            name,
            format!(
                "statement {} of the live policy is not evaluated",
                numbered(&view.live.unclear)
            ),
            "see status.policy.public of the grant after the first write",
        );
    }
    let ours = parse_spec(spec, view.pass_role).is_ok_and(|wanted| {
        let mut statements = wanted.statements.iter();
        statements.any(|statement| publicity(&statement.text) == Publicity::SessionWildcard)
    });
    if !ours && view.live.session_wildcards.is_empty() {
        return Check::ok(name, "not public: every principal is fixed");
    }
    match (view.session_wildcard_is_public, open) {
        (Some(false), _) => Check::ok(
            name,
            "not public: OSS does not count the * for the sessions of a role",
        ),
        (Some(true), Some(true)) => Check::warning(
            name,
            "public, because OSS counts the * for the sessions of the service role",
            "switching Block Public Access on later would end the access: see grantee.principal",
        ),
        (Some(true), Some(false)) => Check::failed(
            name,
            "public, because OSS counts the * for the sessions of the service role: OSS rejects it while Block Public Access is on",
            "score with access.mode RoleChain of the job, or change grantee.principal",
        ),
        (Some(true), None) => Check::warning(
            name,
            "public, because OSS counts the * for the sessions of the service role: OSS rejects it if Block Public Access is on, which cannot be read",
            "allow oss:GetBucketPublicAccessBlock to see it; if it is on, score with access.mode RoleChain of the job, or change grantee.principal",
        ),
        (None, Some(true)) => Check::ok(
            name,
            "not known whether OSS counts the * for the sessions of a role, and accepted in any case",
        ),
        (None, _) => Check::warning(
            name,
            "not known whether OSS counts the * for the sessions of a role; if so, it rejects the write, without any effect",
            "run again with --probe-bucket, or see the first Ready message of the grant; the way round is access.mode RoleChain of the job",
        ),
    }
}

/// What the live policy tells about wildcards for sessions.
pub(super) fn wildcard_check(view: &JudgedPolicy) -> Option<Check> {
    let position = numbered(&view.live.session_wildcards);
    view.by_live_policy.map(|public| {
        let seen = if public {
            format!("yes: OSS says that the live policy is public, and statement {position} can be the only reason")
        } else {
            format!(
                "no: OSS says that the live policy is not public, and statement {position} has such a wildcard"
            )
        };
        Check::ok("session-wildcard-public", seen)
    })
}
