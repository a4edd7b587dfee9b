//! Polls a condition with increasing pauses until it holds or nothing has changed for too long. The error names the
//! expected event and the last observed value.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How many limits a wait may last while the observed value keeps changing.
const LIMITS_AT_MOST: u32 = 10;

/// The result of one poll: `Option` if a miss carries no information, `Result` if it does.
pub trait Poll {
    /// The expected value.
    type Found;
    /// Returns the expected value, or a description of the observed one.
    fn into_result(self) -> std::result::Result<Self::Found, String>;
}

impl<T> Poll for Option<T> {
    type Found = T;
    fn into_result(self) -> std::result::Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Poll for std::result::Result<T, E> {
    type Found = T;
    fn into_result(self) -> std::result::Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Polls until a value is found. Gives up when the observed value has not changed for `limit`, so that a slow machine
/// that makes progress does not fail a test, and after ten limits at most. Polls once more after the limit, so that a
/// stalled machine alone does not fail a test either. Fails with `Late` if the value never appeared.
pub async fn until<L, F, Fut>(what: &str, limit: Duration, mut poll: F) -> Result<L::Found>
where
    L: Poll,
    F: FnMut() -> Fut,
    Fut: Future<Output = L>,
{
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut changed = started;
    let mut previous = None;
    loop {
        let (unchanged, waited) = (changed.elapsed(), started.elapsed());
        let seen = match poll().await.into_result() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        let same = previous.as_ref() == Some(&seen);
        if waited >= limit * LIMITS_AT_MOST || (same && unchanged >= limit) {
            return Err(HarnessError::Late {
                what: what.to_owned(),
                waited,
                seen,
            });
        }
        if !same {
            changed = Instant::now();
            previous = Some(seen);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_value_of_a_later_poll() {
        let mut polls = 0;
        let found = until("the third poll", Duration::from_secs(5), || {
            polls += 1;
            let poll = polls;
            async move { (poll == 3).then_some(poll) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn waits_past_the_limit_while_the_observation_changes() {
        let limit = Duration::from_millis(60);
        let mut polls = 0;
        let found = until("the sixth poll", limit, || {
            polls += 1;
            let poll = polls;
            async move { if poll == 6 { Ok(poll) } else { Err(poll) } }
        });
        assert_eq!(found.await.unwrap(), 6);
    }

    #[tokio::test]
    async fn gives_up_on_an_observation_that_never_stops_changing() {
        let mut polls = 0;
        let never = until("the end", Duration::from_millis(1), || {
            polls += 1;
            let poll = polls;
            async move { Err::<(), _>(poll) }
        });
        assert!(never.await.is_err());
    }

    #[tokio::test]
    async fn the_error_names_the_event_and_the_last_observation() {
        let never = until("the moon", Duration::from_millis(1), || async {
            Err::<(), _>("clouds")
        });
        let text = never.await.unwrap_err().to_string();
        assert!(text.contains("the moon") && text.contains("clouds"), "{text}");
    }
}
