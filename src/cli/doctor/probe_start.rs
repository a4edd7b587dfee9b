//! What must hold before a probe writes anything, and how it starts.

use std::path::PathBuf;
use std::time::Duration;

use super::collector::Collector;
use super::probe::{MachineClock, ProbeTarget, RenewedKeys, read_image, remove_restored, restore, run_probe};
use super::probe_args::{ProbeArgs, ProbeKind};
use crate::api::{Grantee, PrincipalForm, ProjectRef};
use crate::app::{CallersCluster, RunError};
use crate::cli::escape::escaped;
use crate::core::condition_builder::counted;
use crate::core::doctor::{
    Facts, FurtherQuestions, GrantFacts, JobFacts, LimitCase, LimitsFacts, LimitsProbe, PreImage, Probe,
    ProbeFacts, ProbePlan, ProbeSequence, RestoreOutcome,
};
use crate::core::error::CloudErrorKind;
use crate::core::place::{BucketPlace, ProjectPlace, check_object_path};
use crate::core::validate::check_prefix;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The objects and credentials that a probe uses.
pub(super) struct ProbeInput<'a> {
    pub(super) grant: &'a GrantFacts,
    pub(super) job: &'a JobFacts,
    pub(super) owner_keys: RenewedKeys<'a>,
    pub(super) caller_keys: RenewedKeys<'a>,
    pub(super) narrow_keys: Option<RenewedKeys<'a>>,
}

/// A project that does not exist.
const MISSING_PROJECT: &str = "imm-operator-doctor-no-such-project";
/// How long the answer of a cluster is waited for.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);
/// Requests per second of a project that was not asked for its own.
const DEFAULT_LIMIT: u32 = 100;

/// Runs the probe that the flags ask for, and adds what it found out to the facts.
///
/// # Errors
/// Returns the message if it is refused, before anything is written.
pub(super) async fn start_probe(
    collector: &Collector<'_>,
    input: ProbeInput<'_>,
    facts: &mut Facts,
) -> Result<(), String> {
    let flags = &collector.flags.probe;
    if flags.allow_public && flags.probe == ProbeKind::Limits {
        return Err("--allow-public is for --probe access, --probe lag and --probe deny".to_owned());
    }
    for (flag, is_set) in [
        ("--limits-object", !flags.limits_object.is_empty()),
        ("--limits-region-bucket", flags.limits_region_bucket.is_some()),
    ] {
        if is_set && flags.probe != ProbeKind::Limits {
            return Err(format!("{flag} is for --probe limits"));
        }
    }
    let (grant, job) = (input.grant, input.job);
    let target = checked_target(collector, input).await?;
    let project = job.project.as_ref().and_then(|project| project.as_ref().ok());
    let role = project.and_then(|project| project.service_role.as_deref());
    let grantee = &grant.spec.grantee;
    let bucket = target.bucket.name().to_owned();
    let file = target.file.display().to_string();
    match flags.probe {
        ProbeKind::Access | ProbeKind::Lag | ProbeKind::Deny => {
            let access = Probe::new(grantee, role, flags.max_billed);
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
            confirm(
                flags,
                &bucket,
                &format!(
                    "up to {policies} policies{public}{without_access} to bucket {bucket}, make up to {calls}"
                ),
                grantee,
            )?;
            let outcome = run(&target, &mut probe).await?;
            facts.probe = Some(ProbeFacts {
                bucket,
                key: target.key,
                findings: probe.findings(),
                outcome,
                file,
            });
        }
        ProbeKind::Limits => {
            let limit = project.map_or(DEFAULT_LIMIT, |project| project.queries_per_second);
            let mut probe = LimitsProbe::new(grantee, limit, &target.objects, flags.max_billed);
            if target.other_bucket.is_some() {
                probe = probe.also(LimitCase::OtherRegion);
            }
            if target.narrow_keys.is_some() {
                probe = probe.also(LimitCase::NarrowSession);
            }
            let planned = probe.planned_calls();
            let calls = planned.min(flags.max_billed);
            let most = if planned > calls {
                format!(" of the {planned} that all questions can take (--max-billed)")
            } else {
                String::new()
            };
            confirm(
                flags,
                &bucket,
                &format!(
                    "1 policy to bucket {bucket}, make up to {} of IMM{most}",
                    counted(calls, "call")
                ),
                grantee,
            )?;
            let outcome = run(&target, &mut probe).await?;
            facts.limits = Some(LimitsFacts {
                bucket,
                keys: [vec![target.key], target.objects].concat(),
                findings: probe.findings().clone(),
                outcome,
                file,
            });
        }
    }
    Ok(())
}

