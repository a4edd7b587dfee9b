//! Limits the pages of lists by bytes, see [`list_pages`](crate::core::list_pages).

use std::error::Error;

use http::Request;
use http_body_util::{LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;
use kube::runtime::watcher;

use crate::core::list_pages::PAGE_BYTES;

/// Returns a client that fails on a larger page. Watches are not limited: they never end.
pub(super) fn with_page_limit(client: &Client) -> Client {
    let (client, namespace) = (client.clone(), client.default_namespace().to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let limit = if is_watch(request.uri().query().unwrap_or_default()) {
                usize::MAX
            } else {
                PAGE_BYTES
            };
            let response = client.send(request).await?;
            Ok::<_, kube::Error>(response.map(|body| Limited::new(body, limit)))
        }
    });
    Client::new(service, namespace)
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|parameter| parameter == "watch=true")
}

/// Whether a watch failed because a page of its list was too large.
pub(super) fn is_page_too_large(error: &watcher::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::{StreamExt, pin_mut};
    use kube::Api;
    use kube::api::PartialObjectMeta;
    use serde_json::json;

    use super::*;
    use crate::core::list_pages::PAGE;

    type Object = PartialObjectMeta<k8s_openapi::api::core::v1::ConfigMap>;

    #[tokio::test]
    async fn a_page_that_is_too_large_is_distinguished_from_other_failures() {
        let large = json!({"metadata": {"name": "a", "annotations": {"a": "x".repeat(1_500_000)}}});
        for (count, too_large) in [(3, false), (25, true)] {
            let asked: Arc<Mutex<Vec<String>>> = Arc::default();
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": vec![large.clone(); count]});
            let (text, seen) = (list.to_string(), Arc::clone(&asked));
            let server = tower::service_fn(move |request: Request<Body>| {
                seen.lock().unwrap().push(request.uri().to_string());
                let text = text.clone();
                async move { http::Response::builder().body(Body::from(text.into_bytes())) }
            });
            let client = with_page_limit(&Client::new(server, "n"));
            let api: Api<Object> = Api::namespaced(client, "n");
            let events = watcher(api, watcher::Config::default().page_size(PAGE));
            pin_mut!(events);
            let _started = events.next().await;
            match events.next().await.unwrap() {
                Ok(_) => assert!(!too_large),
                Err(error) => assert!(too_large && is_page_too_large(&error), "{error}"),
            }
            assert!(asked.lock().unwrap()[0].contains("limit=25"));
        }
        assert!(!is_page_too_large(&watcher::Error::NoResourceVersion));
        assert!(is_watch("a=b&watch=true&c=d") && !is_watch("labelSelector=watch"));
    }
}
