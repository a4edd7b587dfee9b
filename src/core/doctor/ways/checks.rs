//! Checks of the probe of other ways to access: the role chain of the job, the statement with conditions, the price,
//! and whether the policy is back.

use crate::api::RoleType;
use crate::core::doctor::probe::checks::{billed_check, restore_check, stopped_check};
use crate::core::doctor::ways::findings::{ChainAnswer, ConditionFindings, WaysFindings};
use crate::core::doctor::{Check, Setting, WaysFacts};

/// All checks of other ways.
pub(crate) fn ways_checks(ways: &WaysFacts) -> Vec<Check> {
    let found = &ways.findings;
    let mut checks: Vec<Check> = chain_check(found).into_iter().collect();
    checks.extend(found.conditions.as_ref().map(conditions_check));
    checks.extend(stopped_check(found.stopped.as_ref()));
    checks.push(billed_check(found.billed));
    checks.push(restore_check(&ways.outcome, &ways.file));
    checks
}

/// The check of the role chain; none if the probe ended before.
fn chain_check(found: &WaysFindings) -> Option<Check> {
    let name = "ways-role-chain";
    if !found.has_chain {
        return Some(Check::ok(
            name,
            "not asked, as the job names no role chain (access.mode: RoleChain)",
        ));
    }
    let given = found.chains.first()?;
    let answers: Vec<String> = found.chains.iter().map(described).collect();
    let seen = format!("without a bucket policy: {}", answers.join("; "));
    Some(if given.is_scored {
        Check::ok(name, seen)
    } else if let Some(other) = found.chains.iter().find(|chain| chain.is_scored) {
        let change = format!("set roleType of access.roleChain.chain to {}", types(other));
        Check::warning(name, seen, change)
    } else {
        let change = "allow the last role oss:GetObject on the probe bucket, and each role to assume the next one, which must trust it; then run the probe again";
        Check::warning(name, seen, change)
    })
}

fn described(chain: &ChainAnswer) -> String {
    let answer = chain.refused_with.as_deref().unwrap_or("a score");
    format!("roleType {}: {answer}", types(chain))
}

/// The types of the roles; one if all are the same.
fn types(chain: &ChainAnswer) -> String {
    let names = chain.role_types.iter().map(|role_type| match role_type {
        RoleType::User => "user",
        RoleType::Service => "service",
    });
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [first, rest @ ..] if rest.iter().all(|name| name == first) => (*first).to_owned(),
        all => all.join(", "),
    }
}

/// The check of the statement with conditions.
fn conditions_check(found: &ConditionFindings) -> Check {
    let name = "ways-conditions";
    let public = match (found.is_public, &found.rejected_with) {
        (Some(true), _) if found.by_block => {
            "OSS counts it as public, and rejected it while Block Public Access is on".to_owned()
        }
        (Some(true), _) => "OSS counts it as public".to_owned(),
        (Some(false), _) if found.by_block => {
            "OSS does not count it as public, as it accepted it while Block Public Access is on".to_owned()
        }
        (Some(false), _) => "OSS does not count it as public".to_owned(),
        (None, Some(code)) => format!("OSS rejected it ({code})"),
        (None, None) => "whether OSS counts it as public does not follow".to_owned(),
    };
    let access = match found.gives_access {
        Some(true) => "; an image was scored with it",
        Some(false) => "; access was denied for four minutes",
        None => "",
    };
    let seen = format!("the statement with conditions on acs:SourceIp and acs:SourceVpc: {public}{access}");
    match (found.is_public, found.gives_access) {
        // Nothing to set follows from that: the operator writes no conditions.
        (Some(false), Some(true)) => Check::ok(
            name,
            format!(
                "{seen}: a grant that Block Public Access accepts is possible, which the operator does not write"
            ),
        ),
        (None, _) if found.rejected_with.is_none() => Check::warning(
            name,
            seen,
            "allow oss:GetBucketPolicyStatus to the credentials of the grant, then run the probe again",
        ),
        (Some(_) | None, Some(_) | None) => Check::ok(name, seen),
    }
}

/// The value of `access.mode` of a job with a role chain, by the answers.
pub(crate) fn chain_settings(found: Option<&WaysFindings>) -> Vec<Setting> {
    let setting = |confirmed, why| Setting::new("access.mode", "RoleChain", confirmed, why);
    let chains = found.map_or(&[][..], |found| found.chains.as_slice());
    let Some(given) = chains.first() else {
        return vec![setting(
            true,
            "the job reads through a role chain, so no grant and no setting of a bucket policy matters",
        )];
    };
    let scored = "the probe scored an image through the role chain of the job, without a bucket policy";
    if given.is_scored {
        return vec![setting(true, scored)];
    }
    match chains.iter().find(|chain| chain.is_scored) {
        Some(other) => vec![
            setting(true, scored),
            Setting::new(
                "access.roleChain.chain",
                format!("roleType {}", types(other)),
                true,
                "the probe scored an image with it, and not with that of the job",
            ),
        ],
        None => vec![setting(
            false,
            "the probe scored no image of its bucket through the role chain of the job: see ways-role-chain",
        )],
    }
}
