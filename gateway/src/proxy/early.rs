//! An answer that begins before there is a server.
//!
//! A client that asked for a stream and hears nothing for a minute gives up, or a proxy before it does.
//! So if the server loads, or its places are taken, for longer than a moment, the stream of events is
//! begun, and carries comments until the first event comes. That has a price: the status is 200, and a
//! refusal that comes later can only be told as an event, behind which the connection is broken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use magi_proto::v1::ServerState;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::headers::REQUEST_ID;
use super::reply::{BrokenOff, Reply};
use crate::gateway::Gateway;
use crate::refusal::{Reason, Refusal, Shape};

/// A wait that nobody notices.
const MOMENT: Duration = Duration::from_secs(1);

/// Between two comments.
const BETWEEN: Duration = Duration::from_secs(2);

/// Of a refusal of the server, so many bytes are passed on.
const MAX_REFUSAL: usize = 64 * 1024;

/// What a request becomes.
pub(super) type Coming = Pin<Box<dyn Future<Output = Result<Response<Reply>, Refusal>>>>;

/// An answer that has begun, and of which nothing is there yet.
pub(crate) struct Early {
    state: State,
    next_comment: Pin<Box<Sleep>>,
    gateway: Arc<Gateway>,
    server: String,
    shape: Shape,
}

enum State {
    /// There is no answer yet.
    Waiting(Coming),
    /// The answer has come.
    Flowing(Reply),
    /// It is a refusal, which is read to its end.
    Refused(Pin<Box<dyn Future<Output = Bytes>>>),
    /// The client was told that nothing more comes, and is broken off.
    Told,
    Over,
}

/// Waits for an answer, and begins one without it if that takes too long. `waits`: whether it waits for
/// the gateway, and not for the server.
pub(super) async fn answer(
    mut coming: Coming,
    id: &HeaderValue,
    gateway: &Arc<Gateway>,
    server: &str,
    shape: Shape,
    waits: impl Fn() -> bool,
) -> Result<Response<Reply>, Refusal> {
    tokio::select! {
        biased;
        // The future goes on in the answer that is begun.
        answer = &mut coming => return answer,
        () = sleep(MOMENT) => {}
    }
    if !waits() {
        return coming.await;
    }
    let early = Early {
        state: State::Waiting(coming),
        next_comment: Box::pin(sleep_until(Instant::now())),
        gateway: gateway.clone(),
        server: server.to_owned(),
        shape,
    };
    let mut response = Response::new(Reply::Early(Box::new(early)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(REQUEST_ID, id.clone());
    Ok(response)
}

impl Early {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            match &mut self.state {
                State::Waiting(coming) => match coming.as_mut().poll(cx) {
                    Poll::Ready(Ok(answer)) => self.state = begin(answer, self.shape),
                    Poll::Ready(Err(refusal)) => return self.tell(refusal.event(self.shape)),
                    Poll::Pending if self.next_comment.as_mut().poll(cx).is_ready() => {
                        let next = Instant::now() + BETWEEN;
                        self.next_comment.as_mut().reset(next);
                        // Polled, so that it wakes the task.
                        let _ = self.next_comment.as_mut().poll(cx);
                        return Poll::Ready(Some(Ok(Frame::data(self.comment()))));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Flowing(reply) => {
                    return http_body::Body::poll_frame(Pin::new(reply), cx);
                }
                State::Refused(reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(event) => return self.tell(event),
                    Poll::Pending => return Poll::Pending,
                },
                State::Told => {
                    self.state = State::Over;
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }

    fn tell(&mut self, event: Bytes) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.state = State::Told;
        Poll::Ready(Some(Ok(Frame::data(event))))
    }

    /// How far the server is.
    fn comment(&self) -> Bytes {
        let table = self.gateway.table.load();
        let name = &self.server;
        let text = match table.servers.get(name) {
            Some(server) if server.current.is_some() => {
                let waiting = server.traffic.waiting();
                format!("{name} is busy, {waiting} requests wait")
            }
            Some(server) => match (server.route.state(), server.route.load_percent) {
                (ServerState::Starting, Some(percent)) => format!("{name} loads, {percent} %"),
                (ServerState::Starting, None) => format!("{name} loads"),
                (_, _) => format!("{name} is not ready yet"),
            },
            None => format!("{name} is not there"),
        };
        // A reason of magid's has no line breaks, nor has a name; a comment must not have any.
        Bytes::from(format!(": {}\n\n", text.replace(['\r', '\n'], " ")))
    }
}

/// What becomes of an answer, now that its head has been sent.
fn begin(answer: Response<Reply>, shape: Shape) -> State {
    let (head, body) = answer.into_parts();
    if head.status == StatusCode::OK && super::answer::is_events(&head.headers) {
        return State::Flowing(body);
    }
    let status = head.status;
    State::Refused(Box::pin(async move {
        let body = Limited::new(body, MAX_REFUSAL).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        event_of(&body, status, shape)
    }))
}

/// What a server said in place of a stream, as an event.
fn event_of(said: &[u8], status: StatusCode, shape: Shape) -> Bytes {
    let document: Option<serde_json::Value> = serde_json::from_slice(said).ok();
    match document.filter(|document| document.get("error").is_some()) {
        Some(document) => {
            let name = match shape {
                Shape::OpenAi => "",
                Shape::Anthropic | Shape::Problem => "event: error\n",
            };
            Bytes::from(format!("{name}data: {document}\n\n"))
        }
        None => {
            let message = format!("the server answered {status}, and no stream of events");
            Refusal::new(Reason::UpstreamBroken, message).event(shape)
        }
    }
}
