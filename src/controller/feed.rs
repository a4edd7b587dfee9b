//! Watches grants and jobs, and triggers their reconciles.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use kube::api::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use super::context::Context;
pub(crate) use super::index::WatchedKind;
use super::index::{Index, WatchedJob};
use super::leaving::{on_deleted, on_exists};
use super::page_limit::{is_page_too_large, with_page_limit};
use super::queue_key::QueueKey;
use super::watch_health::{WatchHealth, observed};
use super::watched_object::PartialObject;
use crate::api::{ImageScoreJob, ImmBucketGrant, JobReason};
use crate::core::error::error_chain;
use crate::core::grant::ObjectKey;
use crate::core::list_pages::{ListFailure, smaller_page};
use crate::core::requeue::{BUCKET_DEBOUNCE, crowd_delay};
use crate::core::scopes::scopes;
use crate::runtime::metrics::Metrics;
use crate::runtime::queue::Trigger;

/// An event of a watch; a namespace of `None` stands for all namespaces.
pub(crate) enum WatchEvent {
    /// The watch starts again with a list.
    ListStarted(Option<String>),
    /// An object exists or has changed.
    Applied(Box<PartialObject>),
    /// An object was deleted.
    Deleted(Box<PartialObject>),
    /// The list is complete.
    ListCompleted(Option<String>),
    /// The operator may not list the objects of the namespace.
    ListDenied(String),
}

impl WatchEvent {
    /// The namespace of the object; empty for a list.
    fn namespace(&self) -> String {
        match self {
            Self::Applied(object) | Self::Deleted(object) => object.key().namespace,
            Self::ListStarted(_) | Self::ListCompleted(_) | Self::ListDenied(_) => String::new(),
        }
    }
}

/// Watches all objects of a kind, in the given namespaces or in all. A broken watch is restarted with exponential
/// backoff, and counts as failing until a request is answered again.
pub(crate) fn watch(
    client: &Client,
    kind: WatchedKind,
    namespaces: &[String],
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = WatchEvent> + use<> {
    let resource = match kind {
        WatchedKind::Grants => ApiResource::erase::<ImmBucketGrant>(&()),
        WatchedKind::Jobs => ApiResource::erase::<ImageScoreJob>(&()),
    };
    let streams = scopes(namespaces).into_iter().map(|scope| {
        let scope = scope.cloned();
        let health = WatchHealth::new(metrics);
        let client = observed(client, &health);
        let api = |client: Client| match &scope {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let events = object_events(api(client.clone()), api(with_page_limit(&client)));
        events
            .inspect(move |event| {
                if event.is_err() {
                    health.set_failing(true);
                }
            })
            .filter_map(move |event| std::future::ready(to_watch_event(event, scope.as_ref())))
            .boxed()
    });
    futures::stream::select_all(streams)
}

type ObjectEvents = BoxStream<'static, Result<watcher::Event<PartialObject>, watcher::Error>>;

/// Watches objects, starting with a list. The list is streamed object by object; an API server that does not offer that
/// is asked for pages instead, and for smaller ones if the objects are large.
fn object_events(streamed: Api<PartialObject>, paged: Api<PartialObject>) -> ObjectEvents {
    let streamed = watcher(streamed, watcher::Config::default().streaming_lists());
    let start = (streamed.default_backoff().boxed(), None);
    let events = futures::stream::unfold(start, move |(mut events, mut page)| {
        let paged = paged.clone();
        async move {
            loop {
                let event = events.next().await?;
                let failure = event.as_ref().err().map(failure_of);
                let Some(smaller) = failure.and_then(|failure| smaller_page(page, failure)) else {
                    return Some((event, (events, page)));
                };
                tracing::info!(
                    objects = smaller,
                    "the API server does not stream lists: listing objects in pages"
                );
                page = Some(smaller);
                let listed = watcher(paged.clone(), watcher::Config::default().page_size(smaller));
                events = listed.default_backoff().boxed();
            }
        }
    });
    events.boxed()
}

fn failure_of(error: &watcher::Error) -> ListFailure {
    if matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 422) {
        ListFailure::NotStreamed
    } else if is_page_too_large(error) {
        ListFailure::PageTooLarge
    } else {
        ListFailure::Other
    }
}

/// Converts an event of kube's watcher. `None` for an error: kube restarts the watch.
fn to_watch_event(
    event: Result<watcher::Event<PartialObject>, watcher::Error>,
    scope: Option<&String>,
) -> Option<WatchEvent> {
    match event {
        Ok(watcher::Event::Init) => Some(WatchEvent::ListStarted(scope.cloned())),
        Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
            Some(WatchEvent::Applied(Box::new(object)))
        }
        Ok(watcher::Event::Delete(object)) => Some(WatchEvent::Deleted(Box::new(object))),
        Ok(watcher::Event::InitDone) => Some(WatchEvent::ListCompleted(scope.cloned())),
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "failed to watch objects; retrying");
            let namespace = scope.filter(|_| is_forbidden(&error));
            namespace.cloned().map(WatchEvent::ListDenied)
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 403
    )
}

