//! The order in which the sets of a bucket are reconciled. Anybody can name any bucket in a grant, and read the policy of
//! some: sets whose identity has not changed the policy of the bucket come last, in turns of their namespaces, and
//! only for some seconds in one reconcile of the bucket.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::GrantObject;
use crate::api::EntryState;
use crate::core::identity::Identity;

/// How long the sets of rank [`Rank::Unproven`] are reconciled before the others have their turn again.
const UNPROVEN_TIME: SignedDuration = SignedDuration::from_secs(5);

/// The grants of one grant set share the credentials and the policy endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantSetKey {
    /// Identity that reads and writes the policy.
    pub identity: Identity,
    /// Region of the bucket.
    pub region: String,
}

/// The grants of a bucket by set.
pub type GrantSets = BTreeMap<GrantSetKey, Vec<GrantObject>>;

/// A set in the order of a reconcile.
pub struct GrantSetTurn {
    /// Rank of the set.
    pub rank: Rank,
    /// Identity and region.
    pub key: GrantSetKey,
    /// Grants of the set.
    pub grants: Vec<GrantObject>,
}

/// What a set has shown of its rights in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It owns statements, and a grant is being deleted.
    Removing,
    /// It owns statements.
    Owning,
    /// It owns none, its identity has not read the policy yet, or OSS has denied its last write.
    Unproven,
}

/// What earlier reconciles have found out about a set.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantSetRecord {
    /// Whether OSS has denied its last write, or not answered its last call.
    pub doubted: bool,
    /// When it was last reconciled.
    pub reconciled_at: Option<Timestamp>,
}

/// Groups grants by identity and region. Those whose spec names no usable identity or bucket have no set, and are
/// returned apart.
pub fn grouped(grants: Vec<GrantObject>) -> (GrantSets, Vec<GrantObject>) {
    let (mut grant_sets, mut unusable) = (GrantSets::new(), Vec::new());
    for grant in grants {
        if let (Some(identity), Some(place)) = (&grant.identity, &grant.bucket) {
            let key = GrantSetKey {
                identity: identity.clone(),
                region: place.region.clone(),
            };
            grant_sets.entry(key).or_default().push(grant);
        } else {
            unusable.push(grant);
        }
    }
    (grant_sets, unusable)
}

/// Sorts sets by rank, then in turns of their namespaces, then by the time of their last reconcile.
pub fn in_order(grant_sets: GrantSets, record: impl Fn(&GrantSetKey) -> GrantSetRecord) -> Vec<GrantSetTurn> {
    let ranked = grant_sets.into_iter().map(|(key, grants)| {
        let record = record(&key);
        let rank = rank(&grants, record);
        (record.reconciled_at, GrantSetTurn { rank, key, grants })
    });
    let mut order: Vec<_> = ranked.collect();
    order.sort_by_key(|(reconciled_at, set)| (set.rank, *reconciled_at));
    let mut counts: BTreeMap<(Rank, String), usize> = BTreeMap::new();
    let mut in_turns = Vec::with_capacity(order.len());
    for (_, set) in order {
        let namespace = set.key.identity.namespace().to_owned();
        let turn = counts.entry((set.rank, namespace)).or_default();
        *turn += 1;
        in_turns.push((*turn, set));
    }
    in_turns.sort_by_key(|(turn, set)| (set.rank, *turn));
    in_turns.into_iter().map(|(_, set)| set).collect()
}

/// Whether a set has to wait for the next reconcile of the bucket. `since` is when the first set of rank
/// [`Rank::Unproven`] began in this one.
pub fn is_time_up(rank: Rank, since: &mut Option<Timestamp>, now: Timestamp) -> bool {
    rank == Rank::Unproven && now.duration_since(*since.get_or_insert(now)) > UNPROVEN_TIME
}

fn rank(grants: &[GrantObject], record: GrantSetRecord) -> Rank {
    let owns = |grant: &GrantObject| {
        let mut entries = grant.status.owned.iter();
        entries.any(|entry| entry.state == EntryState::Applied)
    };
    // A stored ledger can be forged: an answer of OSS says more.
    if record.doubted {
        Rank::Unproven
    } else if grants.iter().any(|grant| grant.deleting && owns(grant)) {
        Rank::Removing
    } else if grants.iter().any(owns) {
        Rank::Owning
    } else {
        Rank::Unproven
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::grant::{entry_of, spec_with};

    /// A grant of a namespace with a Secret of its own.
    fn grant(namespace: &str, name: &str, state: Option<EntryState>) -> GrantObject {
        let credentials = json!({"source": "Secret", "secretRef": {"name": name}});
        let spec = spec_with(&json!({"credentials": credentials}));
        let mut grant = GrantObject::bare(namespace, name);
        grant.identity = Identity::of(namespace, &spec.credentials);
        grant.bucket = Some(spec.bucket);
        grant
            .status
            .owned
            .extend(state.map(|state| entry_of(name, state)));
        grant
    }

    fn names(order: &[GrantSetTurn]) -> Vec<&str> {
        let grants = order.iter().flat_map(|set| &set.grants);
        grants.map(|grant| grant.uid.as_str()).collect()
    }

    #[test]
    fn sets_with_statements_come_first_and_the_others_in_turns_of_their_namespaces() {
        let applied = Some(EntryState::Applied);
        let removing = GrantObject {
            deleting: true,
            ..grant("a", "removing", applied)
        };
        let unusable = GrantObject {
            identity: None,
            ..grant("a", "unusable", None)
        };
        let (sets, apart) = grouped(vec![
            grant("a", "first", None),
            grant("a", "second", Some(EntryState::Intended)),
            grant("b", "third", None),
            grant("b", "doubted", applied),
            grant("b", "owning", applied),
            removing,
            unusable,
        ]);
        assert_eq!(apart[0].uid, "unusable");
        let key = |name: &str| {
            sets.iter()
                .find(|(_, grants)| grants[0].uid == name)
                .unwrap()
                .0
                .clone()
        };
        let (first, doubted) = (key("first"), key("doubted"));
        let order = in_order(sets, |key| GrantSetRecord {
            doubted: *key == doubted,
            reconciled_at: (*key == first).then_some(Timestamp::UNIX_EPOCH),
        });
        let names = names(&order);
        assert_eq!(names[..2], ["removing", "owning"]);
        // Of each namespace one, then the next of each: the set that was reconciled before comes last in its namespace.
        let at = |name: &str| names.iter().position(|n| *n == name).unwrap();
        assert!(at("second") < at("first"));
        assert_eq!(at("first").max(at("doubted").max(at("third"))), 5);
        assert!(at("second") < 4 && at("doubted").min(at("third")) < 4);
    }

    #[test]
    fn unproven_sets_have_some_seconds_in_one_reconcile() {
        let now = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let mut since = None;
        assert!(!is_time_up(Rank::Owning, &mut since, now(0)));
        assert_eq!(since, None);
        assert!(!is_time_up(Rank::Unproven, &mut since, now(1)));
        assert!(!is_time_up(Rank::Unproven, &mut since, now(6)));
        assert!(is_time_up(Rank::Unproven, &mut since, now(7)));
        assert!(!is_time_up(Rank::Owning, &mut since, now(7)));
    }
}
