//! The `imm-harness` binary, run by the Makefile's targets.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};
use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, HarnessError, Options, Result, demo, generate, release, suite};

/// Runs the demo, the test stages and their parts.
#[derive(Parser)]
#[command(name = "imm-harness", version)]
struct Arguments {
    #[command(subcommand)]
    command: Target,
}

#[derive(Subcommand)]
enum Target {
    /// Starts a control plane, prints its KUBECONFIG line and runs until Ctrl-C.
    Plane {
        /// Also run kube-controller-manager.
        #[arg(long)]
        controllers: bool,
        /// Also run a scheduler and a Node whose Pods appear to run.
        #[arg(long, requires = "controllers")]
        nodes: bool,
    },
    /// Runs Alibaba Cloud's cross-account procedure on a real API server and an emulated cloud.
    Demo {
        /// Keep everything running at the end, until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// The cluster to use instead of a control plane of its own: current is that of the current context. Refused
        /// if it has the operator, or if the context is none of kind-*, k3d-*, minikube and docker-desktop.
        #[arg(long)]
        cluster: Option<DemoCluster>,
        /// The name of the current context, if it has another name than those of --cluster.
        #[arg(long, requires = "cluster")]
        context: Option<String>,
        /// Only remove what an earlier demo with this mark created in the cluster and could not remove.
        #[arg(long, value_name = "MARK", requires = "cluster", conflicts_with = "keep")]
        remove: Option<String>,
        /// The operator's binary; default: the one beside this binary.
        #[arg(long)]
        operator: Option<PathBuf>,
    },
    /// Runs all stages, or only the named ones, and prints the totals.
    Test {
        /// Also run the stages of a release.
        #[arg(long)]
        release: bool,
        /// Stages: tools, format, lint, recipes, licences, build, tests, plans, clients, demo, image; floor,
        /// conclusions, book, browser, release, compare, upgrade.
        #[arg(value_parser = PossibleValuesParser::new(suite::STAGES.into_iter().chain(suite::RELEASE_STAGES)))]
        stages: Vec<String>,
    },
    /// Makes the files of a release: binaries, chart, SBOMs, notes, plugin manifest and checksums.
    Release {
        /// Use the unreleased changes as notes if the version has none yet, and allow pages that say that there is no
        /// release.
        #[arg(long)]
        dry_run: bool,
        /// Only check version, notes and pages, and compile nothing.
        #[arg(long, conflicts_with_all = ["dry_run", "output"])]
        check: bool,
        /// The folder of the files, which is emptied, as are the folders of the image's files and of the image beside it
        /// (dist-image, dist-oci); default: target/dist.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Writes every generated file of the checkout and lists the changed ones.
    Generate {
        /// The operator's binary.
        #[arg(long)]
        operator: PathBuf,
    },
}

/// The values of `--cluster`.
#[derive(Clone, Copy, ValueEnum)]
enum DemoCluster {
    /// The cluster of the current context.
    Current,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Target::Plane { controllers, nodes } => {
            plane(Options {
                controllers,
                nodes,
                audit: false,
            })
            .await
        }
        Target::Demo {
            keep,
            cluster,
            context,
            remove,
            operator,
        } => {
            let current = cluster.map(|DemoCluster::Current| demo::CurrentContext {
                kubeconfig: None,
                typed: context,
                remove,
            });
            run_demo(keep, current, operator).await
        }
        Target::Test { stages, release } => {
            return if suite::run(&stages, release).await {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Target::Release { check: true, .. } => release::check(&checkout(), false).await.map(drop),
        Target::Release { dry_run, output, .. } => {
            make_release(release::ReleaseOptions {
                output: output.unwrap_or_else(|| checkout().join("target/dist")),
                prepared: None,
                dry_run,
            })
            .await
        }
        Target::Generate { operator } => write_generated(&operator).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The terminal may be closed.
            let _closed = writeln!(std::io::stderr(), "error: {error}");
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

async fn make_release(options: release::ReleaseOptions) -> Result<()> {
    for name in release::make(&options).await? {
        println!("{}", options.output.join(name).display());
    }
    Ok(())
}

async fn write_generated(operator: &Path) -> Result<()> {
    let files = generate::generated(&generate::Printed::by(operator)?).await?;
    let changed = generate::write(&files, &checkout())?;
    for path in &changed {
        println!("changed {}", path.display());
    }
    println!("{} generated files, {} changed", files.len(), changed.len());
    Ok(())
}

async fn run_demo(
    keep: bool,
    current: Option<demo::CurrentContext>,
    operator: Option<PathBuf>,
) -> Result<()> {
    let beside = || std::env::current_exe().map(|here| here.with_file_name("imm-operator"));
    let operator = match operator {
        Some(operator) => operator,
        None => beside().map_err(HarnessError::io("locating the operator's binary"))?,
    };
    demo::run(demo::DemoOptions {
        operator,
        keep,
        current,
    })
    .await
}
