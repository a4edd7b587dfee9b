//! What `imm-operator selftest` asks of an installation, and what it says about the answers. Nothing here calls anything.

use std::fmt;
use std::time::Duration;

use crate::core::doctor::Check;
use crate::core::leader_election::{LeaseRecord, LeaseTiming};
use crate::core::scopes::scopes;
use crate::core::text::counted;

/// Permissions named in a message: enough to see which rule is missing.
const NAMED_PERMISSIONS: usize = 3;

/// An installation of the operator: what its permissions follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of its lease.
    pub lease_name: String,
    /// Namespace of the policy backups.
    pub backup_namespace: String,
    /// Watched namespaces; empty means all.
    pub watched: Vec<String>,
    /// Whether a tenancy rule selects namespaces by labels.
    pub reads_labels: bool,
}

/// A permission that the operator needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// Verb.
    pub verb: &'static str,
    /// API group; empty means the core group.
    pub group: &'static str,
    /// Plural of the resource.
    pub resource: &'static str,
    /// Subresource; empty means the object itself.
    pub subresource: &'static str,
    /// Namespace; `None` means all namespaces, or a resource without a namespace.
    pub namespace: Option<String>,
    /// Name of the object; `None` means all.
    pub name: Option<String>,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            _ if self.resource == "namespaces" => Ok(()),
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

/// Group, resource, subresource and verbs in the watched namespaces.
const WATCHED: &[(&str, &str, &str, &[&str])] = &[
    (
        "immops.dev",
        "immbucketgrants",
        "",
        &["get", "list", "watch", "patch"],
    ),
    (
        "immops.dev",
        "imagescorejobs",
        "",
        &["get", "list", "watch", "patch"],
    ),
    ("immops.dev", "immbucketgrants", "status", &["update"]),
    ("immops.dev", "imagescorejobs", "status", &["update"]),
    (
        "immops.dev",
        "imagescorereports",
        "",
        &["list", "create", "update", "delete"],
    ),
    ("events.k8s.io", "events", "", &["create", "patch"]),
];

