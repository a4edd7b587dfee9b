//! The two watches. Of each object only a few words are kept; what changed is looked up freshly by the pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{ApiResource, Object};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::context::Key;
use super::queue::Mark;
use crate::api::{ABANDON, ImageScoreJob, ImmBucketGrant, RECONCILE_AT, STARTED};
use crate::core::grant::ObjectKey;

/// How long a bucket waits for further changes of its grants, so that ten applied grants become one write.
const SETTLE: Duration = Duration::from_secs(1);

/// The words of a spec that decide who is concerned. Everything is optional: an object that an older version stored must
/// not stop the watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    bucket: Name,
    grant_ref: Option<Name>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Name {
    name: String,
    namespace: Option<String>,
}

type Slim = Object<Spec, IgnoredAny>;

/// What a watch says.
pub(super) enum Seen {
    /// An object is there or has changed.
    Object(Box<Slim>),
    /// An object has gone.
    Gone(ObjectKey),
    /// All objects that were there at the start have been seen.
    Complete,
}

/// Which kind a watch is about.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Grants,
    Jobs,
}

/// All objects of a kind, in the given namespaces or everywhere; a broken watch is taken up again with growing delays.
pub(super) fn watch(client: &Client, kind: Kind, namespaces: &[String]) -> impl Stream<Item = Seen> + use<> {
    let resource = match kind {
        Kind::Grants => ApiResource::erase::<ImmBucketGrant>(&()),
        Kind::Jobs => ApiResource::erase::<ImageScoreJob>(&()),
    };
    let apis: Vec<Api<Slim>> = if namespaces.is_empty() {
        vec![Api::all_with(client.clone(), &resource)]
    } else {
        namespaces
            .iter()
            .map(|n| Api::namespaced_with(client.clone(), n, &resource))
            .collect()
    };
    let streams = apis.into_iter().map(|api| {
        let events = watcher(api, watcher::Config::default().page_size(250)).default_backoff();
        events
            .filter_map(async |event| match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(Seen::Object(Box::new(object)))
                }
                Ok(watcher::Event::Delete(object)) => Some(Seen::Gone(key_of(&object))),
                Ok(watcher::Event::InitDone) => Some(Seen::Complete),
                Ok(watcher::Event::Init) => None,
                Err(error) => {
                    tracing::warn!(%error, "watch interrupted");
                    None
                }
            })
            .boxed()
    });
    futures::stream::select_all(streams)
}

fn key_of(object: &Slim) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// What a user can change about an object that asks for work: our own writes of status and finalizers do not.
#[derive(Clone, PartialEq, Eq)]
struct Wish {
    uid: String,
    generation: i64,
    deleting: bool,
    reconcile_at: Option<String>,
    marks: (Option<String>, bool),
}

fn wish(object: &Slim) -> Wish {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    Wish {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        reconcile_at: annotation(RECONCILE_AT),
        // Of a foreign mark only its disappearance asks for work; our own is put on by ourselves.
        marks: (
            annotation(ABANDON),
            annotation(STARTED).is_some_and(|uid| Some(uid) != object.uid()),
        ),
    }
}

/// What is known of the objects: who shares a bucket, and which jobs wait for which grant.
#[derive(Default)]
pub(super) struct Index {
    grants: HashMap<ObjectKey, (Wish, Arc<str>)>,
    jobs: HashMap<ObjectKey, (Wish, Option<ObjectKey>)>,
    waiting: HashMap<ObjectKey, Vec<ObjectKey>>,
    buckets: HashMap<Arc<str>, usize>,
}

impl Index {
    /// Takes in what the watch of grants says; gives the keys to work on.
    fn grant(&mut self, seen: Seen) -> Vec<Key> {
        match seen {
            Seen::Object(object) => {
                let key = key_of(&object);
                let (wish, bucket) = (wish(&object), self.bucket(&object.spec.bucket.name));
                // A grant's status may be what a job waits for.
                let mut keys: Vec<Key> = self
                    .waiting
                    .get(&key)
                    .into_iter()
                    .flatten()
                    .cloned()
                    .map(Key::Job)
                    .collect();
                let before = self.grants.insert(key, (wish.clone(), Arc::clone(&bucket)));
                *self.buckets.entry(Arc::clone(&bucket)).or_default() += 1;
                if let Some((_, old)) = &before {
                    self.leave(old);
                }
                if before.is_none_or(|(old, _)| old != wish) {
                    keys.push(Key::Bucket(bucket));
                }
                keys
            }
            Seen::Gone(key) => {
                let mut keys: Vec<Key> = self
                    .waiting
                    .get(&key)
                    .into_iter()
                    .flatten()
                    .cloned()
                    .map(Key::Job)
                    .collect();
                if let Some((_, bucket)) = self.grants.remove(&key) {
                    self.leave(&bucket);
                    keys.push(Key::Bucket(bucket));
                }
                keys
            }
            Seen::Complete => Vec::new(),
        }
    }

