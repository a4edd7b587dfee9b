//! `imm-harness`: what the Makefile's targets run.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use imm_harness::{ControlPlane, Options, Result};

/// Runs the demo, the tests and single pieces of them.
#[derive(Parser)]
#[command(name = "imm-harness", version)]
struct Arguments {
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Starts a control plane, prints its KUBECONFIG line and keeps it until Ctrl-C.
    Plane {
        /// With kube-controller-manager.
        #[arg(long)]
        controllers: bool,
        /// With a scheduler and a Node whose Pods seem to run.
        #[arg(long, requires = "controllers")]
        nodes: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().order {
        Order::Plane { controllers, nodes } => {
            plane(Options {
                controllers,
                nodes,
                audit: false,
            })
            .await
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn plane(options: Options) -> Result<()> {
    let plane = ControlPlane::start(options).await?;
    println!("export KUBECONFIG={}", plane.kubeconfig().display());
    tokio::signal::ctrl_c()
        .await
        .map_err(imm_harness::HarnessError::io("waiting for Ctrl-C"))?;
    plane.stop()
}
