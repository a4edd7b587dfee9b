//! Policy writes of a process: they can be lost, arrive late or twice, and freeze.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::BucketRef;
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::fake_world::{FakeWorld, Write};
use super::fault::{Call, Effect, Fault, Refusal};
use super::process::{Gate, no_answer, pass_time};

impl Gate {
    /// Writes a policy; OSS rejects a signature that is older than 15 minutes.
    pub(super) fn write<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        text: Option<&'a str>,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CloudError>> {
        let (outside, start, keys) = (Arc::clone(&self.outside), self.start, keys.clone());
        outside.lock().unwrap().check_signature(signed_at, self.time());
        self.must_have_awaited_the_lease();
        let perform = move |write: &Write| {
            let now = start.0 + SignedDuration::try_from(start.1.elapsed()).unwrap();
            if now.duration_since(signed_at) > SignedDuration::from_mins(15) {
                return Err(super::fault::refused(CloudErrorKind::Unavailable));
            }
            outside.lock().unwrap().write_policy(write, &keys, now)
        };
        async move {
            if self.is_frozen() {
                // Fencing: the lease has expired.
                return pending().await;
            }
            let fault = self.admit(Call::Write).await;
            let (based_on, edits_then) = self.last_seen();
            let mut write = Write {
                bucket: bucket.name.clone(),
                text: text.map(ToOwned::to_owned),
                based_on,
                edits_then,
                late: false,
            };
            if let Some(Fault::Frozen(seconds)) = fault {
                self.freeze(seconds).await;
                write.late = true;
                return perform(&write);
            }
            let _under_way = UnderWay::begin(&self.outside);
            pass_time(Duration::from_millis(5)).await;
            if let Some(Fault::Late(seconds) | Fault::LateOnly(seconds) | Fault::Twice(seconds)) = fault {
                // The request is in flight on its own: the end of its process does not stop it.
                let (perform, mut write) = (perform.clone(), write.clone());
                write.late = true;
                tokio::spawn(async move {
                    pass_time(Duration::from_secs(seconds)).await;
                    let _ = perform(&write);
                });
            }
            match fault.and_then(Fault::error) {
                Some(Effect::None) => {}
                Some(Effect::Done) => drop(perform(&write)),
                None => return perform(&write),
            }
            Err(fault.and_then(CloudError::of).unwrap_or_else(no_answer))
        }
        .boxed()
    }
}

/// Checks I13: no two writes of one bucket are in flight at the same time.
struct UnderWay(Arc<Mutex<FakeWorld>>);

impl UnderWay {
    fn begin(outside: &Arc<Mutex<FakeWorld>>) -> Self {
        let mut world = outside.lock().unwrap();
        world.under_way += 1;
        if world.under_way > 1 {
            world
                .broken
                .push("I13: two writes are in flight at the same time".to_owned());
        }
        Self(Arc::clone(outside))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}
