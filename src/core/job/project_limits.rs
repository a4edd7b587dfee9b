//! What follows from the answer of IMM about a project. A missing project and rejected credentials are detected without a
//! billed call.

use super::{Progress, StopReason};
use crate::core::error::{CloudError, CloudErrorKind};

/// Notes that IMM has returned the project.
pub fn project_read(progress: &mut Progress) {
    (progress.authenticated, progress.known.project) = (true, true);
}

/// Returns why a run stops whose project could not be read; `None` if it may continue. `canary` says that its canary
/// call waits for the answer.
pub fn project_failed(progress: &mut Progress, error: CloudError, canary: bool) -> Option<StopReason> {
    if error.kind == CloudErrorKind::NoSuchProject {
        // IMM checks the credentials before it looks for the project.
        progress.authenticated = true;
        Some(StopReason::NoProject { canary, error })
    } else if error.is_clock_skew() {
        Some(StopReason::ClockSkew(error))
    } else if error.rejects_credentials() {
        Some(StopReason::CredentialsRejected(error))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{resume_progress, spec_with};

    fn progress() -> Progress {
        let spec = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        resume_progress(
            &spec,
            &JobStatus::default(),
            (1, true),
            Timestamp::UNIX_EPOCH,
            "uid",
        )
    }

    #[test]
    fn a_project_that_is_read_is_certain_and_so_are_the_credentials() {
        let mut progress = progress();
        project_read(&mut progress);
        assert!(progress.known.project && progress.authenticated);
    }

    #[test]
    fn a_run_stops_for_a_missing_project_a_wrong_clock_and_rejected_credentials() {
        let error = CloudError::new;
        let missing = error(CloudErrorKind::NoSuchProject, "ResourceNotFound.Project");
        let skewed = error(CloudErrorKind::Unavailable, "RequestTimeTooSkewed");
        let rejected = error(CloudErrorKind::CredentialsRejected, "InvalidAccessKeyId");
        for (error, reason, authenticated) in [
            (
                missing.clone(),
                Some(StopReason::NoProject {
                    canary: true,
                    error: missing,
                }),
                true,
            ),
            (skewed.clone(), Some(StopReason::ClockSkew(skewed)), false),
            (
                rejected.clone(),
                Some(StopReason::CredentialsRejected(rejected)),
                false,
            ),
            (error(CloudErrorKind::AccessDenied, "NoPermission"), None, false),
            (
                error(CloudErrorKind::Unavailable, "ServiceUnavailable"),
                None,
                false,
            ),
        ] {
            let mut progress = progress();
            let code = error.code.clone();
            assert_eq!(project_failed(&mut progress, error, true), reason, "{code}");
            assert_eq!(progress.authenticated, authenticated, "{code}");
            assert!(!progress.known.project);
        }
    }
}
