//! The two watches, and what they set in motion.

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
use crate::runtime::metrics::Metrics;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::Trigger;

/// How long a bucket waits for further changes of its grants, so that ten applied grants become one write.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// The words of a spec that decide who is concerned. Everything is optional: an object that an older version stored must
/// not stop the watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialSpec {
    bucket: PartialReference,
    grant_ref: Option<PartialReference>,
    results: PartialResults,
}

/// What may still be done to the results of an ended job.
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

/// The word of a status that tells an ended job.
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

/// An object as a watch gives it. Not kube's `Object`, which reads everything that is stored before it forgets most of it.
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

/// What a watch says, and for which namespace; `None` is all.
pub(crate) enum WatchEvent {
    /// It begins anew with a list.
    ListStarted(Option<String>),
    /// An object is there or has changed.
    Applied(Box<PartialObject>),
    /// An object has gone.
    Deleted(ObjectKey),
    /// The list is complete.
    ListCompleted(Option<String>),
}

/// Which kind a watch is about.
#[derive(Clone, Copy)]
pub(crate) enum WatchedKind {
    Grants,
    Jobs,
}

/// All objects of a kind, in the given namespaces or everywhere; a broken watch is taken up again with growing delays.
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
            tracing::warn!(%error, "watch interrupted");
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

/// Whether an ended job asks for nothing more: its generation is noted, and its results stay as they are.
fn is_at_rest(job: &PartialObject, status: &PartialStatus) -> bool {
    let results = &job.spec.results;
    let kept = results.select.as_ref().is_none_or(|s| s == "All");
    kept && results.ttl_seconds_after_finished.is_none()
        && status.observed_generation == job.metadata.generation
}

/// The grant that a job names.
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

/// Takes in what a watch says; gives the keys to work on.
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
            let stage = match status.completion_time {
                None => JobState::Active,
                Some(_) if is_at_rest(&object, &status) => JobState::AtRest,
                Some(_) => JobState::Finished,
            };
            let reason = object.ready_reason(JobReason::ALL.iter().map(|r| r.as_str()));
            let grant = grant_of(&object, &key);
            index.upsert_job(&key, &change_token(&object), grant, stage, reason)
        }
        (WatchedKind::Jobs, WatchEvent::Deleted(key)) => index.remove_job(&key),
        (WatchedKind::Jobs, WatchEvent::ListCompleted(scope)) => {
            index.complete_job_list(|key| within(&scope, key))
        }
    }
}

/// Where marks go.
pub(crate) struct FeedTargets {
    pub(crate) buckets: mpsc::Sender<Trigger<QueueKey>>,
    pub(crate) jobs: mpsc::Sender<Trigger<QueueKey>>,
    /// A running job hears of a change at once.
    pub(crate) notifier: Arc<JobNotifier>,
}

/// What moves the feed.
enum FeedEvent {
    Watch(WatchedKind, WatchEvent),
    Rules,
}

/// Feeds both queues from both watches until they end; `ready` is called once all `lists` are complete. When the tenancy
/// rules change, everything is looked at again.
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
        // The rules' stream never ends; the watches' end ends the feed.
        let moved = tokio::select! {
            moved = watches.next() => moved,
            moved = rules.next() => moved,
        };
        let keys = match moved {
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
            let (queue, settle) = match &key {
                QueueKey::Bucket(_) => (&queues.buckets, DEBOUNCE),
                QueueKey::Job(job) => {
                    queues.notifier.notify(job);
                    (&queues.jobs, Duration::ZERO)
                }
            };
            // A full queue holds the watch back; nothing is dropped.
            if queue
                .send(Trigger {
                    key,
                    debounce: settle,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
