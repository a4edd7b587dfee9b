//! Runs a probe: writes statements into the policy of a bucket that is named for it, makes billed calls, and puts the policy back,
//! also after Ctrl-C and after a failure. No call changes Block Public Access, RAM, or who pays.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::api::{Grantee, JobAccess, OssAction};
use crate::cloud::Cloud;
use crate::core::doctor::{PreImage, Probe, ProbeAnswer, ProbeStep, Restoration, RestoreOutcome};
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::core::policy::{Document, POLICY_LIMIT, PolicyPublicity, access_statement};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind};

/// How often the policy is read after it was put back, until the read shows it.
const READS_AFTER_RESTORING: usize = 10;
/// Pause between these reads.
const READ_PAUSE: Duration = Duration::from_secs(3);

/// Time as a probe sees it.
pub trait ProbeClock: Send + Sync {
    /// Returns the time of day, for signatures.
    fn now(&self) -> Timestamp;
    /// Returns the time since the clock was made.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn pause(&self, length: Duration) -> BoxFuture<'_, ()>;
}

/// The clock of the machine.
pub struct MachineClock(tokio::time::Instant);

impl MachineClock {
    /// Creates a clock that starts now.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl ProbeClock for MachineClock {
    fn now(&self) -> Timestamp {
        crate::kubernetes::now()
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn pause(&self, length: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(length))
    }
}

/// What a probe works on.
pub struct ProbeTarget {
    /// The client.
    pub cloud: Cloud,
    /// The bucket that is named for the probe.
    pub bucket: BucketPlace,
    /// UID of its owner.
    pub owner_uid: String,
    /// Credentials of its owner.
    pub owner_keys: AccessKeys,
    /// The project that scores.
    pub project: ProjectPlace,
    /// Credentials that call IMM.
    pub caller_keys: AccessKeys,
    /// Key of an image in the bucket.
    pub key: String,
    /// Whether the bucket may have a policy.
    pub with_policy: bool,
    /// File for the policy from before.
    pub file: PathBuf,
}

/// A probe that has stored the policy from before.
struct Running<'a> {
    target: &'a ProbeTarget,
    clock: &'a dyn ProbeClock,
    image: PreImage,
    written_at: Duration,
    /// Whether a write may still take effect.
    unanswered: bool,
}

/// Runs a probe until it has an answer, is stopped or fails, and puts the policy back. The findings are in `probe`.
///
/// # Errors
/// Returns the message if nothing was written, because the bucket or the file cannot be used.
pub async fn run_probe(
    target: &ProbeTarget,
    probe: &mut Probe,
    clock: &dyn ProbeClock,
    stop: &CancellationToken,
) -> Result<RestoreOutcome, String> {
    let before = read_policy(&target.cloud, &target.bucket, &target.owner_keys, clock).await;
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
        check_before(text, probe)?;
    }
    let mut running = Running {
        target,
        clock,
        image: PreImage {
            bucket: target.bucket.name().to_owned(),
            region: target.bucket.region().to_owned(),
            before,
            written: Vec::new(),
        },
        written_at: Duration::ZERO,
        unanswered: false,
    };
    store(&target.file, &running.image, true)?;
    loop {
        if stop.is_cancelled() && probe.step() != &ProbeStep::Finish {
            probe.stop("interrupted");
        }
        let answer = match probe.step().clone() {
            ProbeStep::Finish => break,
            ProbeStep::Write(grantee) => match running.write(&grantee).await {
                Ok(answer) => answer,
                Err(message) => {
                    probe.stop(&message);
                    continue;
                }
            },
            ProbeStep::Score => running.score().await,
            ProbeStep::Pause(length) => {
                tokio::select! {
                    () = clock.pause(length) => {}
                    () = stop.cancelled() => {}
                }
                ProbeAnswer::Paused
            }
        };
        probe.take(answer);
    }
    let outcome = restore(
        &target.cloud,
        &target.bucket,
        &target.owner_keys,
        &running.image,
        clock,
    )
    .await;
    if outcome == RestoreOutcome::Restored && running.unanswered {
        return Ok(RestoreOutcome::Uncertain);
    }
    Ok(outcome)
}

/// Checks a policy that stays beside the statement of the probe.
///
/// # Errors
/// Returns why no answer would follow from a probe beside it.
fn check_before(text: &str, probe: &Probe) -> Result<(), String> {
    let document = Document::parse(text.as_bytes());
    let document = document
        .map_err(|error| format!("the policy of the probe bucket cannot be edited because {error}"))?;
    let publicity = PolicyPublicity::of(Some(&document));
    if !publicity.public.is_empty() || !publicity.unclear.is_empty() {
        return Err(
            "the policy of the probe bucket may be public because of its own statements: name another bucket"
                .to_owned(),
        );
    }
    match probe.step() {
        ProbeStep::Write(grantee) if text.contains(&grantee.account_uid) => Err(
            "the policy of the probe bucket already names the account of the project: name another bucket"
                .to_owned(),
        ),
        ProbeStep::Write(_) | ProbeStep::Score | ProbeStep::Pause(_) | ProbeStep::Finish => Ok(()),
    }
}

