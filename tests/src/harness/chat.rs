//! A client of a llama-server's endpoint.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one request, or for the next token of one.
const DEADLINE: Duration = Duration::from_secs(20);

/// Asks an endpoint for four tokens, and gives the answer.
///
/// # Errors
///
/// If the endpoint cannot be reached, breaks off, or answers other than 200.
pub async fn chat(endpoint: &str) -> Result<String> {
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 4 });
    let (status, text) = post(endpoint, "/v1/chat/completions", &body).await?;
    if status != StatusCode::OK {
        bail!("{endpoint} answered {status}: {text}");
    }
    let answer: Value = serde_json::from_str(&text)?;
    let content = &answer["choices"][0]["message"]["content"];
    Ok(content
        .as_str()
        .context("an answer without content")?
        .into())
}

/// Posts JSON, and gives the status and the text of the answer.
///
/// # Errors
///
/// If the endpoint cannot be reached or breaks off.
pub async fn post(endpoint: &str, path: &str, body: &Value) -> Result<(StatusCode, String)> {
    timeout(DEADLINE, post_patiently(endpoint, path, body))
        .await
        .with_context(|| format!("no answer from {endpoint}{path}"))?
}

/// As [`post`], without a deadline.
///
/// # Errors
///
/// As [`post`].
pub async fn post_patiently(
    endpoint: &str,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, String)> {
    let answer = whole(request(endpoint, path, Some(body.to_string())).await?).await?;
    Ok((answer.status, answer.text))
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`, without parameters.
    pub content_type: String,
    /// Its body.
    pub text: String,
}

/// Asks for a path: by POST if there is a body, whatever it is, else by GET.
///
/// # Errors
///
/// If the endpoint cannot be reached or breaks off.
pub async fn ask(endpoint: &str, path: &str, body: Option<&str>) -> Result<Answer> {
    timeout(DEADLINE, async {
        whole(request(endpoint, path, body.map(str::to_owned)).await?).await
    })
    .await
    .with_context(|| format!("no answer from {endpoint}{path}"))?
}

async fn whole(response: Response<Incoming>) -> Result<Answer> {
    let status = response.status();
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let content_type = kind.split(';').next().unwrap_or_default().to_owned();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(Answer {
        status,
        content_type,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

async fn request(endpoint: &str, path: &str, body: Option<String>) -> Result<Response<Incoming>> {
    let address = endpoint
        .strip_prefix("http://")
        .context("an http endpoint")?;
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = match body {
        Some(_) => Request::post(path).header("content-type", "application/json"),
        None => Request::get(path),
    };
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let request = request.header("host", address).body(body)?;
    Ok(sender.send_request(request).await?)
}

/// An answer that is streamed.
pub struct Chat {
    body: Incoming,
}

impl Chat {
    /// Asks an endpoint for a stream of `tokens` tokens.
    ///
    /// # Errors
    ///
    /// If the endpoint cannot be reached or answers other than 200.
    pub async fn start(endpoint: &str, tokens: u32) -> Result<Self> {
        let body = json!({
            "messages": [{ "role": "user", "content": "hi" }],
            "max_tokens": tokens,
            "stream": true,
        });
        let response = timeout(
            DEADLINE,
            request(endpoint, "/v1/chat/completions", Some(body.to_string())),
        )
        .await??;
        if response.status() != StatusCode::OK {
            bail!("{endpoint} answered {}", response.status());
        }
        Ok(Self {
            body: response.into_body(),
        })
    }

    /// The next piece of the stream, as it came. `None` at its proper end.
    ///
    /// # Errors
    ///
    /// If the stream breaks off or stalls.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            let frame = timeout(DEADLINE, self.body.frame())
                .await
                .context("the stream stalls")?;
            match frame.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
                    }
                }
            }
        }
    }

    /// Everything that is still to come.
    ///
    /// # Errors
    ///
    /// As [`Chat::next`].
    pub async fn rest(mut self) -> Result<String> {
        let mut text = String::new();
        while let Some(piece) = self.next().await? {
            text += &piece;
        }
        Ok(text)
    }
}
