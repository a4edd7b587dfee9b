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
    let filter = filter(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(false))
            .init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
    }
}

/// Lets only our own lines pass. Other crates log what is not theirs to show: kube's client logs a whole answer that it
/// cannot decode, such as a Secret, at warn, and the HTTP clients log requests with their URLs at debug.
fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("imm_operator", level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_other_crate_logs() {
        let all = filter(LevelFilter::TRACE);
        for target in [
            "kube_client::client",
            "kube",
            "hyper",
            "hyper_util",
            "tower",
            "reqwest",
            "rustls",
            "axum",
            "h2",
        ] {
            for level in [Level::ERROR, Level::WARN, Level::TRACE] {
                assert!(!all.would_enable(target, &level), "{target} {level}");
            }
        }
        assert!(all.would_enable("imm_operator::kubernetes", &Level::TRACE));
        assert!(!filter(LevelFilter::INFO).would_enable("imm_operator", &Level::DEBUG));
    }
}
