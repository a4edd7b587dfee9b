//! How a probe starts, once everything holds that must hold before.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::collector::Collector;
use super::error::DoctorError;
use super::probe::{MachineClock, ProbeTarget, RenewedKeys, read_image, remove_restored, restore, run_probe};
use super::probe_args::{ProbeArgs, ProbeKind};
use super::probe_conditions::{ProbeInput, checked_target};
use crate::api::{Grantee, PrincipalForm};
use crate::cli::escape::escaped;
use crate::core::doctor::{
    Facts, FormPlace, FormsFacts, FormsProbe, FurtherQuestions, JobFacts, LimitCase, LimitsFacts,
    LimitsProbe, PreImage, Probe, ProbeFacts, ProbePlan, ProbeSequence, RestoreOutcome, WaysFacts, WaysProbe,
};
use crate::core::job::ProjectLimits;
use crate::core::place::BucketPlace;
use crate::core::text::counted;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Requests per second of a project that was not asked for its own.
const DEFAULT_LIMIT: u32 = 100;

/// A probe whose conditions hold.
struct ReadyProbe<'a> {
    flags: &'a ProbeArgs,
    target: ProbeTarget<'a>,
    grantee: &'a Grantee,
    project: Option<&'a ProjectLimits>,
    bucket: String,
    file: String,
}

/// Runs the probe that the flags ask for, and adds what it found out to the facts.
///
/// # Errors
/// Returns the message if it is refused, before anything is written.
pub(super) async fn start_probe(
    collector: &Collector<'_>,
    input: ProbeInput<'_>,
    facts: &mut Facts,
) -> Result<(), DoctorError> {
    let flags = &collector.flags.probe;
    check_companions(flags)?;
    let (grant, job) = (input.grant, input.job);
    let target = checked_target(collector, input).await?;
    let ready = ReadyProbe {
        flags,
        grantee: &grant.spec.grantee,
        project: job.project.as_ref().and_then(|project| project.as_ref().ok()),
        bucket: target.bucket.name().to_owned(),
        file: target.file.display().to_string(),
        target,
    };
    match flags.probe {
        ProbeKind::Access | ProbeKind::Lag | ProbeKind::Deny => {
            facts.probe = Some(ready.access().await?);
        }
        ProbeKind::Ways => facts.ways = Some(ready.ways(job).await?),
        ProbeKind::Forms => facts.forms = Some(ready.forms().await?),
        ProbeKind::Limits => facts.limits = Some(ready.limits().await?),
    }
    Ok(())
}

/// Refuses flags that are for another kind of probe, and a probe without the image that it scores.
fn check_companions(flags: &ProbeArgs) -> Result<(), DoctorError> {
    if flags.probe_object.is_none() && flags.probe != ProbeKind::Forms {
        return Err("--probe-bucket needs --probe-object, except for --probe forms".into());
    }
    let asks_for_access = matches!(flags.probe, ProbeKind::Access | ProbeKind::Lag | ProbeKind::Deny);
    if flags.allow_public && !asks_for_access {
        return Err("--allow-public is for --probe access, --probe lag and --probe deny".into());
    }
    let refused = match flags.probe {
        ProbeKind::Forms => Some("--probe forms, whose policies would replace that of the bucket"),
        ProbeKind::Ways => Some("--probe ways, whose answers the policy of the bucket could decide"),
        ProbeKind::Access | ProbeKind::Lag | ProbeKind::Deny | ProbeKind::Limits => None,
    };
    if let Some(refused) = refused.filter(|_| flags.with_policy) {
        return Err(DoctorError::Refused(format!(
            "--with-policy is not for {refused}: name a bucket without one"
        )));
    }
    for (flag, is_set) in [
        ("--limits-object", !flags.limits_object.is_empty()),
        ("--limits-region-bucket", flags.limits_region_bucket.is_some()),
    ] {
        if is_set && flags.probe != ProbeKind::Limits {
            return Err(DoctorError::Refused(format!("{flag} is for --probe limits")));
        }
    }
    Ok(())
}

