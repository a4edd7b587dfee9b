//! Which calls decide whether further calls can succeed: one call at a time is sent until an image has a score. After a
//! denial in the middle of a run, the next call decides in the same way, for another image if there is one: a single
//! image can be denied, for example because of its KMS key.

use std::collections::BTreeSet;

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
            (self.passed, self.suspended) = (true, false);
            self.denied_alone.append(&mut self.denied);
        }
    }

    /// Records that the call for an item was denied. `others` says that there are other images to decide.
    pub(super) fn denied(&mut self, index: usize, others: bool) -> Denial {
        let decides = self.item == Some(index);
        self.settled(index);
        if self.denied_alone.contains(&index) {
            return Denial::OfItem;
        }
        self.denied.insert(index);
        if decides || !(self.passed && others) {
            return Denial::OfAll { canary: !self.passed };
        }
        self.suspended = true;
        Denial::Undecided
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
        assert_eq!(canary.denied(1, true), Denial::Undecided);
        assert!(!canary.has_passed() && !canary.is_first());
        canary.scored(2);
        assert!(!canary.has_passed(), "it was sent before the denial");
        canary.sent(3);
        assert_eq!(canary.item(), Some(3));
        canary.scored(3);
        canary.settled(3);
        assert!(canary.has_passed());
        assert_eq!(canary.denied(1, true), Denial::OfItem);
        assert!(canary.has_passed());
        assert_eq!(canary.denied(4, true), Denial::Undecided, "another image");
    }

    #[test]
    fn a_denied_deciding_call_says_that_all_are_denied() {
        let mut first = Canary::default();
        first.sent(0);
        assert_eq!(first.denied(0, true), Denial::OfAll { canary: true });

        let mut later = passed();
        assert_eq!(later.denied(1, true), Denial::Undecided);
        assert_eq!(later.denied(2, true), Denial::Undecided, "it was in flight");
        later.sent(3);
        assert_eq!(later.denied(3, true), Denial::OfAll { canary: false });

        assert_eq!(
            passed().denied(1, false),
            Denial::OfAll { canary: false },
            "nothing else can decide"
        );
    }
}
