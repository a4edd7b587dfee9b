//! Checks of a job and its project.

use super::advice::{call_failed, credentials_check, fix};
use super::network::is_closed;
use super::{Check, Facts, GrantFacts, JobFacts};
use crate::api::{AccessMode, JobSpec};
use crate::core::job::{ProjectLimits, grant_mismatch, validated_source};
use crate::core::text::counted;

/// All checks of a job, except for reading its source.
pub(super) fn job_checks(job: &JobFacts, grant: Option<&GrantFacts>) -> Vec<Check> {
    let spec = &job.spec;
    let mut checks = vec![credentials_check("job-credentials", &job.credentials)];
    checks.extend(job.account.as_ref().map(|account| match account {
        Ok(account) if *account == spec.project.account_uid => Check::ok(
            "job-caller-account",
            format!("the credentials belong to account {account}, the owner of the project"),
        ),
        Ok(account) => Check::failed(
            "job-caller-account",
            format!(
                "the credentials belong to account {account}, and spec.project.accountUID is {}",
                spec.project.account_uid
            ),
            "use credentials of the account that owns the project",
        ),
        Err(error) => call_failed("job-caller-account", "GetCallerIdentity", error),
    }));
    checks.extend(fit_check(spec, grant));
    match &job.project {
        None => {}
        Some(Err(error)) => checks.push(call_failed("project", "GetProject", error)),
        Some(Ok(project)) => checks.extend(project_checks(spec, project, grant)),
    }
    checks
}

fn fit_check(spec: &JobSpec, grant: Option<&GrantFacts>) -> Option<Check> {
    let name = "job-fits-grant";
    if spec.access.mode == AccessMode::RoleChain {
        return Some(Check::ok(
            name,
            "access.mode is RoleChain: no grant and no bucket policy is needed",
        ));
    }
    let source = match validated_source(spec) {
        Ok(source) => source,
        Err(error) => return Some(Check::failed(name, error.to_string(), "correct the job")),
    };
    let Some(grant) = grant else {
        return spec.grant_ref.as_ref().map(|_| {
            Check::warning(
                name,
                "not compared: the grant that the job names was not given, or you may not read it",
                "add it with -f, or ask for get on immbucketgrants in its namespace",
            )
        });
    };
    Some(match grant_mismatch(spec, &source, &grant.spec) {
        None => Check::ok(
            name,
            "the grant covers account, region, bucket and keys of the job",
        ),
        Some((_, message)) => Check::failed(
            name,
            format!("the grant {message}"),
            "correct the job or the grant",
        ),
    })
}

fn project_checks(spec: &JobSpec, project: &ProjectLimits, grant: Option<&GrantFacts>) -> Vec<Check> {
    let limits = Check::ok(
        "project",
        format!(
            "{} requests per second, {} at a time",
            project.queries_per_second, project.concurrency
        ),
    );
    let name = "service-role";
    let Some(role) = &project.service_role else {
        return vec![
            limits,
            Check::warning(
                name,
                "GetProject names no service role",
                "compare grantee.roleName with the role in the console of IMM",
            ),
        ];
    };
    let by_policy = spec.access.mode == AccessMode::BucketPolicy;
    let wanted = grant.map(|grant| grant.spec.grantee.role_name.as_str());
    let check = match wanted.filter(|_| by_policy) {
        None => Check::ok(name, format!("the project reads as {role}")),
        Some(wanted) if wanted == role => Check::ok(
            name,
            format!("the project reads as {role}, as grantee.roleName says"),
        ),
        Some(wanted) if wanted.eq_ignore_ascii_case(role) => Check::ok(
            name,
            format!("the project reads as {role}; grantee.roleName is {wanted}, which differs in case only"),
        ),
        Some(wanted) => Check::failed(
            name,
            format!("the project reads as {role}, and grantee.roleName is {wanted}"),
            format!("set grantee.roleName to {role}"),
        ),
    };
    vec![limits, check]
}

/// The checks of reading the source of the job.
pub(super) fn listing_checks(facts: &Facts) -> Vec<Check> {
    let name = "listing";
    let Some(job) = &facts.job else {
        return Vec::new();
    };
    let Some(listing) = &job.listing else {
        return vec![Check::ok(name, "not needed: the images are listed in the job")];
    };
    let mut checks: Vec<Check> = listing
        .credentials
        .iter()
        .map(|credentials| credentials_check("listing-credentials", credentials))
        .collect();
    let closed = facts
        .variants
        .iter()
        .any(|variant| variant.in_use && is_closed(variant));
    checks.extend(listing.result.as_ref().map(|result| match result {
        Ok(_) if job.spec.source.manifest.is_some() => Check::ok(name, "the manifest can be read"),
        Ok(0) => Check::warning(
            name,
            "allowed, and no object has this prefix",
            "correct spec.source.prefix.prefix; it has no leading slash and no wildcard",
        ),
        Ok(count) => Check::ok(
            name,
            format!("allowed: the first page has {}", counted(*count, "object")),
        ),
        Err(error) if closed => Check::failed(
            name,
            format!(
                "the endpoint in use does not serve objects of this bucket ({})",
                error.code
            ),
            "set the endpoint that oss-endpoint-variants names",
        ),
        Err(error) => Check {
            change: Some(fix(error)),
            ..call_failed(name, "reading the source", error)
        },
    }));
    checks
}
