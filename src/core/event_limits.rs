//! Limits the events about one object: a user who edits an object in a loop must not fill the API server with events.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Events of one object within [`WINDOW`].
const MAX_EVENTS: usize = 10;
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// Objects that are remembered: beyond that, those without recent events are forgotten, then those whose last event is
/// the oldest.
const MAX_OBJECTS: usize = 4_096;

/// Times of the recent events, by the uid of the object.
#[derive(Default)]
pub struct EventLimits {
    recent: BTreeMap<String, Vec<Timestamp>>,
}

impl EventLimits {
    /// Whether an event about an object may be published now; counts it if so.
    pub fn admit(&mut self, uid: &str, now: Timestamp) -> bool {
        let recent = &mut self.recent;
        let current = |time: &Timestamp| now.duration_since(*time) < WINDOW;
        if recent.len() >= MAX_OBJECTS && !recent.contains_key(uid) {
            recent.retain(|_, times| times.iter().any(current));
            if recent.len() >= MAX_OBJECTS {
                forget_oldest(recent);
            }
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

fn forget_oldest(recent: &mut BTreeMap<String, Vec<Timestamp>>) {
    let last = |times: &Vec<Timestamp>| times.iter().max().copied();
    let oldest = recent.iter().min_by_key(|(_, times)| last(times));
    if let Some(uid) = oldest.map(|(uid, _)| uid.clone()) {
        recent.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_ten_events_a_minute_and_takes_none_from_another() {
        let mut limits = EventLimits::default();
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let admitted = (0..60).filter(|second| limits.admit("a", at(*second))).count();
        assert_eq!(admitted, MAX_EVENTS);
        assert!(limits.admit("b", at(30)));
        assert!(limits.admit("a", at(60)), "the first event is a minute old");
    }

    #[test]
    fn a_bounded_number_of_objects_is_remembered_and_the_oldest_is_forgotten() {
        let mut limits = EventLimits::default();
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let later = start + SignedDuration::from_secs(1);
        for _ in 0..MAX_EVENTS {
            assert!(limits.admit("old", start) && limits.admit("busy", later));
        }
        for number in 1..MAX_OBJECTS {
            assert!(limits.admit(&number.to_string(), later));
            assert!(!limits.admit("busy", later), "{number}");
        }
        assert_eq!(limits.recent.len(), MAX_OBJECTS);
        assert!(!limits.recent.contains_key("old"));
        for number in 0..10 {
            limits.admit(&format!("more-{number}"), later);
        }
        assert_eq!(limits.recent.len(), MAX_OBJECTS);
    }
}
