//! What was recorded: events, requests, and the output of servers.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{State, non_empty, seconds, timestamp};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts from 1 at the start of magid.
    pub sequence: u64,
    /// When.
    pub at: Option<Timestamp>,
    /// A stable name, as `server-state`.
    pub kind: String,
    /// The server that it is about.
    pub server: Option<String>,
    /// The incarnation that it is about.
    pub incarnation: Option<u64>,
    /// The state before, for a change of state.
    pub from: Option<State>,
    /// The state after.
    pub to: Option<State>,
    /// A stable code.
    pub reason: Option<String>,
    /// One line for people.
    pub message: String,
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

/// Lines of output.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Logs {
    /// Oldest first.
    pub lines: Vec<LogLine>,
}

/// One line of a server's output.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// The incarnation that wrote it.
    pub incarnation: u64,
    /// Absent if bytes were passed over and no line follows yet.
    pub line: Option<String>,
    /// Bytes that were passed over before this line.
    pub skipped_bytes: u64,
}

impl LogLine {
    /// The lines of one message.
    pub fn from_wire(message: v1::TailLogsResponse) -> Vec<Self> {
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
        let lines = message.lines.into_iter();
        lines
            .map(|text| line(Some(text), std::mem::take(&mut skipped)))
            .collect()
    }
}

/// A request that ended.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedRequest {
    /// As in the reply's `x-request-id`.
    pub id: String,
    /// When it came.
    pub at: Option<Timestamp>,
    /// The model that it asked for.
    pub model: Option<String>,
    /// The server that it went to.
    pub server: Option<String>,
    /// The incarnation that answered.
    pub incarnation: Option<u64>,
    /// Its path.
    pub path: String,
    /// The HTTP status of the answer.
    pub status: u32,
    /// The name of the key that it carried.
    pub key: Option<String>,
    /// `done`, `refused`, `cancelled` or `broken`.
    pub outcome: String,
    /// A stable code, if it was not done.
    pub reason: Option<String>,
    /// Whether the answer was a stream of events.
    pub stream: bool,
    /// From its coming until it was forwarded.
    pub waited_seconds: Option<f64>,
    /// From its coming until the first byte of the answer's body.
    pub first_byte_seconds: Option<f64>,
    /// From its coming until its end.
    pub took_seconds: Option<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub tokens: Option<u64>,
    /// Tokens of the answer per second, as the server measured them.
    pub tokens_per_second: Option<f64>,
}

impl From<v1::FinishedRequest> for FinishedRequest {
    fn from(request: v1::FinishedRequest) -> Self {
        Self {
            id: request.id,
            at: timestamp(request.at),
            model: non_empty(request.model),
            server: non_empty(request.server),
            incarnation: request.incarnation,
            path: request.path,
            status: request.status,
            key: non_empty(request.key),
            outcome: request.outcome,
            reason: non_empty(request.reason),
            stream: request.stream,
            waited_seconds: request.waited.map(seconds),
            first_byte_seconds: request.first_byte.map(seconds),
            took_seconds: request.took.map(seconds),
            prompt_tokens: request.prompt_tokens,
            tokens: request.tokens,
            tokens_per_second: request.tokens_per_second,
        }
    }
}
