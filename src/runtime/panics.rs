//! Panics. A panic while a key is reconciled ends that reconcile only: the input of one user must not stop the work for
//! all others. Any other panic ends the process, because no other part of it is ready to continue without the part that
//! panicked.
//!
//! The message of a panic is never printed: it can contain the value that caused the panic.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use futures::FutureExt;

tokio::task_local! {
    /// Set while a contained future is polled.
    static CONTAINED: ();
}

/// A contained future panicked; the hook has logged where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs a future and contains its panics. Everything that the future owns is dropped. What it shares must be usable
/// afterwards, or be dropped by the caller.
///
/// # Errors
/// Returns [`Panicked`] if the future panicked.
pub(crate) async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    CONTAINED
        .scope((), AssertUnwindSafe(work).catch_unwind())
        .await
        .map_err(|_| Panicked)
}

/// Runs a function of a library that panics on a wrong input, and contains its panic. What it uses must be usable
/// afterwards.
///
/// # Errors
/// Returns [`Panicked`] if the function panicked.
pub(crate) fn contain_call<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    CONTAINED
        .sync_scope((), || catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| Panicked)
}

/// Installs the hook of commands: they describe a contained panic themselves, so it prints nothing.
pub fn install_hook_of_commands() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if CONTAINED.try_with(|()| ()).is_err() {
            default(panic);
        }
    }));
}

/// Installs the hook that logs a panic, and ends the process unless the panic is contained.
pub fn install_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, Location::to_string);
        let contained = CONTAINED.try_with(|()| ()).is_ok();
        tracing::error!(contained, "panicked at {place}");
        if !contained {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_contained_in_the_poll_that_panicked() {
        assert_eq!(contain(async { 7 }).await, Ok(7));
        let failing = async {
            tokio::task::yield_now().await;
            assert!(CONTAINED.try_with(|()| ()).is_ok());
            panic!("expected by this test")
        };
        assert_eq!(contain::<()>(failing).await, Err(Panicked));
        assert!(
            CONTAINED.try_with(|()| ()).is_err(),
            "other work is not contained"
        );
        assert_eq!(contain_call(|| 7), Ok(7));
        assert_eq!(
            contain_call::<()>(|| panic!("expected by this test")),
            Err(Panicked)
        );
    }
}
