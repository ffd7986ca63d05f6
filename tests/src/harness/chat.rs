//! Questions for whoever answers as a llama-server does.

use anyhow::{Context, Result, bail};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::http::{Answer, Call, Reply};

/// The route of all that is asked here.
const CHAT: &str = "/v1/chat/completions";

/// Asks an endpoint for four tokens, and gives the answer.
///
/// # Errors
///
/// If the endpoint cannot be reached, breaks off, or answers other than 200.
pub async fn chat(endpoint: &str) -> Result<String> {
    said(endpoint, &question(None, 4)).await
}

/// Asks the model of this name for four tokens, and gives the answer.
///
/// # Errors
///
/// As [`chat`].
pub async fn chat_with(endpoint: &str, model: &str) -> Result<String> {
    said(endpoint, &question(Some(model), 4)).await
}

/// A question that is answered by so many tokens.
pub fn question(model: Option<&str>, tokens: u32) -> Value {
    let mut question = json!({
        "messages": [{ "role": "user", "content": "hi" }],
        "max_tokens": tokens,
    });
    if let Some(model) = model {
        question["model"] = model.into();
    }
    question
}

async fn said(endpoint: &str, question: &Value) -> Result<String> {
    let (status, text) = post(endpoint, CHAT, question).await?;
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
    let answer = Call::post(path, body).answer(endpoint).await?;
    Ok((answer.status, answer.text))
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
    let reply = Call::post(path, body).send_patiently(endpoint).await?;
    let answer = reply.whole().await?;
    Ok((answer.status, answer.text))
}

/// Asks for a path: by POST if there is a body, whatever it is, else by GET.
///
/// # Errors
///
/// If the endpoint cannot be reached or breaks off.
pub async fn ask(endpoint: &str, path: &str, body: Option<&str>) -> Result<Answer> {
    let call = match body {
        Some(body) => Call::text(path, body.to_owned()),
        None => Call::get(path),
    };
    call.answer(endpoint).await
}

/// An answer that is streamed.
pub struct Chat {
    reply: Reply,
}

impl Chat {
    /// Asks an endpoint for a stream of `tokens` tokens.
    ///
    /// # Errors
    ///
    /// If the endpoint cannot be reached or answers other than 200.
    pub async fn start(endpoint: &str, tokens: u32) -> Result<Self> {
        Self::begin(endpoint, question(None, tokens)).await
    }

    /// Asks the model of this name for a stream of `tokens` tokens.
    ///
    /// # Errors
    ///
    /// As [`Chat::start`].
    pub async fn with(endpoint: &str, model: &str, tokens: u32) -> Result<Self> {
        Self::begin(endpoint, question(Some(model), tokens)).await
    }

    async fn begin(endpoint: &str, mut question: Value) -> Result<Self> {
        question["stream"] = true.into();
        let reply = Call::post(CHAT, &question).send(endpoint).await?;
        if reply.status() != StatusCode::OK {
            bail!("{endpoint} answered {}", reply.status());
        }
        Ok(Self { reply })
    }

    /// The next piece of the stream, as it came. `None` at its proper end.
    ///
    /// # Errors
    ///
    /// If the stream breaks off or stalls.
    pub async fn next(&mut self) -> Result<Option<String>> {
        self.reply.next().await
    }

    /// Everything that is still to come.
    ///
    /// # Errors
    ///
    /// As [`Chat::next`].
    pub async fn rest(self) -> Result<String> {
        let (text, end) = self.reply.to_its_end().await;
        end.map(|()| text)
    }

    /// Everything that is still to come, and whether it ended properly.
    pub async fn to_its_end(self) -> (String, Result<()>) {
        self.reply.to_its_end().await
    }
}
