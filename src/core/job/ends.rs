//! What a job reports when a run ends or its source cannot be read: messages that say what happened and what to do.

use super::phase::{End, Phase};
use crate::api::{GrantSpec, JobReason, JobSpec, ProjectRef};
use crate::core::error::{CORRECT_CLOCK, CloudError, CloudErrorKind, CredentialsError};
use crate::core::identity::Identity;
use crate::core::refusal::RefusedBy;
use crate::core::validate::ObjectUri;

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
pub fn budget_exceeded() -> End {
    let message = "Budget used up: create another job with a higher budget.maxRequests";
    End::Failed(JobReason::BudgetExceeded, message.to_owned())
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

/// The project uses another service role than the grant names.
pub fn other_service_role(project: &ProjectRef, granted: &str, role: &str) -> End {
    let message = format!(
        "The grant is for role {granted}, and project {} reads as {role}: set grantee.roleName of the grant to that role, then create another job",
        project.name
    );
    End::Failed(JobReason::GrantMismatch, message)
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
pub fn permission_denied(project: &ProjectRef, identity: &Identity, error: &CloudError) -> End {
    let (project, whose, reference) = (&project.name, identity.describe(), error.code_and_refusal());
    let message = if error.refusal.action == Some(PASS_ROLE) {
        let of_operator = identity.uses_sts_session() && error.refusal.by == Some(RefusedBy::SessionPolicy);
        let fix = if of_operator {
            // The operator's session policies allow it for a role that the job names only.
            "use credentials with source: Secret and without assumeRole, and limit their permissions in RAM"
        } else {
            error.refusal.fix().unwrap_or("allow it")
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

/// IMM rejects the time of the requests.
pub fn clock_skew(error: &CloudError) -> Phase {
    let message = format!(
        "The cloud rejects the requests because their time is wrong ({}): {CORRECT_CLOCK}; the job then resumes",
        error.code_and_request_id()
    );
    Phase::CredentialsFailed(CredentialsError::Unavailable, message)
}

/// The reports cannot be read, with the error of the API server.
pub fn results_unreadable(error: &str) -> Phase {
    let message = format!(
        "The ImageScoreReports of this job cannot be read ({error}), and no billed call is made before they can: check the permissions of the operator and other writers of the reports"
    );
    Phase::Stalled(JobReason::ResultsUnreadable, message)
}

/// The source is longer than the operator reads.
pub fn source_too_long(spec: &JobSpec) -> String {
    let message = if spec.source.prefix.is_some() {
        "The prefix holds more than 5,000,000 objects: create another job with a longer prefix"
    } else {
        "The manifest holds more than 64 MiB: split the source over several jobs"
    };
    message.to_owned()
}

/// The first line of a manifest that the grant does not cover; `None` if it covers all of them.
pub fn uncovered_line(grant: &GrantSpec, lines: &[ObjectUri]) -> Option<End> {
    let ObjectUri { bucket, key } = lines.iter().find(|line| !super::covers(grant, line))?;
    let message = format!(
        "The grant does not cover oss://{bucket}/{key} of the manifest: widen its access.prefixes or correct the line, then create another job"
    );
    Some(End::Failed(JobReason::GrantMismatch, message))
}

/// The namespace could not be read, so the rules decide nothing about the source.
pub fn namespace_unknown() -> Phase {
    let message = "The namespace could not be read, so the tenancy rules cannot be evaluated; retrying";
    Phase::SourceUnreadable(message.to_owned(), false)
}

/// The owner of the source's bucket is not known, so the operator's own identity may not read it; with the error of OSS if
/// there is one.
pub fn source_owner_unknown(bucket: &str, error: Option<&CloudError>) -> Phase {
    let Some(error) = error else {
        let message = format!(
            "The owner of bucket {bucket} cannot be read, and the operator's own identity reads only buckets whose owner is verified: allow oss:GetBucketInfo for it, or set other credentials for the source"
        );
        return Phase::SourceUnreadable(message, true);
    };
    let reference = error.code_and_refusal();
    let message = if error.is_clock_skew() {
        format!(
            "The owner of bucket {bucket} could not be read, because OSS rejects the time of the requests ({reference}): {CORRECT_CLOCK}"
        )
    } else {
        format!("The owner of bucket {bucket} could not be read ({reference}); retrying")
    };
    Phase::SourceUnreadable(message, !error.is_transient())
}

fn source_name(spec: &JobSpec) -> String {
    match (&spec.source.prefix, &spec.source.manifest) {
        (Some(prefix), _) => format!("oss://{}/{}", prefix.bucket, prefix.prefix),
        (None, Some(manifest)) => manifest.uri.clone(),
        (None, None) => String::new(),
    }
}

/// The source has more items than were counted.
pub fn source_grew(spec: &JobSpec, items: usize) -> End {
    let message = format!(
        "{} has more items than the {items} counted when the job started, and the results so far are kept: create another job",
        source_name(spec)
    );
    End::Failed(JobReason::SourceChanged, message)
}

/// The phase of a job whose source cannot be read; `identity` is that of the source.
pub fn source_failed(spec: &JobSpec, identity: Option<&Identity>, error: &CloudError) -> Phase {
    let (reference, what) = (error.code_and_refusal(), source_name(spec));
    let whose = identity.map_or_else(|| "the source".to_owned(), Identity::describe);
    let failed = |reason, message| Phase::Ended(End::Failed(reason, message));
    if error.refusal.by == Some(RefusedBy::PublicEndpoint) {
        let fix = error.refusal.fix().unwrap_or_default();
        let message = format!("{what} cannot be read ({reference}): {fix}");
        Phase::Stalled(JobReason::EndpointForbidden, message)
    } else if error.code == "PreconditionFailed" {
        let message = format!("{what} was replaced while the job ran: create another job");
        failed(JobReason::SourceChanged, message)
    } else if error.kind == CloudErrorKind::WrongRegion {
        let region = &spec.project.region;
        let message = format!(
            "{what} is not in {region}, the region of the project ({reference}): create another job with a project in the region of the bucket"
        );
        failed(JobReason::RegionMismatch, message)
    } else if error.kind == CloudErrorKind::Unavailable && error.is_clock_skew() {
        let message = format!(
            "OSS rejects the requests for {what}, because their time is wrong ({reference}): {CORRECT_CLOCK}"
        );
        Phase::SourceUnreadable(message, false)
    } else if error.is_transient() {
        let next = error
            .certificate_advice()
            .map_or_else(|| "; retrying".to_owned(), |advice| format!(": {advice}"));
        Phase::SourceUnreadable(format!("{what} could not be read ({reference}){next}"), false)
    } else if error.rejects_credentials() {
        let message = format!(
            "OSS rejected the credentials of {whose} ({reference}): provide valid credentials; the job then resumes"
        );
        Phase::SourceUnreadable(message, true)
    } else {
        let permission = match spec.source.prefix {
            Some(_) => "oss:ListObjects on the bucket",
            None => "oss:GetObject on it",
        };
        let allow =
            || format!("create it, or allow {permission} for the credentials of the source or of the job");
        let fix = error.refusal.fix().map_or_else(allow, ToOwned::to_owned);
        let message = format!("{what} cannot be read with the credentials of {whose} ({reference}): {fix}");
        Phase::SourceUnreadable(message, true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::grant::spec_with as grant_spec_with;
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
            message(permission_denied(&job.project, &identity, &error))
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
    fn a_session_of_the_operator_that_may_not_pass_a_role_needs_other_credentials() {
        let role = json!({"source": "Secret", "secretRef": {"name": "keys"},
            "assumeRole": {"roleARN": "acs:ram::1234567890123456:role/scorer"}});
        let direct = json!({"source": "Secret", "secretRef": {"name": "keys"}});
        for (credentials, part) in [
            (role, "without assumeRole"),
            (direct, "use a session whose own policy allows it"),
        ] {
            let source = json!({"uris": ["oss://pics/a.jpg"]});
            let job = spec_with(&json!({"source": source, "credentials": credentials}));
            let identity = Identity::of("media", &job.credentials).unwrap();
            let mut error = error(CloudErrorKind::AccessDenied, "NoPermission", Some("ram:PassRole"));
            error.refusal.by = Some(RefusedBy::SessionPolicy);
            let message = message(permission_denied(&job.project, &identity, &error));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_source_that_may_recover_is_read_again_and_another_one_needs_action() {
        let job = spec(&json!({"manifest": {"uri": "oss://pics/list.txt"}}));
        let phase = |kind, code| source_failed(&job, None, &error(kind, code, None));
        let waits = |phase| matches!(phase, Phase::SourceUnreadable(_, false));
        let stalls = |phase| matches!(phase, Phase::SourceUnreadable(_, true));
        assert!(waits(phase(CloudErrorKind::Throttled, "Throttling")));
        for (code, skewed) in [("RequestTimeTooSkewed", true), ("ServiceBusy", false)] {
            let failed = phase(CloudErrorKind::Unavailable, code);
            assert!(matches!(&failed, Phase::SourceUnreadable(message, false)
                if message.contains(CORRECT_CLOCK) == skewed));
        }
        let skew = error(CloudErrorKind::Unavailable, "RequestTimeTooSkewed", None);
        let owner = source_owner_unknown("pics", Some(&skew));
        assert!(
            matches!(&owner, Phase::SourceUnreadable(message, false) if message.contains(CORRECT_CLOCK)),
            "{owner:?}"
        );
        assert!(stalls(phase(CloudErrorKind::AccessDenied, "AccessDenied")));
        assert!(stalls(phase(
            CloudErrorKind::CredentialsExpired,
            "SecurityTokenExpired"
        )));
        let changed = phase(CloudErrorKind::RequestRejected, "PreconditionFailed");
        assert!(matches!(
            changed,
            Phase::Ended(End::Failed(JobReason::SourceChanged, _))
        ));
        let elsewhere = phase(CloudErrorKind::WrongRegion, "AccessDenied");
        assert!(matches!(
            elsewhere,
            Phase::Ended(End::Failed(JobReason::RegionMismatch, _))
        ));
    }

    #[test]
    fn the_first_line_that_the_grant_does_not_cover_is_named() {
        let grant = grant_spec_with(&json!({
            "credentials": {"source": "Operator"}, "access": {"prefixes": ["a/"]},
        }));
        let lines = ["a/1.jpg", "b/2.jpg", "c/3.jpg"].map(|key| ObjectUri {
            bucket: "pics-1".to_owned(),
            key: key.to_owned(),
        });
        assert_eq!(uncovered_line(&grant, &lines[..1]), None);
        let found = message(uncovered_line(&grant, &lines).unwrap());
        assert!(
            found.starts_with("The grant does not cover oss://pics-1/b/2.jpg "),
            "{found}"
        );
    }

    #[test]
    fn messages_name_the_limit_that_was_reached() {
        let job = spec(&json!({"prefix": {"bucket": "pics"}}));
        assert!(message(deadline_exceeded(&job)).contains("(60 s)"));
        assert!(message(grant_timeout(&job, "no grant")).contains("(no grant)"));
        assert!(source_too_long(&job).starts_with("The prefix"));
        let manifest = spec(&json!({"manifest": {"uri": "oss://pics/list.txt"}}));
        assert!(source_too_long(&manifest).starts_with("The manifest"));
        assert!(message(source_grew(&job, 7)).starts_with("oss://pics/ has more items than the 7 counted"));
    }
}
