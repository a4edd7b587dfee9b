//! Faults of the operator that are being repaired: while one is open, histories do not report it.

use std::cell::Cell;

/// A known fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A write that was answered and is not in any read yet leaves no time in the ledger: a process that starts then trusts
    /// a stale read.
    RestartDuringStaleReads,
}

/// The faults that are still open.
const OPEN: &[Known] = &[Known::RestartDuringStaleReads];

thread_local! {
    /// A fault that is reported on this thread although it is open.
    static REPORTED: Cell<Option<Known>> = const { Cell::new(None) };
}

impl Known {
    pub const ALL: [Self; 1] = [Self::RestartDuringStaleReads];

    /// Whether the fault is open, and so not reported.
    pub fn is_open(self) -> bool {
        OPEN.contains(&self) && REPORTED.get() != Some(self)
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
