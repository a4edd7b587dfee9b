//! Publishes events. Equal events of an object within some minutes become one event with a count, as those of kube's
//! recorder, which cuts no names: the name of an event starts with the name of its object, and both have the same limit.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;

use super::request::send_with_deadline;
use crate::api::{ImageScoreJob, ImmBucketGrant};
use crate::core::event_content::EventContent;
use crate::core::grant::ObjectKey;
use crate::core::text::truncate;
use crate::ports::{EventSubject, KubeError, ObjectEvent};

const CONTROLLER: &str = "imm-operator";
/// How long an equal event is counted instead of created.
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// Events that are remembered: beyond that, old ones are forgotten, then the one that was counted first.
const MAX_SERIES: usize = 4_096;
/// Longest note that the API server accepts, in bytes, and longest name of an object.
const NOTE_LIMIT: usize = 1_024;
const NAME_LIMIT: usize = 253;

/// Uid of the object, reason, and whether the event is a warning.
type SeriesKey = (String, String, bool);

/// Creates and counts events.
#[derive(Default)]
pub(super) struct EventPublisher {
    series: Mutex<HashMap<SeriesKey, (Event, Timestamp)>>,
}

impl EventPublisher {
    /// Publishes an event. A failure is only logged: the condition has the same content and persists.
    pub(super) async fn publish(&self, client: &Client, object_event: ObjectEvent, now: Timestamp) {
        if let Err(error) = self.try_publish(client, object_event, now).await {
            tracing::debug!(%error, "failed to publish event");
        }
    }

