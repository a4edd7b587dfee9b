//! Runs a probe: writes statements into the policy of a bucket that is named for it, makes billed calls, and puts the
//! policy back, also after Ctrl-C and after a failure. No call changes Block Public Access, RAM, or who pays.

use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub use super::clock::{MachineClock, ProbeClock};
pub use super::error::DoctorError;
use super::guarded_policy::GuardedPolicy;
use super::policy_before::check_before;
use super::pre_image::read_policy;
pub use super::pre_image::{read_image, remove_restored, restore};
pub use super::probe_keys::{KeySource, RenewedKeys};
pub use super::probe_target::ProbeTarget;
use crate::api::{JobAccess, RoleChain};
use crate::cloud::imm;
use crate::core::doctor::{LimitCase, PolicyVariant, ProbeAnswer, ProbePlan, ProbeStep, RestoreOutcome};
use crate::ports::{AccessKeys, CloudError};

/// A role that does not exist.
const MISSING_ROLE: &str = "imm-operator-doctor-no-such-role";

/// A probe that has stored the policy from before.
struct Running<'a> {
    target: &'a ProbeTarget<'a>,
    clock: &'a dyn ProbeClock,
    stop: &'a CancellationToken,
    policy: GuardedPolicy<'a>,
}

/// Runs a probe until it has an answer, is stopped or fails, and puts the policy back. The findings are in `probe`.
///
/// # Errors
/// Returns the message if nothing was written, because the bucket or the file cannot be used.
pub async fn run_probe(
    target: &ProbeTarget<'_>,
    probe: &mut dyn ProbePlan,
    clock: &dyn ProbeClock,
    stop: &CancellationToken,
) -> Result<RestoreOutcome, DoctorError> {
    let keys = target.owner_keys.get(clock.now()).await?;
    let before = read_policy(&target.cloud, &target.bucket, &keys, clock).await;
    let unread = DoctorError::of_call("the policy of the probe bucket cannot be read");
    let before = before.map_err(unread)?;
    if before.is_some()
        && let Some(why) = probe.refuses_policy()
    {
        return Err(DoctorError::Refused(format!(
            "the probe bucket has a policy, and {why}: name a bucket without one"
        )));
    }
    if before.is_some() && !target.with_policy {
        return Err("the probe bucket has a policy: name a bucket without one, or add --with-policy".into());
    }
    let before = before.map(String::from_utf8).transpose()?;
    if let Some(text) = &before {
        let keys = std::iter::once(&target.key).chain(&target.objects);
        let paths: Vec<String> = keys
            .map(|key| format!("{}/{key}", target.bucket.name()))
            .collect();
        check_before(text, probe.account(), &target.owner_uid, &paths)?;
    }
    let prefix = probe.own_prefix().map(ToOwned::to_owned);
    let mut running = Running {
        target,
        clock,
        stop,
        policy: GuardedPolicy::begin(target, (before, prefix), clock, stop)?,
    };
    loop {
        if stop.is_cancelled() && probe.step() != &ProbeStep::Finish {
            probe.stop("interrupted");
        }
        let next = probe.step().clone();
        if next == ProbeStep::Finish {
            break;
        }
        match running.make(next).await {
            Ok(answer) => probe.take(answer),
            Err(error) => probe.stop(&error.to_string()),
        }
    }
    Ok(running.policy.end().await)
}

impl Running<'_> {
    /// Makes a step.
    ///
    /// # Errors
    /// Returns why the probe ends.
    async fn make(&mut self, step: ProbeStep) -> Result<ProbeAnswer, DoctorError> {
        let policy = &mut self.policy;
        match step {
            ProbeStep::Write(grantee) => policy.write(&grantee, PolicyVariant::Plain).await,
            ProbeStep::WriteWithPassRole(grantee) => {
                policy.write(&grantee, PolicyVariant::WithPassRole).await
            }
            ProbeStep::WriteWithDeny(grantee, action) => {
                policy.write(&grantee, PolicyVariant::WithDeny(action)).await
            }
            ProbeStep::WriteWithConditions(grantee) => {
                policy.write(&grantee, PolicyVariant::WithConditions).await
            }
            ProbeStep::Put(put) => policy.put(&put).await,
            ProbeStep::ReadBack => policy.read_back().await,
            ProbeStep::Remove => policy.remove().await,
            ProbeStep::Score => self.score(&LimitCase::Image, None).await,
            ProbeStep::ScoreByChain(chain) => self.score(&LimitCase::Image, Some(chain)).await,
            ProbeStep::Try(case) => self.score(&case, None).await,
            ProbeStep::Burst { calls, spacing } => self.burst(false, calls, spacing).await,
            ProbeStep::ProjectBurst { calls, spacing } => self.burst(true, calls, spacing).await,
            ProbeStep::Pause(length) => {
                policy.pause(length).await;
                Ok(ProbeAnswer::Paused)
            }
            ProbeStep::Finish => Err("the probe has ended".into()),
        }
    }

    /// Makes one scoring call, through a role chain if there is one.
    ///
    /// # Errors
    /// Returns why there are no credentials for it.
    async fn score(&self, case: &LimitCase, chain: Option<RoleChain>) -> Result<ProbeAnswer, DoctorError> {
        let keys = match (case, &self.target.narrow_keys) {
            (LimitCase::NarrowSession, Some(keys)) => keys,
            _ => &self.target.caller_keys,
        };
        let keys = keys.get(self.clock.now()).await?;
        let scored = self.call(case, chain, &keys).await;
        let after = self.policy.since_change();
        Ok(match scored {
            Ok(()) => ProbeAnswer::Scored(after),
            Err(error) => ProbeAnswer::ScoreFailed(error, after),
        })
    }

    /// Makes many calls without waiting for their answers in between: about the project, or to score the image.
    ///
    /// # Errors
    /// Returns why there are no credentials for them.
    async fn burst(
        &self,
        of_project: bool,
        calls: u32,
        spacing: Duration,
    ) -> Result<ProbeAnswer, DoctorError> {
        let keys = &self.target.caller_keys.get(self.clock.now()).await?;
        let answers = (0..calls).map(|number| async move {
            self.clock.pause(spacing * number).await;
            if self.stop.is_cancelled() {
                return None;
            }
            let target = self.target;
            Some(if of_project {
                let asked = imm::project_limits(&target.cloud, &target.project, keys, self.clock.now());
                asked.await.map(|_| ())
            } else {
                self.call(&LimitCase::Image, None, keys).await
            })
        });
        let answers = join_all(answers).await;
        Ok(ProbeAnswer::Burst(answers.into_iter().flatten().collect()))
    }

    /// Makes one scoring call.
    ///
    /// # Errors
    /// Returns why there is no score.
    async fn call(
        &self,
        case: &LimitCase,
        chain: Option<RoleChain>,
        keys: &AccessKeys,
    ) -> Result<(), CloudError> {
        let target = self.target;
        let bucket = target.bucket.name();
        let uri = case.uri(bucket, target.other_bucket.as_deref(), &target.key);
        let project = if *case == LimitCase::MissingProject {
            &target.missing_project
        } else {
            &target.project
        };
        let missing_role = RoleChain {
            service_role: MISSING_ROLE.to_owned(),
            chain: Vec::new(),
        };
        let access = JobAccess {
            role_chain: chain.or((*case == LimitCase::MissingRole).then_some(missing_role)),
            ..JobAccess::default()
        };
        let scored = imm::detect_image_score(&target.cloud, project, &access, keys, &uri, self.clock.now());
        scored.await.map(|_| ())
    }
}
