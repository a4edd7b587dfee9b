//! Logs: JSON for machines, text for people, on standard error.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Plain text.
    Text,
}

/// Starts logging. `level` is one of error, warn, info, debug, trace, or a filter such as `info,imm_operator=debug`.
pub fn init(format: LogFormat, level: &str) {
    // The HTTP stacks log requests with their URLs at debug; ours must be asked for by name.
    let filter = EnvFilter::new(format!("warn,imm_operator={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
}
