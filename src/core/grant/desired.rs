//! From a grant's spec to the statements it wants, with every name checked again.

use crate::api::{
    Access, Action, AdoptionPolicy, DriftPolicy, GrantSpec, GrantStatus, PassRoleStatement, Preset,
};
use crate::core::policy::{Statement, access_statement, pass_role_statement};
use crate::core::validate::{
    ValidationError, check_bucket, check_prefix, check_region, check_role, check_uid,
};

/// What a grant wants in the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its statements, in the order of Alibaba's page.
    pub statements: Vec<Statement>,
    /// What to do with an equal statement that was there before.
    pub adoption: AdoptionPolicy,
    /// What to do when a statement of ours is gone.
    pub on_drift: OnDrift,
}

/// What to do when a statement of ours is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// Put it back.
    Restore,
    /// Leave it: the user asked to be told only, or there is a quarrel.
    Report,
}

/// Whether Block Public Access stands in the way of a public statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAccessBlock {
    /// Off for the bucket and the account.
    Off,
    /// On for the bucket.
    OnForBucket,
    /// On for the whole account.
    OnForAccount,
    /// Could not be read.
    Unreadable,
    /// OSS refused a public policy, although the block does not show.
    RefusedByOss,
}

/// What was decided about the `ram:PassRole` statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRoleDecision {
    /// It is written.
    Included,
    /// It is not written, because the user says so.
    Omitted,
    /// It is not written, because it would make the policy public.
    OmittedBecause(PublicAccessBlock),
    /// The user wants it, but Block Public Access forbids it.
    Blocked(PublicAccessBlock),
}

impl PassRoleDecision {
    /// The choice in words, as status shows it.
    pub fn reason_text(self) -> String {
        let why = |state| match state {
            PublicAccessBlock::OnForBucket => "Block Public Access is on for the bucket",
            PublicAccessBlock::OnForAccount => "Block Public Access is on for the account",
            PublicAccessBlock::Unreadable => "Block Public Access cannot be read",
            PublicAccessBlock::RefusedByOss => "OSS refuses a public policy",
            PublicAccessBlock::Off => "Block Public Access is off",
        };
        match self {
            Self::Included => "included".to_owned(),
            Self::Omitted => "omitted: passRoleStatement is Omit".to_owned(),
            Self::OmittedBecause(state) => format!("omitted: {}", why(state)),
            Self::Blocked(state) => format!("blocked: {}", why(state)),
        }
    }

    /// Whether the statement is wanted in the policy.
    pub fn is_written(self) -> bool {
        matches!(self, Self::Included)
    }
}

/// What to do about the `ram:PassRole` statement. `None` when Block Public Access has to be read first: that costs two
/// calls, so a decision once made for a generation stays until the spec changes or OSS refuses a write.
pub fn decide_pass_role(
    spec: &GrantSpec,
    generation: i64,
    status: &GrantStatus,
    block: Option<PublicAccessBlock>,
) -> Option<PassRoleDecision> {
    let requested = spec.access.pass_role_statement;
    if requested == PassRoleStatement::Omit {
        return Some(PassRoleDecision::Omitted);
    }
    if let Some(state) = block {
        return Some(match (requested, state) {
            (_, PublicAccessBlock::Off) => PassRoleDecision::Included,
            (PassRoleStatement::Include, PublicAccessBlock::Unreadable) => PassRoleDecision::Included,
            (PassRoleStatement::Include, state) => PassRoleDecision::Blocked(state),
            (PassRoleStatement::Auto | PassRoleStatement::Omit, state) => {
                PassRoleDecision::OmittedBecause(state)
            }
        });
    }
    if status.observed_generation != Some(generation) {
        return None;
    }
    match status.pass_role.as_deref() {
        Some("included") => Some(PassRoleDecision::Included),
        Some("omitted: Block Public Access is on for the bucket") => {
            Some(PassRoleDecision::OmittedBecause(PublicAccessBlock::OnForBucket))
        }
        Some("omitted: Block Public Access is on for the account") => {
            Some(PassRoleDecision::OmittedBecause(PublicAccessBlock::OnForAccount))
        }
        Some("omitted: OSS refuses a public policy") => {
            Some(PassRoleDecision::OmittedBecause(PublicAccessBlock::RefusedByOss))
        }
        Some("omitted: Block Public Access cannot be read") => {
            Some(PassRoleDecision::OmittedBecause(PublicAccessBlock::Unreadable))
        }
        _ => None,
    }
}

/// Checks every name of a spec and renders its statements.
pub fn parse_spec(spec: &GrantSpec, pass_role: PassRoleDecision) -> Result<Desired, ValidationError> {
    check_bucket("spec.bucket.name", &spec.bucket.name)?;
    check_region("spec.bucket.region", &spec.bucket.region)?;
    check_uid("spec.bucket.ownerUID", &spec.bucket.owner_uid)?;
    check_uid("spec.grantee.accountUID", &spec.grantee.account_uid)?;
    check_role("spec.grantee.roleName", &spec.grantee.role_name)?;
    for prefix in &spec.access.prefixes {
        check_prefix("spec.access.prefixes", prefix)?;
    }
    let actions = actions(&spec.access)?;
    let access = access_statement(
        &spec.bucket.name,
        &spec.bucket.owner_uid,
        &spec.grantee,
        &actions,
        &spec.access.prefixes,
    );
    let mut statements = Vec::new();
    if pass_role.is_written() {
        statements.push(pass_role_statement(&spec.grantee));
    }
    statements.push(access);
    let restore = match spec.drift_policy {
        DriftPolicy::Correct => OnDrift::Restore,
        DriftPolicy::Report => OnDrift::Report,
    };
    Ok(Desired {
        statements,
        adoption: spec.adoption_policy,
        on_drift: restore,
    })
}

fn actions(access: &Access) -> Result<Vec<Action>, ValidationError> {
    match access.preset {
        Preset::Documented => Ok(Action::DOCUMENTED.to_vec()),
        Preset::Minimal => Ok(vec![Action::GetObject]),
        Preset::Custom if access.actions.is_empty() => Err(ValidationError {
            field: "spec.access.actions",
            rule: "must name at least one action with preset Custom",
        }),
        Preset::Custom => Ok(access.actions.clone()),
    }
}
