//! What is answered if a request is not forwarded.
//!
//! Every refusal has a [`Reason`], whose code is stable, and is told in the [`Shape`] that its client
//! knows: that of OpenAI or of Anthropic on the data path, RFC 9457 problem details beside it. The code
//! is in all of them. Within a stream that has begun it is an event instead, behind which the
//! connection is broken: a stream never ends well that did not.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::body::BodyError;

/// What nginx says of a client that went away; there is no other number for it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// When to ask again for what somebody else has to mend first.
pub(crate) const RETRY_SOON: Duration = Duration::from_secs(1);

/// Why a request is not answered as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The same for people, with the numbers behind it.
    pub message: String,
    /// When to ask again. Absent if that is not known, or would not help.
    pub retry_after: Option<Duration>,
}

/// The stable reasons of refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No server has the name that was asked for.
    NoSuchModel,
    /// The request names no model, and there is more than one.
    ModelRequired,
    /// `model` is something else than a string.
    ModelNotAString,
    /// `model` is there twice.
    DuplicateModel,
    /// The body is no JSON object.
    InvalidJson,
    /// The head of the request cannot be read.
    InvalidHttp,
    /// The head of the request is too large.
    HeadTooLarge,
    /// The path is too long.
    PathTooLong,
    /// The body is larger than `max_body`.
    BodyTooLarge,
    /// The client stopped sending in the middle of its body.
    BodyTimeout,
    /// Other requests hold `max_bodies`, and did so for `body_timeout`.
    BodiesFull,
    /// No such path.
    NoSuchPath,
    /// The path does not know the method.
    MethodNotAllowed,
    /// Too many requests wait for the server.
    QueueFull,
    /// The request waited for `max_wait`.
    QueueTimeout,
    /// An operator holds the server stopped.
    Held,
    /// magid is away, and what is asked for needs it.
    MagidAway,
    /// The server broke off, or could not be reached.
    UpstreamBroken,
    /// What the server answered is not HTTP.
    UpstreamNotHttp,
    /// No known key is the one that the request carries.
    InvalidKey,
    /// The request carries no key.
    KeyRequired,
    /// The key may not do this.
    KeyScope,
    /// The key may not use that model.
    KeyModel,
    /// The `Host` header names somebody else.
    HostNotAllowed,
    /// The page that sent the request may not.
    OriginNotAllowed,
    /// magid does not allow this to gateways.
    ControlDenied,
    /// Somebody cancelled the request.
    Cancelled,
    /// What magid says.
    Magid {
        /// Its reason code, such as an exit class.
        code: String,
        /// What that is in HTTP.
        status: StatusCode,
    },
}

/// The shapes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}}`, with `code` beside them.
    Anthropic,
    /// RFC 9457, with `reason` beside its members.
    Problem,
}

impl Reason {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::NoSuchModel => "no-such-model",
            Self::ModelRequired => "model-required",
            Self::ModelNotAString => "model-not-a-string",
            Self::DuplicateModel => "duplicate-model",
            Self::InvalidJson => "invalid-json",
            Self::InvalidHttp => "invalid-http",
            Self::HeadTooLarge => "head-too-large",
            Self::PathTooLong => "path-too-long",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTimeout => "body-timeout",
            Self::BodiesFull => "bodies-full",
            Self::NoSuchPath => "no-such-path",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Held => "held",
            Self::MagidAway => "magid-away",
            Self::UpstreamBroken => "upstream-broken",
            Self::UpstreamNotHttp => "upstream-not-http",
            Self::InvalidKey => "invalid-key",
            Self::KeyRequired => "key-required",
            Self::KeyScope => "key-scope",
            Self::KeyModel => "key-model",
            Self::HostNotAllowed => "host-not-allowed",
            Self::OriginNotAllowed => "origin-not-allowed",
            Self::ControlDenied => "control-denied",
            Self::Cancelled => "cancelled",
            Self::Magid { code, .. } => code,
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ModelRequired
            | Self::ModelNotAString
            | Self::DuplicateModel
            | Self::InvalidJson
            | Self::InvalidHttp => StatusCode::BAD_REQUEST,
            Self::InvalidKey | Self::KeyRequired => StatusCode::UNAUTHORIZED,
            Self::KeyScope
            | Self::KeyModel
            | Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::ControlDenied => StatusCode::FORBIDDEN,
            Self::NoSuchModel | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::PathTooLong => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Cancelled => client_closed_request(),
            Self::UpstreamBroken | Self::UpstreamNotHttp => StatusCode::BAD_GATEWAY,
            Self::BodiesFull | Self::QueueTimeout | Self::Held | Self::MagidAway => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Magid { status, .. } => *status,
        }
    }

    /// The member of the body that it is about.
    fn param(&self) -> Option<&'static str> {
        matches!(
            self,
            Self::NoSuchModel
                | Self::ModelRequired
                | Self::ModelNotAString
                | Self::DuplicateModel
                | Self::KeyModel
        )
        .then_some("model")
    }

    /// OpenAI's word for this kind of error.
    fn openai_type(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// Anthropic's word for it.
    fn anthropic_type(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        }
    }
}

