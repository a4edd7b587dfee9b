//! What a job reports when a run ends: messages that say what happened and what to do.

use super::Progress;
use super::phase::{End, Phase};
use crate::api::{JobReason, JobSpec, ProjectRef};
use crate::core::error::{CORRECT_CLOCK, CloudError, CredentialsError, KubeError};
use crate::core::identity::Identity;
use crate::core::refusal::RefusedBy;
use crate::core::text::counted;

/// The job has not finished in time.
pub fn deadline_exceeded(spec: &JobSpec) -> End {
    let seconds = spec.active_deadline_seconds.unwrap_or_default();
    let message = format!(
        "The job did not finish within activeDeadlineSeconds ({seconds} s), and the results so far are kept: create another job with more time"
    );
    End::Failed(JobReason::DeadlineExceeded, message)
}

/// The grant was not live in time; `why` says what was missing.
pub fn grant_timeout(spec: &JobSpec, why: &str) -> End {
    let seconds = spec.grant_wait.timeout_seconds;
    let message =
        format!("The grant was not live for {seconds} s ({why}): fix the grant, then create another job");
    End::Failed(JobReason::GrantTimeout, message)
}

/// The budget is used up, and the job may not be suspended.
pub fn budget_exceeded(progress: &Progress) -> End {
    let message = format!(
        "Budget of {} used up with {} left: create another job with a higher budget.maxRequests",
        counted(progress.requests().sent, "request"),
        counted(progress.total().saturating_sub(progress.stats.done()), "item")
    );
    End::Failed(JobReason::BudgetExceeded, message)
}

/// The project does not exist.
pub fn no_project(project: &ProjectRef, error: &CloudError) -> End {
    let message = format!(
        "Project {} does not exist in {} of account {} ({}): create it or correct the name, then create another job",
        project.name,
        project.region,
        project.account_uid,
        error.code_and_request_id()
    );
    End::Failed(JobReason::ProjectNotFound, message)
}

/// IMM does not read images of this region.
pub fn other_region(project: &ProjectRef, error: &CloudError) -> End {
    let message = format!(
        "IMM reads images only in {}, the region of project {} ({}): create another job with a project in the region of the bucket",
        project.region,
        project.name,
        error.code_and_request_id()
    );
    End::Failed(JobReason::RegionMismatch, message)
}

/// The project uses another service role than the grant names: every call would be denied. `None` when the roles
/// match. The case is ignored, because the spelling that OSS compares can differ from that of the project.
pub fn other_service_role(project: &ProjectRef, granted: &str, role: &str) -> Option<End> {
    if role.eq_ignore_ascii_case(granted) {
        return None;
    }
    let message = format!(
        "The grant is for role {granted}, and project {} reads as {role}: set grantee.roleName of the grant to that role, then create another job",
        project.name
    );
    Some(End::Failed(JobReason::GrantMismatch, message))
}

/// The right to give IMM a role. The caller needs it, not the role that reads the image.
const PASS_ROLE: &str = "ram:PassRole";

/// Whether a denied call names the caller. Other codes may stand for the caller or for the role that reads the image.
pub fn names_caller(error: &CloudError) -> bool {
    match error.refusal.action {
        Some(action) => action.starts_with("imm:") || action == PASS_ROLE,
        None => error.code.starts_with("NoPermission"),
    }
}

/// IMM denied a call.
pub fn permission_denied(spec: &JobSpec, identity: &Identity, error: &CloudError) -> End {
    let (project, whose, reference) = (&spec.project.name, identity.describe(), error.code_and_refusal());
    let message = if error.refusal.action == Some(PASS_ROLE) {
        let of_operator = identity.uses_sts_session() && error.refusal.by == Some(RefusedBy::SessionPolicy);
        // The operator's session policies allow it for a role that the job names only.
        let fix = if !of_operator || spec.access.role_chain.is_some() {
            error.refusal.fix().unwrap_or("allow it")
        } else if spec.access.passed_role.is_some() {
            "correct access.passedRole, which must name the service role of the project"
        } else {
            "set access.passedRole to that service role, so that the session may pass it"
        };
        format!(
            "The caller, {whose}, lacks ram:PassRole on the service role of project {project}, or on the first role of the chain ({reference}): {fix}, then create another job"
        )
    } else if names_caller(error) {
        let fix = error.refusal.fix().unwrap_or("allow it");
        format!(
            "The caller, {whose}, lacks imm:DetectImageScore on project {project} ({reference}): {fix}, then create another job"
        )
    } else {
        format!(
            "IMM denied access ({reference}): allow oss:GetObject on the image for the service role of project {project}, or the last role of the chain, and imm:DetectImageScore for {whose}, then create another job"
        )
    };
    End::Failed(JobReason::PermissionDenied, message)
}

/// IMM or STS rejected the credentials of an identity.
pub fn rejected_credentials(identity: &Identity, error: CloudError) -> Phase {
    Phase::CredentialsRejected(error, identity.describe())
}

/// The credentials of an identity cannot be obtained or may not be used.
pub fn credentials_failed(error: CredentialsError, identity: &Identity) -> Phase {
    let message = error.message(identity);
    Phase::CredentialsFailed(error, message)
}

