//! The desired statements of a grant, computed from its spec; every name is validated again.

use crate::api::{
    Access, AdoptionPolicy, DriftPolicy, GrantSpec, GrantStatus, Grantee, OssAction, PassRoleCause,
    PassRoleReport, PassRoleStatement, Preset, PrincipalForm,
};
use crate::core::policy::{Statement, access_statement, pass_role_statement};
use crate::core::validate::{
    ValidationError, check_bucket, check_prefix, check_region, check_role, check_session, check_uid,
};

/// The desired state of a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Desired statements, in the order of Alibaba Cloud's cross-account procedure.
    pub statements: Vec<Statement>,
    /// How to treat an equal statement that existed before.
    pub adoption: AdoptionPolicy,
    /// What to do when a statement is missing.
    pub on_drift: OnDrift,
}

/// What to do when a statement is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// Restores the statement.
    Restore,
    /// Reports only: driftPolicy is Report, or restoring is backing off.
    Report,
}

/// State of Block Public Access for a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAccessBlock {
    /// Off for the bucket and the account.
    Off,
    /// On for the bucket.
    OnForBucket,
    /// On for the whole account.
    OnForAccount,
    /// The setting could not be read.
    Unreadable,
    /// OSS rejected a public policy, although the setting reads as off or unreadable.
    RefusedByOss,
}

/// The decision about the `ram:PassRole` statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRoleDecision {
    /// The statement is written.
    Included,
    /// The statement is not written, because access.passRoleStatement is Omit.
    Omitted,
    /// The statement is not written, because it would make the policy public.
    OmittedBecause(PublicAccessBlock),
    /// The statement is requested, but Block Public Access forbids it.
    Blocked(PublicAccessBlock),
}

impl PassRoleDecision {
    /// The decision as status reports it; `requested` is what the spec asks for.
    pub fn report(self, requested: PassRoleStatement) -> PassRoleReport {
        let cause = match self {
            Self::Included if requested == PassRoleStatement::Include => PassRoleCause::Requested,
            Self::Included => PassRoleCause::PublicAccessOff,
            Self::Omitted => PassRoleCause::OmitRequested,
            Self::OmittedBecause(state) | Self::Blocked(state) => match state {
                PublicAccessBlock::Off => PassRoleCause::PublicAccessOff,
                PublicAccessBlock::OnForBucket => PassRoleCause::PublicAccessBlockOnBucket,
                PublicAccessBlock::OnForAccount => PassRoleCause::PublicAccessBlockOnAccount,
                PublicAccessBlock::Unreadable => PassRoleCause::PublicAccessBlockUnreadable,
                PublicAccessBlock::RefusedByOss => PassRoleCause::PublicPolicyRejected,
            },
        };
        PassRoleReport {
            written: self.is_written(),
            cause,
        }
    }

    /// Whether the statement is desired in the policy.
    pub fn is_written(self) -> bool {
        matches!(self, Self::Included)
    }
}

/// Decides about the `ram:PassRole` statement. Returns `None` when Block Public Access has to be read first: reading
/// costs two calls, so a decision holds for its generation until OSS rejects a write.
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
    let current = status.observed_generation == Some(generation);
    let report = status.pass_role_statement.filter(|_| current);
    if let Some(state) = block {
        let refused = report.is_some_and(|report| report.cause == PassRoleCause::PublicPolicyRejected);
        return Some(match (requested, state) {
            // What OSS has rejected is not sent again without a sign that the setting has changed.
            (PassRoleStatement::Include, PublicAccessBlock::Unreadable) if refused => {
                PassRoleDecision::Blocked(PublicAccessBlock::RefusedByOss)
            }
            (_, PublicAccessBlock::Off) => PassRoleDecision::Included,
            (PassRoleStatement::Include, PublicAccessBlock::Unreadable) => PassRoleDecision::Included,
            (PassRoleStatement::Include, state) => PassRoleDecision::Blocked(state),
            (PassRoleStatement::Auto | PassRoleStatement::Omit, state) => {
                PassRoleDecision::OmittedBecause(state)
            }
        });
    }
    let report = report?;
    if report.written {
        return Some(PassRoleDecision::Included);
    }
    let block = match report.cause {
        PassRoleCause::PublicAccessBlockOnBucket => PublicAccessBlock::OnForBucket,
        PassRoleCause::PublicAccessBlockOnAccount => PublicAccessBlock::OnForAccount,
        PassRoleCause::PublicAccessBlockUnreadable => PublicAccessBlock::Unreadable,
        PassRoleCause::PublicPolicyRejected => PublicAccessBlock::RefusedByOss,
        PassRoleCause::Requested | PassRoleCause::PublicAccessOff | PassRoleCause::OmitRequested => {
            return None;
        }
    };
    // A requested statement that is blocked is checked again at each reconcile.
    (requested == PassRoleStatement::Auto).then_some(PassRoleDecision::OmittedBecause(block))
}

