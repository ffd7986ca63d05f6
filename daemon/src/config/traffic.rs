//! How a server takes requests, and what becomes of it without any.
//!
//! None of this reaches its process: a change is applied to the running server.

use std::time::Duration;

use toml::Spanned;

use super::diagnostic::Report;
use super::document::Table;
use super::value::{Positive, QueueLength};

/// How a server takes requests, and what becomes of it without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// It is stopped after so long without a request. Absent: never.
    pub idle_timeout: Option<Duration>,
    /// Whether it never makes room for another server.
    pub pin: bool,
    /// How long it waits for room before servers that are in use make some for it, and how long it serves
    /// at least before it does so for others while it is in use. Absent: neither ever.
    pub swap_after: Option<Duration>,
    /// Requests that it answers at a time; 0: any number. Absent: as many as it has slots.
    pub max_in_flight: Option<u32>,
    /// Further requests that may wait.
    pub max_queue: u32,
    /// How long each may wait.
    pub max_wait: Duration,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            idle_timeout: None,
            pin: false,
            swap_after: Some(Duration::from_secs(10)),
            max_in_flight: None,
            max_queue: 64,
            max_wait: Duration::from_secs(5 * 60),
        }
    }
}

/// What one table says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct TrafficKeys {
    /// Zero: never.
    idle_timeout: Option<Duration>,
    pin: Option<bool>,
    /// Zero: never.
    swap_after: Option<Duration>,
    max_in_flight: Option<u32>,
    max_queue: Option<u32>,
    max_wait: Option<Duration>,
}

impl TrafficKeys {
    pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Self {
        let max_queue = table.get::<QueueLength>("max_queue", report);
        let max_wait = table.get::<Positive>("max_wait", report);
        Self {
            idle_timeout: table.get("idle_timeout", report).map(Spanned::into_inner),
            pin: table.get("pin", report).map(Spanned::into_inner),
            swap_after: table.get("swap_after", report).map(Spanned::into_inner),
            max_in_flight: table.get("max_in_flight", report).map(Spanned::into_inner),
            max_queue: max_queue.map(|length| length.into_inner().0),
            max_wait: max_wait.map(|wait| wait.into_inner().0),
        }
    }

    /// These keys, and those of `defaults` that are not among them.
    pub(super) fn or(self, defaults: &Self) -> Self {
        Self {
            idle_timeout: self.idle_timeout.or(defaults.idle_timeout),
            pin: self.pin.or(defaults.pin),
            swap_after: self.swap_after.or(defaults.swap_after),
            max_in_flight: self.max_in_flight.or(defaults.max_in_flight),
            max_queue: self.max_queue.or(defaults.max_queue),
            max_wait: self.max_wait.or(defaults.max_wait),
        }
    }

    /// The values, with what holds where nothing is written.
    pub(super) fn apply(self) -> Traffic {
        let unwritten = Traffic::default();
        Traffic {
            idle_timeout: self.idle_timeout.filter(|timeout| !timeout.is_zero()),
            pin: self.pin.unwrap_or(unwritten.pin),
            swap_after: match self.swap_after {
                Some(patience) => Some(patience).filter(|patience| !patience.is_zero()),
                None => unwritten.swap_after,
            },
            max_in_flight: self.max_in_flight,
            max_queue: self.max_queue.unwrap_or(unwritten.max_queue),
            max_wait: self.max_wait.unwrap_or(unwritten.max_wait),
        }
    }
}