    async fn try_publish(
        &self,
        client: &Client,
        object_event: ObjectEvent,
        now: Timestamp,
    ) -> Result<(), KubeError> {
        let key = (
            object_event.uid.clone(),
            object_event.content.reason.clone(),
            object_event.content.warning,
        );
        let events: Api<Event> = Api::namespaced(client.clone(), &object_event.key.namespace);
        let object = format!("Event of {}", object_event.key);
        if let Some(known) = self.known(&key, now) {
            let event = counted(known, now);
            let patch = Patch::Merge(&event);
            let (name, params) = (event.name_any(), PatchParams::default());
            let patched = events.patch(&name, &params, &patch);
            match send_with_deadline("patch", object.clone(), patched).await {
                Ok(_) => {
                    self.remember(key, event, now);
                    return Ok(());
                }
                // It was deleted, with its count: the next one is the first again.
                Err(KubeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let event = new_event(object_event, now);
        let params = PostParams::default();
        send_with_deadline("create", object, events.create(&params, &event)).await?;
        self.remember(key, event, now);
        Ok(())
    }

    fn remember(&self, key: SeriesKey, event: Event, now: Timestamp) {
        let mut series = self.series.lock();
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            series.retain(|_, (_, at)| now.duration_since(*at) < SERIES);
            let oldest = series.iter().min_by_key(|(_, (_, at))| *at);
            let oldest = oldest.map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| series.len() >= MAX_SERIES) {
                series.remove(&oldest);
            }
        }
        series.insert(key, (event, now));
    }

    /// Returns the recent event of the same kind, if any.
    fn known(&self, key: &SeriesKey, now: Timestamp) -> Option<Event> {
        let series = self.series.lock();
        let known = series.get(key);
        let known = known.filter(|(_, at)| now.duration_since(*at) < SERIES);
        known.map(|(event, _)| event.clone())
    }
}

fn counted(mut event: Event, now: Timestamp) -> Event {
    let count = event.series.as_ref().map_or(1, |series| series.count);
    event.series = Some(EventSeries {
        count: count.saturating_add(1),
        last_observed_time: MicroTime(now),
    });
    event
}

fn new_event(object_event: ObjectEvent, now: Timestamp) -> Event {
    let ObjectEvent {
        subject,
        key,
        uid,
        content: EventContent {
            reason,
            note,
            warning,
        },
    } = object_event;
    let kind = if warning { "Warning" } else { "Normal" };
    Event {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(event_name(&key.name, now)),
            ..ObjectMeta::default()
        },
        action: Some(reason.clone()),
        reason: Some(reason),
        event_time: Some(MicroTime(now)),
        regarding: Some(reference(subject, key, uid)),
        note: Some(cut(&note, NOTE_LIMIT)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        type_: Some(kind.to_owned()),
        ..Event::default()
    }
}

fn reference(subject: EventSubject, key: ObjectKey, uid: String) -> ObjectReference {
    let (api_version, kind) = match subject {
        EventSubject::Grant => (ImmBucketGrant::api_version(&()), ImmBucketGrant::kind(&())),
        EventSubject::Job => (ImageScoreJob::api_version(&()), ImageScoreJob::kind(&())),
    };
    ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        name: Some(key.name),
        namespace: Some(key.namespace),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

/// Returns a unique name that starts with the name of the object, cut so that it is a valid name.
fn event_name(object: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let start: String = object.chars().take(NAME_LIMIT - suffix.len()).collect();
    let start = start.trim_end_matches(['-', '.']);
    format!("{start}{suffix}")
}

fn cut(text: &str, limit: usize) -> String {
    let mut text = truncate(text, limit);
    while text.len() > limit {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each label of a name starts and ends with a letter or a digit.
    fn is_valid(name: &str) -> bool {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut labels = name.split('.');
        name.len() <= NAME_LIMIT && labels.all(|label| label.starts_with(fine) && label.ends_with(fine))
    }

    #[test]
    fn an_object_with_the_longest_name_gets_events_with_valid_names() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert!(event_name("photos", now).starts_with("photos."));
        for stem in ["x", "x-", "x.", "x--"] {
            for length in 1..=NAME_LIMIT {
                let name: String = stem.repeat(NAME_LIMIT).chars().take(length).collect();
                if is_valid(&name) {
                    let event = event_name(&name, now);
                    assert!(is_valid(&event), "{event}");
                }
            }
        }
    }

    #[test]
    fn a_bounded_number_of_events_is_remembered_and_the_oldest_is_forgotten() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let key = |number: usize| (number.to_string(), "Reason".to_owned(), false);
        let events = EventPublisher::default();
        for number in 0..=MAX_SERIES {
            let at = start + SignedDuration::from_millis(i64::try_from(number).unwrap());
            events.remember(key(number), Event::default(), at);
        }
        assert_eq!(events.series.lock().len(), MAX_SERIES);
        assert!(events.known(&key(0), start).is_none());
        assert!(events.known(&key(1), start).is_some() && events.known(&key(MAX_SERIES), start).is_some());
    }

    #[tokio::test]
    async fn an_event_whose_series_was_deleted_is_created_again() {
        let methods = std::sync::Arc::new(Mutex::new(Vec::new()));
        let seen = std::sync::Arc::clone(&methods);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut seen = seen.lock();
            seen.push(request.method().to_string());
            // The second request finds the event deleted; the others succeed.
            let (code, body) = if seen.len() == 2 {
                (
                    404,
                    r#"{"status": "Failure", "code": 404, "reason": "NotFound", "message": ""}"#,
                )
            } else {
                (
                    200,
                    r#"{"metadata": {"name": "g"}, "eventTime": "2026-01-01T00:00:00.000000Z"}"#,
                )
            };
            let body = kube::client::Body::from(body.as_bytes().to_vec());
            async move { http::Response::builder().status(code).body(body) }
        });
        let (client, events) = (Client::new(server, "n"), EventPublisher::default());
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let event = || ObjectEvent {
            subject: EventSubject::Grant,
            key: ObjectKey {
                namespace: "n".to_owned(),
                name: "g".to_owned(),
            },
            uid: "u".to_owned(),
            content: EventContent {
                reason: "Reason".to_owned(),
                note: "note".to_owned(),
                warning: false,
            },
        };
        for _ in 0..3 {
            events.try_publish(&client, event(), now).await.unwrap();
        }
        assert_eq!(*methods.lock(), ["POST", "PATCH", "POST", "PATCH"]);
    }

    #[test]
    fn equal_events_are_counted() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let count = |event: &Event| event.series.as_ref().map(|series| series.count);
        let event = Event::default();
        assert_eq!(count(&event), None);
        let second = counted(event, now);
        assert_eq!(count(&second), Some(2));
        assert_eq!(count(&counted(second, now)), Some(3));
    }
}
