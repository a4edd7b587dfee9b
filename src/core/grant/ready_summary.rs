//! Standings in words: the reason and the message that a user reads. Messages say what to do next, and carry the cloud's
//! code and request id, never its text.

use super::status::GrantState;
use super::{GrantObject, GrantOutcome};
use crate::api::GrantReason;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::policy::{POLICY_LIMIT, STATEMENT_LIMIT};

/// The words for a standing: reason, message, and whether a person must act.
pub(super) struct ReadySummary {
    pub(super) reason: GrantReason,
    pub(super) message: String,
    pub(super) stalled: bool,
}

fn progressing(reason: GrantReason, message: impl Into<String>) -> ReadySummary {
    ReadySummary {
        reason,
        message: message.into(),
        stalled: false,
    }
}

fn stalled(reason: GrantReason, message: impl Into<String>) -> ReadySummary {
    ReadySummary {
        reason,
        message: message.into(),
        stalled: true,
    }
}

/// The words for how a grant stands.
pub(super) fn ready_summary(grant: &GrantObject, state: &GrantState) -> ReadySummary {
    use GrantReason as R;
    let bucket = grant
        .bucket
        .as_ref()
        .map_or("(unknown)", |place| place.name.as_str());
    match state {
        GrantState::Planned(GrantOutcome::Applied) => {
            progressing(R::Applied, "the statements are in the policy")
        }
        GrantState::Planned(GrantOutcome::Writing) => {
            progressing(R::Reconciling, "the policy is being written")
        }
        GrantState::Planned(GrantOutcome::Propagating) => progressing(
            R::Settling,
            "waiting until OSS shows the last write, or an earlier request can no longer arrive",
        ),
        GrantState::Planned(GrantOutcome::Carried) => {
            progressing(R::Reconciling, "waiting for the next pass")
        }
        GrantState::Planned(GrantOutcome::Released { .. }) => {
            progressing(R::Removed, "the grant has let its statements go")
        }
        GrantState::Planned(GrantOutcome::ExistingStatement) => stalled(
            R::ExistingStatement,
            "an equal statement is in the policy already and adoptionPolicy is Fail: set it to Adopt, or remove the statement",
        ),
        GrantState::Planned(GrantOutcome::TooLarge { needed, free }) => stalled(
            R::PolicyTooLarge,
            format!(
                "the statements need {needed} bytes and {free} of {POLICY_LIMIT} are free in the policy of {bucket}: shorten spec.access.prefixes, or remove other statements"
            ),
        ),
        GrantState::Planned(GrantOutcome::StatementTooLong { bytes }) => stalled(
            R::PolicyTooLarge,
            format!(
                "the statement would have {bytes} bytes and OSS accepts {STATEMENT_LIMIT}: shorten spec.access.prefixes, or split the grant"
            ),
        ),
        GrantState::Planned(GrantOutcome::LedgerFull) => progressing(
            R::LedgerFull,
            "the grant still owns 12 statements, some of them on their way out; it goes on when they have left",
        ),
        GrantState::Suspended => progressing(
            R::Suspended,
            "spec.suspend is true: nothing is added, corrected or removed",
        ),
        GrantState::Planned(GrantOutcome::Missing) => stalled(
            R::DriftReported,
            "statements are gone from the policy and are not put back for now",
        ),
        GrantState::Preview => progressing(
            R::Preview,
            "nothing is written; status.plan shows what mode: Enforce would do",
        ),
        GrantState::Denied(message) => stalled(R::TenancyDenied, message.clone()),
        GrantState::NamespaceUnknown => progressing(
            R::Reconciling,
            "the namespace could not be read, which the tenancy rules need; trying again",
        ),
        GrantState::WrongOwner(owner) => stalled(
            R::OwnerMismatch,
            format!(
                "bucket {bucket} belongs to account {owner}, not to spec.bucket.ownerUID: create the grant anew with the right owner"
            ),
        ),
        GrantState::WrongRegion(region) => stalled(
            R::RegionMismatch,
            format!(
                "bucket {bucket} is in {region}, not in spec.bucket.region: create the grant anew with the right region"
            ),
        ),
        GrantState::OwnerUnverified => stalled(
            R::OwnerUnverified,
            format!(
                "the operator's own identity may not see whose bucket {bucket} is, and acts only on buckets that it can verify: grant it oss:GetBucketInfo"
            ),
        ),
        GrantState::DriftReported => stalled(
            R::DriftReported,
            "statements are gone from the policy and driftPolicy is Report: status.plan shows them; driftPolicy: Correct puts them back",
        ),
        GrantState::RepeatedDrift => stalled(
            R::Contested,
            "somebody has removed the statements again and again; they are put back ever more seldom: find out who it is (a Terraform alicloud_oss_bucket without ignore_changes does this)",
        ),
        GrantState::Invalid(message) => stalled(R::InvalidSpec, message.clone()),
        GrantState::CredentialsFailed(problem) => {
            let message = grant
                .identity
                .as_ref()
                .map_or_else(String::new, |identity| problem.message(identity));
            ReadySummary {
                reason: R::CredentialsUnavailable,
                message,
                stalled: !problem.is_transient(),
            }
        }
        GrantState::PolicyUnreadable(why) => stalled(
            R::PolicyUnreadable,
            format!("the policy of {bucket} is left alone because {why}: correct it at OSS"),
        ),
        GrantState::WriteConflict => progressing(
            R::Contended,
            format!("the policy of {bucket} changed between every read and write; trying again"),
        ),
        GrantState::PassRoleBlocked => stalled(
            R::PublicAccessBlocked,
            "Block Public Access forbids the ram:PassRole statement, the rest is applied: set access.passRoleStatement to Auto or Omit",
        ),
        GrantState::CloudFailed(error) => cloud_error_summary(error, bucket),
    }
}

