//! Passing the output of servers on to the journal.

use std::time::Duration;

use tracing::Level;

use crate::moment::Moment;
use crate::name::ServerName;

/// The target of events that are lines of output: they are for the journal, not for a terminal.
pub const TARGET: &str = "magid::output";

/// Lines that each server may have in the journal per second.
const LINES_PER_SECOND: u32 = 100;

/// How bad a line is, by llama-server's letter: `M.SS.mmm.uuu L func: text`. A line without one is
/// information.
pub fn level(line: &str) -> Level {
    let mut words = line.split(' ');
    let stamp = words.next().unwrap_or_default();
    let is_stamp = stamp.contains('.') && stamp.chars().all(|c| c.is_ascii_digit() || c == '.');
    match words.next() {
        Some("E") if is_stamp => Level::ERROR,
        Some("W") if is_stamp => Level::WARN,
        Some("D") if is_stamp => Level::DEBUG,
        _ => Level::INFO,
    }
}

/// Writes one line.
pub fn forward(server: &ServerName, incarnation: u64, line: &str) {
    let name = server.as_str();
    match level(line) {
        Level::ERROR => {
            tracing::error!(target: TARGET, magi_server = name, magi_incarnation = incarnation, "{line}");
        }
        Level::WARN => {
            tracing::warn!(target: TARGET, magi_server = name, magi_incarnation = incarnation, "{line}");
        }
        Level::DEBUG => {
            tracing::debug!(target: TARGET, magi_server = name, magi_incarnation = incarnation, "{line}");
        }
        _ => {
            tracing::info!(target: TARGET, magi_server = name, magi_incarnation = incarnation, "{line}");
        }
    }
}

/// Lets so many lines through in each second, and counts the others.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    second: Moment,
    passed: u32,
    dropped: u64,
}

impl Throttle {
    /// Whether a line may pass at `now`.
    pub fn admits(&mut self, now: Moment) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.passed = 0;
        }
        if self.passed < LINES_PER_SECOND {
            self.passed += 1;
            return true;
        }
        self.dropped += 1;
        false
    }

    /// How many lines were held back so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_of_llama_server_is_the_level() {
        assert_eq!(
            level("0.00.004.207 E llama_model_load: error"),
            Level::ERROR
        );
        assert_eq!(level("0.00.004.333 I srv    operator(): x"), Level::INFO);
        assert_eq!(level("0.00.004.333 W srv    operator(): x"), Level::WARN);
        assert_eq!(level("I E am no stamp"), Level::INFO);
        assert_eq!(level(""), Level::INFO);
    }

    #[test]
    fn a_flood_is_thinned_to_a_hundred_lines_a_second() {
        let mut throttle = Throttle::default();
        let at = |ms| Moment::new(Duration::from_millis(ms));
        let passed = (0..10_000).filter(|n| throttle.admits(at(n / 5))).count();
        assert_eq!(passed, 200);
        assert_eq!(throttle.dropped(), 9_800);
    }
}
