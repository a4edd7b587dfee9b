//! The Ready condition of a grant: its reason, its message, and whether action is required. A message says what happened
//! and what to do. It carries the cloud's error code and request id and which side refused, never its text, and
//! changes only with the state, the code, that side, counts that are stored anyway, or the backoff level.

use super::reach::{public_policy, public_statement, way_around_public_access_block, whole_account};
use super::state::{GrantState, Observation};
use super::{GrantObject, GrantOutcome, PassRoleDecision};
use crate::api::{EntryState, GrantReason, PrincipalForm};
use crate::core::condition_builder::{ReadySummary, progressing, stalled};
use crate::core::error::{CORRECT_CLOCK, CloudError, CloudErrorKind};
use crate::core::identity::Identity;
use crate::core::policy::{POLICY_LIMIT, STATEMENT_LIMIT};
use crate::core::refusal::RefusedBy;
use crate::core::text::counted;

type GrantReadySummary = ReadySummary<GrantReason>;

/// Summarizes the state of a grant for its Ready condition.
pub(super) fn ready_summary(
    grant: &GrantObject,
    state: &GrantState,
    observation: &Observation,
) -> GrantReadySummary {
    use GrantReason as R;
    let (bucket, region, owner) = grant
        .bucket
        .as_ref()
        .map_or(("(unknown)", "", ""), |b| (&b.name, &b.region, &b.owner_uid));
    match state {
        GrantState::Planned(outcome) => planned_summary(grant, outcome, observation, bucket),
        GrantState::Suspended => GrantReadySummary::at_rest(
            R::Suspended,
            "Suspended: statements are neither added, restored nor removed until spec.suspend is false",
        ),
        GrantState::Preview => {
            let what = "The policy is not written; status.plan shows what mode: Enforce would change";
            GrantReadySummary::at_rest(R::Preview, what.to_owned() + &reach(grant, observation))
        }
        GrantState::Denied(message) => GrantReadySummary::stalled(R::TenancyDenied, message.clone()),
        GrantState::NamespaceUnknown => GrantReadySummary::progressing(
            R::Reconciling,
            "The namespace, which the tenancy rules need, could not be read; retrying",
        ),
        GrantState::WrongOwner(found) => stalled!(
            R::OwnerMismatch,
            "Bucket {bucket} belongs to account {found}, and spec.bucket.ownerUID is {owner}: delete the grant and create it with the correct owner"
        ),
        GrantState::WrongRegion(found) => stalled!(
            R::RegionMismatch,
            "Bucket {bucket} is in {found}, and spec.bucket.region is {region}: delete the grant and create it with the correct region"
        ),
        GrantState::OwnerUnverified => stalled!(
            R::OwnerUnverified,
            "The operator's own identity cannot read the owner of bucket {bucket}, and is used only for buckets with a verified owner: allow oss:GetBucketInfo for this identity"
        ),
        GrantState::DriftReported => stalled!(
            R::DriftReported,
            "Statements are missing from the policy of {bucket} and driftPolicy is Report: see status.plan, or set driftPolicy to Correct to restore them"
        ),
        GrantState::RepeatedDrift => {
            GrantReadySummary::stalled(R::RepeatedDrift, repeated_drift(observation, true))
        }
        GrantState::Invalid(message) => GrantReadySummary::stalled(R::InvalidSpec, message.clone()),
        GrantState::CredentialsFailed(error) => {
            let identity = grant.identity.as_ref();
            GrantReadySummary {
                reason: R::CredentialsUnavailable,
                message: identity.map_or_else(String::new, |identity| error.message(identity)),
                stalled: !error.is_transient(),
                ready: false,
            }
        }
        GrantState::PolicyUnreadable(error) => stalled!(
            R::PolicyUnreadable,
            "The policy of {bucket} is not changed because {error}: correct the policy at OSS"
        ),
        GrantState::WriteConflict => progressing!(
            R::WriteConflict,
            "Another writer changed the policy of {bucket} between each read and write; retrying"
        ),
        GrantState::InvalidPlan(fault) => stalled!(
            R::InvalidPlan,
            "The policy of {bucket} was not written, because the change that the operator planned is invalid ({fault}): report this bug with the log of the operator"
        ),
        GrantState::PassRoleBlocked => stalled!(
            R::PublicAccessBlocked,
            "Block Public Access forbids the ram:PassRole statement; the other statement is applied{}: set access.passRoleStatement to Auto or Omit",
            reach(grant, observation)
        ),
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::PublicAccessBlocked => {
            stalled!(
                R::PublicAccessBlocked,
                "Block Public Access rejects the policy of {bucket} with the statements of the grant ({}): {}",
                error.code_and_request_id(),
                way_around(grant, observation)
            )
        }
        GrantState::CloudFailed(error) if grant.deleting && error.kind == CloudErrorKind::NoSuchBucket => {
            stalled!(
                R::BucketNotFound,
                "OSS does not show bucket {bucket} to these credentials ({}), and STS does not say that they belong to its owner: use credentials of account {}",
                error.code_and_request_id(),
                grant
                    .bucket
                    .as_ref()
                    .map_or("", |bucket| bucket.owner_uid.as_str())
            )
        }
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::WrongRegion => stalled!(
            R::RegionMismatch,
            "Bucket {bucket} is not in {region}, which spec.bucket.region names ({}): delete the grant and create it with the correct region",
            error.code_and_refusal()
        ),
        GrantState::CloudFailed(error) => cloud_error_summary(error, bucket, grant.identity.as_ref()),
    }
}

