//! The conclusion: which values to set, as far as what was seen decides them.

use super::limits::checks::limits_settings;
use super::network::{better_variant, value_for};
use super::public_policy::{is_open, policy_view};
use super::ways::checks::chain_settings;
use super::{Facts, GrantFacts, RevocationLag, Service, Setting};
use crate::api::{AccessMode, GrantWait, PassRoleStatement, PrincipalForm};

/// The value of `grantee.principal` if OSS accepts none.
const NO_PRINCIPAL: &str = "none: access.mode RoleChain of the job instead of a grant";

/// Concludes from all facts. The settings of the objects come first, those of the operator last.
pub(super) fn conclude(facts: &Facts) -> Vec<Setting> {
    let by_chain = facts
        .job
        .as_ref()
        .is_some_and(|job| job.spec.access.mode == AccessMode::RoleChain);
    let mut settings = Vec::new();
    if let Some(grant) = facts.grant.as_ref().filter(|_| !by_chain) {
        settings.push(principal(facts, grant));
        settings.push(role_name(facts, grant));
        settings.push(pass_role(facts, grant));
    }
    if by_chain {
        let asked = facts.ways.as_ref().map(|ways| &ways.findings);
        settings.extend(chain_settings(asked));
    } else {
        settings.push(settle_seconds(facts));
        settings.extend(revocation(facts));
    }
    if let Some(limits) = &facts.limits {
        settings.extend(limits_settings(&limits.findings));
    }
    settings.extend(endpoints(facts));
    settings
}

/// The grantee that a probe has found to work, or not. The probe bucket can have another Block Public Access than the
/// bucket of the grant, so a rejection there, and an acceptance, say nothing else about the grant than what OSS
/// counts as public.
fn by_probe(facts: &Facts, grant: &GrantFacts) -> Option<Setting> {
    let found = &facts.probe.as_ref()?.findings;
    let open = is_open(policy_view(grant, None).block);
    let setting = |value: String, confirmed, why| Setting::new("grantee.principal", value, confirmed, why);
    let needs_public = found.pass_role.as_ref().and_then(|found| found.is_needed) == Some(true);
    if open == Some(false) && needs_public {
        return Some(setting(
            NO_PRINCIPAL.to_owned(),
            true,
            "IMM needs the ram:PassRole statement, which OSS rejects while Block Public Access of the bucket is on",
        ));
    }
    match &found.works {
        // OSS accepts the other grantee of the probe only instead of this one, which the bucket of the grant accepts.
        _ if open == Some(true) && !found.rejected.is_empty() => None,
        Some(grantee)
            if open != Some(true)
                && grantee.principal == PrincipalForm::ServiceRole
                && found.session_wildcard_is_public == Some(true) =>
        {
            None
        }
        Some(grantee)
            if open != Some(true)
                && grantee.principal == PrincipalForm::ServiceRole
                && found.session_wildcard_is_public.is_none() =>
        {
            Some(setting(
                format!("{:?}", grantee.principal),
                false,
                "the probe scored an image with it, and whether OSS counts the * as public was not seen: probe a bucket whose Block Public Access is on; if OSS rejects the grant, access.mode RoleChain of the job is the way without a bucket policy",
            ))
        }
        Some(grantee) => Some(setting(
            format!("{:?}", grantee.principal),
            true,
            "the probe scored an image with it",
        )),
        None if found.may_need_pass_role() && open != Some(false) => Some(setting(
            NO_PRINCIPAL.to_owned(),
            false,
            "the probe scored no image without the ram:PassRole statement; whether IMM needs it was not asked (--allow-public does): if it does, a grant works while Block Public Access is off",
        )),
        // Access that is denied for four minutes could be given later.
        None if found.stopped.is_none() => Some(setting(
            NO_PRINCIPAL.to_owned(),
            !found.rejected.is_empty(),
            "the probe scored no image through a bucket policy",
        )),
        None => None,
    }
}

fn principal(facts: &Facts, grant: &GrantFacts) -> Setting {
    let setting = by_probe(facts, grant).unwrap_or_else(|| by_policy(facts, grant));
    by_access_log(facts, &setting).unwrap_or(setting)
}

