//! Requests that gateways have finished.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{non_empty, seconds, timestamp};

/// What `requests` shows without `-f`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Requests {
    pub(crate) requests: Vec<Request>,
}

/// A request that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// As in the reply's `x-request-id`.
    pub(crate) id: String,
    pub(crate) at: Option<Timestamp>,
    /// What it asked for.
    pub(crate) model: Option<String>,
    /// What that was.
    pub(crate) server: Option<String>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) path: String,
    /// The HTTP status of the answer.
    pub(crate) status: u32,
    /// The name of the key that it carried.
    pub(crate) key: Option<String>,
    /// `done`, `refused`, `cancelled` or `broken`.
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) stream: bool,
    pub(crate) waited_seconds: Option<f64>,
    pub(crate) first_byte_seconds: Option<f64>,
    pub(crate) took_seconds: Option<f64>,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) tokens: Option<u64>,
    pub(crate) tokens_per_second: Option<f64>,
}

impl From<v1::FinishedRequest> for Request {
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
