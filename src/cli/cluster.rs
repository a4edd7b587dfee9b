//! Flags and environment variables that select the cluster, as in kubectl.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use super::environment::variable;
use super::escape::escaped;
use crate::core::proxy::ProxyVariables;
use crate::kubernetes::connect::ConnectOptions;

/// Flags of commands that use a cluster.
#[derive(Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// Kubeconfig file. Default: the files in KUBECONFIG, or ~/.kube/config, or the ServiceAccount of the Pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Default: its current context.
    #[arg(long)]
    context: Option<String>,
    /// Cluster of the kubeconfig instead of that of the context.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// User of the kubeconfig instead of that of the context.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// User to impersonate, which the own user must be allowed to.
    #[arg(long = "as", value_name = "USER")]
    impersonate: Option<String>,
    /// Group to impersonate. Can be repeated.
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    impersonate_groups: Vec<String>,
}

impl ClusterArgs {
    /// Returns the options, with the environment variables that kubectl reads.
    pub fn options(&self) -> ConnectOptions {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let either = |upper: &str, lower: &str| variable(upper).or_else(|| variable(lower));
        let listed = variable("KUBECONFIG").map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
        let listed = listed.map(|all| {
            all.into_iter()
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        });
        let home = || {
            let home = variable("HOME")?;
            Some(vec![Path::new(&home).join(".kube/config")])
        };
        ConnectOptions {
            required: self.kubeconfig.clone(),
            kubeconfigs: listed
                .filter(|all: &Vec<_>| !all.is_empty())
                .or_else(home)
                .unwrap_or_default(),
            context: named(&self.context),
            cluster: named(&self.cluster),
            user: named(&self.user),
            impersonate: named(&self.impersonate),
            impersonate_groups: self.impersonate_groups.clone(),
            is_terminal: std::io::stdin().is_terminal(),
            tell: Some(|what| eprintln!("imm-operator: {}", escaped(what))),
            proxies: ProxyVariables {
                https: either("HTTPS_PROXY", "https_proxy"),
                http: either("HTTP_PROXY", "http_proxy"),
                no_proxy: either("NO_PROXY", "no_proxy"),
            },
        }
    }
}
