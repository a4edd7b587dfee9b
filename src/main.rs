//! The operator's program: parse, install the crypto provider, do, and turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use imm_operator::cli::{Arguments, Command, Run, keys_of_the_environment};
use imm_operator::cli::{generate, plan, release_finalizers, results};
use imm_operator::runtime::telemetry;
use imm_operator::{api, app, kubernetes};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // One provider for kube and reqwest, before either can choose its own.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Run(run) => operate(&run),
        Command::Plan(flags) => in_runtime(plan::run(&flags, keys_of_the_environment(), kubernetes::now())),
        Command::Drain(flags) => in_runtime(release_finalizers::run(&flags)),
        Command::Results(flags) => in_runtime(results::run(&flags)),
        Command::Crd => print(&generate::definitions(&api::definitions())),
        Command::Reasons => print(&generate::reasons()),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A reader that goes away early (head) is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn operate(run: &Run) -> ExitCode {
    telemetry::init(run.log_format, &run.log_level);
    in_runtime(async {
        match until_told_to_stop(run).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "cannot run");
                ExitCode::FAILURE
            }
        }
    })
}

/// One thread does it all: it waits for others nearly all its time. A second one takes a third more processor time for an
/// image, which goes into waking each other, and more memory.
fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("imm-operator: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn until_told_to_stop(run: &Run) -> Result<(), Box<dyn std::error::Error>> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(app::run(run.settings(), stop).await?)
}
