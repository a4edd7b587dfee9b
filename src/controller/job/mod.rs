//! Reconciles one job: checks its preconditions, then runs it until it ends or has to wait.
//!
//! Flow: read the job and validate its spec (`read_job`); prepare its run (`prepare`): preconditions, slot, credentials,
//! count, progress; run it (`run`); store the end (`finish`).
//!
//! Guarantees: a billed call is made only after its reservation is stored. A billed result is kept in memory until it
//! is stored. The counters of a finished job never change.
//!
//! The returned [`Action`]: `Requeue` is the time until the next reconcile unless a trigger comes first; the time is a
//! retry, the recheck of a precondition, or the deadline of the job. `AwaitChange` means that only an edit of the job,
//! a change of its grant or a new process continues it.

mod count_source;
mod end_job;
mod enforcement;
mod events;
mod finish;
mod job_credentials;
mod job_run;
mod load_progress;
mod manifest_lines;
mod persist;
mod preconditions;
mod prepare;
mod read_grant;
mod read_job;
mod read_page;
mod refresh;
mod report_reader;
mod retention;
mod run;
mod source_error;
mod start_store;
mod started_annotation;
mod store_status;

use std::ops::ControlFlow::{self, Break, Continue};

use k8s_openapi::jiff::Timestamp;

use self::finish::finish;
use self::job_run::JobRun;
use self::prepare::prepare;
use self::read_job::{ReadJob, read_job};
use self::run::execute;
use super::context::Context;
use crate::core::grant::ObjectKey;
use crate::core::job::active_deadline;
use crate::core::job::delays::within_deadline;
use crate::runtime::queue::Action;

/// Reconciles a job, and runs it if its preconditions hold. Returns when the job is due again; see the module docs.
pub async fn reconcile(context: &Context, key: &ObjectKey) -> Action {
    let job = match read_job(context, key).await {
        Continue(job) => job,
        Break(next) => return next,
    };
    let now = context.ports.now();
    let deadline = active_deadline(&job.writer.job, &job.spec, now);
    let (Continue(next) | Break(next)) = steps(context, job, now).await;
    within_deadline(next, deadline, now)
}

/// The steps of a reconcile. Breaks with the action for a job that does not run.
async fn steps(context: &Context, job: ReadJob, now: Timestamp) -> ControlFlow<Action, Action> {
    let prepared = Box::pin(prepare(context, job, now)).await?;
    let run = JobRun::new(context, &prepared.input, prepared.state);
    let (run, reason) = Box::pin(execute(run)).await;
    Continue(Box::pin(finish(run, reason)).await)
}
