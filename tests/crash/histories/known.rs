//! Faults of the operator that are being repaired: while one is open, histories do not report it.

use std::cell::Cell;

/// A known fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// An expiry in a ledger that is later than any write of the operator can have, because it is forged or the clock was set
    /// back, holds up every grant of the bucket until it passes.
    FutureExpiryBlocks,
    /// A write that was answered and is not in any read yet leaves no time in the ledger: a process that starts then trusts
    /// a stale read.
    RestartDuringStaleReads,
    /// A time in a status that is far in the future ends the reconcile with a panic.
    FarFuture,
}

/// The faults that are still open.
const OPEN: &[Known] = &Known::ALL;

thread_local! {
    /// A fault that is reported on this thread although it is open.
    static REPORTED: Cell<Option<Known>> = const { Cell::new(None) };
}

impl Known {
    pub const ALL: [Self; 3] = [
        Self::FutureExpiryBlocks,
        Self::RestartDuringStaleReads,
        Self::FarFuture,
    ];

    /// Whether the fault is open, and so not reported.
    pub fn is_open(self) -> bool {
        self.is_listed() && REPORTED.get() != Some(self)
    }

    /// Whether the fault is not repaired yet.
    pub fn is_listed(self) -> bool {
        OPEN.contains(&self)
    }

    /// Reports a fault on this thread from now on although it is open.
    pub fn report(fault: Option<Self>) {
        REPORTED.set(fault);
    }

    /// Returns the fault with a name.
    pub fn named(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        known.unwrap_or_else(|| panic!("no known fault {name}"))
    }
}
