//! Requests to the API server: each has a deadline and no retry of its own, because the next pass is the retry.

use std::future::Future;
use std::time::Duration;

use crate::ports::KubeFailure;

/// Time for one request.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Bounds a request in time and reduces its error to what a pass can act on.
pub(super) async fn in_time<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubeFailure> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => KubeFailure::NotFound,
            409 => KubeFailure::Conflict,
            401 | 403 => KubeFailure::Forbidden,
            400 | 422 => KubeFailure::Invalid,
            _ => KubeFailure::Unavailable,
        }),
        Ok(Err(_)) | Err(_) => Err(KubeFailure::Unavailable),
    }
}
