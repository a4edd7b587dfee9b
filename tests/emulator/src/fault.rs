//! Faults on order: delays, lost requests, lost answers, answers of the orderer's choice, torn bodies.
//!
//! Precedence: every delay that matches is waited for, in order and added up; then the first other fault that
//! matches is applied, in the order given. A fault counts a match only when it is looked at, so one that stands
//! behind another is not used up by it.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ledger::Call;

/// Which calls a fault is about; an absent member matches every call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultMatch {
    /// `oss`, `imm` or `sts`.
    pub service: Option<String>,
    /// The action's exact name.
    pub action: Option<String>,
    /// The bucket's exact name.
    pub bucket: Option<String>,
    /// The end of the object's key.
    pub key_suffix: Option<String>,
    /// The key that the request names.
    pub access_key_id: Option<String>,
    /// The IMM project's exact name.
    pub project: Option<String>,
    /// Only each so-many-th of the calls that match the rest, counted from those that `skip` let by.
    pub every: Option<u32>,
}

/// An answer sent in place of the real one; the call has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultAnswer {
    /// The status.
    pub status: u16,
    /// The error code, in the form of the service.
    #[serde(default)]
    pub code: String,
    /// The error's message.
    pub message: Option<String>,
    /// OSS's finer code.
    pub ec: Option<String>,
    /// Sent as `x-acs-retry-after`, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// A raw body in place of the service's error form.
    pub body: Option<String>,
    /// The content type of the raw body.
    pub content_type: Option<String>,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultEffect {
    /// Waits this long before the call is looked at.
    DelayMs(u64),
    /// Closes the connection; nothing happened.
    DropBefore,
    /// Lets it happen, then closes the connection without an answer.
    DropAfter,
    /// Answers this instead; nothing happened.
    Answer(FaultAnswer),
    /// Lets it happen and sends only so many bytes of the body, then closes the connection.
    TruncateBody(usize),
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Which calls.
    #[serde(rename = "match", default)]
    pub matching: FaultMatch,
    /// How many matching calls go by untouched first.
    #[serde(default)]
    pub skip: u32,
    /// How often it is applied; absent means for ever.
    #[serde(default)]
    pub times: Option<u32>,
    /// What it does.
    pub effect: FaultEffect,
}

impl Fault {
    /// A fault for the next `times` calls of one action.
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
        let key = call.key.as_deref().unwrap_or_default();
        same(&self.matching.service, Some(&call.service))
            && same(&self.matching.action, Some(&call.action))
            && same(&self.matching.bucket, call.bucket.as_deref())
            && same(&self.matching.access_key_id, call.access_key_id.as_deref())
            && same(&self.matching.project, call.project.as_deref())
            && self
                .matching
                .key_suffix
                .as_deref()
                .is_none_or(|suffix| key.ends_with(suffix))
    }
}

/// An order with the calls it has seen.
#[derive(Debug)]
struct Standing {
    fault: Fault,
    seen: u32,
}

impl Standing {
    /// Counts one matching call; whether the fault is applied to it.
    fn strike(&mut self) -> bool {
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
    orders: Mutex<Vec<Standing>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Standing { fault, seen: 0 });
    }

    pub(crate) fn clear(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The delay in milliseconds and the other effect for a call.
    pub(crate) fn take(&self, call: &Call) -> (u64, Option<FaultEffect>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delay: u64 = 0;
        let mut effect = None;
        for order in orders.iter_mut().filter(|order| order.fault.is_about(call)) {
            if let FaultEffect::DelayMs(millis) = order.fault.effect {
                delay = delay.saturating_add(if order.strike() { millis } else { 0 });
            } else if effect.is_none() && order.strike() {
                effect = Some(order.fault.effect.clone());
            }
        }
        orders.retain(|order| order.fault.times != Some(0));
        (delay, effect)
    }
}
