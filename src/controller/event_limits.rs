//! Limits the events about one object: a user who edits an object in a loop must not fill the API server with events.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Events of one object within [`WINDOW`].
const MAX_EVENTS: usize = 10;
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// Number of objects above which objects without recent events are forgotten.
const MAX_OBJECTS: usize = 4_096;

/// Times of the recent events, by the uid of the object.
#[derive(Default)]
pub struct EventLimits {
    recent: Mutex<HashMap<String, Vec<Timestamp>>>,
}

impl EventLimits {
    /// Whether an event about an object may be published now; counts it if so.
    pub(super) fn admit(&self, uid: &str, now: Timestamp) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let current = |time: &Timestamp| now.duration_since(*time) < WINDOW;
        if recent.len() >= MAX_OBJECTS {
            recent.retain(|_, times| times.iter().any(current));
        }
        let times = recent.entry(uid.to_owned()).or_default();
        times.retain(current);
        let admitted = times.len() < MAX_EVENTS;
        if admitted {
            times.push(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_ten_events_a_minute_and_takes_none_from_another() {
        let limits = EventLimits::default();
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let admitted = (0..60).filter(|second| limits.admit("a", at(*second))).count();
        assert_eq!(admitted, MAX_EVENTS);
        assert!(limits.admit("b", at(30)));
        assert!(limits.admit("a", at(60)), "the first event is a minute old");
    }
}
