//! Reads the stored reports of a job before it continues. Other writers can have removed the labels by which reports are
//! listed, or the owner with which they are deleted: such reports are read by name, and both are set again.

use std::collections::BTreeSet;

use super::persist::JobWriter;
use crate::controller::context::Context;
use crate::core::job::Progress;
use crate::ports::{KubeError, StoredReport};

impl JobWriter {
    /// Adds the results and reservations of the stored reports to a progress.
    ///
    /// # Errors
    /// Returns the error of the API server.
    pub(super) async fn restore_reports(
        &mut self,
        context: &Context,
        progress: &mut Progress,
    ) -> Result<(), KubeError> {
        let Some(counted) = self.job.status.reports.as_ref().map(|reports| reports.count) else {
            return Ok(());
        };
        let mut found = BTreeSet::new();
        let mut page = None;
        loop {
            let (reports, next) = context.ports.list_reports(&self.job, page.as_deref()).await?;
            for stored in reports {
                found.insert(stored.report.number);
                let stored = self.repaired(context, stored).await?;
                self.restore_report(stored, progress);
            }
            match next {
                Some(token) => page = Some(token),
                None => break,
            }
        }
        if (0..counted).all(|number| found.contains(&number)) {
            return Ok(());
        }
        // The last report can be newer than the status that counts it.
        for number in (0..=counted).filter(|number| !found.contains(number)) {
            let number = usize::try_from(number).unwrap_or_default();
            if let Some(stored) = context.ports.get_report(&self.job, number).await? {
                let stored = self.repaired(context, stored).await?;
                self.restore_report(stored, progress);
            }
        }
        Ok(())
    }

    /// Writes a report again if another writer has changed its labels or its owner.
    ///
    /// # Errors
    /// Returns the error of the API server.
    async fn repaired(&self, context: &Context, mut stored: StoredReport) -> Result<StoredReport, KubeError> {
        if !stored.intact {
            tracing::warn!(job = %self.job.key, number = stored.report.number, "labels or owner of a report were changed and are set again");
            let version = Some(stored.resource_version.as_str());
            let version = context
                .ports
                .put_report(&self.job, &stored.report, version)
                .await?;
            stored.resource_version = version;
            stored.intact = true;
        }
        Ok(stored)
    }
}
