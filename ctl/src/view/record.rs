//! What was recorded: events, and the output of servers.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{State, non_empty, timestamp};

/// What `events` shows without `-f`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) at: Option<Timestamp>,
    pub(crate) kind: String,
    pub(crate) server: Option<String>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) from: Option<State>,
    pub(crate) to: Option<State>,
    pub(crate) reason: Option<String>,
    pub(crate) message: String,
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        // An event that is no change of state has none.
        let state = |state: i32| (state != 0).then(|| State::from_wire(state));
        Self {
            sequence: event.sequence,
            at: timestamp(event.at),
            kind: event.kind,
            server: event.server,
            incarnation: event.incarnation,
            from: state(event.from),
            to: state(event.to),
            reason: non_empty(event.reason),
            message: event.message,
        }
    }
}

/// What `logs` shows without `-f`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logs {
    pub(crate) lines: Vec<LogLine>,
}

/// One line of a server's output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogLine {
    pub(crate) incarnation: u64,
    /// Absent if bytes were passed over and no line follows yet.
    pub(crate) line: Option<String>,
    /// Bytes that were passed over before this line.
    pub(crate) skipped_bytes: u64,
}

impl LogLine {
    /// The lines of one message.
    pub(crate) fn from_wire(message: v1::TailLogsResponse) -> Vec<Self> {
        let incarnation = message.incarnation;
        let line = |line, skipped_bytes| Self {
            incarnation,
            line,
            skipped_bytes,
        };
        if message.lines.is_empty() && message.skipped_bytes > 0 {
            return vec![line(None, message.skipped_bytes)];
        }
        let mut skipped = message.skipped_bytes;
        message
            .lines
            .into_iter()
            .map(|text| line(Some(text), std::mem::take(&mut skipped)))
            .collect()
    }
}
