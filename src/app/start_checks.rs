//! What is checked before this process competes for the lease: one that could not work must not replace one that does.

use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::core::error::error_chain;
use crate::core::text::counted;
use crate::kubernetes::access_review::list_first;
use crate::kubernetes::served_crds::{ServedCrds, served_crds};
use crate::ports::KubeError;

/// Interval at which a check is repeated that has failed.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Waits until the API server serves the CRDs of this version. It would drop members of a status that older CRDs do not
/// know, the record of what a grant owns among them. Returns `false` after a stop request.
pub(super) async fn crds_are_served(client: &Client, stop: &CancellationToken) -> bool {
    passes(stop, "failed to use CRDs: apply crds/ first; waiting", async || {
        match served_crds(client).await {
            Ok(ServedCrds::Complete) => Ok(()),
            Ok(ServedCrds::Older(missing)) => {
                let (count, first) = (
                    counted(missing.len(), "member"),
                    missing.into_iter().take(5).collect::<Vec<_>>().join(", "),
                );
                Err(format!(
                    "the CRDs in the cluster are older than this version and lack {count}, such as {first}"
                ))
            }
            Err(KubeError::NotFound) => Err("the CRDs are not installed".to_owned()),
            Err(error @ (KubeError::Forbidden | KubeError::Invalid)) => {
                tracing::warn!(%error, "failed to compare CRDs: allow get on /openapi/v3; older CRDs would lose ownership records");
                Ok(())
            }
            Err(error @ (KubeError::Conflict | KubeError::Unavailable)) => {
                Err(format!("the API server does not describe the CRDs: {error}"))
            }
        }
    })
    .await
}

/// Waits until this process may list grants and jobs, in all namespaces or in those of the watched ones that do not deny
/// it. Returns `false` after a stop request.
pub(super) async fn lists_are_answered(
    client: &Client,
    namespaces: &[String],
    stop: &CancellationToken,
) -> bool {
    passes(
        stop,
        "failed to list grants and jobs: check the operator's Roles; waiting",
        async || {
            let listed = list_first(client, namespaces).await;
            listed.map_err(|error| error_chain(&error))
        },
    )
    .await
}

/// Repeats a check until it passes. Logs each of its faults once. Returns `false` after a stop request.
async fn passes(
    stop: &CancellationToken,
    failed: &'static str,
    check: impl AsyncFn() -> Result<(), String>,
) -> bool {
    let mut reported = None;
    loop {
        let Err(fault) = check().await else {
            return true;
        };
        if reported.as_ref() != Some(&fault) {
            tracing::error!(fault, "{failed}");
            reported = Some(fault);
        }
        tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = stop.cancelled() => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// An API server that answers lists with these codes, one after the other, and the paths that it was asked for.
    fn server(codes: &'static [u16]) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut paths = paths.lock();
            let code = codes[paths.len()];
            paths.push(request.uri().path().replace("/apis/immops.dev/v1alpha1", ""));
            let list = serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                "metadata": {}, "items": []});
            let refusal = serde_json::json!({"code": code, "status": "Failure", "message": "", "reason": ""});
            let body = if code == 200 { list } else { refusal };
            let body = kube::client::Body::from(body.to_string().into_bytes());
            async move { http::Response::builder().status(code).body(body) }
        });
        (Client::new(server, "n"), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_may_not_list_both_kinds_competes_for_no_lease() {
        let stop = CancellationToken::new();
        let (client, asked) = server(&[403, 200, 500, 200, 200]);
        assert!(lists_are_answered(&client, &[], &stop).await);
        let [grants, jobs] = ["/immbucketgrants", "/imagescorejobs"];
        assert_eq!(*asked.lock(), [grants, grants, jobs, grants, jobs]);
        stop.cancel();
        assert!(!lists_are_answered(&server(&[403]).0, &[], &stop).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watched_namespace_that_denies_its_lists_holds_up_no_other() {
        let (client, asked) = server(&[403, 403, 200, 200]);
        let namespaces = ["gone".to_owned(), "media".to_owned()];
        assert!(lists_are_answered(&client, &namespaces, &CancellationToken::new()).await);
        assert_eq!(asked.lock()[3], "/namespaces/media/imagescorejobs");
    }
}
