//! What follows from the end of a run.

use std::time::Duration;

use super::delays::{RECHECK, REREAD_AFTER, RETRY_KUBE_API};
use super::ends::{
    budget_exceeded, clock_skew, names_caller, no_project, other_region, permission_denied,
    rejected_credentials,
};
use super::stop::StopReason;
use super::{End, Phase, Progress, evaluate_limits};
use crate::api::{JobSpec, OnExceeded};
use crate::core::error::{CloudError, KubeError};
use crate::core::identity::Identity;
use crate::core::requeue::Action;

/// Delay before a job resumes that stopped only to check again what it depends on.
const RESUME: Duration = Duration::from_millis(20);
/// The same after a denied call, or a project that was not found.
const RESUME_AFTER_DENIAL: Duration = Duration::from_millis(200);

/// What follows from the end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterRun {
    /// The phase is stored, and the job is reconciled again.
    Store(Phase, Action),
    /// The same after the project is forgotten: it is read again, and a canary call decides.
    ReadProjectAgain(Phase, Action),
    /// The same after the credentials of the call are recorded as rejected with this error.
    RejectCredentials(CloudError, Phase, Action),
    /// The first call is repeated if the age of the grant can explain its denial; the job ends otherwise.
    AwaitEnforcement(CloudError, End),
    /// The bucket of the grant is rechecked, and a canary call decides: the grant may have been removed during the run.
    RecheckGrant(Phase, Action),
    /// The job rests in this phase until it is edited.
    Rest(Phase),
    /// The error of the source is reported.
    ReportSource(CloudError),
    /// Nothing is stored.
    Leave(Action),
}