impl Running<'_> {
    /// Writes the statement of a grantee beside those from before.
    ///
    /// # Errors
    /// Returns why nothing was written.
    async fn write(&mut self, grantee: &Grantee) -> Result<ProbeAnswer, String> {
        let target = self.target;
        let prefixes = [target.key.clone()];
        let actions = [OssAction::GetObject];
        let statement = access_statement(
            target.bucket.name(),
            &target.owner_uid,
            grantee,
            &actions,
            &prefixes,
        );
        let before = self
            .image
            .before
            .as_ref()
            .map(|text| Document::parse(text.as_bytes()));
        let text = match before {
            Some(Ok(document)) => document.splice(&[], &[statement.text]),
            Some(Err(_)) => None,
            None => Document::new_document(&[statement.text]),
        };
        let text = text.filter(|text| text.len() <= POLICY_LIMIT);
        let text = text.ok_or("the statement does not fit into the policy of the probe bucket")?;
        let live = read_policy(&target.cloud, &target.bucket, &target.owner_keys, self.clock).await;
        let live =
            live.map_err(|error| format!("the policy could not be read ({})", error.code_and_refusal()))?;
        if self.image.restoration(live.as_deref()) == Restoration::Foreign {
            return Err("another client changed the policy".to_owned());
        }
        self.image.written.push(text.clone());
        store(&target.file, &self.image, false)?;
        let put = target
            .cloud
            .put_policy(&target.bucket, &target.owner_keys, &text, self.clock.now())
            .await;
        self.written_at = self.clock.elapsed();
        if let Err(error) = put {
            self.unanswered |= !error.had_no_effect();
            return Ok(ProbeAnswer::WriteFailed(error));
        }
        let public = target
            .cloud
            .is_public(&target.bucket, &target.owner_keys, self.clock.now())
            .await;
        let document = Document::parse(text.as_bytes()).ok();
        let publicity = PolicyPublicity::of(document.as_ref());
        Ok(ProbeAnswer::Written {
            session_wildcard_is_public: publicity.session_wildcard_is_public(public),
        })
    }

    async fn score(&self) -> ProbeAnswer {
        let target = self.target;
        let uri = format!("oss://{}/{}", target.bucket.name(), target.key);
        let access = JobAccess::default();
        let scored = target
            .cloud
            .detect_image_score(
                &target.project,
                &access,
                &target.caller_keys,
                &uri,
                self.clock.now(),
            )
            .await;
        let after = self.clock.elapsed().saturating_sub(self.written_at);
        match scored {
            Ok(_) => ProbeAnswer::Scored(after),
            Err(error) => ProbeAnswer::ScoreFailed(error, after),
        }
    }
}

async fn read_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    clock: &dyn ProbeClock,
) -> Result<Option<Vec<u8>>, CloudError> {
    Ok(cloud.get_policy(bucket, keys, clock.now()).await?.bytes)
}

/// Puts the policy from before back if the live one is the probe's, and reads it to be sure.
pub async fn restore(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    image: &PreImage,
    clock: &dyn ProbeClock,
) -> RestoreOutcome {
    let mut failure = String::new();
    for attempt in 0..READS_AFTER_RESTORING {
        if attempt > 0 {
            clock.pause(READ_PAUSE).await;
        }
        let live = match read_policy(cloud, bucket, keys, clock).await {
            Ok(live) => live,
            Err(error) => {
                failure = format!("the policy could not be read ({})", error.code_and_refusal());
                continue;
            }
        };
        match image.restoration(live.as_deref()) {
            Restoration::Nothing => return RestoreOutcome::Restored,
            Restoration::Foreign => {
                let live = live.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                return RestoreOutcome::Foreign { live };
            }
            Restoration::PutBack => {}
        }
        let put = match &image.before {
            Some(before) => cloud.put_policy(bucket, keys, before, clock.now()).await,
            None => cloud.delete_policy(bucket, keys, clock.now()).await,
        };
        failure = match put {
            Ok(_) => "the policy still shows what the probe wrote".to_owned(),
            Err(error) if error.kind == CloudErrorKind::PublicAccessBlocked => {
                return RestoreOutcome::Failed(
                    "OSS rejects the policy from before as public: it was written before Block Public Access was switched on"
                        .to_owned(),
                );
            }
            Err(error) => format!("the policy could not be put back ({})", error.code_and_refusal()),
        };
    }
    RestoreOutcome::Failed(failure)
}

/// Stores what is needed to put the policy back, for the owner of the file only. A new file must not exist yet.
///
/// # Errors
/// Returns the message if the file cannot be written.
fn store(path: &Path, image: &PreImage, new: bool) -> Result<(), String> {
    let text = serde_json::to_string_pretty(image).unwrap_or_default();
    let create = |path: &Path| -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let write = || -> std::io::Result<()> {
        if new {
            return create(path);
        }
        // The file is whole at any time, also if the machine stops.
        let next = path.with_extension("next");
        if let Err(error) = std::fs::remove_file(&next)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        create(&next)?;
        std::fs::rename(&next, path)
    };
    write().map_err(|error| format!("the policy cannot be stored in {}: {error}", path.display()))
}

/// Reads a file that a probe has stored.
///
/// # Errors
/// Returns the message if it cannot be read.
pub fn read_image(path: &Path) -> Result<PreImage, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|_| format!("{} is not the file of a probe", path.display()))
}
