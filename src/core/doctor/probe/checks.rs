//! Checks of a probe: its answers, its price, and whether the policy is back.

use crate::api::{Grantee, PrincipalForm};
use crate::core::doctor::deny_spelling::deny_check;
use crate::core::doctor::public_policy::{is_open, policy_view};
use crate::core::doctor::{
    Check, GrantFacts, PassRoleFindings, ProbeFacts, ReadBack, RestoreOutcome, RevocationLag,
};
use crate::core::text::counted;

/// All checks of a probe.
pub(crate) fn probe_checks(probe: &ProbeFacts, grant: Option<&GrantFacts>) -> Vec<Check> {
    let found = &probe.findings;
    let mut checks = Vec::new();
    if let Some(public) = found.session_wildcard_is_public {
        let answer = if public { "yes" } else { "no" };
        let how = if !found.rejected.is_empty() {
            "as OSS rejected the statement of the probe while Block Public Access is on"
        } else if found.wildcard_by_block {
            "as OSS accepted the statement of the probe while Block Public Access is on"
        } else {
            "as OSS says about the policy that the probe wrote"
        };
        checks.push(Check::ok("probe-session-wildcard", format!("{answer}, {how}")));
    }
    checks.push(access_check(probe, grant));
    if let (Some(millis), Some(settle)) = (found.lag_millis, found.settle_seconds()) {
        checks.push(Check::ok(
            "probe-lag",
            format!(
                "OSS enforced the policy {}.{} s after the write; settleSeconds {settle} is at least twice that",
                millis / 1000,
                millis % 1000 / 100
            ),
        ));
    }
    checks.extend(found.read_back.as_ref().and_then(ReadBack::check));
    checks.extend(found.deny.as_ref().map(deny_check));
    checks.extend(
        found
            .pass_role
            .as_ref()
            .map(|found| pass_role_check(found, &probe.bucket)),
    );
    checks.extend(found.revocation.map(revocation_check));
    checks.extend(stopped_check(found.stopped.as_ref()));
    checks.push(billed_check(found.billed));
    checks.push(restore_check(&probe.outcome, &probe.file));
    checks
}

/// The check of a probe that ended early.
pub(crate) fn stopped_check(why: Option<&String>) -> Option<Check> {
    let change = "correct the cause, then run the probe again";
    why.map(|why| Check::warning("probe-ended-early", why.clone(), change))
}

/// The check of the price of a probe.
pub(crate) fn billed_check(billed: u32) -> Check {
    Check::ok(
        "probe-billed-calls",
        format!(
            "{} of DetectImageScore, each of which may be billed",
            counted(usize::try_from(billed).unwrap_or(usize::MAX), "call")
        ),
    )
}

/// The check of the end of access.
fn revocation_check(lag: RevocationLag) -> Check {
    let name = "probe-revocation-lag";
    let seconds = |millis: u64| format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    match lag {
        RevocationLag::Millis(millis) => Check::ok(
            name,
            format!("access ended {} after the statement was removed", seconds(millis)),
        ),
        RevocationLag::LongerThan(millis) => Check::warning(
            name,
            format!(
                "the image was still scored {} after the statement was removed",
                seconds(millis)
            ),
            "where access must end at once, also detach the policies of the service role in the account of the project",
        ),
    }
}

