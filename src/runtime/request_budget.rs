//! Limits the requests to the API server: a token bucket whose tokens namespaces receive in turns. Renewals of the lease
//! and the watches do not use it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::deadline;
use super::fair_queue::{FairQueue, QueuePlace, in_own_task};
use crate::core::token_bucket::TokenBucket;

/// Requests per second, and requests that can be made at once after a pause. A thousand running jobs store about as
/// often; a loop of reads is limited before it slows the API server for others.
const RATE: f64 = 500.0;
const BURST: f64 = 1_000.0;

/// The budget of requests of all namespaces.
pub struct RequestBudget {
    state: Arc<Mutex<BudgetState>>,
}

struct BudgetState {
    queue: FairQueue,
    tokens: TokenBucket,
    counted_at: Instant,
}

impl Default for RequestBudget {
    fn default() -> Self {
        Self::new(RATE, BURST)
    }
}

impl RequestBudget {
    /// A full budget.
    pub fn new(rate: f64, burst: f64) -> Self {
        let state = Mutex::new(BudgetState {
            queue: FairQueue::default(),
            tokens: TokenBucket::new(rate, burst),
            counted_at: Instant::now(),
        });
        Self {
            state: Arc::new(state),
        }
    }

    /// Waits until a request of a namespace may be made.
    pub async fn take(&self, namespace: &str) {
        if self.state.lock().take_now() {
            return;
        }
        let (state, namespace) = (Arc::clone(&self.state), namespace.to_owned());
        // A task that ended without a turn only makes this request early.
        in_own_task(async move { take_turn(&state, &namespace).await }).await;
    }
}

async fn take_turn(state: &Mutex<BudgetState>, namespace: &str) {
    let ticket = |queue: &mut FairQueue| queue.issue_ticket(namespace);
    let place = QueuePlace::enter(state, |state| &mut state.queue, ticket);
    let take = |state: &mut BudgetState, first: bool| {
        state.refill();
        if first && state.tokens.take() {
            return Ok(());
        }
        Err(first.then(|| deadline::after(Instant::now(), state.tokens.time_left())))
    };
    place.wait(take).await;
}

impl BudgetState {
    /// Takes a token unless others wait or none is left.
    fn take_now(&mut self) -> bool {
        self.refill();
        self.queue.is_empty() && self.tokens.take()
    }

    /// Returns the tokens of the time that has passed.
    fn refill(&mut self) {
        let now = Instant::now();
        self.tokens.refill(now.duration_since(self.counted_at));
        self.counted_at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_further_requests_wait() {
        let budget = RequestBudget::new(10.0, 5.0);
        let started = Instant::now();
        for _ in 0..5 {
            budget.take("a").await;
        }
        assert!(started.elapsed() < Duration::from_millis(1));
        for _ in 0..10 {
            budget.take("a").await;
        }
        let elapsed = started.elapsed();
        assert!(
            elapsed >= Duration::from_millis(990) && elapsed < Duration::from_millis(1_100),
            "{elapsed:?}"
        );
    }

    /// A run of a job stores results in one future, and publishes an event before it polls that future again.
    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_not_polled_does_not_stop_the_queue() {
        let budget = RequestBudget::new(10.0, 1.0);
        budget.take("a").await;
        let mut first = Box::pin(budget.take("a"));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let second = tokio::time::timeout(Duration::from_secs(60), budget.take("a"));
        second
            .await
            .expect("the second request waits for the first for ever");
        first.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_thousands_of_requests_delays_another_by_one() {
        let budget = Arc::new(RequestBudget::new(100.0, 10.0));
        let flood: Vec<_> = (0..2_000)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { budget.take("many").await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        budget.take("one").await;
        assert!(
            started.elapsed() < Duration::from_millis(50),
            "{:?}",
            started.elapsed()
        );
        for request in flood {
            request.abort();
        }
    }
}
