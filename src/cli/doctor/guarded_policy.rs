//! The policy of a probe bucket: it is changed only where the live one is the one from before or one of the probe's,
//! and what the probe writes is stored before, so that it can be restored.

use std::slice::Iter;
use std::time::Duration;

use futures::future::join;
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::error::DoctorError;
use super::pre_image::{put_back, read_policy, restore, store};
use super::probe_keys::RenewedKeys;
use super::probe_target::ProbeTarget;
use super::read_back::{read_back, read_two};
use crate::api::Grantee;
use crate::cloud::{answer_head, oss_policy};
use crate::core::doctor::{
    Answered, PolicyVariant, PreImage, ProbeAnswer, PutResult, PutStep, Restoration, RestoreOutcome, is_open,
    own_policy,
};
use crate::core::policy::{Document, PolicyPublicity};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind};

/// Pauses in seconds before a change is made again that OSS rejected because another client changes settings of the
/// bucket.
const LOCK_PAUSES: &[u64] = &[1, 2, 4, 8, 15];

/// The policy of a probe bucket, once the one from before is stored.
pub(super) struct GuardedPolicy<'a> {
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

impl<'a> GuardedPolicy<'a> {
    /// Stores the policy from before, and the prefix of all that is written, if nobody else can know it.
    ///
    /// # Errors
    /// Returns why they cannot be stored.
    pub(super) fn begin(
        target: &'a ProbeTarget<'a>,
        (before, prefix): (Option<String>, Option<String>),
        clock: &'a dyn ProbeClock,
        stop: &'a CancellationToken,
    ) -> Result<Self, DoctorError> {
        let policy = Self {
            target,
            clock,
            stop,
            image: PreImage {
                bucket: target.bucket.name().to_owned(),
                region: target.bucket.region().to_owned(),
                before,
                written: Vec::new(),
                written_at: None,
                prefix,
            },
            written_at: Duration::ZERO,
            unanswered: false,
            unseen: false,
        };
        store(&target.file, &policy.image, true)?;
        Ok(policy)
    }

    /// Puts the policy from before back at the end.
    pub(super) async fn end(&self) -> RestoreOutcome {
        let target = self.target;
        let bucket = (&target.cloud, &target.bucket);
        let outcome = restore(
            bucket.0,
            bucket.1,
            &target.owner_keys,
            &self.image,
            self.unseen,
            self.clock,
        );
        let outcome = outcome.await;
        if outcome == RestoreOutcome::Restored && self.unanswered {
            return RestoreOutcome::Uncertain;
        }
        outcome
    }

