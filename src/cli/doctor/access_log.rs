//! Reads an access log of the caller.

use std::io::Read;
use std::path::Path;

use crate::core::doctor::{AccessLog, AccessLogFacts, Facts};

/// Largest log that is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Reads an access log, as far as it is about the role of the grant, or of the job's project.
///
/// # Errors
/// Returns the message if the file cannot be read or is too large, or no object names an account.
pub(super) fn read_access_log(path: &Path, facts: &Facts) -> Result<AccessLogFacts, String> {
    let shown = path.display();
    let grantee = facts.grant.as_ref().map(|grant| &grant.spec.grantee);
    let Some(grantee) = grantee else {
        return Err("--access-log needs a grant, whose grantee read the bucket".to_owned());
    };
    let project = facts
        .job
        .as_ref()
        .and_then(|job| job.project.as_ref()?.as_ref().ok()?.service_role.as_ref());
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err(format!("{shown} is larger than 64 MiB: export a shorter time"));
    }
    let role = project.unwrap_or(&grantee.role_name);
    let text = String::from_utf8_lossy(&bytes);
    Ok(AccessLogFacts {
        file: shown.to_string(),
        account: grantee.account_uid.clone(),
        role: role.clone(),
        log: AccessLog::parse(&text, &grantee.account_uid, role),
    })
}
