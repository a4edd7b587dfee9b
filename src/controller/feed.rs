//! Watches grants and jobs, and triggers their reconciles.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::context::QueueKey;
use super::index::{ChangeToken, Index, JobState};
use crate::api::{
    ABANDON, GrantReason, ImageScoreJob, ImmBucketGrant, JobReason, RECONCILE_AT, STARTED, kinds,
};
use crate::core::grant::ObjectKey;
use crate::kubernetes::decode::decode_metadata;
use crate::kubernetes::request::error_chain;
use crate::runtime::metrics::Metrics;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::Trigger;

/// Debounce of a bucket: ten grants that are applied together become one write.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// The fields of a spec that decide which keys are reconciled. All are optional: an object that an older version
/// stored must not stop the watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialSpec {
    bucket: PartialReference,
    grant_ref: Option<PartialReference>,
    results: PartialResults,
}

/// The fields that decide whether the results of a finished job may still change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialResults {
    select: Option<String>,
    ttl_seconds_after_finished: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartialReference {
    name: String,
    namespace: Option<String>,
}

/// The fields of a status that show whether a job has finished and which generation is acknowledged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialStatus {
    completion_time: Option<String>,
    observed_generation: Option<i64>,
    conditions: Vec<PartialCondition>,
}

/// The reason of a condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartialCondition {
    r#type: String,
    reason: String,
}

impl PartialObject {
    /// The reason of the Ready condition as one of `known`: labels of metrics are closed sets, whatever a status holds.
    fn ready_reason(&self, known: impl Iterator<Item = &'static str>) -> &'static str {
        let status = self.status.as_ref();
        let ready = status.and_then(|s| s.conditions.iter().find(|c| c.r#type == kinds::READY));
        match ready {
            Some(ready) => known
                .into_iter()
                .find(|reason| *reason == ready.reason)
                .unwrap_or("Other"),
            None => "Unreconciled",
        }
    }
}

/// An object as a watch decodes it. kube's `Object` would decode the whole object before most of it is dropped.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PartialObject {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PartialSpec,
    status: Option<PartialStatus>,
}

impl Resource for PartialObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }
    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }
    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }
    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// An event of a watch; a namespace of `None` stands for all namespaces.
pub(crate) enum WatchEvent {
    /// The watch starts again with a list.
    ListStarted(Option<String>),
    /// An object exists or has changed.
    Applied(Box<PartialObject>),
    /// An object was deleted.
    Deleted(ObjectKey),
    /// The list is complete.
    ListCompleted(Option<String>),
}

/// The kind of a watch.
#[derive(Clone, Copy)]
pub(crate) enum WatchedKind {
    Grants,
    Jobs,
}

/// Watches all objects of a kind, in the given namespaces or in all. A broken watch is restarted with exponential
/// backoff.
pub(crate) fn watch(
    client: &Client,
    kind: WatchedKind,
    namespaces: &[String],
) -> impl Stream<Item = WatchEvent> + use<> {
    let resource = match kind {
        WatchedKind::Grants => ApiResource::erase::<ImmBucketGrant>(&()),
        WatchedKind::Jobs => ApiResource::erase::<ImageScoreJob>(&()),
    };
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let streams = scopes.into_iter().map(|scope| {
        let api: Api<PartialObject> = match &scope {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let events = watcher(api, watcher::Config::default().page_size(250)).default_backoff();
        events
            .filter_map(move |event| std::future::ready(to_watch_event(event, scope.as_ref())))
            .boxed()
    });
    futures::stream::select_all(streams)
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
        Ok(watcher::Event::Delete(object)) => Some(WatchEvent::Deleted(key_of(&object))),
        Ok(watcher::Event::InitDone) => Some(WatchEvent::ListCompleted(scope.cloned())),
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "failed to watch objects; retrying");
            None
        }
    }
}

fn key_of(object: &PartialObject) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

fn change_token(object: &PartialObject) -> ChangeToken {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    ChangeToken {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        reconcile_at: annotation(RECONCILE_AT),
        abandon: annotation(ABANDON),
        foreign_mark: annotation(STARTED).is_some_and(|uid| Some(uid) != object.uid()),
    }
}

/// Whether a finished job needs no more work: its generation is acknowledged, and its results do not change any more.
fn is_at_rest(job: &PartialObject, status: &PartialStatus) -> bool {
    let results = &job.spec.results;
    let kept = results.select.as_ref().is_none_or(|s| s == "All");
    kept && results.ttl_seconds_after_finished.is_none()
        && status.observed_generation == job.metadata.generation
}

