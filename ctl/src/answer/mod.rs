//! Asking a server that is ready, and reading its answer as it comes.
//!
//! The question goes to the endpoint itself. It needs no gateway, and costs none.

mod events;

use std::collections::VecDeque;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use magi_proto::v1::EnsureReadyResponse;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpStream;

use events::Parser;
pub(crate) use events::{Event, Figures};

/// What of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Why there is no answer, or no more of it.
#[derive(Debug, Error)]
pub(crate) enum AnswerError {
    /// It is where it was said to be no longer, or not yet.
    #[error("cannot reach the server at {endpoint}: {why}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// As the system says it.
        why: String,
    },
    /// It says no.
    #[error("the server refused: {message}")]
    Refused {
        /// Its own words.
        message: String,
    },
    /// What came is not what a llama-server answers.
    #[error("cannot understand the server's answer")]
    NotAnAnswer,
    /// The answer has no end.
    #[error("the answer broke off: the server ended in the middle of it")]
    BrokenOff,
}

impl AnswerError {
    /// Whether the question may be asked again elsewhere: nothing of an answer has come.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { .. } | Self::NotAnAnswer | Self::BrokenOff => false,
        }
    }
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    /// Who said it: `system`, `user` or `assistant`.
    pub(crate) role: &'static str,
    /// What.
    pub(crate) content: String,
}

/// An answer that is under way. Dropped, the server stops working on it.
pub(crate) struct Answer {
    body: Incoming,
    parser: Parser,
    /// Read, and not given yet.
    events: VecDeque<Event>,
}

impl Answer {
    /// Asks for an answer to what was said, of at most so many tokens.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses.
    pub(crate) async fn ask(
        ready: &EnsureReadyResponse,
        said: &[Message],
        max_tokens: Option<u32>,
    ) -> Result<Self, AnswerError> {
        let mut question = json!({
            "model": ready.server,
            "messages": said,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(count) = max_tokens {
            question["max_tokens"] = count.into();
        }
        let response = send(ready, question.to_string()).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Self {
                body: response.into_body(),
                parser: Parser::default(),
                events: VecDeque::new(),
            });
        }
        let body = first_bytes(response.into_body()).await;
        // A server that loads is one that was replaced meanwhile.
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Err(AnswerError::Unreachable {
                endpoint: ready.endpoint.clone(),
                why: String::from_utf8_lossy(&body).trim().to_owned(),
            }),
            _ => Err(events::refusal(&body)),
        }
    }

    /// What comes next. `None` after the proper end.
    ///
    /// # Errors
    ///
    /// The answer breaks off, or is none.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, AnswerError> {
        loop {
            match self.events.pop_front() {
                Some(Event::Done) => return Ok(None),
                Some(event) => return Ok(Some(event)),
                None => {}
            }
            let frame = self.body.frame().await;
            // Without the last event it is no end, however well it is formed.
            let Some(Ok(frame)) = frame else {
                return Err(AnswerError::BrokenOff);
            };
            if let Ok(data) = frame.into_data() {
                self.events.extend(self.parser.take(&data)?);
            }
        }
    }
}

async fn send(
    ready: &EnsureReadyResponse,
    question: String,
) -> Result<Response<Incoming>, AnswerError> {
    let unreachable = |why: String| AnswerError::Unreachable {
        endpoint: ready.endpoint.clone(),
        why,
    };
    let endpoint: Uri = ready
        .endpoint
        .parse()
        .map_err(|_| unreachable("that is no address".to_owned()))?;
    let address = endpoint.authority().map_or("", |host| host.as_str());
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    // It ends with the answer, or when nobody reads that any more.
    tokio::spawn(connection);
    let mut request = Request::post("/v1/chat/completions")
        .header("host", address)
        .header("content-type", "application/json");
    if let Some(key) = &ready.api_key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request
        .body(Full::new(Bytes::from(question)))
        .map_err(|error| unreachable(error.to_string()))?;
    sender
        .send_request(request)
        .await
        .map_err(|error| unreachable(error.to_string()))
}

/// The beginning of a body, as far as it comes.
async fn first_bytes(mut body: Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() >= MAX_REFUSAL_BYTES {
            bytes.truncate(MAX_REFUSAL_BYTES);
            break;
        }
    }
    bytes
}
