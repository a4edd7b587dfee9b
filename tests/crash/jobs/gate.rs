//! Effects of jobs that differ from those of grants: writes can arrive late, and a billed call stays in flight for a
//! while.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::cloud::IMM_DEADLINE;
use imm_operator::ports::{CloudError, KubeError};

use super::super::fake_world::FakeWorld;
use super::super::fault::{Call, Effect, Fault, Refusal};
use super::super::process::{Gate, no_answer, pass_time};

/// Latency of IMM.
const CALL: Duration = Duration::from_millis(150);

impl Gate {
    /// A write of a job's report or object.
    pub fn store<'a, T: Send + 'a>(
        &'a self,
        perform: impl FnOnce(&mut FakeWorld) -> Result<T, KubeError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, KubeError>> {
        self.effect_of(Call::Store, KubeError::Unavailable, move |o, _| perform(o))
    }

    /// A billed call. A call that was sent arrives and is billed, even if its process ends.
    pub fn score<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<String, CloudError>> {
        async move {
            let fault = self.admit(Call::Score).await;
            if let Some(Fault::Frozen(seconds)) = fault {
                self.freeze(seconds).await;
            }
            let error = fault.and_then(Fault::error);
            let (call, answer) = {
                let mut outside = self.outside.lock().unwrap();
                let call = outside.jobs.leave(uri, self.number, self.time());
                let arrives = error != Some(Effect::None);
                (call, arrives.then(|| outside.jobs.serve(call)))
            };
            let slow = self.outside.lock().unwrap().jobs.slow.as_deref() == Some(uri);
            pass_time(if slow { IMM_DEADLINE } else { CALL }).await;
            self.outside
                .lock()
                .unwrap()
                .jobs
                .answered(call, self.time(), error.is_some());
            if fault.is_some_and(Fault::stops) {
                self.doom();
            }
            let failed = || Err(fault.and_then(CloudError::of).unwrap_or_else(no_answer));
            answer.filter(|_| error.is_none() && !slow).unwrap_or_else(failed)
        }
        .boxed()
    }
}
