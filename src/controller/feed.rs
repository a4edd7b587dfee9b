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

use super::context::Key;
use super::index::{Index, Stage, Wish};
use crate::api::{ABANDON, ImageScoreJob, ImmBucketGrant, RECONCILE_AT, STARTED};
use crate::core::grant::ObjectKey;
use crate::kubernetes::decode::decode_metadata;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::Trigger;

/// How long a bucket waits for further changes of its grants, so that ten applied grants become one write.
const SETTLE: Duration = Duration::from_secs(1);

/// The words of a spec that decide who is concerned. Everything is optional: an object that an older version stored must
/// not stop the watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    bucket: Name,
    grant_ref: Option<Name>,
    results: Results,
}

/// What may still be done to the results of an ended job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Results {
    select: Option<String>,
    ttl_seconds_after_finished: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Name {
    name: String,
    namespace: Option<String>,
}

/// The word of a status that tells an ended job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    completion_time: Option<String>,
    observed_generation: Option<i64>,
}

/// An object as a watch gives it. Not kube's `Object`, which reads everything that is stored before it forgets most of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Slim {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    status: Option<Status>,
}

impl Resource for Slim {
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
pub(crate) enum Seen {
    /// It begins anew with a list.
    Begin(Option<String>),
    /// An object is there or has changed.
    Object(Box<Slim>),
    /// An object has gone.
    Gone(ObjectKey),
    /// The list is complete.
    Complete(Option<String>),
}

/// Which kind a watch is about.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Grants,
    Jobs,
}

/// All objects of a kind, in the given namespaces or everywhere; a broken watch is taken up again with growing delays.
pub(crate) fn watch(client: &Client, kind: Kind, namespaces: &[String]) -> impl Stream<Item = Seen> + use<> {
    let resource = match kind {
        Kind::Grants => ApiResource::erase::<ImmBucketGrant>(&()),
        Kind::Jobs => ApiResource::erase::<ImageScoreJob>(&()),
    };
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let streams = scopes.into_iter().map(|scope| {
        let api: Api<Slim> = match &scope {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let events = watcher(api, watcher::Config::default().page_size(250)).default_backoff();
        events
            .filter_map(move |event| std::future::ready(said(event, scope.as_ref())))
            .boxed()
    });
    futures::stream::select_all(streams)
}

fn said(event: Result<watcher::Event<Slim>, watcher::Error>, scope: Option<&String>) -> Option<Seen> {
    match event {
        Ok(watcher::Event::Init) => Some(Seen::Begin(scope.cloned())),
        Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
            Some(Seen::Object(Box::new(object)))
        }
        Ok(watcher::Event::Delete(object)) => Some(Seen::Gone(key_of(&object))),
        Ok(watcher::Event::InitDone) => Some(Seen::Complete(scope.cloned())),
        Err(error) => {
            tracing::warn!(%error, "watch interrupted");
            None
        }
    }
}

fn key_of(object: &Slim) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

fn wish(object: &Slim) -> Wish {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    Wish {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        reconcile_at: annotation(RECONCILE_AT),
        abandon: annotation(ABANDON),
        foreign_mark: annotation(STARTED).is_some_and(|uid| Some(uid) != object.uid()),
    }
}

/// Whether an ended job asks for nothing more: its generation is noted, and its results stay as they are.
fn at_rest(job: &Slim, status: &Status) -> bool {
    let results = &job.spec.results;
    let kept = results.select.as_ref().is_none_or(|s| s == "All");
    kept && results.ttl_seconds_after_finished.is_none()
        && status.observed_generation == job.metadata.generation
}

/// The grant that a job names.
fn grant_of(job: &Slim, key: &ObjectKey) -> Option<ObjectKey> {
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
fn take_in(index: &mut Index, kind: Kind, seen: Seen) -> Vec<Key> {
    let within = |scope: &Option<String>, key: &ObjectKey| {
        scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    };
    match (kind, seen) {
        (Kind::Grants, Seen::Begin(scope)) => {
            index.grants_begin(|key| within(&scope, key));
            Vec::new()
        }
        (Kind::Jobs, Seen::Begin(scope)) => {
            index.jobs_begin(|key| within(&scope, key));
            Vec::new()
        }
        (Kind::Grants, Seen::Object(object)) => {
            index.grant(key_of(&object), &wish(&object), &object.spec.bucket.name)
        }
        (Kind::Grants, Seen::Gone(key)) => index.grant_gone(&key),
        (Kind::Grants, Seen::Complete(scope)) => index.grants_listed(|key| within(&scope, key)),
        (Kind::Jobs, Seen::Object(object)) => {
            let key = key_of(&object);
            let status = object.status.clone().unwrap_or_default();
            let stage = match status.completion_time {
                None => Stage::Open,
                Some(_) if at_rest(&object, &status) => Stage::AtRest,
                Some(_) => Stage::Ended,
            };
            index.job(&key, &wish(&object), grant_of(&object, &key), stage)
        }
        (Kind::Jobs, Seen::Gone(key)) => index.job_gone(&key),
        (Kind::Jobs, Seen::Complete(scope)) => index.jobs_listed(|key| within(&scope, key)),
    }
}

/// Where marks go.
pub(crate) struct Queues {
    pub(crate) buckets: mpsc::Sender<Trigger<Key>>,
    pub(crate) runs: mpsc::Sender<Trigger<Key>>,
    /// A running job hears of a change at once.
    pub(crate) edits: Arc<JobNotifier>,
}

/// What moves the feed.
enum Moved {
    Watch(Kind, Seen),
    Rules,
}

/// Feeds both queues from both watches until they end; `ready` is called once all `lists` are complete. When the tenancy
/// rules change, everything is looked at again.
pub(crate) async fn feed(
    grants: impl Stream<Item = Seen>,
    jobs: impl Stream<Item = Seen>,
    rules: impl Stream<Item = ()>,
    lists: usize,
    queues: Queues,
    ready: impl FnOnce(),
) {
    let mut index = Index::default();
    let mut ready = Some(ready);
    let mut complete = 0;
    let grants = grants.map(|seen| Moved::Watch(Kind::Grants, seen));
    let watches = futures::stream::select(grants, jobs.map(|seen| Moved::Watch(Kind::Jobs, seen)));
    let rules = rules.map(|()| Moved::Rules);
    tokio::pin!(watches, rules);
    loop {
        // The rules' stream never ends; the watches' end ends the feed.
        let moved = tokio::select! {
            moved = watches.next() => moved,
            moved = rules.next() => moved,
        };
        let keys = match moved {
            None => return,
            Some(Moved::Rules) => index.everything(),
            Some(Moved::Watch(kind, seen)) => {
                complete += usize::from(matches!(seen, Seen::Complete(_)));
                take_in(&mut index, kind, seen)
            }
        };
        if complete >= lists
            && let Some(ready) = ready.take()
        {
            ready();
        }
        for key in keys {
            let (queue, settle) = match &key {
                Key::Bucket(_) => (&queues.buckets, SETTLE),
                Key::Job(job) => {
                    queues.edits.notify(job);
                    (&queues.runs, Duration::ZERO)
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
