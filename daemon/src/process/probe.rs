//! Questions to a llama-server: how are you, what do your slots do, do you sleep?
//!
//! Each question has a connection and a deadline of its own. A wedged server then costs one time-out
//! rather than a pool of stuck connections, and nothing is left for it to count as a client.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::text::one_line;

/// The most of an answer that is read.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// What `/health` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The model is loaded. A wedged server says so too.
    Ok,
    /// The model is not loaded yet.
    Loading,
    /// Nobody listens there.
    Refused,
    /// There was no whole answer in time.
    TimedOut,
    /// Something else answered, or it broke off.
    Unexpected(String),
}

/// Why a question was not answered.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Nobody listens there.
    #[error("cannot connect: nobody listens there")]
    Refused,
    /// There was no whole answer in time.
    #[error("cannot wait longer: no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not a success.
    #[error("cannot use the answer: HTTP status {0}")]
    Status(u16),
    /// The connection broke, or what came over it is not the HTTP or JSON it should be.
    #[error("cannot use the answer: {0}")]
    Broken(String),
}

/// One slot: a place for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WireSlot")]
pub struct Slot {
    /// Which.
    pub id: u32,
    /// Whether it works on a request.
    pub is_processing: bool,
    /// Tokens generated for that request.
    pub n_decoded: u64,
    /// Tokens of its prompt that have been worked through.
    pub n_prompt_tokens_processed: u64,
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Props {
    /// It has given back its memory until the next request.
    pub is_sleeping: bool,
    /// The build of llama.cpp.
    pub build_info: String,
    /// How many slots it has.
    pub total_slots: u32,
    /// The model that it loaded.
    pub model_path: String,
}

/// Asks `/health`. It needs no key, wakes nobody, and is answered while the model loads.
pub async fn health(address: SocketAddr, limit: Duration) -> Health {
    match ask(address, limit, "/health", None).await {
        Ok((StatusCode::OK, _)) => Health::Ok,
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Health::Loading,
        Ok((status, _)) => Health::Unexpected(format!("HTTP status {}", status.as_u16())),
        Err(ProbeError::Refused) => Health::Refused,
        Err(ProbeError::TimedOut(_)) => Health::TimedOut,
        Err(error @ (ProbeError::Status(_) | ProbeError::Broken(_))) => {
            Health::Unexpected(error.to_string())
        }
    }
}

/// Asks `/slots`. This wakes a server that sleeps and sets its idle timer back, so never ask an idle
/// one.
///
/// # Errors
///
/// A time-out means little: the thread that decodes also answers this.
pub async fn slots(
    address: SocketAddr,
    limit: Duration,
    api_key: Option<&str>,
) -> Result<Vec<Slot>, ProbeError> {
    ask_json(address, limit, "/slots", api_key).await
}

/// Asks `/props`. It wakes nobody.
///
/// # Errors
///
/// Says why there is no answer.
pub async fn props(
    address: SocketAddr,
    limit: Duration,
    api_key: Option<&str>,
) -> Result<Props, ProbeError> {
    ask_json(address, limit, "/props", api_key).await
}

/// Asks `/metrics` how many tokens it has worked on since its start. As for [`slots`], never ask one
/// that sleeps.
///
/// # Errors
///
/// Says why there is no answer.
pub async fn tokens(
    address: SocketAddr,
    limit: Duration,
    api_key: Option<&str>,
) -> Result<u64, ProbeError> {
    match ask(address, limit, "/metrics", api_key).await? {
        (StatusCode::OK, body) => read_tokens(&body),
        (status, _) => Err(ProbeError::Status(status.as_u16())),
    }
}

/// Adds up the counters of tokens.
fn read_tokens(body: &[u8]) -> Result<u64, ProbeError> {
    let text = std::str::from_utf8(body).map_err(broken)?;
    let count = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let mut values = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        values.next().and_then(|value| value.parse::<f64>().ok())
    };
    let read = count("llamacpp:prompt_tokens_total").zip(count("llamacpp:tokens_predicted_total"));
    let (prompts, predicted) = read.ok_or_else(|| broken("it counts no tokens"))?;
    // Prompts that were found in the cache count elsewhere. Older builds do not tell.
    let cached = count("llamacpp:prompt_tokens_cached_total").unwrap_or_default();
    Ok((prompts + predicted + cached) as u64)
}

