//! Injected faults: delays, lost requests, lost responses, chosen responses, truncated bodies.
//!
//! Precedence: all matching delays are added up and waited for. Then the first other matching fault is applied, in the
//! order in which the faults were added. A fault counts only the calls it is evaluated for, so a fault shadowed by an
//! earlier one is not used up by it.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ledger::Call;

/// Selects the calls that a fault applies to. An absent member matches every call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultMatch {
    /// `oss`, `imm` or `sts`.
    pub service: Option<String>,
    /// The exact name of the action.
    pub action: Option<String>,
    /// The exact name of the bucket.
    pub bucket: Option<String>,
    /// A suffix of the object key.
    pub key_suffix: Option<String>,
    /// A part of the body of a policy write.
    pub body_contains: Option<String>,
    /// The access key id in the request.
    pub access_key_id: Option<String>,
    /// The exact name of the IMM project.
    pub project: Option<String>,
    /// Applies the fault only to each N-th of the matching calls, counted after `skip`.
    pub every: Option<u32>,
}

/// A response sent instead of the real one. The call has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The error code, in the format of the service.
    #[serde(default)]
    pub code: String,
    /// The error message.
    pub message: Option<String>,
    /// The `EC` of an OSS error.
    pub ec: Option<String>,
    /// Sent as `x-acs-retry-after`, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// A raw body instead of the service's error format.
    pub body: Option<String>,
    /// The content type of the raw body.
    pub content_type: Option<String>,
}

/// The effect of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultEffect {
    /// Waits this long before the call is processed.
    DelayMs(u64),
    /// Closes the connection. The call has no effect.
    DropBefore,
    /// Performs the call, then closes the connection without a response.
    DropAfter,
    /// Sends this response instead. The call has no effect.
    Answer(FaultAnswer),
    /// Performs the call, sends only this number of body bytes, then closes the connection.
    TruncateBody(usize),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Selects the calls.
    #[serde(rename = "match", default)]
    pub matching: FaultMatch,
    /// The number of matching calls that are left unaffected first.
    #[serde(default)]
    pub skip: u32,
    /// How often the fault is applied. Absent means without limit.
    #[serde(default)]
    pub times: Option<u32>,
    /// The effect.
    pub effect: FaultEffect,
}

impl Fault {
    /// Creates a fault for the next `times` calls of one action.
    pub fn on_action(action: &str, times: u32, effect: FaultEffect) -> Self {
        let matching = FaultMatch {
            action: Some(action.to_owned()),
            ..FaultMatch::default()
        };
        Self {
            matching,
            skip: 0,
            times: Some(times),
            effect,
        }
    }

    fn is_about(&self, call: &Call) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let contains = |part: &Option<String>, text: &Option<String>, has: fn(&str, &str) -> bool| {
            let text = text.as_deref().unwrap_or_default();
            part.as_deref().is_none_or(|part| has(text, part))
        };
        same(&self.matching.service, Some(&call.service))
            && same(&self.matching.action, Some(&call.action))
            && same(&self.matching.bucket, call.bucket.as_deref())
            && same(&self.matching.access_key_id, call.access_key_id.as_deref())
            && same(&self.matching.project, call.project.as_deref())
            && contains(&self.matching.key_suffix, &call.key, |key, suffix| {
                key.ends_with(suffix)
            })
            && contains(&self.matching.body_contains, &call.body, |body, part| {
                body.contains(part)
            })
    }
}

/// A fault with the number of calls it has counted.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    fault: Fault,
    seen: u32,
}

impl ActiveFault {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, seen: 0 }
    }

    /// Counts a call if it matches. Returns whether the fault applies to it.
    pub(crate) fn applies_to(&mut self, call: &Call) -> bool {
        self.fault.is_about(call) && self.count_call()
    }

    /// Counts one matching call. Returns whether the fault applies to it.
    fn count_call(&mut self) -> bool {
        let fault = &mut self.fault;
        if fault.skip > 0 {
            fault.skip -= 1;
            return false;
        }
        self.seen = self.seen.wrapping_add(1);
        let every = fault.matching.every.unwrap_or(1);
        if !self.seen.is_multiple_of(every) {
            return false;
        }
        match &mut fault.times {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    orders: Mutex<Vec<ActiveFault>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(ActiveFault::new(fault));
    }

    pub(crate) fn clear(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the total delay in milliseconds and the other effect for a call.
    pub(crate) fn take(&self, call: &Call) -> (u64, Option<FaultEffect>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delay: u64 = 0;
        let mut effect = None;
        for order in orders.iter_mut().filter(|order| order.fault.is_about(call)) {
            if let FaultEffect::DelayMs(millis) = order.fault.effect {
                delay = delay.saturating_add(if order.count_call() { millis } else { 0 });
            } else if effect.is_none() && order.count_call() {
                effect = Some(order.fault.effect.clone());
            }
        }
        orders.retain(|order| order.fault.times != Some(0));
        (delay, effect)
    }
}
