//! Builds the conditions of a status from those of the previous one. `lastTransitionTime` changes only with the status
//! of a condition.

use std::fmt::Display;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Condition, ConditionStatus, kinds};
use crate::core::time;

/// Truncates to whole seconds: the API server stores no finer time, and a status must equal the one that is read back.
pub fn whole_seconds(now: Timestamp) -> Time {
    let fraction = SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()));
    Time(time::before(now, fraction))
}

/// Collects the conditions of one status, based on those of the previous status.
#[derive(Debug)]
pub struct ConditionsBuilder<'a> {
    before: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> ConditionsBuilder<'a> {
    /// Starts with no conditions, for `generation`. Conditions of `before` that are neither set nor carried are dropped.
    pub fn new(before: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
            list: Vec::new(),
        }
    }

    /// Sets a condition. The previous message is kept if it differs only in the request id.
    pub fn set(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: impl AsRef<str>) {
        let last = self.before.iter().find(|c| c.kind == kind && c.status == status);
        let message = truncate(message.as_ref(), 1024);
        // The same failure with another request id is no change: it must not cause a status write each time.
        let same = last
            .filter(|c| c.reason == reason && without_request_id(&c.message) == without_request_id(&message));
        self.list.push(Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: Some(self.generation),
            last_transition_time: last
                .map_or_else(|| whole_seconds(self.now), |c| c.last_transition_time.clone()),
            reason: reason.to_owned(),
            message: same.map_or(message, |c| c.message.clone()),
        });
    }

    /// Copies a condition of the previous status unchanged, including its generation: it was not evaluated for this one.
    pub fn carry(&mut self, kind: &str) {
        self.list
            .extend(self.before.iter().find(|c| c.kind == kind).cloned());
    }

    /// Returns the conditions in the order in which they were set.
    pub fn finish(self) -> Vec<Condition> {
        self.list
    }
}

/// Message of Stalled.
pub const ACTION_REQUIRED: &str = "Action required: see the Ready condition";
/// Message of Reconciling.
pub const CONTINUES: &str = "No action needed: the operator continues automatically";

/// The event that a status write owes: `Some` when the object became stalled, or is stalled for another reason than
/// before. Returns the reason and the message of the condition that explains it.
pub fn newly_stalled<'a>(before: &[Condition], after: &'a [Condition]) -> Option<(&'a str, &'a str)> {
    let stalled = |c: &&Condition| c.kind == kinds::STALLED && c.status == ConditionStatus::True;
    let now = after.iter().find(stalled)?;
    if before
        .iter()
        .find(stalled)
        .is_some_and(|c| c.reason == now.reason)
    {
        return None;
    }
    let explains = |c: &&Condition| c.kind != kinds::STALLED && c.reason == now.reason;
    let message = after.iter().find(explains).map_or(&now.message, |c| &c.message);
    Some((&now.reason, message))
}

/// The end of a message of a stalled object: where the fix is described.
pub fn troubleshooting_link(reason: &str) -> String {
    format!(" (docs/src/troubleshoot/reasons.md#{})", reason.to_lowercase())
}

/// Returns the status of a condition; `None` if the list does not contain it.
pub fn condition_status(conditions: &[Condition], kind: &str) -> Option<ConditionStatus> {
    conditions.iter().find(|c| c.kind == kind).map(|c| c.status)
}

/// Removes the value after "request id" from a message.
fn without_request_id(message: &str) -> String {
    let Some((before, rest)) = message.split_once("request id ") else {
        return message.to_owned();
    };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
    format!("{before}{after}")
}

/// Formats a count with its noun, for example `1 statement` or `2 statements`.
pub fn counted<N: Copy + Display + PartialEq + From<bool>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(true) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Truncates a text to at most `limit` characters; the last one is then an ellipsis.
pub fn truncate(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}