/// Summarizes what a plan means for a grant.
fn planned_summary(
    grant: &GrantObject,
    outcome: &GrantOutcome,
    observation: &Observation,
    bucket: &str,
) -> GrantReadySummary {
    use GrantReason as R;
    match outcome {
        GrantOutcome::Applied => {
            let owned = observation.ledger.iter();
            let desired = owned.filter(|e| e.state != EntryState::Removing).count();
            let (statements, reach) = (counted(desired, "statement"), reach(grant, observation));
            let message = format!("{desired} of {statements} present in the policy of {bucket}{reach}");
            GrantReadySummary::at_rest(R::Applied, message)
        }
        GrantOutcome::Writing => {
            progressing!(R::Reconciling, "Writing the policy of {bucket}")
        }
        GrantOutcome::Propagating => GrantReadySummary::progressing(
            R::Propagating,
            "Waiting for OSS to return the last write (up to 30 s) or for an unanswered write to expire (up to 6 min)",
        ),
        GrantOutcome::Carried => GrantReadySummary::progressing(
            R::Reconciling,
            "The grant was not processed in this reconcile; retrying",
        ),
        GrantOutcome::Released { .. } => {
            GrantReadySummary::progressing(R::Released, "The grant owns no statement any more")
        }
        GrantOutcome::ExistingStatement => stalled!(
            R::ExistingStatement,
            "An equal statement exists in the policy of {bucket} and adoptionPolicy is Fail: set adoptionPolicy to Adopt, or remove the statement"
        ),
        GrantOutcome::TooLarge { needed, free } => stalled!(
            R::PolicyTooLarge,
            "The statements need {needed} bytes, and {free} of {POLICY_LIMIT} are free in the policy of {bucket}: shorten spec.access.prefixes, or remove other statements"
        ),
        GrantOutcome::StatementTooLong { bytes } => stalled!(
            R::PolicyTooLarge,
            "A statement would have {bytes} bytes, and OSS accepts {STATEMENT_LIMIT}: shorten spec.access.prefixes, or split the grant"
        ),
        GrantOutcome::LedgerFull if grant.only_stored.unverified > 0 => {
            stalled!(
                R::LedgerFull,
                "status.owned has no free entry: this version cannot verify {} of its 12 entries, and keeps them. Use the version that wrote them, or remove them from status.owned",
                grant.only_stored.unverified
            )
        }
        GrantOutcome::LedgerFull => GrantReadySummary::progressing(
            R::LedgerFull,
            "The grant owns 12 statements, the maximum; the operator adds the new statements when the old ones have been removed",
        ),
        GrantOutcome::Missing => stalled!(
            R::DriftReported,
            "Statements are missing from the policy of {bucket} and are not restored: see status.plan and driftPolicy"
        ),
    }
}

/// What follows about who can read, in a message about statements that are written or would be; empty without any.
fn reach(grant: &GrantObject, observation: &Observation) -> String {
    let account = grant
        .spec
        .as_ref()
        .ok()
        .and_then(|spec| whole_account(&spec.grantee));
    let policy = observation.policy.as_ref();
    let public = public_statement(observation.pass_role)
        .map(ToOwned::to_owned)
        .or_else(|| {
            let is_public = policy.is_some_and(|policy| policy.public == Some(true));
            is_public.then(|| public_policy(principal_of(grant)))
        });
    let notes = account.into_iter().chain(public);
    notes.map(|note| format!("; {note}")).collect()
}

