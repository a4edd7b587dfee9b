//! Reads an access log of the caller.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::error::DoctorError;
use crate::core::doctor::{AccessLogFacts, Facts, parse_access_log};

/// Largest log that is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// First bytes of a file that gzip has compressed.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Reads an access log, as far as it is about the role of the grant, or of the job's project.
///
/// # Errors
/// Returns the message if the file cannot be read or is too large, or no object names an account.
pub(super) fn read_access_log(path: &Path, facts: &Facts) -> Result<AccessLogFacts, DoctorError> {
    let shown = path.display();
    let grantee = facts.grant.as_ref().map(|grant| &grant.spec.grantee);
    let Some(grantee) = grantee else {
        return Err("--access-log needs a grant, whose grantee read the bucket".into());
    };
    let project = facts
        .job
        .as_ref()
        .and_then(|job| job.project.as_ref()?.as_ref().ok()?.service_role.as_ref());
    let failed = |source| DoctorError::Read {
        file: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut source = BufReader::new(file.take(MOST_BYTES + 1));
    if source.fill_buf().map_err(failed)?.starts_with(GZIP) {
        let why = format!("{shown} is compressed: decompress it with gunzip first");
        return Err(DoctorError::Refused(why));
    }
    let role = project.unwrap_or(&grantee.role_name);
    let log = parse_access_log(&mut source, &grantee.account_uid, role).map_err(failed)?;
    if source.get_ref().limit() == 0 {
        let why = format!("{shown} is larger than 64 MiB: export a shorter time");
        return Err(DoctorError::Refused(why));
    }
    Ok(AccessLogFacts {
        file: shown.to_string(),
        account: grantee.account_uid.clone(),
        role: role.clone(),
        log,
    })
}
