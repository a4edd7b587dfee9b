//! Leader election on a Lease, as a pure step. A holder is judged dead by *our* clock since its record last moved, never
//! by the times in the record: clocks of two machines differ, but each runs at about the same speed.

use std::time::Duration;

/// How long a lease lasts and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long a renewal holds. Longer than any request that it fences.
    pub duration: Duration,
    /// How often it is renewed.
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

/// A lease as the API server holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who holds it; `None` when it was given back.
    pub holder: Option<String>,
    /// How long its holder says that it lasts.
    pub duration: Duration,
    /// How often it has changed hands.
    pub transitions: i32,
    /// Version of the record: it moves with every renewal.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// Write the lease in our name, with this number of transitions; ours if nobody else was faster.
    Take {
        /// Transitions to write.
        transitions: i32,
    },
    /// Somebody else holds it: look again after this long.
    Wait(Duration),
}

/// Decides what somebody who does not hold the lease does about it; `unmoved` is how long its version has not changed before our eyes.
pub fn next_action(record: Option<&LeaseRecord>, unmoved: Duration, term: LeaseTiming) -> LeaseAction {
    let Some(record) = record else {
        return LeaseAction::Take { transitions: 0 };
    };
    match &record.holder {
        None => LeaseAction::Take {
            transitions: record.transitions.saturating_add(1),
        },
        // Our own name in it is another process's: one that was ended here before us. A holder may have been started with
        // other settings: the longer of the two terms counts.
        Some(_) => match record.duration.max(term.duration).checked_sub(unmoved) {
            Some(left) if !left.is_zero() => LeaseAction::Wait(left.min(term.renew_every)),
            _ => LeaseAction::Take {
                transitions: record.transitions.saturating_add(1),
            },
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
    fn a_lease_is_taken_only_when_its_record_has_not_moved_for_its_whole_term() {
        let term = LeaseTiming::default();
        let unmoved = Duration::from_secs;
        assert_eq!(
            next_action(None, unmoved(0), term),
            LeaseAction::Take { transitions: 0 }
        );
        assert_eq!(
            next_action(Some(&record(None)), unmoved(0), term),
            LeaseAction::Take { transitions: 5 }
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
            LeaseAction::Take { transitions: 5 }
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
