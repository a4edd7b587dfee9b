//! Reports the errors of a source: ends the job, or says what the job waits for.

use super::end_job::stop;
use super::persist::JobWriter;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::job::delays::retry_source;
use crate::core::job::{Progress, source_failed, source_identity};
use crate::ports::CloudError;
use crate::runtime::queue::Action;

/// Reports the error of a source: ends the job, or writes the phase. Returns when the job is due again.
pub(super) async fn on_source_error(
    context: &Context,
    writer: &mut JobWriter,
    progress: Option<&mut Progress>,
    spec: &JobSpec,
    error: &CloudError,
) -> Action {
    let identity = source_identity(&writer.job.key.namespace, spec).ok();
    if let Some(identity) = identity.as_ref().filter(|_| error.rejects_credentials()) {
        context.credentials.forget(identity);
    }
    let phase = source_failed(spec, identity.as_ref(), error);
    let next = retry_source(&phase);
    stop(context, writer, progress, phase, next).await
}