/// Validates every name of a spec and renders its statements.
///
/// # Errors
/// The first field that does not follow its grammar.
pub fn parse_spec(spec: &GrantSpec, pass_role: PassRoleDecision) -> Result<Desired, ValidationError> {
    check_bucket("spec.bucket.name", &spec.bucket.name)?;
    check_region("spec.bucket.region", &spec.bucket.region)?;
    check_uid("spec.bucket.ownerUID", &spec.bucket.owner_uid)?;
    check_uid("spec.grantee.accountUID", &spec.grantee.account_uid)?;
    check_role("spec.grantee.roleName", &spec.grantee.role_name)?;
    check_session_name(&spec.grantee)?;
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

fn check_session_name(grantee: &Grantee) -> Result<(), ValidationError> {
    let field = "spec.grantee.sessionName";
    match (grantee.principal, &grantee.session_name) {
        (PrincipalForm::ServiceRoleSession, Some(name)) => check_session(field, name),
        (PrincipalForm::ServiceRoleSession, None) => Err(ValidationError {
            field,
            rule: "is required with principal: ServiceRoleSession",
        }),
        (PrincipalForm::ServiceRole | PrincipalForm::Account, Some(_)) => Err(ValidationError {
            field,
            rule: "is allowed with principal: ServiceRoleSession only",
        }),
        (PrincipalForm::ServiceRole | PrincipalForm::Account, None) => Ok(()),
    }
}

fn actions(access: &Access) -> Result<Vec<OssAction>, ValidationError> {
    match access.preset {
        Preset::Documented => Ok(OssAction::DOCUMENTED.to_vec()),
        Preset::Minimal => Ok(vec![OssAction::GetObject]),
        Preset::Custom if access.actions.is_empty() => Err(ValidationError {
            field: "spec.access.actions",
            rule: "must list at least one action with preset: Custom",
        }),
        Preset::Custom => Ok(access.actions.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::grant::spec_with;

    #[test]
    fn the_cause_of_a_written_statement_is_the_request_or_the_setting() {
        let cause = |requested| PassRoleDecision::Included.report(requested).cause;
        assert_eq!(cause(PassRoleStatement::Include), PassRoleCause::Requested);
        assert_eq!(cause(PassRoleStatement::Auto), PassRoleCause::PublicAccessOff);
    }

    #[test]
    fn a_setting_that_was_read_decides_for_its_generation_about_an_optional_statement() {
        use PassRoleStatement::{Auto, Include, Omit};
        let mut spec = spec_with(&serde_json::json!({"credentials": {"source": "Operator"}}));
        let omitted = PassRoleDecision::OmittedBecause(PublicAccessBlock::OnForBucket);
        let status = GrantStatus {
            observed_generation: Some(2),
            pass_role_statement: Some(omitted.report(Auto)),
            ..GrantStatus::default()
        };
        for (requested, generation, decision) in [
            (Auto, 2, Some(omitted)),
            (Auto, 3, None),
            (Include, 2, None),
            (Omit, 3, Some(PassRoleDecision::Omitted)),
        ] {
            spec.access.pass_role_statement = requested;
            let found = decide_pass_role(&spec, generation, &status, None);
            assert_eq!(found, decision, "{requested:?} {generation}");
        }
    }

    #[test]
    fn a_rejected_public_policy_is_sent_again_only_when_the_setting_reads_as_off() {
        use PublicAccessBlock::{Off, OnForAccount, RefusedByOss, Unreadable};
        let mut spec = spec_with(&serde_json::json!({"credentials": {"source": "Operator"}}));
        spec.access.pass_role_statement = PassRoleStatement::Include;
        let rejected = PassRoleDecision::Blocked(RefusedByOss);
        let status = GrantStatus {
            observed_generation: Some(2),
            pass_role_statement: Some(rejected.report(PassRoleStatement::Include)),
            ..GrantStatus::default()
        };
        for (generation, block, decision) in [
            (2, None, None),
            (2, Some(Unreadable), Some(rejected)),
            (2, Some(Off), Some(PassRoleDecision::Included)),
            (
                2,
                Some(OnForAccount),
                Some(PassRoleDecision::Blocked(OnForAccount)),
            ),
            (3, Some(Unreadable), Some(PassRoleDecision::Included)),
        ] {
            let found = decide_pass_role(&spec, generation, &status, block);
            assert_eq!(found, decision, "{block:?} {generation}");
        }
    }
}