async fn ask_json<T: DeserializeOwned>(
    address: SocketAddr,
    limit: Duration,
    path: &str,
    api_key: Option<&str>,
) -> Result<T, ProbeError> {
    match ask(address, limit, path, api_key).await? {
        (StatusCode::OK, body) => read_answer(&body),
        (status, _) => Err(ProbeError::Status(status.as_u16())),
    }
}

/// Reads the body of an answer, which may come from anybody.
pub(crate) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProbeError> {
    serde_json::from_slice(body).map_err(broken)
}

async fn ask(
    address: SocketAddr,
    limit: Duration,
    path: &str,
    api_key: Option<&str>,
) -> Result<(StatusCode, Bytes), ProbeError> {
    let request = authorized(Request::get(path), api_key);
    let request = request.body(Full::default()).map_err(broken)?;
    timeout(limit, exchange(address, request))
        .await
        .unwrap_or(Err(ProbeError::TimedOut(limit)))
}

/// Adds the key that the server asks for, if it does.
fn authorized(request: Builder, api_key: Option<&str>) -> Builder {
    match api_key {
        Some(key) => request.header(AUTHORIZATION, format!("Bearer {key}")),
        None => request,
    }
}

/// Posts a JSON document to an endpoint for requests, which may take as long as the model needs.
/// Gives the HTTP status and the body.
///
/// # Errors
///
/// Says why there is no answer.
pub async fn post(
    address: SocketAddr,
    limit: Duration,
    path: &str,
    document: String,
    api_key: Option<&str>,
) -> Result<(u16, Bytes), ProbeError> {
    let request = authorized(Request::post(path), api_key)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(document))
        .map_err(broken)?;
    match timeout(limit, exchange(address, request)).await {
        Ok(answer) => answer.map(|(status, body)| (status.as_u16(), body)),
        Err(_) => Err(ProbeError::TimedOut(limit)),
    }
}

async fn exchange(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProbeError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ProbeError::Refused,
            _ => broken(error),
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let host = HeaderValue::try_from(address.to_string()).map_err(broken)?;
    request.headers_mut().insert(HOST, host);
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(broken)?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here rather than by a task, so that nothing outlives the question.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends when the last byte is read, which may be before the answer is put together; if it
        // broke, the answer tells of it.
        _ = &mut connection => answer.await,
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProbeError {
    let error = error.into();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ProbeError::Broken(one_line(&text))
}

/// A slot as llama-server writes it. Idle ones have only the first two members.
#[derive(Deserialize)]
struct WireSlot {
    #[serde(default)]
    id: u32,
    #[serde(default)]
    is_processing: bool,
    #[serde(default)]
    n_prompt_tokens_processed: u64,
    #[serde(default)]
    next_token: NextToken,
}

/// A list in current builds, a single one in older ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum NextToken {
    Many(Vec<Decoded>),
    One(Decoded),
}

#[derive(Deserialize)]
struct Decoded {
    #[serde(default)]
    n_decoded: u64,
}

impl Default for NextToken {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl From<WireSlot> for Slot {
    fn from(wire: WireSlot) -> Self {
        let n_decoded = match wire.next_token {
            NextToken::Many(tokens) => tokens
                .iter()
                .fold(0_u64, |sum, token| sum.saturating_add(token.n_decoded)),
            NextToken::One(token) => token.n_decoded,
        };
        Self {
            id: wire.id,
            is_processing: wire.is_processing,
            n_decoded,
            n_prompt_tokens_processed: wire.n_prompt_tokens_processed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_prompts_and_answers_are_added_up() {
        let text = "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n\
                    llamacpp:prompt_tokens_total 5\nllamacpp:prompt_tokens_cached_total 7\n\
                    llamacpp:tokens_predicted_total 3\nllamacpp:prompt_seconds_total 0.009\n";
        assert_eq!(read_tokens(text.as_bytes()).unwrap(), 15);
    }

    #[test]
    fn what_counts_no_tokens_is_no_answer() {
        for text in [
            "",
            "llamacpp:prompt_tokens_total x\nllamacpp:tokens_predicted_total 3\n",
            "\u{0}",
        ] {
            assert!(read_tokens(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read_tokens(&[0xff]).is_err());
    }
}
