//! Reports the errors of a source: ends the job, or says what the job waits for.

use std::time::Duration;

use super::persist::JobWriter;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::identity::Identity;
use crate::core::job::{Phase, Progress, source_failed};
use crate::ports::CloudError;
use crate::runtime::queue::Action;

/// Delay before a source that could not be read is read again: after a transient error, and when action is required.
const RETRY_SOURCE: Action = Action::Requeue(Duration::from_secs(5));
pub(super) const RETRY_SOURCE_LATER: Action = Action::Requeue(Duration::from_secs(60));

/// Reports the error of a source: ends the job, or writes the phase. Returns when the job is due again.
pub(super) async fn on_source_error(
    context: &Context,
    writer: JobWriter,
    progress: Option<&mut Progress>,
    spec: &JobSpec,
    error: &CloudError,
) -> Action {
    let credentials = spec.source.credentials().unwrap_or(&spec.credentials);
    let identity = Identity::of(&writer.job.key.namespace, credentials);
    if let Some(identity) = identity.as_ref().filter(|_| error.rejects_credentials()) {
        context.credentials.forget(identity);
    }
    let phase = source_failed(spec, identity.as_ref(), error);
    let next = if matches!(phase, Phase::SourceUnreadable(_, false)) {
        RETRY_SOURCE
    } else {
        RETRY_SOURCE_LATER
    };
    writer.stop(context, progress, phase, next).await
}
