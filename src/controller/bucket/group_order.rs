//! The order in which the groups of a bucket are reconciled. Anybody can name any bucket in a grant, and read the policy of
//! some: groups whose identity has not changed the policy of the bucket come last, in turns of their namespaces, and only for
//! some seconds in one reconcile of the bucket.

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;

use super::cache::GrantSetCache;
use super::probes::Trust;
use crate::api::EntryState;
use crate::controller::queue_key::GrantSetKey;
use crate::core::grant::GrantObject;

/// How long the groups of rank [`Rank::Unproven`] are reconciled before the others have their turn again.
pub(super) const UNPROVEN_TIME: SignedDuration = SignedDuration::from_secs(5);

/// What a group has shown of its rights in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It owns statements, and a grant is being deleted.
    Removing,
    /// It owns statements.
    Owning,
    /// It owns none, its identity has not read the policy yet, or OSS has denied its last write.
    Unproven,
}

/// A group of grants with its rank.
pub(super) type RankedGroup = (Rank, GrantSetKey, Vec<GrantObject>);

/// Sorts groups by rank, then in turns of their namespaces, then by the time of their last reconcile.
pub(super) fn in_order(
    groups: BTreeMap<GrantSetKey, Vec<GrantObject>>,
    caches: &BTreeMap<GrantSetKey, GrantSetCache>,
) -> Vec<RankedGroup> {
    let mut order: Vec<RankedGroup> = groups
        .into_iter()
        .map(|(key, grants)| (rank(&grants, caches.get(&key)), key, grants))
        .collect();
    order.sort_by_key(|(rank, key, _)| (*rank, caches.get(key).and_then(|cache| cache.reconciled_at)));
    let mut turns: BTreeMap<(Rank, String), usize> = BTreeMap::new();
    let mut in_turns = Vec::with_capacity(order.len());
    for group in order {
        let turn = turns
            .entry((group.0, group.1.0.namespace().to_owned()))
            .or_default();
        *turn += 1;
        in_turns.push((*turn, group));
    }
    in_turns.sort_by_key(|(turn, (rank, ..))| (*rank, *turn));
    in_turns.into_iter().map(|(_, group)| group).collect()
}

fn rank(grants: &[GrantObject], cache: Option<&GrantSetCache>) -> Rank {
    let owns = |grant: &GrantObject| {
        let mut entries = grant.status.owned.iter();
        entries.any(|entry| entry.state == EntryState::Applied)
    };
    // A stored ledger can be forged: an answer of OSS says more.
    if cache.is_some_and(|cache| cache.write_denied || cache.trust == Trust::Doubtful) {
        Rank::Unproven
    } else if grants.iter().any(|grant| grant.deleting && owns(grant)) {
        Rank::Removing
    } else if grants.iter().any(owns) {
        Rank::Owning
    } else {
        Rank::Unproven
    }
}
