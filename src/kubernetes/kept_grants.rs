//! The grants of a bucket that one reconcile holds. Anybody can name any bucket in any number of grants, so the memory of
//! a list is limited: beyond the limit, the namespace whose grants take most of it loses its newest ones.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::decode::DecodedGrant;
use crate::core::grant::GrantObject;

/// Grants up to a limit of their memory.
pub(super) struct KeptGrants {
    limit: usize,
    bytes: usize,
    namespaces: BTreeMap<String, NamespaceGrants>,
    ignored: BTreeMap<String, usize>,
}

/// The grants of a namespace, the next one to ignore last.
#[derive(Default)]
struct NamespaceGrants {
    bytes: usize,
    grants: BTreeMap<Place, DecodedGrant>,
}

/// The place of a grant among those of its namespace: first those that are deleted or own statements, then the oldest.
type Place = (bool, Option<Timestamp>, String);

impl KeptGrants {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            namespaces: BTreeMap::new(),
            ignored: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, decoded: DecodedGrant) {
        let (grant, bytes) = (&decoded.grant, decoded.bytes);
        let expendable = !grant.deleting && grant.status.owned.is_empty();
        let place = (expendable, grant.created, grant.uid.clone());
        let namespace = self.namespaces.entry(grant.key.namespace.clone()).or_default();
        namespace.bytes = namespace.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        namespace.grants.insert(place, decoded);
        while self.bytes > self.limit && self.ignore_one() {}
    }

    /// Drops the last grant of the namespace with most memory. `false` if there is none.
    fn ignore_one(&mut self) -> bool {
        let largest = self
            .namespaces
            .iter_mut()
            .max_by_key(|(_, namespace)| namespace.bytes);
        let Some((name, namespace)) = largest else {
            return false;
        };
        let Some((_, DecodedGrant { bytes, .. })) = namespace.grants.pop_last() else {
            return false;
        };
        namespace.bytes = namespace.bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        let ignored = self.ignored.entry(name.clone()).or_default();
        *ignored = ignored.saturating_add(1);
        true
    }

    /// Returns the kept grants, and the number of ignored ones by namespace.
    pub(super) fn into_parts(self) -> (Vec<GrantObject>, BTreeMap<String, usize>) {
        let kept = self
            .namespaces
            .into_values()
            .flat_map(|one| one.grants.into_values());
        (kept.map(|decoded| decoded.grant).collect(), self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps grants of 100 bytes each, of these namespaces and ages, and returns the names of those that are kept.
    fn keep(limit: usize, grants: &[(&str, &str, i64)]) -> (Vec<String>, BTreeMap<String, usize>) {
        let mut kept = KeptGrants::new(limit);
        for (namespace, name, created) in grants {
            let mut grant = GrantObject::bare(namespace, name);
            grant.created = Timestamp::from_second(*created).ok();
            grant.deleting = name.starts_with("deleted");
            kept.add(DecodedGrant { grant, bytes: 100 });
        }
        let (grants, ignored) = kept.into_parts();
        (grants.into_iter().map(|grant| grant.uid).collect(), ignored)
    }

    #[test]
    fn the_namespace_with_most_grants_loses_its_newest() {
        let mut grants = vec![("victim", "one", 900), ("victim", "two", 901)];
        grants.extend([("busy", "old", 1), ("busy", "older", 0), ("busy", "new", 3)]);
        grants.extend([("busy", "deleted", 999), ("busy", "newer", 4)]);
        let (kept, ignored) = keep(500, &grants);
        assert_eq!(kept, ["deleted", "older", "old", "one", "two"]);
        assert_eq!(ignored, BTreeMap::from([("busy".to_owned(), 2)]));
        let (kept, ignored) = keep(700, &grants);
        assert_eq!((kept.len(), ignored.len()), (7, 0));
        assert_eq!(keep(50, &grants).0, Vec::<String>::new());
    }
}
