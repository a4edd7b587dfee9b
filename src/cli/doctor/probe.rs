//! Runs a probe: writes statements into the policy of a bucket that is named for it, makes billed calls, and puts the policy back,
//! also after Ctrl-C and after a failure. No call changes Block Public Access, RAM, or who pays.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub use super::clock::{MachineClock, ProbeClock};
use super::policy_before::check_before;
use super::pre_image::{put_back, read_policy, store};
pub use super::pre_image::{read_image, remove_restored, restore};
pub use super::probe_keys::{KeySource, RenewedKeys};
use super::read_back::read_back;
use crate::api::{Grantee, JobAccess, RoleChain};
use crate::cloud::Cloud;
use crate::core::doctor::{
    LimitCase, PreImage, ProbeAnswer, ProbePlan, ProbeStep, Restoration, RestoreOutcome, SecondStatement,
    is_open, own_policy,
};
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::core::policy::{Document, PolicyPublicity};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind};

/// Pauses in seconds before a change is made again that OSS rejected because another client changes settings of the bucket.
const LOCK_PAUSES: [u64; 5] = [1, 2, 4, 8, 15];
/// A role that does not exist.
const MISSING_ROLE: &str = "imm-operator-doctor-no-such-role";

/// What a probe works on.
pub struct ProbeTarget<'a> {
    /// The client.
    pub cloud: Cloud,
    /// The bucket that is named for the probe.
    pub bucket: BucketPlace,
    /// UID of its owner.
    pub owner_uid: String,
    /// Credentials of its owner.
    pub owner_keys: RenewedKeys<'a>,
    /// The project that scores.
    pub project: ProjectPlace,
    /// Credentials that call IMM.
    pub caller_keys: RenewedKeys<'a>,
    /// The same in a session that may not score, if such a session can be opened.
    pub narrow_keys: Option<RenewedKeys<'a>>,
    /// A bucket in another region, to which nothing is written.
    pub other_bucket: Option<String>,
    /// A project that does not exist, in the same region.
    pub missing_project: ProjectPlace,
    /// Key of an image in the bucket.
    pub key: String,
    /// Keys of other objects in the bucket.
    pub objects: Vec<String>,
    /// Whether the bucket may have a policy.
    pub with_policy: bool,
    /// File for the policy from before.
    pub file: PathBuf,
}

/// A probe that has stored the policy from before.
struct Running<'a> {
    target: &'a ProbeTarget<'a>,
    clock: &'a dyn ProbeClock,
    stop: &'a CancellationToken,
    image: PreImage,
    written_at: Duration,
    /// Whether a write may still take effect.
    unanswered: bool,
    /// Whether a write was accepted, or may have been, that no read has shown.
    unseen: bool,
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
) -> Result<RestoreOutcome, String> {
    let keys = target.owner_keys.get(clock.now()).await?;
    let before = read_policy(&target.cloud, &target.bucket, &keys, clock).await;
    let before = before.map_err(|error| {
        format!(
            "the policy of the probe bucket cannot be read ({})",
            error.code_and_refusal()
        )
    })?;
    if before.is_some() && !target.with_policy {
        return Err(
            "the probe bucket has a policy: name a bucket without one, or add --with-policy".to_owned(),
        );
    }
    let before = before.map(String::from_utf8).transpose();
    let before = before.map_err(|_| "the policy of the probe bucket is not UTF-8 text".to_owned())?;
    if let Some(text) = &before {
        let keys = std::iter::once(&target.key).chain(&target.objects);
        let paths: Vec<String> = keys
            .map(|key| format!("{}/{key}", target.bucket.name()))
            .collect();
        check_before(text, probe.account(), &target.owner_uid, &paths)?;
    }
    let mut running = Running {
        target,
        clock,
        stop,
        image: PreImage {
            bucket: target.bucket.name().to_owned(),
            region: target.bucket.region().to_owned(),
            before,
            written: Vec::new(),
            written_at: None,
        },
        written_at: Duration::ZERO,
        unanswered: false,
        unseen: false,
    };
    store(&target.file, &running.image, true)?;
    loop {
        if stop.is_cancelled() && probe.step() != &ProbeStep::Finish {
            probe.stop("interrupted");
        }
        let answer = match probe.step().clone() {
            ProbeStep::Finish => break,
            ProbeStep::Write(grantee) => running.write(&grantee, SecondStatement::Nothing).await,
            ProbeStep::WriteWithPassRole(grantee) => running.write(&grantee, SecondStatement::PassRole).await,
            ProbeStep::WriteWithDeny(grantee, action) => {
                running.write(&grantee, SecondStatement::Deny(action)).await
            }
            ProbeStep::ReadBack => running.read_back().await,
            ProbeStep::Remove => running.remove().await,
            ProbeStep::Score => running.score(&LimitCase::Image).await,
            ProbeStep::Try(case) => running.score(&case).await,
            ProbeStep::Burst { calls, spacing } => running.burst(false, calls, spacing).await,
            ProbeStep::ProjectBurst { calls, spacing } => running.burst(true, calls, spacing).await,
            ProbeStep::Pause(length) => {
                running.pause(length).await;
                Ok(ProbeAnswer::Paused)
            }
        };
        match answer {
            Ok(answer) => probe.take(answer),
            Err(message) => probe.stop(&message),
        }
    }
    let outcome = restore(
        &target.cloud,
        &target.bucket,
        &target.owner_keys,
        &running.image,
        running.unseen,
        clock,
    )
    .await;
    if outcome == RestoreOutcome::Restored && running.unanswered {
        return Ok(RestoreOutcome::Uncertain);
    }
    Ok(outcome)
}

