//! The command line and the environment, as typed and as meant. The only reader of the environment.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

use crate::cloud::Endpoints;
use crate::runtime::Settings;
use crate::runtime::telemetry::LogFormat;

/// Grants across accounts for Alibaba Cloud OSS buckets, and image scores by IMM.
#[derive(Debug, Parser)]
#[command(name = "imm-operator", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator against the cluster of KUBECONFIG or of the pod's ServiceAccount.
    Run(Run),
    /// Prints the CustomResourceDefinitions as YAML.
    Crd,
    /// Prints the reference of condition and event reasons as Markdown.
    Reasons,
}

/// Flags of `run`; each can be given in the environment as well.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Address of probes and metrics; port 0 takes a free one, which the log names.
    #[arg(long, env = "IMM_OPERATOR_ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    admin_address: SocketAddr,
    /// Address of OSS; {region} stands for the bucket's region.
    #[arg(long, env = "IMM_OPERATOR_OSS_ENDPOINT", default_value = Endpoints::OSS)]
    oss_endpoint: String,
    /// Address of IMM; {region} stands for the project's region.
    #[arg(long, env = "IMM_OPERATOR_IMM_ENDPOINT", default_value = Endpoints::IMM)]
    imm_endpoint: String,
    /// Namespaces to work in, separated by commas; none means all.
    #[arg(long, env = "IMM_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// How log lines look.
    #[arg(long, env = "IMM_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Least severe level to log: error, warn, info, debug or trace.
    #[arg(long, env = "IMM_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

impl Run {
    /// What the flags mean.
    pub fn settings(&self) -> Settings {
        Settings {
            admin_address: self.admin_address,
            oss_endpoint: self.oss_endpoint.clone(),
            imm_endpoint: self.imm_endpoint.clone(),
            namespaces: self
                .watch_namespaces
                .iter()
                .filter(|n| !n.is_empty())
                .cloned()
                .collect(),
        }
    }
}