/// The check of the `ram:PassRole` statement.
fn pass_role_check(found: &PassRoleFindings, bucket: &str) -> Check {
    let name = "probe-pass-role";
    let public = match (found.is_public, &found.rejected_with) {
        (Some(true), _) if found.is_blocked => {
            "OSS counts it as public, and rejected it while Block Public Access is on".to_owned()
        }
        (Some(true), _) => "OSS counts it as public".to_owned(),
        (Some(false), _) => "OSS does not count it as public".to_owned(),
        (None, Some(code)) => format!("OSS rejected it ({code})"),
        (None, None) => "whether OSS counts it as public does not follow".to_owned(),
    };
    match found.is_needed {
        Some(true) => Check::ok(
            name,
            format!("IMM needs it: an image was scored with it, and without it access was denied; {public}"),
        ),
        Some(false) => Check::ok(
            name,
            format!("IMM does not need it: an image was scored without it; {public}"),
        ),
        None if found.is_blocked => Check::warning(
            name,
            format!("not known whether IMM needs it; {public}"),
            format!(
                "if the probe bucket may be public for four minutes, run ossutil api put-bucket-public-access-block --bucket {bucket} --public-access-block-configuration '{{\"BlockPublicAccess\":\"false\"}}', then this probe again, then the same command with true"
            ),
        ),
        None => Check::warning(
            name,
            format!("not known whether IMM needs it; {public}"),
            "see probe-access, or probe-ended-early",
        ),
    }
}

fn access_check(probe: &ProbeFacts, grant: Option<&GrantFacts>) -> Check {
    let name = "probe-access";
    let found = &probe.findings;
    let denied: Vec<String> = found.denied.iter().map(describe).collect();
    let denied = if denied.is_empty() {
        String::new()
    } else {
        format!("; denied for four minutes with {}", denied.join(" and "))
    };
    match &found.works {
        Some(grantee) => Check::ok(
            name,
            format!("the image was scored with {}{denied}", describe(grantee)),
        ),
        None if found.stopped.is_some() => {
            Check::warning(name, format!("not known{denied}"), "see probe-ended-early")
        }
        None if !found.rejected.is_empty() && grant.is_some_and(accepts_public_policies) => Check::warning(
            name,
            format!(
                "not known{denied}: OSS rejected the statement because Block Public Access of the probe bucket is on, and that of the bucket of the grant is off"
            ),
            "probe a bucket whose Block Public Access is off as well",
        ),
        None if found.may_need_pass_role() && !grant.is_some_and(rejects_public_policies) => Check::failed(
            name,
            format!("the image was not scored through a bucket policy{denied}"),
            "run the probe again with --allow-public, because IMM may need the ram:PassRole statement; or score with access.mode RoleChain of the job, which needs no bucket policy",
        ),
        None => Check::failed(
            name,
            format!("the image was not scored through a bucket policy{denied}"),
            "score with access.mode RoleChain of the job, which needs no bucket policy",
        ),
    }
}

fn accepts_public_policies(grant: &GrantFacts) -> bool {
    is_open(policy_view(grant, None).block) == Some(true)
}

fn rejects_public_policies(grant: &GrantFacts) -> bool {
    is_open(policy_view(grant, None).block) == Some(false)
}

fn describe(grantee: &Grantee) -> String {
    match grantee.principal {
        PrincipalForm::ServiceRole => format!("the sessions of role {}", grantee.role_name),
        PrincipalForm::ServiceRoleSession => format!(
            "session {} of role {}",
            grantee.session_name.as_deref().unwrap_or_default(),
            grantee.role_name
        ),
        PrincipalForm::Account => "the whole account".to_owned(),
    }
}

/// The check of the policy after a probe.
pub(crate) fn restore_check(outcome: &RestoreOutcome, file: &str) -> Check {
    let name = "probe-policy-restored";
    match outcome {
        RestoreOutcome::Restored => Check::ok(name, "the policy is byte for byte the one from before"),
        RestoreOutcome::Uncertain => Check::failed(
            name,
            "OSS shows the policy from before, and a write of the probe can still take effect or does not show yet",
            format!("run imm-operator doctor --restore {file} in 15 minutes"),
        ),
        RestoreOutcome::Foreign { .. } => Check::failed(
            name,
            "another client changed the policy meanwhile, so it was left alone; standard error has both",
            format!("remove the statement of the probe by hand; {file} has the policy from before"),
        ),
        RestoreOutcome::Failed(why) => Check::failed(
            name,
            why.clone(),
            format!("run imm-operator doctor --restore {file}"),
        ),
    }
}