impl Running<'_> {
    /// Writes the statement of a grantee beside those from before, and a second one if a question needs it.
    ///
    /// # Errors
    /// Returns why nothing was written.
    async fn write(&mut self, grantee: &Grantee, second: SecondStatement) -> Result<ProbeAnswer, String> {
        let target = self.target;
        let mut prefixes = vec![target.key.clone()];
        prefixes.extend(target.objects.iter().cloned());
        let place = (target.bucket.name(), target.owner_uid.as_str());
        let text = own_policy(self.image.before.as_ref(), place, grantee, &prefixes, second);
        let text = text.ok_or("the statement does not fit into the policy of the probe bucket")?;
        let (put, keys) = self.change(Some(&text)).await?;
        self.unseen |= put.as_ref().err().is_none_or(|error| !error.had_no_effect());
        if let Err(error) = put {
            target.owner_keys.on_error(&error).await;
            self.unanswered |= !error.had_no_effect();
            return Ok(ProbeAnswer::WriteFailed(error));
        }
        let said = self.is_public(&text, &keys).await;
        let public = match said {
            Some(public) => Some(public),
            None => self.is_not_public(&keys).await,
        };
        let document = Document::parse(text.as_bytes()).ok();
        let publicity = PolicyPublicity::of(document.as_ref());
        Ok(ProbeAnswer::Written {
            session_wildcard_is_public: publicity.session_wildcard_is_public(public),
            policy_is_public: public,
            by_block: said.is_none() && public.is_some(),
        })
    }

    /// Reads the policy until it is stable.
    async fn read_back(&self) -> Result<ProbeAnswer, String> {
        let target = self.target;
        let bucket = (&target.cloud, &target.bucket);
        let read = read_back(bucket, &target.owner_keys, &self.image, self.clock, self.stop);
        read.await.map(ProbeAnswer::ReadBack)
    }

    /// Asks OSS whether the policy is public. After a write it may still answer about the policy from before: the answer
    /// that it is not counts only while OSS shows the new one.
    async fn is_public(&mut self, text: &str, keys: &AccessKeys) -> Option<bool> {
        let (cloud, bucket) = (&self.target.cloud, &self.target.bucket);
        let live = read_policy(cloud, bucket, keys, self.clock).await;
        let is_new = live.is_ok_and(|live| live.as_deref() == Some(text.as_bytes()));
        self.unseen &= !is_new;
        let public = cloud.is_public(bucket, keys, self.clock.now()).await;
        public.filter(|public| *public || is_new)
    }

    /// What follows if OSS has accepted a policy without saying whether it is public: it rejects a public one while Block
    /// Public Access is on.
    async fn is_not_public(&self, keys: &AccessKeys) -> Option<bool> {
        let (cloud, bucket) = (&self.target.cloud, &self.target.bucket);
        let block = cloud.read_public_access_block(bucket, keys, self.clock.now());
        let rejects_public = is_open(block.await.ok()?) == Some(false);
        rejects_public.then_some(false)
    }

    /// Puts the policy from before back.
    ///
    /// # Errors
    /// Returns why nothing was written.
    async fn remove(&mut self) -> Result<ProbeAnswer, String> {
        let (put, _) = self.change(None).await?;
        Ok(match put {
            Ok(()) => {
                self.unseen = false;
                ProbeAnswer::Written {
                    session_wildcard_is_public: None,
                    policy_is_public: None,
                    by_block: false,
                }
            }
            Err(error) => ProbeAnswer::WriteFailed(error),
        })
    }

    /// Writes a policy, or without one puts the policy from before back, and again while another client changes settings of the
    /// bucket: what that client may write to the policy meanwhile is looked for each time. Returns also the credentials.
    ///
    /// # Errors
    /// Returns why nothing was written.
    async fn change(
        &mut self,
        text: Option<&String>,
    ) -> Result<(Result<(), CloudError>, AccessKeys), String> {
        let (target, clock) = (self.target, self.clock);
        let mut pauses = LOCK_PAUSES.into_iter();
        loop {
            let keys = self.check_live().await?;
            let changed = if let Some(text) = text {
                if self.image.written.last() != Some(text) {
                    self.image.written.push(text.clone());
                }
                self.image.written_at = Some(clock.now());
                store(&target.file, &self.image, false)?;
                let put = target.cloud.put_policy(&target.bucket, &keys, text, clock.now());
                put.await.map(|_| ())
            } else {
                put_back(&target.cloud, &target.bucket, &keys, &self.image, clock).await
            };
            self.written_at = clock.elapsed();
            let is_locked = changed
                .as_ref()
                .is_err_and(|error| error.kind == CloudErrorKind::BucketLocked);
            match pauses.next().filter(|_| is_locked) {
                Some(seconds) => self.pause(Duration::from_secs(seconds)).await,
                None => return Ok((changed, keys)),
            }
            if self.stop.is_cancelled() {
                return Err("interrupted".to_owned());
            }
        }
    }

    /// Waits, unless the probe is stopped.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = self.clock.pause(length) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Checks that the live policy is the one from before or the probe's. Returns the credentials for the write.
    ///
    /// # Errors
    /// Returns why nothing may be written.
    async fn check_live(&self) -> Result<AccessKeys, String> {
        let target = self.target;
        let keys = target.owner_keys.get(self.clock.now()).await?;
        let live = read_policy(&target.cloud, &target.bucket, &keys, self.clock).await;
        let live =
            live.map_err(|error| format!("the policy could not be read ({})", error.code_and_refusal()))?;
        if self.image.restoration(live.as_deref()) == Restoration::Foreign {
            return Err("another client changed the policy".to_owned());
        }
        Ok(keys)
    }

    /// Makes one scoring call.
    ///
    /// # Errors
    /// Returns why there are no credentials for it.
    async fn score(&self, case: &LimitCase) -> Result<ProbeAnswer, String> {
        let keys = match (case, &self.target.narrow_keys) {
            (LimitCase::NarrowSession, Some(keys)) => keys,
            _ => &self.target.caller_keys,
        };
        let keys = keys.get(self.clock.now()).await?;
        let scored = self.call(case, &keys).await;
        let after = self.clock.elapsed().saturating_sub(self.written_at);
        Ok(match scored {
            Ok(()) => ProbeAnswer::Scored(after),
            Err(error) => ProbeAnswer::ScoreFailed(error, after),
        })
    }

    /// Makes many calls without waiting for their answers in between: about the project, or to score the image.
    ///
    /// # Errors
    /// Returns why there are no credentials for them.
    async fn burst(&self, of_project: bool, calls: u32, spacing: Duration) -> Result<ProbeAnswer, String> {
        let keys = &self.target.caller_keys.get(self.clock.now()).await?;
        let answers = (0..calls).map(|number| async move {
            self.clock.pause(spacing * number).await;
            if self.stop.is_cancelled() {
                return None;
            }
            let target = self.target;
            Some(if of_project {
                let asked = target
                    .cloud
                    .project_limits(&target.project, keys, self.clock.now());
                asked.await.map(|_| ())
            } else {
                self.call(&LimitCase::Image, keys).await
            })
        });
        let answers = join_all(answers).await;
        Ok(ProbeAnswer::Burst(answers.into_iter().flatten().collect()))
    }

    /// Makes one scoring call.
    ///
    /// # Errors
    /// Returns why there is no score.
    async fn call(&self, case: &LimitCase, keys: &AccessKeys) -> Result<(), CloudError> {
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
            role_chain: (*case == LimitCase::MissingRole).then_some(missing_role),
            ..JobAccess::default()
        };
        let scored = target
            .cloud
            .detect_image_score(project, &access, keys, &uri, self.clock.now());
        scored.await.map(|_| ())
    }
}