impl Installation {
    /// Returns every permission that the operator needs, without those for Secrets and ServiceAccounts, which their
    /// owners grant.
    pub fn permissions(&self) -> Vec<Permission> {
        let mut all = Vec::new();
        let mut add = |(group, resource, subresource, verbs): (_, _, _, &[&'static str]),
                       namespace: Option<&String>,
                       name: Option<&String>| {
            all.extend(verbs.iter().map(|verb| Permission {
                verb,
                group,
                resource,
                subresource,
                namespace: namespace.cloned(),
                name: name.cloned(),
            }));
        };
        let scopes = scopes(&self.watched);
        for scope in &scopes {
            for rule in WATCHED {
                add(*rule, *scope, None);
            }
        }
        let (own, leases) = (Some(&self.namespace), ("coordination.k8s.io", "leases", ""));
        add(
            (leases.0, leases.1, leases.2, &["get", "update"]),
            own,
            Some(&self.lease_name),
        );
        add((leases.0, leases.1, leases.2, &["create"]), own, None);
        let backups = Some(&self.backup_namespace);
        add(
            ("", "configmaps", "", &["get", "create", "update"]),
            backups,
            None,
        );
        if self.reads_labels {
            for scope in &scopes {
                // A Role in a namespace allows reading that namespace, and only if the question names it twice.
                add(("", "namespaces", "", &["get"]), *scope, *scope);
            }
        }
        all
    }
}

/// Says what is missing of the permissions.
pub fn permissions_check(asked: usize, missing: &[Permission]) -> Check {
    let seen = format!(
        "{} of {} allowed",
        asked.saturating_sub(missing.len()),
        counted(asked, "permission")
    );
    if missing.is_empty() {
        return Check::ok("permissions", seen);
    }
    let named: Vec<String> = missing
        .iter()
        .take(NAMED_PERMISSIONS)
        .map(ToString::to_string)
        .collect();
    let more = match missing.len().saturating_sub(NAMED_PERMISSIONS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Check::failed(
        "permissions",
        format!("{seen}; missing: {}{more}", named.join(", ")),
        "upgrade the release, so that its Roles are those of this version, and check that their bindings name this ServiceAccount",
    )
}

/// Says that the API server did not answer in time whether the operator has `asked` permissions.
pub fn permissions_unanswered(asked: usize) -> Check {
    Check::failed(
        "permissions",
        format!(
            "the questions about {} were not answered in time",
            counted(asked, "permission")
        ),
        "look at the load of the API server, or set a longer --timeout",
    )
}

/// Says whether the CRDs in the cluster are those of this version. `missing` are the members that they lack.
pub fn crds_check(missing: &[String]) -> Check {
    let Some(first) = missing.first() else {
        return Check::ok("crds", "the API server serves every field of this version");
    };
    Check::failed(
        "crds",
        format!(
            "the CRDs in the cluster are older than this version: they lack {}, such as {first}",
            counted(missing.len(), "field")
        ),
        "upgrade the release with crds.enabled=true, or apply crds/ of this version",
    )
}

/// Whether a process holds the lease and renews it, from what was read one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseWatch {
    last: Option<LeaseRecord>,
    renewed: bool,
}

impl LeaseWatch {
    /// Adds what was read; `None` if there is no lease. A lease counts as renewed when the same holder has written it
    /// again: its times are those of another clock.
    pub fn add(&mut self, record: Option<LeaseRecord>) {
        let same_holder = |last: &LeaseRecord, record: &LeaseRecord| {
            record.holder.is_some() && last.holder == record.holder && last.version != record.version
        };
        self.renewed = match (&self.last, &record) {
            (Some(last), Some(record)) => {
                let held_on = self.renewed && last.holder == record.holder;
                held_on || same_holder(last, record)
            }
            _ => false,
        };
        self.last = record;
    }

    /// Says what was seen of the lease `name` during `watched`.
    pub fn check(&self, name: &str, watched: Duration) -> Check {
        let log = "look at the Pods of the release and at their logs";
        let Some(record) = &self.last else {
            return Check::failed(
                "lease",
                format!("Lease {name} does not exist: no Pod became the leader"),
                log,
            );
        };
        match &record.holder {
            None => Check::failed(
                "lease",
                format!("Lease {name} has no holder: no Pod is the leader"),
                log,
            ),
            Some(holder) if self.renewed => Check::ok(
                "lease",
                format!("Lease {name} is held by {holder}, which renews it"),
            ),
            Some(holder) => Check::failed(
                "lease",
                format!(
                    "Lease {name} is held by {holder}, which did not renew it within {} s; a leader renews it every {} s",
                    watched.as_secs(),
                    LeaseTiming::default().renew_every.as_secs()
                ),
                log,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Level;

    fn installation() -> Installation {
        Installation {
            namespace: "imm-system".to_owned(),
            lease_name: "imm-operator".to_owned(),
            backup_namespace: "copies".to_owned(),
            watched: Vec::new(),
            reads_labels: false,
        }
    }

    fn texts(installation: &Installation) -> Vec<String> {
        installation
            .permissions()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn permissions_follow_from_the_installation() {
        let all = texts(&installation());
        for expected in [
            "watch immbucketgrants in all namespaces",
            "update imagescorejobs/status in all namespaces",
            "update leases imm-operator in namespace imm-system",
            "create configmaps in namespace copies",
        ] {
            assert!(all.contains(&expected.to_owned()), "{expected}: {all:?}");
        }
        assert!(
            !all.iter()
                .any(|one| one.contains(" namespaces ") && one.starts_with("get namespaces"))
        );
        let watched = Installation {
            watched: vec!["media".to_owned(), "analytics".to_owned()],
            reads_labels: true,
            ..installation()
        };
        let all = texts(&watched);
        assert!(
            all.contains(&"patch events in namespace analytics".to_owned()),
            "{all:?}"
        );
        // A Role in the namespace itself is enough.
        let reads = watched.permissions();
        let labels = reads.iter().find(|one| one.to_string() == "get namespaces media");
        assert_eq!(labels.unwrap().namespace.as_deref(), Some("media"));
        assert!(!all.iter().any(|one| one.contains("all namespaces")), "{all:?}");
    }

    #[test]
    fn a_missing_permission_is_named() {
        let asked = installation().permissions();
        assert_eq!(permissions_check(asked.len(), &[]).level, Level::Ok);
        let check = permissions_check(asked.len(), asked.get(..5).unwrap());
        assert_eq!(check.level, Level::Failed);
        assert!(check.seen.ends_with("get immbucketgrants in all namespaces, list immbucketgrants in all namespaces, watch immbucketgrants in all namespaces and 2 more"), "{}", check.seen);
    }

    #[test]
    fn one_field_is_counted_in_the_singular() {
        let check = crds_check(&["ImmBucketGrant.status.owned".to_owned()]);
        assert!(
            check
                .seen
                .contains("they lack 1 field, such as ImmBucketGrant.status.owned"),
            "{}",
            check.seen
        );
        assert_eq!(crds_check(&[]).level, Level::Ok);
    }

    fn record(holder: Option<&str>, version: &str) -> LeaseRecord {
        LeaseRecord {
            holder: holder.map(ToOwned::to_owned),
            duration: Duration::from_secs(40),
            transitions: 0,
            version: version.to_owned(),
        }
    }

    #[test]
    fn only_a_renewal_by_the_same_holder_counts() {
        for (reads, renewed, part) in [
            (vec![None], false, "does not exist"),
            (
                vec![Some(record(None, "1")), Some(record(None, "2"))],
                false,
                "no holder",
            ),
            (
                vec![Some(record(Some("a"), "1"))],
                false,
                "did not renew it within 60 s",
            ),
            (
                vec![Some(record(Some("a"), "1")), Some(record(Some("a"), "1"))],
                false,
                "did not renew",
            ),
            (
                vec![Some(record(Some("a"), "1")), Some(record(Some("b"), "2"))],
                false,
                "held by b",
            ),
            (
                vec![Some(record(Some("a"), "1")), Some(record(Some("a"), "2"))],
                true,
                "held by a, which renews it",
            ),
            (
                vec![
                    Some(record(Some("a"), "1")),
                    Some(record(Some("a"), "2")),
                    Some(record(Some("a"), "2")),
                ],
                true,
                "renews",
            ),
            (
                vec![Some(record(Some("a"), "1")), Some(record(Some("a"), "2")), None],
                false,
                "does not exist",
            ),
        ] {
            let mut watch = LeaseWatch::default();
            for read in reads.clone() {
                watch.add(read);
            }
            assert_eq!(watch.renewed, renewed, "{reads:?}");
            let check = watch.check("n/l", Duration::from_secs(60));
            assert!(check.seen.contains(part), "{}", check.seen);
            assert_eq!(check.level == Level::Ok, renewed);
        }
    }
}
