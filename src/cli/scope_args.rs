//! Flags about where an operator works: its namespace, lease, backups, tenancy rules and watched namespaces.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::core::validate::{is_namespace_name, is_object_name};

/// Name of the lease, unless another is given.
const DEFAULT_LEASE: &str = "imm-operator";

/// Where an operator works; each flag can also be set by an environment variable.
#[derive(Clone, Debug, clap::Args)]
pub struct ScopeArgs {
    /// Namespace of the operator, for its lease and policy backups. Required, except with --no-leader-election of run:
    /// without it there is no backup then.
    #[arg(long, env = "IMM_OPERATOR_NAMESPACE", value_parser = parse_namespace)]
    namespace: Option<String>,
    /// Name of the lease in the namespace of the operator. Give each install in one namespace another name, and other
    /// namespaces to watch.
    #[arg(long, env = "IMM_OPERATOR_LEASE_NAME", default_value = DEFAULT_LEASE, value_parser = parse_lease)]
    pub(super) lease_name: String,
    /// Namespace of the policy backups; default: the namespace of the operator. Set it to separate the backups from the
    /// tenancy rules, which are a ConfigMap too.
    #[arg(long, env = "IMM_OPERATOR_BACKUP_NAMESPACE", value_parser = parse_namespace)]
    backup_namespace: Option<String>,
    /// YAML file with the tenancy rules, read again every 5 s. Set it to limit which namespaces may use which buckets and
    /// projects, or to let namespaces use the operator's own identity.
    #[arg(long, env = "IMM_OPERATOR_TENANCY_RULES")]
    pub(super) tenancy_rules: Option<PathBuf>,
    /// Namespaces to watch, separated by commas; can be repeated; default: all. Set it if the operator has Roles in
    /// some namespaces only, or to run several operators in one cluster.
    #[arg(long, env = "IMM_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',', value_parser = parse_namespace)]
    watch_namespaces: Vec<String>,
}

impl ScopeArgs {
    /// Returns the namespace of the operator.
    pub(super) fn namespace(&self) -> Option<String> {
        self.namespace.clone().filter(|name| !name.is_empty())
    }

    /// Returns the namespace of the policy backups.
    pub(super) fn backup_namespace(&self) -> Option<String> {
        let given = self.backup_namespace.clone().or_else(|| self.namespace.clone());
        given.filter(|name| !name.is_empty())
    }

    /// Returns the namespaces to watch, each once; empty means all.
    pub(super) fn watched(&self) -> Vec<String> {
        let named = self.watch_namespaces.iter().filter(|name| !name.is_empty());
        let once: BTreeSet<_> = named.cloned().collect();
        once.into_iter().collect()
    }
}

/// Parses the name of a lease; an empty text stands for the default.
fn parse_lease(text: &str) -> Result<String, String> {
    let name = Some(text.trim()).filter(|name| !name.is_empty());
    let name = name.unwrap_or(DEFAULT_LEASE);
    if is_object_name(name) {
        return Ok(name.to_owned());
    }
    Err(
        "a lease has a name of 1 to 253 lower-case letters, digits, hyphens and dots, each part between letters or digits"
            .to_owned(),
    )
}

/// Parses the name of a namespace, or an empty text.
fn parse_namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || is_namespace_name(name) {
        return Ok(name.to_owned());
    }
    Err(
        "a namespace is 1 to 63 lower-case letters, digits and hyphens, without a hyphen at either end"
            .to_owned(),
    )
}