    /// Takes in what the watch of jobs says.
    fn job(&mut self, seen: Seen) -> Vec<Key> {
        match seen {
            Seen::Object(object) => {
                let key = key_of(&object);
                let wish = wish(&object);
                let grant = object.spec.grant_ref.as_ref().map(|r| ObjectKey {
                    namespace: r.namespace.clone().unwrap_or_else(|| key.namespace.clone()),
                    name: r.name.clone(),
                });
                let before = self.jobs.insert(key.clone(), (wish.clone(), grant.clone()));
                if let Some(grant) = grant.filter(|_| before.is_none()) {
                    self.waiting.entry(grant).or_default().push(key.clone());
                }
                if before.is_none_or(|(old, _)| old != wish) {
                    vec![Key::Job(key)]
                } else {
                    Vec::new()
                }
            }
            Seen::Gone(key) => {
                if let Some((_, Some(grant))) = self.jobs.remove(&key)
                    && let Some(list) = self.waiting.get_mut(&grant)
                {
                    list.retain(|job| *job != key);
                    if list.is_empty() {
                        self.waiting.remove(&grant);
                    }
                }
                Vec::new()
            }
            Seen::Complete => Vec::new(),
        }
    }

    /// Every key that is known.
    fn everything(&self) -> Vec<Key> {
        let buckets = self.buckets.keys().cloned().map(Key::Bucket);
        buckets.chain(self.jobs.keys().cloned().map(Key::Job)).collect()
    }

    /// One shared text a bucket, however many grants it has.
    fn bucket(&self, name: &str) -> Arc<str> {
        self.buckets
            .get_key_value(name)
            .map_or_else(|| name.into(), |(known, _)| Arc::clone(known))
    }

    fn leave(&mut self, bucket: &Arc<str>) {
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count -= 1;
            if *count == 0 {
                self.buckets.remove(bucket);
            }
        }
    }
}

/// Where marks go.
pub(super) struct Queues {
    pub(super) buckets: mpsc::Sender<Mark<Key>>,
    pub(super) runs: mpsc::Sender<Mark<Key>>,
}

/// What moves the feed.
enum Moved {
    Grants(Seen),
    Jobs(Seen),
    Rules,
}

/// Feeds both queues from both watches until they end; `ready` is called once all objects have been seen. When the tenancy
/// rules change, everything is looked at again.
pub(super) async fn feed(
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
    let watches = futures::stream::select(grants.map(Moved::Grants), jobs.map(Moved::Jobs));
    // The rules' stream never ends; the watches' end ends the feed.
    let rules = rules.map(|()| Moved::Rules);
    tokio::pin!(watches, rules);
    loop {
        let moved = tokio::select! {
            moved = watches.next() => moved,
            moved = rules.next() => moved,
        };
        let keys = match moved {
            None => return,
            Some(Moved::Grants(Seen::Complete) | Moved::Jobs(Seen::Complete)) => {
                complete += 1;
                if complete >= lists
                    && let Some(ready) = ready.take()
                {
                    ready();
                }
                Vec::new()
            }
            Some(Moved::Grants(seen)) => index.grant(seen),
            Some(Moved::Jobs(seen)) => index.job(seen),
            Some(Moved::Rules) => index.everything(),
        };
        for key in keys {
            let (queue, settle) = match &key {
                Key::Bucket(_) => (&queues.buckets, SETTLE),
                Key::Job(_) => (&queues.runs, Duration::ZERO),
            };
            // A full queue holds the watch back; nothing is dropped.
            if queue.send(Mark { key, settle }).await.is_err() {
                return;
            }
        }
    }
}