/// Decides what follows from the end of a run. `project_known` says that an earlier run has read the project.
pub fn after_run(
    reason: StopReason,
    spec: &JobSpec,
    progress: &Progress,
    identity: &Identity,
    project_known: bool,
) -> AfterRun {
    let ended = |end| AfterRun::Store(Phase::Ended(end), Action::AwaitChange);
    let resume = |delay| (Phase::Scoring(0), Action::Requeue(delay));
    let recheck = |phase| AfterRun::Store(phase, Action::Requeue(RECHECK));
    let stored = |(phase, next)| AfterRun::Store(phase, next);
    match reason {
        StopReason::NoMoreItems => match evaluate_limits(progress, spec) {
            // The number of items that may fail was raised while calls were in flight.
            End::Complete if progress.has_open_items() => stored(resume(RESUME)),
            end @ (End::Complete | End::Failed(..)) => ended(end),
        },
        StopReason::Finished(end) => ended(end),
        StopReason::NoProject { canary, .. } if !canary || project_known => {
            // The project has served calls before, or was read by an earlier run.
            let (phase, next) = resume(RESUME_AFTER_DENIAL);
            AfterRun::ReadProjectAgain(phase, next)
        }
        StopReason::NoProject { error, .. } => ended(no_project(&spec.project, &error)),
        StopReason::OtherRegion(error) => ended(other_region(&spec.project, &error)),
        StopReason::ClockSkew(error) => recheck(clock_skew(&error)),
        StopReason::Denied { canary: true, error } => {
            let end = permission_denied(spec, identity, &error);
            if names_caller(&error) {
                ended(end)
            } else {
                AfterRun::AwaitEnforcement(error, end)
            }
        }
        // Calls of the next run decide.
        StopReason::Denied { .. } if spec.grant_ref.is_none() => stored(resume(RESUME_AFTER_DENIAL)),
        StopReason::Denied { .. } => {
            let phase = Phase::Waiting("IMM denied a call; checking the grant again".to_owned());
            AfterRun::RecheckGrant(phase, Action::Requeue(RESUME_AFTER_DENIAL))
        }
        // The same credentials are not used again: each rejected call may be billed.
        StopReason::CredentialsRejected(error) => {
            let phase = rejected_credentials(identity, error.clone());
            AfterRun::RejectCredentials(error, phase, Action::Requeue(RECHECK))
        }
        StopReason::OutOfBudget
            if spec.budget.as_ref().map(|b| b.on_exceeded) == Some(OnExceeded::Suspend) =>
        {
            AfterRun::Rest(Phase::OutOfBudget)
        }
        StopReason::OutOfBudget => ended(budget_exceeded(progress)),
        StopReason::Source(error) => AfterRun::ReportSource(error),
        // Stored now, because the next reconcile resumes the job from its status and reports what it waits for.
        StopReason::Reevaluate => stored(resume(RESUME)),
        StopReason::NotStarted(KubeError::Unavailable | KubeError::Conflict) => {
            stored(resume(RETRY_KUBE_API))
        }
        StopReason::NotStarted(error) => recheck(Phase::NotStarted(error.to_string())),
        StopReason::Blocked(phase) => recheck(phase),
        StopReason::Superseded => AfterRun::Leave(Action::Requeue(REREAD_AFTER)),
        StopReason::ShuttingDown => AfterRun::Store(Phase::Scoring(0), Action::AwaitChange),
        StopReason::Gone => AfterRun::Leave(Action::AwaitChange),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{JobReason, JobStatus};
    use crate::core::error::CloudErrorKind;
    use crate::core::job::{add_listed, resume_progress, spec_with};

    fn spec(more: &Value) -> JobSpec {
        let mut fields = json!({"source": {"uris": ["oss://pics/a.jpg"]}});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec_with(&fields)
    }

    fn after(reason: StopReason, more: &Value, project_known: bool) -> AfterRun {
        let spec = spec(more);
        let status = JobStatus::default();
        let mut progress = resume_progress(&spec, &status, (1, true), Timestamp::UNIX_EPOCH, "uid");
        add_listed(&mut progress, &spec.source.uris);
        let identity = Identity::of("media", &spec.credentials).unwrap();
        after_run(reason, &spec, &progress, &identity, project_known)
    }

    fn error(kind: CloudErrorKind, code: &str) -> CloudError {
        CloudError::new(kind, code)
    }

    fn resumes_in(milliseconds: u64) -> AfterRun {
        AfterRun::Store(
            Phase::Scoring(0),
            Action::Requeue(Duration::from_millis(milliseconds)),
        )
    }

    #[test]
    fn a_missing_project_ends_the_job_only_if_it_was_never_seen() {
        let missing = |canary| StopReason::NoProject {
            canary,
            error: error(CloudErrorKind::NoSuchProject, "ResourceNotFound.Project"),
        };
        for (canary, known, ends) in [(true, false, true), (true, true, false), (false, false, false)] {
            let found = after(missing(canary), &json!({}), known);
            let ended = matches!(
                &found,
                AfterRun::Store(Phase::Ended(End::Failed(JobReason::ProjectNotFound, _)), _)
            );
            let again = matches!(&found, AfterRun::ReadProjectAgain(Phase::Scoring(0), _));
            assert_eq!((ended, again), (ends, !ends), "{canary} {known} {found:?}");
        }
    }

    #[test]
    fn a_denied_call_is_explained_by_the_grant_unless_it_names_the_caller() {
        let denied = |canary, code| StopReason::Denied {
            canary,
            error: error(CloudErrorKind::AccessDenied, code),
        };
        let none = json!({});
        let granted = json!({"grantRef": {"name": "grant"}});
        let first = after(denied(true, "AccessDenied"), &none, true);
        assert!(
            matches!(
                &first,
                AfterRun::AwaitEnforcement(_, End::Failed(JobReason::PermissionDenied, _))
            ),
            "{first:?}"
        );
        let caller = after(denied(true, "NoPermission"), &none, true);
        assert!(
            matches!(&caller, AfterRun::Store(Phase::Ended(_), _)),
            "{caller:?}"
        );
        assert_eq!(after(denied(false, "AccessDenied"), &none, true), resumes_in(200));
        let later = after(denied(false, "AccessDenied"), &granted, true);
        assert!(
            matches!(&later, AfterRun::RecheckGrant(Phase::Waiting(_), _)),
            "{later:?}"
        );
    }

    #[test]
    fn a_used_budget_suspends_the_job_or_ends_it() {
        let budget = |action: &str| json!({"budget": {"maxRequests": 1, "onExceeded": action}});
        assert_eq!(
            after(StopReason::OutOfBudget, &budget("Suspend"), true),
            AfterRun::Rest(Phase::OutOfBudget)
        );
        let ended = after(StopReason::OutOfBudget, &budget("Fail"), true);
        assert!(matches!(
            &ended,
            AfterRun::Store(Phase::Ended(End::Failed(JobReason::BudgetExceeded, message)), _)
                if message.starts_with("Budget of 0 requests used up with 1 item left: ")
        ));
    }

    #[test]
    fn a_run_that_may_continue_resumes_and_what_needs_action_is_checked_every_minute() {
        let minute = Action::Requeue(Duration::from_secs(60));
        assert_eq!(
            after(StopReason::NoMoreItems, &json!({}), true),
            resumes_in(20),
            "an item is open"
        );
        assert_eq!(after(StopReason::Reevaluate, &json!({}), true), resumes_in(20));
        let not_started = |error| after(StopReason::NotStarted(error), &json!({}), true);
        assert_eq!(not_started(KubeError::Unavailable), resumes_in(5_000));
        assert_eq!(not_started(KubeError::Conflict), resumes_in(5_000));
        assert_eq!(
            not_started(KubeError::Forbidden),
            AfterRun::Store(Phase::NotStarted(KubeError::Forbidden.to_string()), minute)
        );
        let blocked = Phase::Denied("no rule".to_owned());
        assert_eq!(
            after(StopReason::Blocked(blocked.clone()), &json!({}), true),
            AfterRun::Store(blocked, minute)
        );
        let rejected = error(CloudErrorKind::CredentialsRejected, "InvalidAccessKeyId");
        let found = after(
            StopReason::CredentialsRejected(rejected.clone()),
            &json!({}),
            true,
        );
        assert!(
            matches!(&found, AfterRun::RejectCredentials(error, Phase::CredentialsRejected(..), next)
                if *error == rejected && *next == minute),
            "{found:?}"
        );
    }

    #[test]
    fn a_run_that_no_longer_owns_the_object_stores_nothing() {
        let left = |reason| after(reason, &json!({}), true);
        assert_eq!(left(StopReason::Gone), AfterRun::Leave(Action::AwaitChange));
        let reread = Action::Requeue(Duration::from_secs(3));
        assert_eq!(left(StopReason::Superseded), AfterRun::Leave(reread));
    }
}
