//! The routes of llama-server that a supervisor and a client use.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::slots::{Job, Slots};

/// The largest request that is read, in bytes.
const MAX_BODY: usize = 32 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the routes tell about.
pub(super) struct Server {
    /// The model as it was named on the command line.
    pub model: String,
    /// What it answers with.
    pub word: String,
    /// Whether it has loaded.
    pub ready: AtomicBool,
    /// Where answers are made.
    pub slots: Arc<Slots>,
}

/// Answers one request.
pub(super) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if !server.ready.load(Ordering::Acquire) {
        return Ok(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_error",
            "Loading model",
        ));
    }
    let route = (request.method().clone(), request.uri().path().to_owned());
    Ok(match (route.0, route.1.as_str()) {
        (Method::GET, "/health" | "/v1/health") => reply(&json!({ "status": "ok" })),
        (Method::GET, "/slots") => reply(&server.slots.describe()),
        (Method::GET, "/props") => reply(&props(&server)),
        (Method::GET, "/metrics") => text("text/plain; version=0.0.4", server.slots.metrics()),
        (Method::GET, "/models" | "/v1/models") => reply(&models(&server)),
        (Method::POST, "/v1/chat/completions" | "/chat/completions") => {
            complete(&server, request, Shape::Chat).await
        }
        (Method::POST, "/v1/completions") => complete(&server, request, Shape::Text).await,
        (Method::POST, "/completion" | "/completions") => {
            complete(&server, request, Shape::Native).await
        }
        _ => problem(StatusCode::NOT_FOUND, "not_found_error", "File Not Found"),
    })
}

fn props(server: &Server) -> Value {
    json!({
        "default_generation_settings": { "n_ctx": 4096 },
        "total_slots": server.slots.count(),
        "model_path": server.model,
        "modalities": { "vision": false, "audio": false },
        "build_info": "faulty",
        "is_sleeping": false,
    })
}

fn models(server: &Server) -> Value {
    json!({
        "object": "list",
        "data": [{ "id": server.model, "object": "model", "owned_by": "llamacpp" }],
    })
}

/// The three forms an answer comes in.
#[derive(Clone, Copy)]
enum Shape {
    Chat,
    Text,
    Native,
}

impl Shape {
    /// A whole answer.
    fn whole(self, model: &str, content: &str, tokens: u64) -> Value {
        let usage = json!({ "completion_tokens": tokens });
        match self {
            Self::Chat => json!({
                "object": "chat.completion", "model": model, "usage": usage,
                "choices": [{ "index": 0, "finish_reason": "length",
                              "message": { "role": "assistant", "content": content } }],
            }),
            Self::Text => json!({
                "object": "text_completion", "model": model, "usage": usage,
                "choices": [{ "index": 0, "finish_reason": "length", "text": content }],
            }),
            Self::Native => json!({ "content": content, "stop": true, "tokens_predicted": tokens }),
        }
    }

    /// What comes before the first token of a stream.
    fn begin(self, model: &str) -> Option<Value> {
        match self {
            Self::Chat => Some(json!({
                "object": "chat.completion.chunk", "model": model,
                "choices": [{ "index": 0, "finish_reason": null,
                              "delta": { "role": "assistant", "content": null } }],
            })),
            Self::Text | Self::Native => None,
        }
    }

    /// One token of a stream.
    fn piece(self, model: &str, content: &str) -> Value {
        match self {
            Self::Chat => json!({
                "object": "chat.completion.chunk", "model": model,
                "choices": [{ "index": 0, "finish_reason": null, "delta": { "content": content } }],
            }),
            Self::Text => json!({
                "object": "text_completion", "model": model,
                "choices": [{ "index": 0, "finish_reason": null, "text": content }],
            }),
            Self::Native => json!({ "content": content, "stop": false }),
        }
    }

    /// The end of a stream.
    fn end(self, model: &str) -> String {
        match self {
            Self::Chat => {
                let last = json!({
                    "object": "chat.completion.chunk", "model": model,
                    "choices": [{ "index": 0, "finish_reason": "length", "delta": {} }],
                });
                format!("data: {last}\n\ndata: [DONE]\n\n")
            }
            Self::Text => "data: [DONE]\n\n".into(),
            Self::Native => format!("data: {}\n\n", json!({ "content": "", "stop": true })),
        }
    }
}

async fn complete(
    server: &Arc<Server>,
    request: Request<Incoming>,
    shape: Shape,
) -> Response<Body> {
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return invalid(&error.to_string()),
    };
    let asked: Value = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return invalid(&error.to_string()),
    };
    let job = Job {
        prompt_tokens: body.len() as u64 / 4,
        max_tokens: ["max_tokens", "n_predict"]
            .iter()
            .find_map(|key| asked[key].as_u64())
            .unwrap_or(16),
    };
    let tokens = server.slots.run(job);
    if asked["stream"].as_bool().unwrap_or(false) {
        stream(server, shape, tokens)
    } else {
        whole(server, shape, tokens).await
    }
}

async fn whole(server: &Server, shape: Shape, mut tokens: mpsc::Receiver<()>) -> Response<Body> {
    let mut count = 0;
    while tokens.recv().await.is_some() {
        count += 1;
    }
    let content = format!(" {}", server.word).repeat(count);
    reply(&shape.whole(&server.model, &content, count as u64))
}

fn stream(server: &Arc<Server>, shape: Shape, tokens: mpsc::Receiver<()>) -> Response<Body> {
    let (model, word) = (server.model.clone(), format!(" {}", server.word));
    let (begin, end) = (shape.begin(&model), shape.end(&model));
    let pieces = ReceiverStream::new(tokens).map(move |()| shape.piece(&model, &word));
    let events = tokio_stream::iter(begin)
        .chain(pieces)
        .map(|piece| format!("data: {piece}\n\n"))
        .chain(tokio_stream::once(end))
        .map(|event| Ok(Frame::data(Bytes::from(event))));
    respond(
        StatusCode::OK,
        "text/event-stream",
        BodyExt::boxed_unsync(StreamBody::new(events)),
    )
}

fn invalid(why: &str) -> Response<Body> {
    problem(StatusCode::BAD_REQUEST, "invalid_request_error", why)
}

fn problem(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let error = json!({ "error": { "code": status.as_u16(), "type": kind, "message": message } });
    respond(status, "application/json", full(error.to_string()))
}

fn reply(value: &Value) -> Response<Body> {
    text("application/json", value.to_string())
}

fn text(kind: &'static str, text: String) -> Response<Body> {
    respond(StatusCode::OK, kind, full(text))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