impl ReadyProbe<'_> {
    fn role(&self) -> Option<&str> {
        self.project.and_then(|project| project.service_role.as_deref())
    }

    /// Says how many of the calls that all questions can take are allowed.
    fn calls(&self, planned: u32) -> String {
        let calls = planned.min(self.flags.max_billed);
        let most = if planned > calls {
            format!(" of the {planned} that all questions can take (--max-billed)")
        } else {
            String::new()
        };
        format!(
            "make up to {} of IMM{most}, each of which may be billed,",
            counted(calls, "call")
        )
    }

    async fn access(self) -> Result<ProbeFacts, DoctorError> {
        let Self { flags, bucket, .. } = &self;
        let access = Probe::new(self.grantee, self.role(), flags.max_billed);
        let questions = FurtherQuestions {
            pass_role: flags.allow_public,
            revocation: flags.probe == ProbeKind::Lag,
            deny: flags.probe == ProbeKind::Deny,
        };
        let mut probe = ProbeSequence::new(access, questions, flags.max_billed);
        let (more, without_access) = if questions.deny {
            (5, ", of which three deny these readers the image,")
        } else {
            (0, "")
        };
        let (policies, public) = if flags.allow_public {
            (5 + more, ", of which the last may be public,")
        } else {
            (3 + more, "")
        };
        let calls = counted(flags.max_billed, "scoring call");
        self.confirm(&format!(
            "up to {policies} policies{public}{without_access} to bucket {bucket}, make up to {calls}, each of which may be billed,"
        ))?;
        let outcome = run(&self.target, &mut probe).await?;
        Ok(ProbeFacts {
            bucket: self.bucket,
            key: self.target.key,
            findings: probe.findings(),
            outcome,
            file: self.file,
        })
    }

    async fn ways(self, job: &JobFacts) -> Result<WaysFacts, DoctorError> {
        let chain = job.spec.access.role_chain.as_ref();
        let mut probe = WaysProbe::new(self.grantee, self.role(), chain, self.flags.max_billed);
        let calls = self.calls(probe.planned_calls());
        self.confirm(&format!("1 policy to bucket {}, {calls}", self.bucket))?;
        let outcome = run(&self.target, &mut probe).await?;
        Ok(WaysFacts {
            bucket: self.bucket,
            key: self.target.key,
            findings: probe.findings().clone(),
            outcome,
            file: self.file,
        })
    }

    async fn forms(self) -> Result<FormsFacts, DoctorError> {
        let place = FormPlace {
            bucket: self.bucket.clone(),
            owner_uid: self.target.owner_uid.clone(),
            prefix: unused_prefix(),
        };
        let by_other = self.target.other_keys.is_some();
        let mut probe = FormsProbe::new(place, &self.grantee.account_uid, by_other);
        let other = if by_other {
            ", one of them with the credentials of the job,"
        } else {
            ""
        };
        self.confirm(&format!(
            "up to {} policies of unusual form{other} to bucket {}, none of which gives access to anybody, make no scoring call",
            probe.planned_writes(),
            self.bucket
        ))?;
        let outcome = run(&self.target, &mut probe).await?;
        Ok(FormsFacts {
            bucket: self.bucket,
            findings: probe.findings().clone(),
            outcome,
            file: self.file,
        })
    }

    async fn limits(self) -> Result<LimitsFacts, DoctorError> {
        let target = &self.target;
        let limit = self
            .project
            .map_or(DEFAULT_LIMIT, |project| project.queries_per_second);
        let mut probe = LimitsProbe::new(self.grantee, limit, &target.objects, self.flags.max_billed);
        if target.other_bucket.is_some() {
            probe = probe.also(LimitCase::OtherRegion);
        }
        if target.narrow_keys.is_some() {
            probe = probe.also(LimitCase::NarrowSession);
        }
        let calls = self.calls(probe.planned_calls());
        self.confirm(&format!("1 policy to bucket {}, {calls}", self.bucket))?;
        let outcome = run(target, &mut probe).await?;
        Ok(LimitsFacts {
            bucket: self.bucket,
            keys: [vec![self.target.key], self.target.objects].concat(),
            findings: probe.findings().clone(),
            outcome,
            file: self.file,
        })
    }

    /// Asks whether a probe may start.
    ///
    /// # Errors
    /// Returns what it would do, unless the answer is yes.
    fn confirm(&self, what: &str) -> Result<(), DoctorError> {
        if self.flags.yes {
            return Ok(());
        }
        let would = format!("the probe would write {what} and put the policy back");
        eprintln!("imm-operator doctor: {}", escaped(&would));
        let names_sessions = self.flags.probe != ProbeKind::Forms;
        if names_sessions && self.grantee.principal == PrincipalForm::ServiceRole {
            eprintln!(
                "imm-operator doctor: OSS may count the first of these policies as public access, because of the * for the sessions of the role: it rejects it then if Block Public Access is on, and accepts it otherwise"
            );
        }
        eprintln!(
            "imm-operator doctor: write yes to do that on bucket {}",
            self.bucket
        );
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        if read.is_ok() && line.trim() == "yes" {
            return Ok(());
        }
        Err(DoctorError::Refused(format!("{would}: add --yes to do that")))
    }
}

/// Returns a prefix that no object has.
fn unused_prefix() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("imm-operator-doctor-{random:016x}/")
}

/// Runs a probe, and puts the policy back. The answer of the user may have taken longer than a session lasts.
async fn run(target: &ProbeTarget<'_>, probe: &mut dyn ProbePlan) -> Result<RestoreOutcome, DoctorError> {
    target.owner_keys.forget().await;
    target.caller_keys.forget().await;
    let stop = stop_on_signal()?;
    eprintln!(
        "imm-operator doctor: writing to the policy of the probe bucket; Ctrl-C ends the probe and puts the policy back"
    );
    let outcome = run_probe(target, probe, &MachineClock::start(), &stop).await?;
    let image = read_image(&target.file);
    announce(&outcome, image.as_ref().ok());
    remove_restored(&outcome, &target.file);
    Ok(outcome)
}

/// Puts the policy of a file back.
///
/// # Errors
/// Returns the message if the file names no bucket.
pub(super) async fn restore_from_file(
    collector: &Collector<'_>,
    image: &PreImage,
    keys: &RenewedKeys<'_>,
) -> Result<RestoreOutcome, DoctorError> {
    let bucket = BucketPlace::new(&image.bucket, &image.region)?;
    let unseen = image.may_be_unseen(crate::kubernetes::now());
    let outcome = restore(
        &collector.cloud,
        &bucket,
        keys,
        image,
        unseen,
        &MachineClock::start(),
    )
    .await;
    announce(&outcome, Some(image));
    Ok(outcome)
}

/// Returns a token that Ctrl-C, SIGTERM and SIGHUP cancel. They no longer end the process: it puts the policy back first.
fn stop_on_signal() -> Result<CancellationToken, DoctorError> {
    let failed = DoctorError::Signals;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// Prints both policies if another client wrote one.
fn announce(outcome: &RestoreOutcome, image: Option<&PreImage>) {
    if let RestoreOutcome::Foreign { live } = outcome {
        let none = || "(none)".to_owned();
        let before = image.and_then(|image| image.before.clone());
        eprintln!(
            "imm-operator doctor: the live policy:\n{}\nthe policy from before:\n{}",
            escaped(&live.clone().unwrap_or_else(none)),
            escaped(&before.unwrap_or_else(none))
        );
    }
}
