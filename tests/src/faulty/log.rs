//! Output in the form of llama-server's log, on stderr.

use std::io::Write;
use std::sync::OnceLock;

use tokio::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Sets the zero of the log's clock.
pub(super) fn begin() {
    START.get_or_init(Instant::now);
}

/// Writes a line of level `I`.
pub(super) fn info(function: &str, text: &str) {
    line('I', function, text);
}

/// Writes a line of level `E`.
pub(super) fn error(function: &str, text: &str) {
    line('E', function, text);
}

fn line(level: char, function: &str, text: &str) {
    let past = START.get_or_init(Instant::now).elapsed();
    let (minutes, seconds) = (past.as_secs() / 60, past.as_secs() % 60);
    let (millis, micros) = (past.subsec_millis(), past.subsec_micros() % 1000);
    raw(format!(
        "{minutes}.{seconds:02}.{millis:03}.{micros:03} {level} srv  {function:>12}: {text}\n"
    )
    .as_bytes());
}

/// Writes bytes as they are. Whether anyone takes them is not its business.
pub(super) fn raw(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