    /// Returns the time since the last change.
    pub(super) fn since_change(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.written_at)
    }

    /// Writes the statement of a grantee beside those from before, as a question needs it.
    ///
    /// # Errors
    /// Returns why nothing was written.
    pub(super) async fn write(
        &mut self,
        grantee: &Grantee,
        variant: PolicyVariant,
    ) -> Result<ProbeAnswer, DoctorError> {
        let target = self.target;
        let mut prefixes = vec![target.key.clone()];
        prefixes.extend(target.objects.iter().cloned());
        let place = (target.bucket.name(), target.owner_uid.as_str());
        let text = own_policy(self.image.before.as_ref(), place, grantee, &prefixes, variant);
        let too_long = "the statement does not fit into the policy of the probe bucket, or is longer than OSS accepts: name fewer or shorter keys";
        let text = text.ok_or(too_long)?;
        let (put, keys) = self.change(Some(&text)).await?;
        self.note(put.as_ref().err(), &target.owner_keys).await;
        if let Err(error) = put {
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

    /// Writes policies whose answers are looked at.
    ///
    /// # Errors
    /// Returns why nothing was written.
    pub(super) async fn put(&mut self, step: &PutStep) -> Result<ProbeAnswer, DoctorError> {
        let result = match step {
            PutStep::One(text) => PutResult::One(self.put_one(text, None).await?),
            PutStep::ByOther(text) => {
                let other = self.target.other_keys.as_ref();
                let other = other.ok_or("there are no credentials of another account")?;
                PutResult::One(self.put_one(text, Some(other)).await?)
            }
            PutStep::Two(texts) => self.put_two(texts).await?,
        };
        Ok(ProbeAnswer::Put(result))
    }

    /// Writes a policy with the credentials of the owner or with other ones, and again while another client changes
    /// settings of the bucket.
    async fn put_one(
        &mut self,
        text: &String,
        other: Option<&RenewedKeys<'_>>,
    ) -> Result<Answered, DoctorError> {
        let target = self.target;
        let mut pauses = LOCK_PAUSES.iter();
        loop {
            let owner = self.check_live().await?;
            let used = other.unwrap_or(&target.owner_keys);
            let keys = used.get(self.clock.now()).await?;
            self.record([text])?;
            let put =
                answer_head::answer_to_policy(&target.cloud, &target.bucket, text, &keys, self.clock.now());
            let answer = put.await;
            self.written_at = self.clock.elapsed();
            if self.is_repeated(refusal(&answer), &mut pauses).await? {
                continue;
            }
            self.note(refusal(&answer), used).await;
            if refusal(&answer).is_none() {
                let live = read_policy(&target.cloud, &target.bucket, &owner, self.clock).await;
                self.unseen &= !live.is_ok_and(|live| live.as_deref() == Some(text.as_bytes()));
            }
            return Ok(answer);
        }
    }

    /// Writes two policies at once, without a repetition, and reads which one is live.
    ///
    /// # Errors
    /// Returns why nothing was written, or why the reads ended before they showed which one.
    async fn put_two(&mut self, texts: &[String; 2]) -> Result<PutResult, DoctorError> {
        let target = self.target;
        let keys = self.check_live().await?;
        self.record(texts)?;
        let now = self.clock.now();
        let [first, second] = texts
            .each_ref()
            .map(|text| answer_head::answer_to_policy(&target.cloud, &target.bucket, text, &keys, now));
        let (first, second) = join(first, second).await;
        self.written_at = self.clock.elapsed();
        let answers = [first, second];
        for answer in &answers {
            self.note(refusal(answer), &target.owner_keys).await;
        }
        let bucket = (&target.cloud, &target.bucket);
        let live = read_two(bucket, &target.owner_keys, texts, self.clock, self.stop).await?;
        self.unseen &= live.is_none();
        Ok(PutResult::Two {
            answers: Box::new(answers),
            live,
        })
    }

    /// Reads the policy until it is stable.
    ///
    /// # Errors
    /// Returns why there are no credentials for it.
    pub(super) async fn read_back(&self) -> Result<ProbeAnswer, DoctorError> {
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
        let public = oss_policy::is_public(cloud, bucket, keys, self.clock.now()).await;
        public.filter(|public| *public || is_new)
    }

    /// What follows if OSS has accepted a policy without saying whether it is public: it rejects a public one while Block
    /// Public Access is on.
    async fn is_not_public(&self, keys: &AccessKeys) -> Option<bool> {
        let (cloud, bucket) = (&self.target.cloud, &self.target.bucket);
        let block = oss_policy::read_public_access_block(cloud, bucket, keys, self.clock.now());
        let rejects_public = is_open(block.await.ok()?) == Some(false);
        rejects_public.then_some(false)
    }

    /// Restores the earlier policy while the probe continues.
    ///
    /// # Errors
    /// Returns why nothing was written.
    pub(super) async fn remove(&mut self) -> Result<ProbeAnswer, DoctorError> {
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

    /// Writes a policy, or without one restores the earlier policy, and again while another client changes
    /// settings of the bucket: what that client may write to the policy meanwhile is looked for each time. Returns
    /// also the credentials.
    ///
    /// # Errors
    /// Returns why nothing was written.
    async fn change(
        &mut self,
        text: Option<&String>,
    ) -> Result<(Result<(), CloudError>, AccessKeys), DoctorError> {
        let (target, clock) = (self.target, self.clock);
        let mut pauses = LOCK_PAUSES.iter();
        loop {
            let keys = self.check_live().await?;
            let changed = if let Some(text) = text {
                self.record([text])?;
                let put = oss_policy::put_policy(&target.cloud, &target.bucket, &keys, text, clock.now());
                put.await.map(|_| ())
            } else {
                put_back(&target.cloud, &target.bucket, &keys, &self.image, clock).await
            };
            self.written_at = clock.elapsed();
            if !self.is_repeated(changed.as_ref().err(), &mut pauses).await? {
                return Ok((changed, keys));
            }
        }
    }

    /// Stores what is about to be written.
    ///
    /// # Errors
    /// Returns why it cannot be stored.
    fn record<'t>(&mut self, texts: impl IntoIterator<Item = &'t String>) -> Result<(), DoctorError> {
        for text in texts {
            if self.image.written.last() != Some(text) {
                self.image.written.push(text.clone());
            }
        }
        self.image.written_at = Some(self.clock.now());
        store(&self.target.file, &self.image, false)
    }

    /// Notes what a write with these credentials may have done.
    async fn note(&mut self, error: Option<&CloudError>, used: &RenewedKeys<'_>) {
        self.unseen |= error.is_none_or(|error| !error.had_no_effect());
        if let Some(error) = error {
            used.on_error(error).await;
            self.unanswered |= !error.had_no_effect();
        }
    }

    /// Whether a change met the lock of the bucket and is made again, after a pause.
    ///
    /// # Errors
    /// Returns that the probe was stopped meanwhile.
    async fn is_repeated(
        &self,
        error: Option<&CloudError>,
        pauses: &mut Iter<'_, u64>,
    ) -> Result<bool, DoctorError> {
        let is_locked = error.is_some_and(|error| error.kind == CloudErrorKind::BucketLocked);
        let Some(seconds) = pauses.next().filter(|_| is_locked) else {
            return Ok(false);
        };
        self.pause(Duration::from_secs(*seconds)).await;
        if self.stop.is_cancelled() {
            return Err(DoctorError::Interrupted);
        }
        Ok(true)
    }

    /// Waits, unless the probe is stopped.
    pub(super) async fn pause(&self, length: Duration) {
        tokio::select! {
            () = self.clock.pause(length) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Checks that the live policy is the one from before or the probe's. Returns the credentials for the write.
    ///
    /// # Errors
    /// Returns why nothing may be written.
    async fn check_live(&self) -> Result<AccessKeys, DoctorError> {
        let target = self.target;
        let keys = target.owner_keys.get(self.clock.now()).await?;
        let live = read_policy(&target.cloud, &target.bucket, &keys, self.clock).await;
        let live = live.map_err(DoctorError::of_call("the policy could not be read"))?;
        if self.image.restoration(live.as_deref()) == Restoration::Foreign {
            return Err("another client changed the policy".into());
        }
        Ok(keys)
    }
}

/// Returns the error of an answer.
fn refusal(answer: &Answered) -> Option<&CloudError> {
    match answer {
        Ok(head) => head.error.as_ref(),
        Err(error) => Some(error),
    }
}
