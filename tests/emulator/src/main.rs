//! The emulator binary: reads a seed, prints the listening URL, and runs until SIGTERM or SIGINT.
//! Standard output carries only the URL, for the process that started it. Logs go to standard error.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use imm_emulator::{Emulator, Options, Seed, TlsFiles};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Emulates Alibaba Cloud OSS, IMM and STS on one port.
///
/// Point an official client's endpoint at the URL printed on the first line. The admin API (ledger, faults, lag,
/// foreign writers) is served under /-/ on the same port; the crate's README describes it.
#[derive(Debug, Parser)]
#[command(name = "imm-emulator", version)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of the command line"
)]
struct Arguments {
    /// YAML file with the initial accounts, buckets and projects
    #[arg(long, value_name = "FILE")]
    seed: PathBuf,
    /// Address to listen on; with port 0 the system chooses the port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Treat a policy as public if it names any session (`*`) of an assumed role
    #[arg(long)]
    session_wildcard_is_public: bool,
    /// Let the UID of an account in a policy name the sessions of its roles too
    #[arg(long)]
    account_covers_sessions: bool,
    /// Ignore the case of a role in a policy
    #[arg(long)]
    role_case_is_ignored: bool,
    /// Offset of the cloud's clock from this machine's clock, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    clock_offset: i64,
    /// Base host name; the label in front of it names the bucket (repeatable; localhost and the cloud's own are built in)
    #[arg(long, value_name = "NAME")]
    base_name: Vec<String>,
    /// HTTP status of IMM's Throttling.User error
    #[arg(long, value_name = "STATUS", default_value_t = 400)]
    throttle_status: u16,
    /// Value of x-acs-retry-after sent with Throttling.User
    #[arg(long, value_name = "MILLISECONDS")]
    throttle_retry_after: Option<u64>,
    /// Answer in XML if the key, date, signature or nonce of an IMM or STS call is wrong
    #[arg(long)]
    gateway_errors_in_xml: bool,
    /// Certificate chain (PEM); the same port then also serves TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

impl Arguments {
    fn options(&self) -> Options {
        let pair = self.tls_certificate.clone().zip(self.tls_key.clone());
        Options {
            listen: self.listen,
            session_wildcard_is_public: self.session_wildcard_is_public,
            account_covers_sessions: self.account_covers_sessions,
            role_case_is_ignored: self.role_case_is_ignored,
            clock_offset_seconds: self.clock_offset,
            base_names: self.base_name.clone(),
            throttle_status: self.throttle_status,
            throttle_retry_after_ms: self.throttle_retry_after,
            gateway_errors_in_xml: self.gateway_errors_in_xml,
            tls: pair.map(|(certificate, key)| TlsFiles { certificate, key }),
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let seed = Seed::from_file(&arguments.seed)?;
    let emulator = Emulator::start(seed, arguments.options()).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", emulator.url())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    emulator.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
