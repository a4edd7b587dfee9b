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
pub struct Wanted {
    /// Its statements, in the order of Alibaba's page.
    pub statements: Vec<Statement>,
    /// What to do with an equal statement that was there before.
    pub adoption: AdoptionPolicy,
    /// What to do when a statement of ours is gone.
    pub restore: Restore,
}

/// What to do when a statement of ours is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Put it back.
    PutBack,
    /// Leave it: the user asked to be told only, or there is a quarrel.
    Leave,
}

/// Whether Block Public Access stands in the way of a public statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Off for the bucket and the account.
    Off,
    /// On for the bucket.
    OnForBucket,
    /// On for the whole account.
    OnForAccount,
    /// Could not be read.
    Unreadable,
    /// OSS refused a public policy, although the block does not show.
    Refused,
}

/// What was decided about the `ram:PassRole` statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRoleChoice {
    /// It is written.
    Included,
    /// It is not written, because the user says so.
    Omitted,
    /// It is not written, because it would make the policy public.
    OmittedBecause(BlockState),
    /// The user wants it, but Block Public Access forbids it.
    Blocked(BlockState),
}

impl PassRoleChoice {
    /// The choice in words, as status shows it.
    pub fn describe(self) -> String {
        let why = |state| match state {
            BlockState::OnForBucket => "Block Public Access is on for the bucket",
            BlockState::OnForAccount => "Block Public Access is on for the account",
            BlockState::Unreadable => "Block Public Access cannot be read",
            BlockState::Refused => "OSS refuses a public policy",
            BlockState::Off => "Block Public Access is off",
        };
        match self {
            Self::Included => "included".to_owned(),
            Self::Omitted => "omitted: passRoleStatement is Omit".to_owned(),
            Self::OmittedBecause(state) => format!("omitted: {}", why(state)),
            Self::Blocked(state) => format!("blocked: {}", why(state)),
        }
    }

    /// Whether the statement is wanted in the policy.
    pub fn written(self) -> bool {
        matches!(self, Self::Included)
    }
}

/// What to do about the `ram:PassRole` statement. `None` when Block Public Access has to be read first: that costs two
/// calls, so a decision once made for a generation stays until the spec changes or OSS refuses a write.
pub fn pass_role_choice(
    spec: &GrantSpec,
    generation: i64,
    status: &GrantStatus,
    block: Option<BlockState>,
) -> Option<PassRoleChoice> {
    let wish = spec.access.pass_role_statement;
    if wish == PassRoleStatement::Omit {
        return Some(PassRoleChoice::Omitted);
    }
    if let Some(state) = block {
        return Some(match (wish, state) {
            (_, BlockState::Off) => PassRoleChoice::Included,
            (PassRoleStatement::Include, BlockState::Unreadable) => PassRoleChoice::Included,
            (PassRoleStatement::Include, state) => PassRoleChoice::Blocked(state),
            (PassRoleStatement::Auto | PassRoleStatement::Omit, state) => {
                PassRoleChoice::OmittedBecause(state)
            }
        });
    }
    if status.observed_generation != Some(generation) {
        return None;
    }
    match status.pass_role.as_deref() {
        Some("included") => Some(PassRoleChoice::Included),
        Some("omitted: Block Public Access is on for the bucket") => {
            Some(PassRoleChoice::OmittedBecause(BlockState::OnForBucket))
        }
        Some("omitted: Block Public Access is on for the account") => {
            Some(PassRoleChoice::OmittedBecause(BlockState::OnForAccount))
        }
        Some("omitted: OSS refuses a public policy") => {
            Some(PassRoleChoice::OmittedBecause(BlockState::Refused))
        }
        Some("omitted: Block Public Access cannot be read") => {
            Some(PassRoleChoice::OmittedBecause(BlockState::Unreadable))
        }
        _ => None,
    }
}

/// Checks every name of a spec and renders its statements.
pub fn parse_spec(spec: &GrantSpec, pass_role: PassRoleChoice) -> Result<Wanted, ValidationError> {
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
    if pass_role.written() {
        statements.push(pass_role_statement(&spec.grantee));
    }
    statements.push(access);
    let restore = match spec.drift_policy {
        DriftPolicy::Correct => Restore::PutBack,
        DriftPolicy::Report => Restore::Leave,
    };
    Ok(Wanted {
        statements,
        adoption: spec.adoption_policy,
        restore,
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
