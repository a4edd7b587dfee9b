//! What a run does next.

use k8s_openapi::jiff::Timestamp;

/// The next step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reserve more requests, see `Progress::reserve`, and store the reservation before the next call.
    Reserve,
    /// Read the next items of the source.
    Read,
    /// Send the next item, see `Progress::take_next`.
    Send,
    /// Wait for a response, or until the next retry is due.
    Wait(Option<Timestamp>),
    /// The budget is used up and no call is in flight.
    OutOfBudget,
    /// Every item is done.
    Finished,
}
