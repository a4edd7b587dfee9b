//! `imm-harness`: what the Makefile's targets run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, HarnessError, Options, Result, demo, generate, suite};

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
    /// Plays the documented recipe on a real API server and a stand-in cloud.
    Demo {
        /// Leave everything running at the end, until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// The operator's binary; default: the one beside this program.
        #[arg(long)]
        operator: Option<PathBuf>,
    },
    /// Runs everything and ends with the sum; or the named stages only.
    Test {
        /// Stages: tools, format, lint, licences, build, tests, plans, clients, demo, image.
        #[arg(value_parser = suite::STAGES)]
        stages: Vec<String>,
    },
    /// Writes every generated file of the checkout and names those that changed.
    Generate {
        /// The operator's binary.
        #[arg(long)]
        operator: PathBuf,
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
        Order::Demo { keep, operator } => play(keep, operator).await,
        Order::Test { stages } => {
            return if suite::run(&stages).await {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Order::Generate { operator } => write_generated(&operator).await,
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
        .map_err(HarnessError::io("waiting for Ctrl-C"))?;
    plane.stop()
}

async fn write_generated(operator: &Path) -> Result<()> {
    let (definitions, reasons) = (printed(operator, "crd")?, printed(operator, "reasons")?);
    let files = generate::generated(&definitions, &reasons).await?;
    let changed = generate::write(&files, &checkout())?;
    for path in &changed {
        println!("changed {}", path.display());
    }
    println!("{} generated files, {} changed", files.len(), changed.len());
    Ok(())
}

/// What the operator prints for a subcommand.
fn printed(operator: &Path, subcommand: &str) -> Result<String> {
    let output = Command::new(operator).arg(subcommand).output();
    let output = output.map_err(HarnessError::io(format!(
        "running {} {subcommand}",
        operator.display()
    )))?;
    if !output.status.success() {
        return Err(HarnessError::Surprise(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn play(keep: bool, operator: Option<PathBuf>) -> Result<()> {
    let beside = || std::env::current_exe().map(|here| here.with_file_name("imm-operator"));
    let operator = match operator {
        Some(operator) => operator,
        None => beside().map_err(HarnessError::io("looking for the operator's binary"))?,
    };
    demo::run(demo::DemoOptions { operator, keep }).await
}
