//! Logging to standard error, as JSON or plain text.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Plain text.
    Text,
}

/// Initializes logging. `level` is error, warn, info, debug or trace; any other value means info.
pub fn init(format: LogFormat, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    // Other crates log from warn on only: the HTTP clients log requests with their URLs at debug.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("imm_operator", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(false))
            .init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
    }
}