/// Checks everything that must hold before a probe writes, and returns what it works on.
async fn checked_target<'a>(
    collector: &Collector<'_>,
    input: ProbeInput<'a>,
) -> Result<ProbeTarget<'a>, String> {
    let flags = &collector.flags.probe;
    let (Some(name), Some(key)) = (&flags.probe_bucket, &flags.probe_object) else {
        return Err("--probe-bucket needs --probe-object".to_owned());
    };
    let spec = &input.job.spec;
    let bucket =
        BucketPlace::new(name, &spec.project.region).map_err(|error| format!("--probe-bucket: {error}"))?;
    check_key("--probe-object", key)?;
    for key in &flags.limits_object {
        check_key("--limits-object", key)?;
    }
    check_unused(collector, name, input.grant).await?;
    check_owner(collector, &bucket, &input).await?;
    if let Some(other) = &flags.limits_region_bucket {
        check_other_region(collector, other, &spec.project.region, &input).await?;
    }
    let file = flags
        .pre_image
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("imm-operator-doctor-{name}.json")));
    let missing_project = ProjectRef {
        name: MISSING_PROJECT.to_owned(),
        ..spec.project.clone()
    };
    Ok(ProbeTarget {
        cloud: collector.cloud.clone(),
        bucket,
        owner_uid: input.grant.spec.bucket.owner_uid.clone(),
        owner_keys: input.owner_keys,
        project: ProjectPlace::of(&spec.project).map_err(|error| error.to_string())?,
        caller_keys: input.caller_keys,
        narrow_keys: input.narrow_keys,
        other_bucket: flags.limits_region_bucket.clone(),
        missing_project: ProjectPlace::of(&missing_project).map_err(|error| error.to_string())?,
        key: key.clone(),
        objects: flags.limits_object.clone(),
        with_policy: flags.with_policy,
        file,
    })
}

fn check_key(flag: &'static str, key: &str) -> Result<(), String> {
    check_object_path(flag, key)
        .and_then(|()| check_prefix(flag, key))
        .map_err(|error| error.to_string())
}

/// Asks whether a probe may start.
///
/// # Errors
/// Returns what it would do, unless the answer is yes.
fn confirm(flags: &ProbeArgs, bucket: &str, what: &str, grantee: &Grantee) -> Result<(), String> {
    if flags.yes {
        return Ok(());
    }
    let would = format!("the probe would write {what}, each of which may be billed, and put the policy back");
    eprintln!("imm-operator doctor: {}", escaped(&would));
    if grantee.principal == PrincipalForm::ServiceRole {
        eprintln!(
            "imm-operator doctor: OSS may count the first of these policies as public access, because of the * for the sessions of the role: it rejects it then if Block Public Access is on, and accepts it otherwise"
        );
    }
    eprintln!("imm-operator doctor: write yes to do that on bucket {bucket}");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if read.is_ok() && line.trim() == "yes" {
        return Ok(());
    }
    Err(format!("{would}: add --yes to do that"))
}

