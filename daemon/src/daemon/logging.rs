//! The log of magid, and of its gateway: the journal under systemd, readable text on a terminal.

use std::fmt;
use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;
use crate::logs::journal;

/// What systemd calls the levels.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Starts logging what the program of this name says. True: it goes to the journal.
pub fn start(program: &str, level: LogLevel) -> bool {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ours = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(program.replace('-', "_"), level);
    if is_journal_stream()
        && let Ok(layer) = tracing_journald::layer()
    {
        // Output has a level of its own, and who wants less of it says so to the server.
        let ours = ours.with_target(journal::TARGET, LevelFilter::DEBUG);
        let layer = layer
            .with_field_prefix(None)
            .with_priority_mappings(PRIORITIES)
            .with_syslog_identifier(program.to_owned());
        tracing_subscriber::registry()
            .with(layer.with_filter(ours))
            .init();
        return true;
    }
    let ours = ours.with_target(journal::TARGET, LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal())
        .fmt_fields(format::debug_fn(write_field));
    tracing_subscriber::registry()
        .with(layer.with_filter(ours))
        .init();
    false
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Fields that say again what the message says are for the journal only.
fn write_field(
    writer: &mut format::Writer<'_>,
    field: &tracing::field::Field,
    value: &dyn fmt::Debug,
) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        "message_id" => Ok(()),
        name if name.starts_with("magi_") => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    }
}

/// Whether our standard error is the stream that systemd connected to the journal: it says which one
/// that is, so that a redirected or inherited one is not taken for it.
fn is_journal_stream() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|meta| named == format!("{}:{}", meta.dev(), meta.ino()))
}