fn cloud_error_summary(error: &CloudError, bucket: &str) -> ReadySummary {
    use GrantReason as R;
    let id = error.code_and_request_id();
    match error.kind {
        CloudErrorKind::AccessDenied => stalled(
            R::AccessDenied,
            format!(
                "the credentials may not read or write the policy of {bucket} ({id}): grant them oss:GetBucketPolicy, oss:PutBucketPolicy and oss:DeleteBucketPolicy on acs:oss:*:*:{bucket}"
            ),
        ),
        CloudErrorKind::PublicAccessBlocked => stalled(
            R::PublicAccessBlocked,
            format!(
                "Block Public Access refuses the policy of {bucket} with our statements ({id}): set access.passRoleStatement to Omit, or ask account B about Block Public Access"
            ),
        ),
        CloudErrorKind::NoSuchBucket => stalled(
            R::BucketNotFound,
            format!("bucket {bucket} does not exist ({id}): create it, or delete the grant"),
        ),
        CloudErrorKind::WrongRegion => stalled(
            R::RegionMismatch,
            format!(
                "bucket {bucket} is not in the region that spec.bucket.region names ({id}): create the grant anew with the right region"
            ),
        ),
        CloudErrorKind::CredentialsRejected => stalled(
            R::CredentialsUnavailable,
            format!("the cloud refused the keys ({id}): put valid ones into the Secret"),
        ),
        CloudErrorKind::CredentialsExpired => stalled(
            R::CredentialsUnavailable,
            format!("the temporary keys have expired ({id}): put fresh ones into the Secret"),
        ),
        CloudErrorKind::Throttled => progressing(
            R::RateLimited,
            format!("OSS asks to slow down ({id}); trying again"),
        ),
        CloudErrorKind::PolicyRejected => stalled(
            R::ForeignStatementRejected,
            format!(
                "OSS refuses the policy of {bucket} because of its content ({id}); our statements are valid, so look at the others"
            ),
        ),
        CloudErrorKind::RequestRejected | CloudErrorKind::NoSuchProject => stalled(
            R::CloudUnavailable,
            format!("OSS refused the request ({id}); trying again at the next look"),
        ),
        CloudErrorKind::Unavailable | CloudErrorKind::Unanswered => progressing(
            R::CloudUnavailable,
            format!("OSS could not be reached or failed ({id}); trying again"),
        ),
    }
}
