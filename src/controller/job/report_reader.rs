//! Reads the stored reports of a job before it continues. Other writers can have removed the labels by which reports are
//! listed, or the owner with which they are deleted: such reports are read by name, and both are set again.

use std::collections::BTreeSet;

use super::persist::JobWriter;
use crate::controller::context::Context;
use crate::core::job::{MAX_REPORTS, Progress, restore_report};
use crate::core::memory_plan::OBJECT_BYTES;
use crate::ports::{KubeError, StoredReport};

/// Memory of a page of three reports of 1.5 MB, while the last of them is decoded.
pub(super) const REPORT_PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// Adds the results and reservations of the stored reports to a progress.
///
/// # Errors
/// Returns the error of the API server.
pub(super) async fn restore_reports(
    writer: &mut JobWriter,
    context: &Context,
    progress: &mut Progress,
) -> Result<(), KubeError> {
    let Some(reports) = &writer.job.status.reports else {
        return Ok(());
    };
    let (counted, namespace) = (reports.count.min(MAX_REPORTS), writer.job.key.namespace.clone());
    let mut found = BTreeSet::new();
    let mut page = None;
    loop {
        let _memory = context.memory.reserve(&namespace, REPORT_PAGE_BYTES).await;
        let (reports, next) = context.ports.list_reports(&writer.job, page.as_deref()).await?;
        for stored in reports {
            found.insert(stored.report.number);
            let stored = repaired(writer, context, stored).await?;
            restore_report(progress, &stored.report);
            writer.remember_report(stored);
        }
        match next {
            Some(token) => page = Some(token),
            None => break,
        }
    }
    // The last reports can be newer than the status that counts them, and are looked up even if all counted ones were
    // listed.
    for number in (0..).filter(|number| !found.contains(number)) {
        let name = usize::try_from(number).unwrap_or_default();
        let _memory = context.memory.reserve(&namespace, OBJECT_BYTES).await;
        if let Some(stored) = context.ports.get_report(&writer.job, name).await? {
            let stored = repaired(writer, context, stored).await?;
            restore_report(progress, &stored.report);
            writer.remember_report(stored);
        } else if number >= counted {
            break;
        }
    }
    Ok(())
}

/// Writes a report again if another writer has changed its labels or its owner.
///
/// # Errors
/// Returns the error of the API server.
async fn repaired(
    writer: &JobWriter,
    context: &Context,
    mut stored: StoredReport,
) -> Result<StoredReport, KubeError> {
    if !stored.intact {
        tracing::warn!(job = %writer.job.key, number = stored.report.number, "labels or owner of a report were changed and are set again");
        let version = Some(stored.resource_version.as_str());
        let version = context
            .ports
            .put_report(&writer.job, &stored.report, version)
            .await?;
        stored.resource_version = version;
        stored.intact = true;
    }
    Ok(stored)
}
