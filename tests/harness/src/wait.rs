//! Waiting, in one place: look, and look again a little later, until the thing is there or the time is up. The
//! error says what was waited for and what was seen instead, so that a slow test explains itself.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What one look can give: `Option` when there is nothing to tell about a miss, `Result` when there is.
pub trait Look {
    /// What is waited for.
    type Found;
    /// The thing, or what was seen instead of it.
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

/// Looks until there is something to see, at most for `limit`. At least one look is taken, and a last one after
/// the time is up, so that a machine that stood still does not fail a test by itself.
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
    async fn returns_what_a_later_look_finds() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            let look = looks;
            async move { (look == 3).then_some(look) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_was_waited_for_and_seen() {
        let never = until("the moon", Duration::from_millis(1), || async {
            Err::<(), _>("clouds")
        });
        let text = never.await.unwrap_err().to_string();
        assert!(text.contains("the moon") && text.contains("clouds"), "{text}");
    }
}