/// Returns the grant that a job references; `None` without a reference.
fn grant_of(job: &PartialObject, key: &ObjectKey) -> Option<ObjectKey> {
    let reference = job.spec.grant_ref.as_ref()?;
    let namespace = reference
        .namespace
        .clone()
        .unwrap_or_else(|| key.namespace.clone());
    Some(ObjectKey {
        namespace,
        name: reference.name.clone(),
    })
}

/// Applies an event to the index. Returns the keys to reconcile.
fn apply_event(index: &mut Index, kind: WatchedKind, event: WatchEvent) -> Vec<QueueKey> {
    let within = |scope: &Option<String>, key: &ObjectKey| {
        scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    };
    match (kind, event) {
        (WatchedKind::Grants, WatchEvent::ListStarted(scope)) => {
            index.begin_grant_list(|key| within(&scope, key));
            Vec::new()
        }
        (WatchedKind::Jobs, WatchEvent::ListStarted(scope)) => {
            index.begin_job_list(|key| within(&scope, key));
            Vec::new()
        }
        (WatchedKind::Grants, WatchEvent::Applied(object)) => {
            let reason = object.ready_reason(GrantReason::ALL.iter().map(|r| r.as_str()));
            let (key, token) = (key_of(&object), change_token(&object));
            index.upsert_grant(key, &token, &object.spec.bucket.name, reason)
        }
        (WatchedKind::Grants, WatchEvent::Deleted(key)) => index.remove_grant(&key),
        (WatchedKind::Grants, WatchEvent::ListCompleted(scope)) => {
            index.complete_grant_list(|key| within(&scope, key))
        }
        (WatchedKind::Jobs, WatchEvent::Applied(object)) => {
            let key = key_of(&object);
            let status = object.status.clone().unwrap_or_default();
            let state = match status.completion_time {
                None => JobState::Active,
                Some(_) if is_at_rest(&object, &status) => JobState::AtRest,
                Some(_) => JobState::Finished,
            };
            let reason = object.ready_reason(JobReason::ALL.iter().map(|r| r.as_str()));
            let grant = grant_of(&object, &key);
            index.upsert_job(&key, &change_token(&object), grant, state, reason)
        }
        (WatchedKind::Jobs, WatchEvent::Deleted(key)) => index.remove_job(&key),
        (WatchedKind::Jobs, WatchEvent::ListCompleted(scope)) => {
            index.complete_job_list(|key| within(&scope, key))
        }
    }
}

/// Receivers of the triggers.
pub(crate) struct FeedTargets {
    pub(crate) buckets: mpsc::Sender<Trigger<QueueKey>>,
    pub(crate) jobs: mpsc::Sender<Trigger<QueueKey>>,
    /// Notifies a running job of a change at once.
    pub(crate) notifier: Arc<JobNotifier>,
}

/// An input of the feed: an event of a watch, or a change of the tenancy rules.
enum FeedEvent {
    Watch(WatchedKind, WatchEvent),
    Rules,
}

/// Feeds both queues from both watches until the watches end. Calls `ready` once `lists` lists are complete. When the
/// tenancy rules change, all buckets and jobs are reconciled.
pub(crate) async fn feed(
    grants: impl Stream<Item = WatchEvent>,
    jobs: impl Stream<Item = WatchEvent>,
    rules: impl Stream<Item = ()>,
    lists: usize,
    queues: FeedTargets,
    metrics: Arc<Metrics>,
    ready: impl FnOnce(),
) {
    let mut index = Index::new(metrics);
    let mut ready = Some(ready);
    let mut complete = 0;
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
        let keys = match next {
            None => return,
            Some(FeedEvent::Rules) => index.all_keys(),
            Some(FeedEvent::Watch(kind, event)) => {
                complete += usize::from(matches!(event, WatchEvent::ListCompleted(_)));
                apply_event(&mut index, kind, event)
            }
        };
        if complete >= lists
            && let Some(ready) = ready.take()
        {
            ready();
        }
        for key in keys {
            let (queue, debounce) = match &key {
                QueueKey::Bucket(_) => (&queues.buckets, DEBOUNCE),
                QueueKey::Job(job) => {
                    queues.notifier.notify(job);
                    (&queues.jobs, Duration::ZERO)
                }
            };
            // A full channel blocks the watches; no trigger is dropped.
            if queue.send(Trigger { key, debounce }).await.is_err() {
                return;
            }
        }
    }
}