/// What to do when OSS rejects the policy, because Block Public Access is on.
fn way_around(grant: &GrantObject, observation: &Observation) -> &'static str {
    if observation.pass_role.is_some_and(PassRoleDecision::is_written) {
        return "set access.passRoleStatement to Auto or Omit";
    }
    way_around_public_access_block(principal_of(grant))
}

fn principal_of(grant: &GrantObject) -> PrincipalForm {
    let spec = grant.spec.as_ref();
    spec.map_or(PrincipalForm::default(), |spec| spec.grantee.principal)
}

/// The message about repeated removals. While statements are missing, the next restore is 10 minutes away or more, so the
/// message names its time.
pub(super) fn repeated_drift(observation: &Observation, missing: bool) -> String {
    let drift = observation.repeated_drift.as_ref();
    let next = drift.and_then(|d| d.hold_until.as_ref()).filter(|_| missing);
    let next = next.map_or_else(String::new, |t| {
        format!(", next restore at {}", t.0.strftime("%Y-%m-%d %H:%M UTC"))
    });
    format!(
        "Another writer removed the statements at least 3 times within 1 h; they are restored with exponential backoff{next}: check ActionTrail for PutBucketPolicy; with Terraform's alicloud_oss_bucket, set ignore_changes = [policy]"
    )
}

fn cloud_error_summary(error: &CloudError, bucket: &str, identity: Option<&Identity>) -> GrantReadySummary {
    use GrantReason as R;
    let code = error.code_and_refusal();
    let fix = error.refusal.fix();
    match error.kind {
        CloudErrorKind::AccessDenied => {
            let whose = identity.map_or_else(String::new, |identity| format!(" of {}", identity.describe()));
            let fix = fix.map_or_else(
                || format!("allow oss:GetBucketPolicy, oss:PutBucketPolicy and oss:DeleteBucketPolicy on acs:oss:*:*:{bucket}"),
                ToOwned::to_owned,
            );
            stalled!(
                R::AccessDenied,
                "The credentials{whose} lack a permission for the policy of {bucket} ({code}): {fix}"
            )
        }
        CloudErrorKind::NoSuchBucket => stalled!(
            R::BucketNotFound,
            "Bucket {bucket} does not exist ({code}): create the bucket, or delete the grant"
        ),
        CloudErrorKind::CredentialsRejected => stalled!(
            R::CredentialsUnavailable,
            "The cloud rejected the credentials ({code}): provide a valid AccessKey pair"
        ),
        CloudErrorKind::CredentialsExpired => stalled!(
            R::CredentialsUnavailable,
            "The temporary credentials have expired ({code}): provide new ones"
        ),
        CloudErrorKind::Throttled => {
            progressing!(R::RateLimited, "OSS throttles the requests ({code}); retrying")
        }
        CloudErrorKind::BucketLocked => progressing!(
            R::CloudUnavailable,
            "OSS rejected the change of the policy, because another request changes the settings of {bucket} at the moment ({code}); retrying: if it persists, find the other writer in ActionTrail"
        ),
        CloudErrorKind::PolicyRejected => stalled!(
            R::ForeignStatementRejected,
            "OSS rejected the policy of {bucket} because of its content ({code}), although the statements of the grant are valid: check the unmanaged statements and correct them at OSS"
        ),
        CloudErrorKind::RequestRejected if error.refusal.by == Some(RefusedBy::PublicEndpoint) => {
            stalled!(
                R::EndpointForbidden,
                "The settings of {bucket} cannot be read ({code}): {}",
                fix.unwrap_or_default()
            )
        }
        // The summaries of a blocked policy and of another region depend on the grant.
        CloudErrorKind::RequestRejected
        | CloudErrorKind::WrongRegion
        | CloudErrorKind::PublicAccessBlocked
        | CloudErrorKind::NoSuchProject => stalled!(
            R::RequestRejected,
            "OSS rejected the request ({code}), which is retried at each drift check: {}",
            fix.unwrap_or("fix what the code names, or report the code if it persists")
        ),
        CloudErrorKind::Unavailable if error.is_clock_skew() => progressing!(
            R::CloudUnavailable,
            "OSS rejects the requests because their time is wrong ({code}): {CORRECT_CLOCK}"
        ),
        CloudErrorKind::Unavailable | CloudErrorKind::Unanswered => match error.certificate_advice() {
            Some(advice) => progressing!(R::CloudUnavailable, "OSS cannot be reached ({code}): {advice}"),
            None => progressing!(
                R::CloudUnavailable,
                "OSS did not answer or returned a server error ({code}); retrying"
            ),
        },
    }
}

#[cfg(test)]
mod tests;
