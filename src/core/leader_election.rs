//! Leader election on a Lease, as a pure step. A holder counts as dead when its record has not changed for the lease
//! duration, measured by the local clock. The timestamps in the record are ignored: clocks of two machines differ, but
//! each runs at about the same speed.

use std::time::Duration;

/// How long a billed call may outlast the lease: longer than a lease is the time that IMM needs for a slow image. A Pod
/// that takes over an expired lease makes no billed call for as long, so that none is made twice.
pub const BILLED_OVERRUN: Duration = Duration::from_secs(30);

/// Lease duration and renewal interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long a renewal is valid. Longer than the deadline of every fenced request, less [`BILLED_OVERRUN`] if it is
    /// billed.
    pub duration: Duration,
    /// Interval between renewals.
    pub renew_every: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(40),
            renew_every: Duration::from_secs(5),
        }
    }
}

/// A lease as stored in the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Identity of the holder; `None` after a release.
    pub holder: Option<String>,
    /// Lease duration that the holder has written.
    pub duration: Duration,
    /// Number of changes of the holder.
    pub transitions: i32,
    /// Resource version of the record: it changes with every renewal.
    pub version: String,
}

/// The next step of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// Write the lease with the own identity. The candidate becomes the holder if the write succeeds.
    Take {
        /// Transitions to write.
        transitions: i32,
        /// Whether the previous holder has not released the lease: its calls may be in flight.
        expired: bool,
    },
    /// Another process holds the lease: read it again after this long.
    Wait(Duration),
}

/// Decides the next step of a candidate that does not hold the lease. `unmoved` is the time for which the candidate has
/// seen the same version.
pub fn next_action(record: Option<&LeaseRecord>, unmoved: Duration, term: LeaseTiming) -> LeaseAction {
    let take = |transitions, expired| LeaseAction::Take { transitions, expired };
    let Some(record) = record else {
        return take(0, false);
    };
    let transitions = record.transitions.saturating_add(1);
    match &record.holder {
        None => take(transitions, false),
        // The own identity in the record belongs to an earlier process that has ended, so it gets no special treatment. A
        // holder may run with other settings: the longer of the two durations counts.
        Some(_) => match record.duration.max(term.duration).checked_sub(unmoved) {
            Some(left) if !left.is_zero() => LeaseAction::Wait(left.min(term.renew_every)),
            _ => take(transitions, true),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: Option<&str>) -> LeaseRecord {
        LeaseRecord {
            holder: holder.map(ToOwned::to_owned),
            duration: Duration::from_secs(40),
            transitions: 4,
            version: "7".to_owned(),
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_its_record_has_not_changed_for_its_whole_duration() {
        let term = LeaseTiming::default();
        let unmoved = Duration::from_secs;
        assert_eq!(
            next_action(None, unmoved(0), term),
            LeaseAction::Take {
                transitions: 0,
                expired: false
            }
        );
        assert_eq!(
            next_action(Some(&record(None)), unmoved(0), term),
            LeaseAction::Take {
                transitions: 5,
                expired: false
            }
        );
        assert_eq!(
            next_action(Some(&record(Some("other"))), unmoved(0), term),
            LeaseAction::Wait(unmoved(5))
        );
        assert_eq!(
            next_action(Some(&record(Some("other"))), unmoved(39), term),
            LeaseAction::Wait(unmoved(1))
        );
        assert_eq!(
            next_action(Some(&record(Some("other"))), unmoved(40), term),
            LeaseAction::Take {
                transitions: 5,
                expired: true
            }
        );
        let longer = LeaseRecord {
            duration: unmoved(60),
            ..record(Some("other"))
        };
        assert_eq!(
            next_action(Some(&longer), unmoved(45), term),
            LeaseAction::Wait(unmoved(5))
        );
    }
}
