//! Which calls decide whether further calls can succeed: one call at a time is sent until an image has a score. After a
//! denial of a job that has scores, calls for other images decide in the same way: images can be denied alone, for
//! example because of their KMS key.

use std::collections::BTreeSet;

/// Denied deciding calls in a row, of a job that has scores, after which all calls count as denied.
const DECIDING_CALLS: usize = 3;

/// The calls that decide.
#[derive(Clone, Debug, Default)]
pub(super) struct Canary {
    passed: bool,
    /// Whether a call was denied since the last deciding call that passed.
    suspended: bool,
    /// Item of the deciding call that is in flight or waits for its retry.
    item: Option<usize>,
    /// Items that were denied since the last deciding call that passed, and before it.
    denied: BTreeSet<usize>,
    denied_alone: BTreeSet<usize>,
    /// Denied deciding calls in a row.
    refused: usize,
}

/// What a denial says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// The image is denied, while others are scored.
    OfItem,
    /// The next call decides.
    Undecided,
    /// Calls are denied; `canary` says that no call of this run has returned a score.
    OfAll { canary: bool },
}

impl Canary {
    /// Whether a deciding call of this run has passed, and no call was denied since.
    pub(super) fn has_passed(&self) -> bool {
        self.passed && !self.suspended
    }

    /// Whether no call of this run has returned a score.
    pub(super) fn is_first(&self) -> bool {
        !self.passed
    }

    /// Returns the item of the deciding call that is in flight or waits for its retry.
    pub(super) fn item(&self) -> Option<usize> {
        self.item
    }

    /// Records that a call for an item is sent.
    pub(super) fn sent(&mut self, index: usize) {
        if !self.has_passed() {
            self.item = Some(index);
        }
    }

    /// Records the result of an item.
    pub(super) fn settled(&mut self, index: usize) {
        self.item = self.item.filter(|item| *item != index);
    }

    /// Records a score. That of a call which was in flight at the time of a denial decides nothing.
    pub(super) fn scored(&mut self, index: usize) {
        if self.item == Some(index) {
            (self.passed, self.suspended, self.refused) = (true, false, 0);
            self.denied_alone.append(&mut self.denied);
        }
    }

    /// Whether the item was denied since the last deciding call that passed.
    pub(super) fn was_denied(&self, index: usize) -> bool {
        self.denied.contains(&index)
    }

    /// Returns which of the next `open` items decides: neighbouring images can be denied for the same cause.
    pub(super) fn position(&self, open: usize) -> usize {
        (self.refused * open / DECIDING_CALLS).min(open.saturating_sub(1))
    }

    /// Records that the call for an item was denied. `scored` says that the job has a score, and `others` that there are
    /// other images to decide.
    pub(super) fn denied(&mut self, index: usize, scored: bool, others: bool) -> Denial {
        self.refused += usize::from(self.item == Some(index));
        self.settled(index);
        if self.denied_alone.contains(&index) {
            return Denial::OfItem;
        }
        self.denied.insert(index);
        let canary = !self.passed;
        if !scored || self.refused >= DECIDING_CALLS {
            return Denial::OfAll { canary };
        }
        match (others, canary) {
            (true, _) => {
                self.suspended = true;
                Denial::Undecided
            }
            // The preconditions are checked again first.
            (false, false) => Denial::OfAll { canary },
            (false, true) => Denial::OfItem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose first call, for item 0, was scored.
    fn passed() -> Canary {
        let mut canary = Canary::default();
        assert!(!canary.has_passed() && canary.is_first());
        canary.sent(0);
        canary.scored(0);
        canary.settled(0);
        assert!(canary.has_passed() && !canary.is_first());
        canary
    }

    #[test]
    fn an_image_that_is_denied_while_another_is_scored_is_denied_alone() {
        let mut canary = passed();
        for index in [1, 2] {
            canary.sent(index);
        }
        assert_eq!(canary.denied(1, true, true), Denial::Undecided);
        assert!(!canary.has_passed() && !canary.is_first());
        canary.scored(2);
        assert!(!canary.has_passed(), "it was sent before the denial");
        canary.sent(3);
        assert_eq!(canary.item(), Some(3));
        canary.scored(3);
        canary.settled(3);
        assert!(canary.has_passed());
        assert_eq!(canary.denied(1, true, true), Denial::OfItem);
        assert!(canary.has_passed());
        assert_eq!(canary.denied(4, true, true), Denial::Undecided, "another image");
    }

    #[test]
    fn three_denied_deciding_calls_say_that_all_are_denied_and_one_before_the_first_score() {
        let mut first = Canary::default();
        first.sent(0);
        assert_eq!(first.denied(0, false, true), Denial::OfAll { canary: true });

        for (mut run, canary) in [(passed(), false), (Canary::default(), true)] {
            if !canary {
                assert_eq!(run.denied(1, true, true), Denial::Undecided);
                assert_eq!(run.denied(2, true, true), Denial::Undecided, "it was in flight");
            }
            let mut positions = Vec::new();
            for (index, expected) in [
                (3, Denial::Undecided),
                (4, Denial::Undecided),
                (5, Denial::OfAll { canary }),
            ] {
                positions.push(run.position(90));
                run.sent(index);
                assert_eq!(run.denied(index, true, true), expected);
                assert!(run.was_denied(index));
            }
            assert_eq!(positions, [0, 30, 60]);
        }
    }

    #[test]
    fn the_last_image_is_denied_alone_once_the_preconditions_were_checked_again() {
        assert_eq!(
            passed().denied(1, true, false),
            Denial::OfAll { canary: false },
            "nothing else can decide"
        );
        let mut next = Canary::default();
        next.sent(1);
        assert_eq!(next.denied(1, true, false), Denial::OfItem);
    }
}
