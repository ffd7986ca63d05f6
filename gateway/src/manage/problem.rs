//! What is answered if something that was asked is not done.
//!
//! It is a [`Refusal`] with whatever else belongs to it. It is written when the path of the request is at
//! hand, in the shape that clients of that path know: see [`Problem::write`].

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tonic::Status;
use tonic_types::StatusExt;
use utoipa::ToSchema;

use crate::refusal::{Reason, Refusal, Shape};

/// Why something was not done.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    refusal: Refusal,
    /// What belongs to this problem only.
    more: Map<String, Value>,
}

/// Why something was not done: problem details, RFC 9457. Some reasons have more members.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "a description: problems are written by their refusal"
)]
pub(super) struct ProblemDetails {
    /// `about:blank`: the title is that of the status.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// What is wrong: a stable code.
    reason: String,
    /// A command that would help.
    help: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, reason: &str, detail: impl Into<String>) -> Self {
        let code = reason.to_owned();
        Refusal::new(Reason::Magid { code, status }, detail).into()
    }

    /// Adds what belongs to this problem only.
    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        // None of our values has keys that are no strings, which is all that can fail.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.more.insert(name.to_owned(), value);
        self
    }

    /// Says when to try again.
    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.refusal.retry_after = Some(after);
        self
    }

    /// A request that makes no sense.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-argument", detail)
    }

    /// A path that is none of ours.
    pub(super) fn no_such_path(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; see /docs");
        Refusal::new(Reason::NoSuchPath, detail).into()
    }

    /// magid left out of an answer what is always in it.
    pub(super) fn incomplete() -> Self {
        let detail = "the answer of magid is not complete";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The stable code.
    pub(super) fn code(&self) -> &str {
        self.refusal.reason.code()
    }

    /// The answer to a request for this path.
    pub(super) fn write(self, path: &str) -> Response {
        let shape = Shape::of(path);
        let response = self.refusal.respond(shape);
        if self.more.is_empty() {
            return response.map(Body::from);
        }
        let mut document = self.refusal.document(shape);
        if let Value::Object(members) = &mut document {
            members.extend(self.more);
        }
        response.map(|_| Body::from(document.to_string()))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            more: Map::new(),
        }
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let problem = Self::from(Refusal::from_status(&status));
        let command = status
            .get_details_error_info()
            .and_then(|mut info| info.metadata.remove("command"));
        match command {
            Some(command) => problem.with("help", command),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    /// An answer that [`super::answer`] writes.
    fn into_response(self) -> Response {
        let mut response = self.refusal.reason.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use http::header;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    async fn written(problem: Problem, path: &str) -> Value {
        let body = problem.write(path).into_body();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_reason_of_magid_is_kept_with_the_command_that_helps() {
        let command = [("command".to_owned(), "chown magi".to_owned())];
        let mut details = ErrorDetails::new();
        details.set_error_info("profiles-read-only", "magi", command);
        let status = Status::with_error_details(Code::PermissionDenied, "no", details);
        let document = written(status.into(), "/api/models/profiles").await;
        assert_eq!(document["reason"], "profiles-read-only");
        assert_eq!(document["status"], 403);
        assert_eq!(document["help"], "chown magi");
    }

    #[tokio::test]
    async fn clients_of_openai_get_the_shape_they_know() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-model", "no");
        let document = written(problem, "/v1/models/x").await;
        assert_eq!(document["error"]["code"], "no-such-model");
    }

    #[test]
    fn a_lost_connection_says_when_to_try_again() {
        let response = Problem::from(Status::unavailable("gone")).write("/api/x");
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
