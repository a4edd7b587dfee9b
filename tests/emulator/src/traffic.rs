//! The traffic of each project, measured at the port: arrival rate and requests in flight.
//! It is measured from arrival to response, injected delays included, and independently of the limits that the project
//! enforces.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The requests that named one project, regardless of their outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectCount {
    /// The account of the access key. Empty for an unknown key.
    pub account: String,
    /// The project's name.
    pub project: String,
    /// Requests that arrived.
    pub requests: u64,
    /// The highest number of arrivals within any one second.
    pub highest_per_second: u64,
    /// The responses whose code begins with `Throttling`, from the project's limits or from a fault.
    pub throttled: u64,
    /// Requests without a response yet.
    pub in_flight: u64,
    /// The highest number of requests in flight at one time.
    pub highest_in_flight: u64,
}

#[derive(Debug, Default)]
struct Flow {
    count: ProjectCount,
    last_second: VecDeque<Instant>,
}

impl Flow {
    fn arrive(&mut self, now: Instant) {
        let over = |then: &Instant| now.duration_since(*then) >= Duration::from_secs(1);
        while self.last_second.front().is_some_and(over) {
            self.last_second.pop_front();
        }
        self.last_second.push_back(now);
        let count = &mut self.count;
        count.requests += 1;
        count.highest_per_second = count
            .highest_per_second
            .max(self.last_second.len().try_into().unwrap_or(u64::MAX));
        count.in_flight += 1;
        count.highest_in_flight = count.highest_in_flight.max(count.in_flight);
    }

    fn leave(&mut self, throttled: bool) {
        self.count.in_flight = self.count.in_flight.saturating_sub(1);
        self.count.throttled += u64::from(throttled);
    }
}

/// Account and project.
pub(crate) type Route = (String, String);

#[derive(Debug, Default)]
pub(crate) struct Traffic {
    flows: Mutex<BTreeMap<Route, Flow>>,
}

impl Traffic {
    fn flows(&self) -> MutexGuard<'_, BTreeMap<Route, Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arrive(&self, route: &Route) {
        let mut flows = self.flows();
        // The time is read under the lock, so that arrivals are in order.
        let now = Instant::now();
        if let Some(flow) = flows.get_mut(route) {
            return flow.arrive(now);
        }
        let flow = flows.entry(route.clone()).or_default();
        (flow.count.account, flow.count.project) = route.clone();
        flow.arrive(now);
    }

    pub(crate) fn leave(&self, route: &Route, throttled: bool) {
        if let Some(flow) = self.flows().get_mut(route) {
            flow.leave(throttled);
        }
    }

    pub(crate) fn counts(&self) -> Vec<ProjectCount> {
        self.flows().values().map(|flow| flow.count.clone()).collect()
    }

    /// Resets the counts. Requests in flight stay counted as in flight.
    pub(crate) fn clear(&self) {
        let mut flows = self.flows();
        flows.retain(|_, flow| flow.count.in_flight > 0);
        for flow in flows.values_mut() {
            flow.last_second.clear();
            flow.count = ProjectCount {
                account: std::mem::take(&mut flow.count.account),
                project: std::mem::take(&mut flow.count.project),
                in_flight: flow.count.in_flight,
                highest_in_flight: flow.count.in_flight,
                ..ProjectCount::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_may_start_at_any_moment() {
        let (mut flow, start) = (Flow::default(), Instant::now());
        for millis in [0, 600, 900, 1100, 1599, 1600, 5000] {
            flow.arrive(start + Duration::from_millis(millis));
        }
        // The window runs from 600 to 1599: the arrival at 600 has left it when the one at 1600 comes.
        assert_eq!((flow.count.requests, flow.count.highest_per_second), (7, 4));
    }

    #[test]
    fn requests_in_flight_survive_a_clear() {
        let (traffic, route) = (Traffic::default(), (String::from("1"), String::from("p")));
        let other = (String::from("1"), String::from("q"));
        for route in [&route, &route, &other] {
            traffic.arrive(route);
        }
        traffic.leave(&route, true);
        traffic.leave(&other, false);
        let count = traffic.counts().remove(0);
        assert_eq!(
            (count.throttled, count.in_flight, count.highest_in_flight),
            (1, 1, 2)
        );
        traffic.clear();
        traffic.leave(&route, false);
        let [count] = traffic.counts().try_into().unwrap();
        let left = ProjectCount {
            account: route.0,
            project: route.1,
            highest_in_flight: 1,
            ..ProjectCount::default()
        };
        assert_eq!(count, left);
    }
}