/// What an access log changes about the principal: whether one session can be named.
fn by_access_log(facts: &Facts, setting: &Setting) -> Option<Setting> {
    let log = &facts.access_log.as_ref()?.log;
    let changed =
        |value: String, confirmed, why| Some(Setting::new("grantee.principal", value, confirmed, why));
    let by_session = format!("{:?}", PrincipalForm::ServiceRoleSession);
    if log.has_several_sessions() && setting.value == by_session {
        return changed(
            format!("{:?}", PrincipalForm::ServiceRole),
            true,
            "the access log has several sessions, so no fixed one can be named",
        );
    }
    match log.fixed_session() {
        Some(session) if setting.value == NO_PRINCIPAL => changed(
            format!("{by_session} with sessionName {session}"),
            false,
            "OSS rejects the * for sessions, and the access log has one session only: run a probe with this grantee; the way without a bucket policy is access.mode RoleChain of the job",
        ),
        Some(_) | None => None,
    }
}

/// What Block Public Access and the live policy say about the principal.
fn by_policy(facts: &Facts, grant: &GrantFacts) -> Setting {
    let view = policy_view(grant, facts.probe.as_ref());
    let given = grant.spec.grantee.principal;
    let keep = format!("{given:?}");
    let setting = |value: String, confirmed, why| Setting::new("grantee.principal", value, confirmed, why);
    if given != PrincipalForm::ServiceRole {
        return setting(
            keep,
            false,
            "its principal is fixed, so OSS accepts it; whether OSS then lets IMM read is not documented",
        );
    }
    match (is_open(view.block), view.session_wildcard_is_public) {
        (Some(true), _) => setting(
            keep,
            true,
            "Block Public Access is off, so OSS accepts every form",
        ),
        (_, Some(false)) => setting(
            keep,
            true,
            "OSS does not count the * for the sessions of a role as public",
        ),
        (Some(false), Some(true)) => setting(
            NO_PRINCIPAL.to_owned(),
            true,
            "OSS counts the * for the sessions of a role as public, and Block Public Access is on; ServiceRoleSession and Account have no *, but are of use only if IMM always reads as one session, or OSS lets an account stand for its roles",
        ),
        (None, Some(true)) => setting(
            keep,
            false,
            "OSS counts the * for the sessions of a role as public, and Block Public Access cannot be read: if it is on, OSS rejects the write without any effect, and access.mode RoleChain of the job is the way without a bucket policy",
        ),
        (_, None) => setting(
            keep,
            false,
            "whether OSS counts the * as public was not seen (--probe-bucket finds out); if it does, it rejects the write without any effect, and access.mode RoleChain of the job is the way without a bucket policy",
        ),
    }
}

fn role_name(facts: &Facts, grant: &GrantFacts) -> Setting {
    let findings = facts.probe.as_ref().map(|probe| &probe.findings);
    let works = findings.and_then(|found| found.works.as_ref());
    if let Some(works) = works.filter(|works| works.principal != PrincipalForm::Account) {
        let why = "the probe scored an image with this spelling";
        return Setting::new("grantee.roleName", works.role_name.clone(), true, why);
    }
    if let Some(spelling) = facts.access_log.as_ref().and_then(|facts| facts.log.spelling()) {
        let why = "the access log of OSS spells it so";
        return Setting::new("grantee.roleName", spelling.clone(), true, why);
    }
    let given = &grant.spec.grantee.role_name;
    let project = facts
        .job
        .as_ref()
        .and_then(|job| job.project.as_ref()?.as_ref().ok()?.service_role.as_ref());
    let (value, why) = match project {
        Some(role) if !role.eq_ignore_ascii_case(given) => (role, "GetProject names this role"),
        Some(role) if role != given => (
            given,
            "GetProject names this role in another case; which spelling OSS compares was not seen (--probe-bucket finds out): if access is denied although the grant is live, use the other one",
        ),
        Some(_) => (
            given,
            "GetProject spells it so; whether OSS compares the case was not seen (--probe-bucket finds out): if access is denied although the grant is live, write it in lower case",
        ),
        None => (given, "the project was not asked for its role"),
    };
    let confirmed = project.is_some_and(|role| !role.eq_ignore_ascii_case(given));
    Setting::new("grantee.roleName", value.clone(), confirmed, why)
}

/// What a probe says about the `ram:PassRole` statement.
fn pass_role_by_probe(facts: &Facts, grant: &GrantFacts) -> Option<Setting> {
    let found = &facts.probe.as_ref()?.findings;
    let needed = found.pass_role.as_ref().and_then(|found| found.is_needed);
    let open = is_open(policy_view(grant, None).block);
    let (value, why) = match (needed, &found.works) {
        (Some(true), _) if open == Some(false) => (
            PassRoleStatement::Omit,
            "IMM needs the statement, and OSS rejects it while Block Public Access of the bucket is on: see grantee.principal",
        ),
        (Some(true), _) => (
            PassRoleStatement::Include,
            "the probe scored an image with the statement, and access was denied without it",
        ),
        (_, Some(_)) => (
            PassRoleStatement::Omit,
            "the probe scored an image without the statement",
        ),
        (_, None) if found.may_need_pass_role() && open != Some(false) => {
            let why = "access was denied without the statement, and whether IMM needs it was not asked (--allow-public does)";
            let value = format!("{:?}", PassRoleStatement::Omit);
            return Some(Setting::new("access.passRoleStatement", value, false, why));
        }
        (_, None) => return None,
    };
    let name = "access.passRoleStatement";
    Some(Setting::new(name, format!("{value:?}"), true, why))
}

