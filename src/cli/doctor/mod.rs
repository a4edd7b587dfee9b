//! `imm-operator doctor`: says whether a real installation will work, and which values to set. Without a probe, it
//! writes nothing and makes no billed call.

mod access_log;
mod args;
mod clock;
mod collect;
mod collector;
mod dates;
mod endpoints;
mod error;
mod guarded_policy;
mod input;
mod job_reads;
mod policy_before;
mod pre_image;
pub mod probe;
mod probe_args;
mod probe_conditions;
mod probe_keys;
mod probe_start;
mod probe_target;
mod questions;
mod read_back;

use std::process::ExitCode;

pub use self::args::DoctorArgs;
use self::args::ReportFormat;
use self::error::DoctorError;
use super::escape::escaped;
use super::output::{fail, write_output};
use crate::core::doctor::{DoctorReport, Mask};
use crate::kubernetes::now;

/// Prints the report. Returns its exit code, or 2 after an error.
pub async fn run(flags: &DoctorArgs) -> ExitCode {
    let (report, mask) = match Box::pin(examine(flags)).await {
        Ok(found) => found,
        Err(error) => return fail("doctor", &error, ExitCode::from(2)),
    };
    let text = match flags.output {
        ReportFormat::Text => report.to_text(),
        ReportFormat::Json => report.to_json(),
        ReportFormat::Markdown => report.to_markdown((!flags.no_mask).then_some(&mask)),
    };
    if write_output("doctor", &escaped(&text)) {
        ExitCode::from(report.exit_code())
    } else {
        ExitCode::from(2)
    }
}

async fn examine(flags: &DoctorArgs) -> Result<(DoctorReport, Mask), DoctorError> {
    let identity = flags.cloud.operator_identity()?;
    if let Some(file) = &flags.probe.restore {
        let subjects = if flags.file.is_empty() && flags.objects.is_empty() {
            input::Subjects::default()
        } else {
            input::read(flags).await?
        };
        let outcome = Box::pin(collect::restore(flags, file, subjects, identity)).await?;
        probe::remove_restored(&outcome, file);
        let file = file.display().to_string();
        let report = DoctorReport::of_restoration(&outcome, &file);
        return Ok((report, Mask::of_file(&file)));
    }
    if flags.no_imm && flags.probe.probe_bucket.is_some() {
        return Err("a probe calls IMM: leave --no-imm out".into());
    }
    let subjects = input::read(flags).await?;
    let facts = Box::pin(collect::collect(flags, subjects, identity)).await?;
    Ok((DoctorReport::of(&facts, now()), Mask::of(&facts)))
}
