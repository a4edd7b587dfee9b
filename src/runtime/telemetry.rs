//! Logs: JSON for machines, text for people, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Plain text.
    Text,
}

/// Starts logging. `level` is one of error, warn, info, debug, trace.
pub fn init(format: LogFormat, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    // The HTTP stacks log requests with their URLs at debug, and nobody asked for those.
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
