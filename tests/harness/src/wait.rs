//! Polls a condition with increasing pauses until it holds or the time limit is reached. The error names the expected
//! event and the last observed value.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The result of one poll: `Option` if a miss carries no information, `Result` if it does.
pub trait Look {
    /// The expected value.
    type Found;
    /// Returns the expected value, or a description of the observed one.
    fn judge(self) -> std::result::Result<Self::Found, String>;
}

impl<T> Look for Option<T> {
    type Found = T;
    fn judge(self) -> std::result::Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Look for std::result::Result<T, E> {
    type Found = T;
    fn judge(self) -> std::result::Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Polls until a value is found, for at most `limit`. Polls at least once, and once more after the limit, so that a
/// stalled machine alone does not fail a test. Fails with `Late` if the value never appeared.
pub async fn until<L, F, Fut>(what: &str, limit: Duration, mut look: F) -> Result<L::Found>
where
    L: Look,
    F: FnMut() -> Fut,
    Fut: Future<Output = L>,
{
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let last = started.elapsed() >= limit;
        let seen = match look().await.judge() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if last {
            return Err(HarnessError::Late {
                what: what.to_owned(),
                limit,
                seen,
            });
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
        let mut looks = 0;
        let found = until("the third poll", Duration::from_secs(5), || {
            looks += 1;
            let look = looks;
            async move { (look == 3).then_some(look) }
        });
        assert_eq!(found.await.unwrap(), 3);
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