/// Runs a probe, and puts the policy back. The answer of the user may have taken longer than a session lasts.
async fn run(target: &ProbeTarget<'_>, probe: &mut dyn ProbePlan) -> Result<RestoreOutcome, String> {
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

/// Refuses a bucket that the grant or a grant of the cluster names. If the cluster does not answer, the caller repeats the name.
async fn check_unused(collector: &Collector<'_>, bucket: &str, grant: &GrantFacts) -> Result<(), String> {
    let by_grant = format!("the grant names bucket {bucket}: name another bucket");
    let is_of_grant = grant.spec.bucket.name == bucket;
    if is_of_grant && collector.cluster.is_none() {
        return Err(by_grant);
    }
    let own = collector.flags.probe.i_own.as_ref();
    if own.is_some_and(|own| own != bucket) {
        return Err("--i-own must repeat the name of --probe-bucket".to_owned());
    }
    let is_named = tokio::time::timeout(CLUSTER_PATIENCE, has_grant_of(collector, bucket)).await;
    let silent = || RunError::Cluster("the cluster does not answer".to_owned());
    match is_named.unwrap_or_else(|_| Err(silent())) {
        Ok(true) => Err(format!(
            "a grant of the cluster names bucket {bucket}: name another bucket"
        )),
        Ok(false) if is_of_grant => Err(by_grant),
        Ok(false) => Ok(()),
        // The objects are in that cluster, so that it must be asked.
        Err(error) if collector.cluster.is_some() => Err(error.to_string()),
        // It may have such a grant.
        Err(error @ RunError::Refused(_)) => Err(format!(
            "{error}; whether a grant of it names bucket {bucket} must be known before a probe writes: use a kubeconfig that may list immbucketgrants in all namespaces, or none, with --i-own {bucket}, if no cluster has a grant of the bucket"
        )),
        Err(error) if own.is_some() => {
            eprintln!(
                "imm-operator doctor: no cluster says whether a grant names the probe bucket ({})",
                escaped(&error.to_string())
            );
            Ok(())
        }
        Err(error) => Err(format!(
            "{error}; without a cluster, add --i-own {bucket} to say that no grant names the bucket"
        )),
    }
}

/// Whether a grant of the cluster names a bucket.
///
/// # Errors
/// Returns why the cluster does not say so.
async fn has_grant_of(collector: &Collector<'_>, bucket: &str) -> Result<bool, RunError> {
    if let Some(cluster) = &collector.cluster {
        return cluster.has_grant_of(bucket).await;
    }
    let cluster = CallersCluster::connect(&collector.flags.cluster.options())?;
    cluster.has_grant_of(bucket).await
}

/// Refuses a bucket that the credentials of the grant do not own, or in another region than the project.
async fn check_owner(
    collector: &Collector<'_>,
    bucket: &BucketPlace,
    input: &ProbeInput<'_>,
) -> Result<(), String> {
    let now = crate::kubernetes::now();
    let keys = input.owner_keys.get(now).await?;
    input.caller_keys.get(now).await?;
    let account = collector.cloud.caller_account(&keys, now).await;
    let account =
        account.map_err(|error| format!("GetCallerIdentity failed ({})", error.code_and_refusal()))?;
    let info = collector.cloud.bucket_info(bucket, &keys, now).await;
    let info = info.map_err(|error| {
        format!(
            "GetBucketInfo of the probe bucket failed ({})",
            error.code_and_refusal()
        )
    })?;
    if account != input.grant.spec.bucket.owner_uid || info.owner_uid.as_ref() != Some(&account) {
        return Err("the credentials of the grant do not belong to the owner of the probe bucket: name a bucket of that account".to_owned());
    }
    if info.region.as_deref() != Some(bucket.region()) {
        return Err("the probe bucket is not in the region of the project".to_owned());
    }
    Ok(())
}

/// Refuses a bucket that is not known to be in another region than the project.
async fn check_other_region(
    collector: &Collector<'_>,
    bucket: &str,
    region: &str,
    input: &ProbeInput<'_>,
) -> Result<(), String> {
    let flag = "--limits-region-bucket";
    let place = BucketPlace::new(bucket, region).map_err(|error| format!("{flag}: {error}"))?;
    let now = crate::kubernetes::now();
    let keys = input.owner_keys.get(now).await?;
    match collector.cloud.bucket_info(&place, &keys, now).await {
        Err(error) if error.kind == CloudErrorKind::WrongRegion => Ok(()),
        Err(error) => Err(format!(
            "{flag}: GetBucketInfo failed ({})",
            error.code_and_refusal()
        )),
        Ok(info) => match info.region {
            Some(other) if other != region => Ok(()),
            Some(_) => Err(format!(
                "{flag} is in the region of the project: name one of another region"
            )),
            None => Err(format!(
                "{flag} cannot be read by the credentials of the grant: name a bucket of that account"
            )),
        },
    }
}

/// Puts the policy of a file back.
///
/// # Errors
/// Returns the message if the file names no bucket.
pub(super) async fn restore_from_file(
    collector: &Collector<'_>,
    image: &PreImage,
    keys: &RenewedKeys<'_>,
) -> Result<RestoreOutcome, String> {
    let bucket = BucketPlace::new(&image.bucket, &image.region).map_err(|error| error.to_string())?;
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
fn stop_on_signal() -> Result<CancellationToken, String> {
    let failed = |error: std::io::Error| format!("signals cannot be handled: {error}");
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