/// IMM rejects the time of the requests.
pub fn clock_skew(error: &CloudError) -> Phase {
    let message = format!(
        "The cloud rejects the requests because their time is wrong ({}): {CORRECT_CLOCK}; the job then resumes",
        error.code_and_request_id()
    );
    Phase::CredentialsFailed(CredentialsError::Unavailable, message)
}

/// IMM denied the first call, and the grant that could explain it cannot be read.
pub fn grant_unread() -> Phase {
    let message = "IMM denied the first call, and the grant could not be read; retrying";
    Phase::Waiting(message.to_owned())
}

/// The reports cannot be read, with the error of the API server; `None` if it may pass.
pub fn results_unreadable(error: KubeError) -> Option<Phase> {
    if !error.is_final() {
        return None;
    }
    let message = format!(
        "The ImageScoreReports of this job cannot be read ({error}), and no billed call is made before they can: check the permissions of the operator and other writers of the reports"
    );
    Some(Phase::Stalled(JobReason::ResultsUnreadable, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::error::CloudErrorKind;
    use crate::core::job::spec_with;
    use crate::core::refusal::Refusal;

    fn error(kind: CloudErrorKind, code: &str, action: Option<&'static str>) -> CloudError {
        CloudError {
            kind,
            status: Some(403),
            code: code.to_owned(),
            request_id: Some("R1".to_owned()),
            retry_after: None,
            refusal: Refusal {
                action,
                ..Refusal::default()
            },
        }
    }

    fn spec(source: &serde_json::Value) -> JobSpec {
        spec_with(&json!({"source": source, "activeDeadlineSeconds": 60}))
    }

    fn message(end: End) -> String {
        match end {
            End::Failed(_, message) => message,
            End::Complete => String::new(),
        }
    }

    #[test]
    fn a_denied_call_names_the_caller_only_where_the_answer_does() {
        let job = spec(&json!({"uris": ["oss://pics/a.jpg"]}));
        let identity = Identity::of("media", &job.credentials).unwrap();
        let denied = |code, action| {
            let error = error(CloudErrorKind::AccessDenied, code, action);
            message(permission_denied(&job, &identity, &error))
        };
        for (of_caller, right) in [
            (denied("NoPermission.User", None), "lacks imm:DetectImageScore"),
            (
                denied("AccessDenied", Some("imm:DetectImageScore")),
                "lacks imm:DetectImageScore",
            ),
            (
                denied("NoPermission", Some("ram:PassRole")),
                "lacks ram:PassRole on the service role",
            ),
        ] {
            assert!(
                of_caller.starts_with("The caller, ") && of_caller.contains(right),
                "{of_caller}"
            );
        }
        for of_either in [
            denied("AccessDenied", None),
            denied("NoPermission", Some("oss:GetObject")),
        ] {
            assert!(
                of_either.contains("allow oss:GetObject on the image"),
                "{of_either}"
            );
        }
    }

    #[test]
    fn a_session_of_the_operator_may_pass_a_role_that_the_job_names() {
        let role = json!({"source": "Secret", "secretRef": {"name": "keys"},
            "assumeRole": {"roleARN": "acs:ram::1234567890123456:role/scorer"}});
        let direct = json!({"source": "Secret", "secretRef": {"name": "keys"}});
        let own = "use a session whose own policy allows it";
        let chain = json!({"mode": "RoleChain", "roleChain": {"serviceRole": "first", "chain": []}});
        for (credentials, access, part) in [
            (&role, json!({}), "set access.passedRole to that service role"),
            (&role, json!({"passedRole": "other"}), "correct access.passedRole"),
            (&role, chain, own),
            (&direct, json!({}), own),
        ] {
            let source = json!({"uris": ["oss://pics/a.jpg"]});
            let job = spec_with(&json!({"source": source, "credentials": credentials, "access": access}));
            let identity = Identity::of("media", &job.credentials).unwrap();
            let mut error = error(CloudErrorKind::AccessDenied, "NoPermission", Some("ram:PassRole"));
            error.refusal.by = Some(RefusedBy::SessionPolicy);
            let message = message(permission_denied(&job, &identity, &error));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_service_role_is_compared_without_its_case() {
        let project = spec(&json!({})).project;
        assert_eq!(
            other_service_role(&project, "AliyunIMMDefaultRole", "aliyunimmdefaultrole"),
            None
        );
        let other = message(other_service_role(&project, "AliyunIMMDefaultRole", "other").unwrap());
        assert!(other.contains("reads as other"), "{other}");
    }

    #[test]
    fn reports_that_cannot_be_read_stall_a_job_unless_the_error_may_pass() {
        assert_eq!(results_unreadable(KubeError::Unavailable), None);
        let stalled = results_unreadable(KubeError::Forbidden);
        assert!(
            matches!(stalled, Some(Phase::Stalled(JobReason::ResultsUnreadable, _))),
            "{stalled:?}"
        );
    }

    #[test]
    fn messages_name_the_limit_that_was_reached() {
        let job = spec(&json!({"prefix": {"bucket": "pics"}}));
        assert!(message(deadline_exceeded(&job)).contains("(60 s)"));
        assert!(message(grant_timeout(&job, "no grant")).contains("(no grant)"));
    }
}
