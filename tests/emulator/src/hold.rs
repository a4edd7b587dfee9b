//! Calls that a test holds: a held call is processed only after the test has released it, so that a test can act at a
//! defined moment however slow the machine is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::fault::{ActiveFault, Fault, FaultEffect, FaultMatch};
use crate::ledger::Call;

/// A running hold. Dropping the value releases the held calls, and holds no further ones.
#[derive(Debug)]
pub struct Hold(Arc<HoldState>);

impl Hold {
    /// Returns how many calls have been held so far.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.released.send_replace(true);
    }
}

#[derive(Debug)]
struct HoldState {
    matching: Mutex<ActiveFault>,
    held: AtomicUsize,
    released: watch::Sender<bool>,
}

/// All holds of an emulator.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Arc<HoldState>>>);

impl Holds {
    /// Holds the matching calls after the first `skip`, at most `times` of them.
    pub(crate) fn add(&self, matching: FaultMatch, skip: u32, times: Option<u32>) -> Hold {
        let fault = Fault {
            matching,
            skip,
            times,
            effect: FaultEffect::DelayMs(0),
        };
        let state = Arc::new(HoldState {
            matching: Mutex::new(ActiveFault::new(fault)),
            held: AtomicUsize::new(0),
            released: watch::Sender::new(false),
        });
        self.lock().push(Arc::clone(&state));
        Hold(state)
    }

    /// Waits until every hold that matches the call is released.
    pub(crate) async fn pass(&self, call: &Call) {
        for state in self.matching(call) {
            state.held.fetch_add(1, Ordering::AcqRel);
            // The sender lives in `state`, so the wait ends with the release only.
            let _ = state.released.subscribe().wait_for(|released| *released).await;
        }
    }

    fn matching(&self, call: &Call) -> Vec<Arc<HoldState>> {
        let mut holds = self.lock();
        holds.retain(|state| !*state.released.borrow());
        let holding = holds.iter().filter(|state| {
            let mut matching = state.matching.lock().unwrap_or_else(PoisonError::into_inner);
            matching.applies_to(call)
        });
        holding.cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<HoldState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
