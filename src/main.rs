//! Entry point: installs the crypto provider, parses the command line, runs the command and returns its exit code.

use std::process::ExitCode;

use imm_operator::cli::output::{USAGE_ERROR, print};
use imm_operator::cli::{Arguments, Command, RunArgs, completion_script, credentials_from_environment};
use imm_operator::cli::{doctor, generate, plan, release_finalizers, results, selftest};
use imm_operator::runtime::{panics, telemetry};
use imm_operator::{api, app, kubernetes};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // The same provider for kube and reqwest, installed before either selects one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let core_dumps_off = disable_core_dumps();
    let command = Arguments::of_process().command;
    if !matches!(command, Command::Run(_)) {
        panics::install_hook_of_commands();
    }
    match command {
        Command::Run(run) => run_operator(&run, core_dumps_off),
        Command::Plan(flags) => block_on(plan::run(
            &flags,
            credentials_from_environment(),
            kubernetes::now(),
        )),
        Command::Doctor(flags) => block_on(doctor::run(&flags)),
        Command::Selftest(flags) => block_on(selftest::run(&flags)),
        Command::ReleaseFinalizers(flags) => block_on(release_finalizers::run(&flags)),
        Command::Results(flags) => block_on(results::run(&flags)),
        Command::Completion(flags) => print("completion", &completion_script(&flags), ExitCode::SUCCESS),
        Command::Crd => print("crd", &generate::crds_yaml(&api::crds()), ExitCode::SUCCESS),
        Command::Reasons => print("reasons", &generate::reasons_markdown(), ExitCode::SUCCESS),
    }
}

/// Sets the limit of core dumps to zero, which an unprivileged process cannot raise again: a dump would hold credentials.
fn disable_core_dumps() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)
}

fn run_operator(run: &RunArgs, core_dumps_off: rustix::io::Result<()>) -> ExitCode {
    telemetry::init(run.log_format, &run.log_level);
    if let Err(error) = core_dumps_off {
        tracing::warn!(%error, "failed to disable core dumps");
    }
    panics::install_hook();
    let settings = match run.settings() {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!(%error, "failed to read command line");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    block_on(async {
        match run_until_signalled(settings).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "failed to run operator");
                ExitCode::FAILURE
            }
        }
    })
}

/// Runs on a single thread: the operator is idle nearly all the time, waiting for responses. A second thread costs a
/// third more CPU time per item, for wake-ups between the threads, and more memory.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("imm-operator: cannot start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_until_signalled(settings: app::Settings) -> Result<(), Box<dyn std::error::Error>> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop_requested = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop_requested.cancel();
    });
    Ok(Box::pin(app::run(settings, stop)).await?)
}
