//! The cluster of a demo: a control plane of its own, or the cluster of the user's current context.

use std::path::{Path, PathBuf};

use crate::current::CurrentCluster;
use crate::error::Result;
use crate::plane::{ControlPlane, Helm};

pub(super) enum Cluster {
    Own(Box<ControlPlane>),
    Current(CurrentCluster),
}

impl Cluster {
    /// Returns the user's cluster, if it is one.
    pub(super) fn current(&self) -> Option<&CurrentCluster> {
        match self {
            Self::Own(_) => None,
            Self::Current(cluster) => Some(cluster),
        }
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        match self {
            Self::Own(plane) => plane.kubeconfig(),
            Self::Current(cluster) => cluster.kubeconfig(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Own(plane) => plane.folder(),
            Self::Current(cluster) => cluster.folder(),
        }
    }

    pub(super) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        match self {
            Self::Own(plane) => plane.kubectl(args).await,
            Self::Current(cluster) => cluster.kubectl(args).await,
        }
    }

    pub(super) async fn helm(&self, args: &[&str]) -> Result<String> {
        match self {
            Self::Own(plane) => plane.helm(Helm::Four, args).await,
            Self::Current(cluster) => cluster.helm(args).await,
        }
    }

    pub(super) async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        match self {
            Self::Own(plane) => plane.service_account_kubeconfig(namespace, name).await,
            Self::Current(cluster) => cluster.service_account_kubeconfig(namespace, name).await,
        }
    }

    /// Stops a control plane of the demo. The user's cluster keeps running.
    pub(super) fn stop(self) -> Result<()> {
        match self {
            Self::Own(plane) => plane.stop(),
            Self::Current(_) => Ok(()),
        }
    }
}