/// Applies an event to the index. Returns the keys to reconcile.
fn apply_event(index: &mut Index, kind: WatchedKind, event: WatchEvent, context: &Context) -> Vec<QueueKey> {
    let within = |scope: &Option<String>, key: &ObjectKey| {
        scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    };
    match (kind, event) {
        (_, WatchEvent::ListDenied(_)) => Vec::new(),
        (kind, WatchEvent::ListStarted(scope)) => {
            index.begin_list(kind, |key| within(&scope, key));
            Vec::new()
        }
        (kind, WatchEvent::ListCompleted(scope)) => index.complete_list(kind, |key| within(&scope, key)),
        (WatchedKind::Grants, WatchEvent::Applied(object)) => {
            let key = object.key();
            context.grant_reads.changed(&key);
            if let Some(uid) = object.uid() {
                on_exists(&context.leaving, &context.metrics, &key, &uid);
            }
            let keys = index.upsert_grant(key.clone(), object.watched_grant());
            if keys.contains(&QueueKey::Finalizer(key.clone())) {
                context.missing_finalizers.insert(object.into_grant());
            } else {
                context.missing_finalizers.remove(&key);
            }
            keys
        }
        (WatchedKind::Grants, WatchEvent::Deleted(object)) => {
            let key = object.key();
            context.missing_finalizers.remove(&key);
            context.grant_reads.changed(&key);
            let mut keys = index.remove_grant(&key);
            keys.extend(on_deleted(
                &context.leaving,
                &context.metrics,
                object.into_grant(),
            ));
            keys
        }
        (WatchedKind::Jobs, WatchEvent::Applied(object)) => {
            let reasons = JobReason::ALL.iter().map(|reason| reason.as_str());
            let job = WatchedJob {
                token: object.change_token(),
                grant: object.grant_reference(),
                state: object.job_state(),
                labels: object.labels("ImageScoreJob", reasons),
                marked: object.has_own_started_annotation(),
                progress: object.progress(),
            };
            index.upsert_job(&object.key(), job, context.ports.now())
        }
        (WatchedKind::Jobs, WatchEvent::Deleted(object)) => index.remove_job(&object.key()),
    }
}

/// An input of the feed: an event of a watch, or a change of the tenancy rules.
enum FeedEvent {
    Watch(WatchedKind, WatchEvent),
    Rules,
}

/// Feeds both queues from both watches until the watches end. Calls `ready` once `lists` lists are complete or
/// denied. When the tenancy rules change, all buckets and jobs are reconciled.
pub(crate) async fn feed(
    grants: impl Stream<Item = WatchEvent>,
    jobs: impl Stream<Item = WatchEvent>,
    rules: impl Stream<Item = ()>,
    lists: usize,
    context: Arc<Context>,
    ready: impl FnOnce(),
) {
    let mut index = Index::new(Arc::clone(&context.metrics));
    let mut ready = Some(ready);
    let mut complete = HashSet::new();
    let grants = grants.map(|event| FeedEvent::Watch(WatchedKind::Grants, event));
    let watches = futures::stream::select(
        grants,
        jobs.map(|event| FeedEvent::Watch(WatchedKind::Jobs, event)),
    );
    let rules = rules.map(|()| FeedEvent::Rules);
    tokio::pin!(watches, rules);
    loop {
        // The stream of the rules never ends; the feed ends with the watches.
        let next = tokio::select! {
            next = watches.next() => next,
            next = rules.next() => next,
        };
        let (namespace, keys) = match next {
            None => return,
            Some(FeedEvent::Rules) => (String::new(), index.all_keys()),
            Some(FeedEvent::Watch(kind, event)) => {
                if let WatchEvent::ListCompleted(scope) = &event {
                    complete.insert((kind, scope.clone()));
                } else if let WatchEvent::ListDenied(namespace) = &event {
                    complete.insert((kind, Some(namespace.clone())));
                }
                (event.namespace(), apply_event(&mut index, kind, event, &context))
            }
        };
        if complete.len() >= lists
            && let Some(ready) = ready.take()
        {
            ready();
        }
        for trigger in triggers(&namespace, keys) {
            let queue = match &trigger.key {
                QueueKey::Bucket(_) | QueueKey::Probe(_) => &context.buckets,
                QueueKey::Job(job) => {
                    context.notifier.notify(job);
                    &context.jobs
                }
                QueueKey::Finalizer(_) => &context.finalizers,
            };
            // A full channel blocks the watches; no trigger is dropped.
            if queue.send(trigger).await.is_err() {
                return;
            }
        }
    }
}

/// Returns the triggers of keys that a change of an object in `namespace` concerns. Jobs that wait for one grant are
/// spread over time: each of them reads itself from the API server.
fn triggers(namespace: &str, keys: Vec<QueueKey>) -> impl Iterator<Item = Trigger<QueueKey>> {
    // Counted by namespace: the jobs of one namespace delay those of no other.
    let mut jobs: HashMap<String, u32> = HashMap::new();
    keys.into_iter().map(move |key| {
        let (debounce, flow) = match &key {
            QueueKey::Bucket(_) | QueueKey::Probe(_) => (BUCKET_DEBOUNCE, namespace),
            QueueKey::Job(job) => {
                let number = jobs.entry(job.namespace.clone()).or_default();
                *number = number.saturating_add(1);
                (crowd_delay(*number), job.namespace.as_str())
            }
            QueueKey::Finalizer(grant) => (Duration::ZERO, grant.namespace.as_str()),
        };
        let flow = flow.into();
        Trigger { key, debounce, flow }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_jobs_of_one_namespace_are_spread_and_delay_no_job_of_another() {
        let job = |namespace: &str, name: String| {
            QueueKey::Job(ObjectKey {
                namespace: namespace.to_owned(),
                name,
            })
        };
        let crowd = (0..8_000).map(|number| job("crowd", format!("{number}")));
        let keys = crowd.chain([job("one", "only".to_owned())]).collect();
        let mut delays: Vec<_> = triggers("crowd", keys)
            .map(|trigger| (trigger.flow.to_string(), trigger.debounce))
            .collect();
        assert_eq!(delays.pop(), Some(("one".to_owned(), Duration::ZERO)));
        assert_eq!(delays[7_999].1, crowd_delay(8_000));
    }
}
