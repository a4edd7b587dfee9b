//! Checks of an access log, and what follows from it for the grantee.

use crate::api::{Grantee, PrincipalForm};
use crate::core::doctor::access_log::{AccessLog, MOST_SESSIONS, READS_OF_FIXED_SESSION};
use crate::core::doctor::{AccessLogFacts, Check};
use crate::core::text::counted;

/// All checks of an access log.
pub(crate) fn access_log_checks(facts: &AccessLogFacts, grantee: Option<&Grantee>) -> Vec<Check> {
    let log = &facts.log;
    let mut checks = vec![content_check(facts)];
    if log.reads() == 0 {
        return checks;
    }
    checks.push(role_check(facts, grantee));
    checks.push(session_check(facts, grantee));
    checks
}

fn content_check(facts: &AccessLogFacts) -> Check {
    let name = "access-log";
    let log = &facts.log;
    let entries = format!("{} of {}", counted_entries(log), facts.file);
    if log.reads() > 0 {
        let denied = match log.denied {
            0 => String::new(),
            denied => format!("; reads that were denied: {denied}"),
        };
        return Check::ok(
            name,
            format!(
                "role {} of account {} read {} in {entries}{denied}",
                facts.role,
                facts.account,
                counted(usize::try_from(log.reads()).unwrap_or(usize::MAX), "object")
            ),
        );
    }
    if log.with_role == 0 {
        return Check::warning(
            name,
            format!("none of {entries} names the session of a role"),
            "export the log from the real-time log query of OSS as JSON or CSV with the field extend_information: the files that OSS stores in a bucket do not have it",
        );
    }
    let seen = format!(
        "role {} of account {} read no object in {entries}; reads that were denied: {}",
        facts.role, facts.account, log.denied
    );
    Check::warning(
        name,
        seen,
        "score images of the bucket, and export the log of that time some minutes later",
    )
}

fn counted_entries(log: &AccessLog) -> String {
    let entries = match log.entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    match log.unreadable {
        0 => entries,
        unreadable => format!("{entries} ({unreadable} unreadable)"),
    }
}

fn role_check(facts: &AccessLogFacts, grantee: Option<&Grantee>) -> Check {
    let name = "access-log-role";
    let Some(spelling) = facts.log.spelling() else {
        let spellings: Vec<String> = facts
            .log
            .roles
            .iter()
            .map(|(role, reads)| format!("{role} ({reads})"))
            .collect();
        return Check::warning(
            name,
            format!("OSS logs the role in several spellings: {}", spellings.join(", ")),
            "find out with --probe-bucket which one OSS compares",
        );
    };
    match grantee.map(|grantee| &grantee.role_name) {
        Some(given) if given != spelling => Check::warning(
            name,
            format!("OSS logs the role as {spelling}, and grantee.roleName is {given}"),
            format!("if access is denied although the grant is live, set grantee.roleName to {spelling}"),
        ),
        Some(_) | None => Check::ok(name, format!("OSS logs the role as {spelling}")),
    }
}

fn session_check(facts: &AccessLogFacts, grantee: Option<&Grantee>) -> Check {
    let name = "access-log-session";
    let reads = counted(usize::try_from(facts.log.reads()).unwrap_or(usize::MAX), "read");
    if facts.log.has_several_sessions() {
        let sessions = facts.log.sessions.len();
        let least = if sessions == MOST_SESSIONS {
            "at least "
        } else {
            ""
        };
        let seen = format!("no: IMM read in {least}{sessions} sessions in {reads}");
        let named = grantee.is_some_and(|grantee| grantee.principal == PrincipalForm::ServiceRoleSession);
        return if named {
            Check::failed(
                name,
                seen,
                "set grantee.principal to ServiceRole, because a grant to one session covers a part of the reads only",
            )
        } else {
            Check::ok(name, seen)
        };
    }
    let session = facts.log.sessions.first().map_or("", String::as_str);
    if facts.log.fixed_session().is_some() {
        return Check::ok(
            name,
            format!("yes: IMM read as session {session} in all of {reads}"),
        );
    }
    Check::warning(
        name,
        format!("not known: IMM read as session {session} in {reads}, which is too few"),
        format!(
            "score {}, and export the log again",
            counted(READS_OF_FIXED_SESSION, "image")
        ),
    )
}