fn pass_role(facts: &Facts, grant: &GrantFacts) -> Setting {
    if let Some(setting) = pass_role_by_probe(facts, grant) {
        return setting;
    }
    let block = policy_view(grant, None).block;
    let (confirmed, why) = match is_open(block) {
        Some(false) => (
            true,
            "Block Public Access is on, so OSS rejects the statement, which Auto leaves out too",
        ),
        Some(true) => (
            false,
            "the statement would make the policy public, and whether IMM needs it is not documented: set Include only if images cannot be scored without it",
        ),
        None => (
            false,
            "Block Public Access cannot be read, so Auto leaves the statement out too",
        ),
    };
    Setting::new(
        "access.passRoleStatement",
        format!("{:?}", PassRoleStatement::Omit),
        confirmed,
        why,
    )
}

fn settle_seconds(facts: &Facts) -> Setting {
    let probe = facts.probe.as_ref();
    let measured = probe.and_then(|probe| probe.findings.settle_seconds());
    if let Some(seconds) = measured {
        let why = "twice the time that the probe measured, and at least 10 s";
        return Setting::new("grantWait.settleSeconds", seconds.to_string(), true, why);
    }
    let job = facts.job.as_ref();
    let wait = job.map_or_else(GrantWait::default, |job| job.spec.grant_wait.clone());
    Setting::new(
        "grantWait.settleSeconds",
        wait.settle_seconds.to_string(),
        false,
        "how soon OSS enforces a policy was not measured (--probe-bucket does)",
    )
}

/// How long access outlasts the removal of a statement, if a probe has measured it.
fn revocation(facts: &Facts) -> Option<Setting> {
    let value = match facts.probe.as_ref()?.findings.revocation? {
        RevocationLag::Millis(millis) => format!("{} s", millis.div_ceil(1000)),
        RevocationLag::LongerThan(millis) => format!("more than {} s", millis / 1000),
    };
    let why = "no field: so long did access outlast the removal of the statement, in one measurement";
    Some(Setting::new("revocation", value, true, why))
}

/// The endpoints to change; none if all of them answer.
fn endpoints(facts: &Facts) -> Vec<Setting> {
    let mut settings = Vec::new();
    for endpoint in facts
        .endpoints
        .iter()
        .filter(|endpoint| !endpoint.reached.is_answered())
    {
        // A service of the machine has no other name, and both hosts of OSS have the same flag.
        let has_line = settings
            .iter()
            .any(|setting: &Setting| setting.setting == endpoint.service.flag());
        let of_machine = matches!(endpoint.service, Service::Metadata | Service::CredentialsUri);
        if of_machine || (endpoint.service.is_further() && has_line) {
            continue;
        }
        let answering = endpoint.answering.first();
        settings.push(Setting::new(
            endpoint.service.flag(),
            answering.map_or_else(
                || "unknown".to_owned(),
                |url| value_for(endpoint.service, &endpoint.region, url),
            ),
            answering.is_some(),
            match answering {
                Some(_) => "the name in use cannot be reached from here, and this one answers",
                None => "no name of the service can be reached from here: see the checks of the endpoint",
            },
        ));
    }
    if let Some(better) = better_variant(&facts.variants)
        && !settings
            .iter()
            .any(|setting| setting.setting == Service::Oss.flag())
    {
        settings.push(Setting::new(
            Service::Oss.flag(),
            value_for(Service::Oss, &better.region, &better.url),
            better.objects.is_ok(),
            match better.objects {
                Ok(()) => "the name in use does not serve objects of the bucket, and this one does",
                Err(_) => {
                    "the name in use does not serve objects of the bucket, and this one answers; whether it serves them was not seen, because the credentials may not list them"
                }
            },
        ));
    }
    let all_answer = facts
        .endpoints
        .iter()
        .all(|endpoint| endpoint.reached.is_answered());
    if settings.is_empty() && all_answer && !facts.endpoints.is_empty() {
        let why = "every endpoint in use answers";
        settings.push(Setting::new("endpoints", "as they are", true, why));
    }
    settings
}