impl Shape {
    /// The shape that clients of this path know.
    pub fn of(path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next();
        match first.unwrap_or_default() {
            "v1" if is_below(path, "/v1/messages") => Self::Anthropic,
            "" | "api" | "docs" | "health" | "metrics" | "openapi.json" | "workers" => {
                Self::Problem
            }
            _ => Self::OpenAi,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Anthropic => "application/json",
            Self::Problem => "application/problem+json",
        }
    }
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same, with a time to ask again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// magid is away.
    pub fn magid_away() -> Self {
        let message = "magid is away: what is ready is served, and nothing else can be";
        Self::new(Reason::MagidAway, message).retry_after(RETRY_SOON)
    }

    /// What magid answered to a call, or that it did not.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let reason = match details.error_info() {
            Some(info) => Reason::of_magid(&info.reason, status.code()),
            // Without a reason it is not magid that speaks, but the connection to it.
            None if is_lost(status.code()) => return Self::magid_away(),
            None => Reason::of_magid("", status.code()),
        };
        Self {
            reason,
            message: status.message().to_owned(),
            retry_after,
        }
    }

    /// The whole answer.
    pub fn respond(&self, shape: Shape) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.document(shape).to_string()));
        *response.status_mut() = self.reason.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(shape.content_type()));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(after).into());
        }
        if self.reason.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The event that tells of it in a stream of events.
    pub fn event(&self, shape: Shape) -> Bytes {
        let name = match shape {
            // Clients of OpenAI look into the data.
            Shape::OpenAi => "",
            Shape::Anthropic | Shape::Problem => "event: error\n",
        };
        Bytes::from(format!("{name}data: {}\n\n", self.document(shape)))
    }

    /// The body of the answer.
    pub(crate) fn document(&self, shape: Shape) -> Value {
        let Self {
            reason, message, ..
        } = self;
        match shape {
            Shape::OpenAi => json!({ "error": {
                "message": message,
                "type": reason.openai_type(),
                "param": reason.param(),
                "code": reason.code(),
            } }),
            Shape::Anthropic => json!({ "type": "error", "error": {
                "type": reason.anthropic_type(),
                "message": message,
                "code": reason.code(),
            } }),
            Shape::Problem => json!({
                "type": "about:blank",
                "title": reason.status().canonical_reason().unwrap_or("Cancelled"),
                "status": reason.status().as_u16(),
                "detail": message,
                "reason": reason.code(),
            }),
        }
    }
}

impl Reason {
    /// The reason of a call's failure. An empty `reason`: it has none.
    fn of_magid(reason: &str, code: Code) -> Self {
        match reason {
            "held" => Self::Held,
            "control-denied" => Self::ControlDenied,
            "" => Self::Magid {
                code: fallback_code(code).to_owned(),
                status: http_status(code),
            },
            // It would fit into no machine like this one, so it is no conflict that could be resolved.
            "does-not-fit" => Self::Magid {
                code: reason.to_owned(),
                status: StatusCode::SERVICE_UNAVAILABLE,
            },
            // What was sent can be read, and is wrong.
            "invalid-configuration" => Self::Magid {
                code: reason.to_owned(),
                status: StatusCode::UNPROCESSABLE_ENTITY,
            },
            reason => Self::Magid {
                code: reason.to_owned(),
                status: http_status(code),
            },
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let (reason, help) = match error {
            BodyError::InvalidJson { .. } => (Reason::InvalidJson, "send one JSON object"),
            BodyError::DuplicateModel => (Reason::DuplicateModel, "leave one of the two out"),
            BodyError::DuplicateStream => (Reason::InvalidJson, "leave one of the two out"),
            BodyError::ModelNotAString => (
                Reason::ModelNotAString,
                "write the name of a model in quotes, or leave `model` out",
            ),
        };
        Self::new(reason, format!("{error}; {help}"))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::from_status(&status)
    }
}

fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(CLIENT_CLOSED_REQUEST).expect("three digits are a status")
}

/// Whether `path` is `folder` or something in it.
fn is_below(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `Retry-After` counts seconds; one that came too early would be refused again.
fn whole_seconds(time: Duration) -> u64 {
    let begun = u64::from(time.subsec_nanos() > 0);
    (time.as_secs() + begun).max(1)
}

/// What a call fails with if nobody answers.
fn is_lost(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled)
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::Cancelled => client_closed_request(),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable | Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn fallback_code(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => "invalid-argument",
        Code::Unauthenticated | Code::PermissionDenied => "control-denied",
        Code::NotFound => "not-found",
        Code::AlreadyExists => "already-exists",
        Code::Aborted | Code::FailedPrecondition => "conflict",
        Code::Cancelled => "cancelled",
        Code::Unimplemented => "unimplemented",
        Code::Unavailable => "unavailable",
        Code::ResourceExhausted => "busy",
        Code::DeadlineExceeded => "deadline-exceeded",
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => "internal",
    }
}

#[cfg(test)]
mod tests;
