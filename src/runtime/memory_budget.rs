//! One budget for what is read in large parts: objects, lists of grants, pieces of a manifest, pages of a listing,
//! and pages of reports. A part is read only once there is room for it, so that many jobs at once are slower and do
//! not exhaust the memory of the process. Namespaces take turns.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fair_queue::{FairQueue, QueuePlace, in_own_task};
use crate::core::memory_plan::MemoryPlan;

/// The budget, shared by all reconciles.
pub struct MemoryBudget {
    plan: MemoryPlan,
    state: Mutex<State>,
}

struct State {
    free: u64,
    queue: FairQueue,
}

/// A part of the budget; dropping it returns the part.
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.free = state.free.saturating_add(self.bytes).min(self.budget.plan.parts);
        state.queue.wake_first();
    }
}

impl MemoryBudget {
    /// Creates a budget of the part of the memory limit that is for large parts.
    pub fn of_limit(limit: u64) -> Arc<Self> {
        let plan = MemoryPlan::of_limit(limit);
        let state = State {
            free: plan.parts,
            queue: FairQueue::default(),
        };
        Arc::new(Self {
            plan,
            state: Mutex::new(state),
        })
    }

    /// Returns how the memory limit of the process is divided.
    pub fn plan(&self) -> MemoryPlan {
        self.plan
    }

    /// Waits until there is room for `bytes`, in turns of the namespaces. More than the whole budget counts as all of it.
    pub async fn reserve(self: &Arc<Self>, namespace: &str, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.plan.parts);
        if let Some(reservation) = self.reserve_now(bytes) {
            return reservation;
        }
        let (budget, owned) = (Arc::clone(self), namespace.to_owned());
        match in_own_task(async move { budget.take_turn(&owned, bytes).await }).await {
            Some(reservation) => reservation,
            None => self.take_turn(namespace, bytes).await,
        }
    }

    /// Reserves `bytes` unless others wait or there is no room.
    fn reserve_now(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut state = self.state.lock();
        if !state.queue.is_empty() || state.free < bytes {
            return None;
        }
        state.free -= bytes;
        let budget = Arc::clone(self);
        Some(Reservation { budget, bytes })
    }

    async fn take_turn(self: &Arc<Self>, namespace: &str, bytes: u64) -> Reservation {
        let ticket = |queue: &mut FairQueue| queue.issue_ticket(namespace);
        let place = QueuePlace::enter(&self.state, |state| &mut state.queue, ticket);
        let take = |state: &mut State, first: bool| {
            if !first || state.free < bytes {
                return Err(None);
            }
            state.free -= bytes;
            Ok(())
        };
        place.wait(take).await;
        let budget = Arc::clone(self);
        Reservation { budget, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    /// The budget without a limit.
    const SMALLEST: u64 = 8 * MIB;

    #[tokio::test(start_paused = true)]
    async fn a_part_waits_until_there_is_room_and_namespaces_take_turns() {
        let budget = MemoryBudget::of_limit(0);
        let soon = Duration::from_secs(1);
        let all = budget.reserve("a", 100 * MIB).await;
        assert_eq!(all.bytes, SMALLEST);
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        for namespace in ["a", "a", "a", "b"] {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            tasks.spawn(async move {
                let part = budget.reserve(namespace, SMALLEST).await;
                order.lock().push(namespace);
                tokio::time::sleep(soon).await;
                drop(part);
            });
            tokio::task::yield_now().await;
        }
        assert!(timeout(soon, budget.reserve("c", MIB)).await.is_err(), "no room");
        drop(all);
        tasks.join_all().await;
        let order = order.lock().clone();
        assert_eq!(order.iter().position(|one| *one == "b"), Some(1), "{order:?}");
        assert!(
            timeout(soon, budget.reserve("c", SMALLEST)).await.is_ok(),
            "all is returned"
        );
    }

    /// A run waits for memory to read its object while it handles the answers of its calls.
    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_not_polled_does_not_stop_the_queue() {
        let budget = MemoryBudget::of_limit(0);
        let all = budget.reserve("a", SMALLEST).await;
        let mut first = Box::pin(budget.reserve("a", MIB));
        assert!(futures::poll!(first.as_mut()).is_pending());
        drop(all);
        let second = timeout(Duration::from_secs(60), budget.reserve("b", MIB));
        second
            .await
            .expect("the second part waits for the first for ever");
        drop(first);
        let all = timeout(Duration::from_secs(60), budget.reserve("c", SMALLEST));
        assert!(
            all.await.is_ok(),
            "a part that nobody waits for any more is returned"
        );
    }
}
