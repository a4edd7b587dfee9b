//! Converges the policy to the plan, in rounds. A round plans from the policy that was read; if the plan changes
//! something, the write is carried out (see `write`), and the next round plans from what was read after it. A round
//! without a change ends the rounds.

use std::time::Duration;

use super::grant_set::GrantSet;
use super::prepare::Prepared;
use super::read_policy::{RoundInput, read_policy, round_input};
use super::recheck::check_reference;
use super::write::write;
use crate::core::grant::{EarlyEnd, GrantInput, GrantSetCache, GrantWork, Plan, RoundStep, next_step, plan};

/// Rounds in one reconcile: other writers may change the policy between our two reads a few times, but not forever.
const MAX_ROUNDS: usize = 6;

/// A plan that changes nothing, and the policy as it was made from.
pub(super) struct Settled {
    pub(super) plan: Plan,
    pub(super) input: RoundInput,
    /// Whether this reconcile is a scheduled check.
    pub(super) scheduled_check: bool,
    /// Time until what was held back is written.
    pub(super) next_addition: Option<Duration>,
}

/// Runs the rounds.
///
/// # Errors
/// Returns why no plan could be carried out; after [`MAX_ROUNDS`] rounds a write conflict.
pub(super) async fn converge(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    prepared: &Prepared,
    cache: &mut GrantSetCache,
) -> Result<Settled, EarlyEnd> {
    let scheduled_check = cache.begin_rounds(batch, set.context.ports.now());
    let mut read = read_policy(set, batch, prepared, &prepared.keys, cache).await?;
    for round in 0..MAX_ROUNDS {
        if round > 0 {
            check_reference(set, batch, prepared).await?;
        }
        let input = round_input(set, read)?;
        let members: Vec<GrantInput> = batch.iter().map(|work| work.input.clone()).collect();
        let plan = plan(input.plan_input(set), &members);
        match next_step(batch, &plan, &mut cache.rejected, cache.wrote, input.now) {
            RoundStep::PlanAgain => read = input.read,
            RoundStep::Settled => {
                return Ok(Settled {
                    next_addition: cache.settled(batch, &set.identity.jitter_seed()),
                    plan,
                    input,
                    scheduled_check,
                });
            }
            RoundStep::Write => {
                let next = Box::pin(write(set, batch, prepared, &plan, &input, cache)).await?;
                read = next.unwrap_or(input.read);
            }
        }
    }
    Err(EarlyEnd::WriteConflict)
}
