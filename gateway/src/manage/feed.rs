//! Streams of server-sent events.
//!
//! A task writes into a [`Feed`], which holds a few events; a client that reads slowly slows the task down,
//! and one that goes away ends it. A comment is sent in the silence between events, so that proxies do not
//! take the stream for dead.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Events that wait for the client: enough for a burst of changes of state.
const WAITING: usize = 32;

/// Less than the time after which proxies give up, which is a minute or half of that.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Tells nginx not to hold events back.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// Where the events of one client are written.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    events: mpsc::Sender<Event>,
}

/// The client is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Feed {
    /// Sends an event of this name, with JSON.
    pub(super) async fn send(&self, name: &str, data: impl Serialize) -> Result<(), Gone> {
        self.write(Event::default().event(name), data).await
    }

    /// The same with an id, which a client that comes back sends as `Last-Event-ID`.
    pub(super) async fn send_with_id(
        &self,
        name: &str,
        id: String,
        data: impl Serialize,
    ) -> Result<(), Gone> {
        self.write(Event::default().event(name).id(id), data).await
    }

    async fn write(&self, event: Event, data: impl Serialize) -> Result<(), Gone> {
        // None of our values has keys that are no strings, which is all that can fail.
        let event = event.json_data(data).map_err(|_| Gone)?;
        self.events.send(event).await.map_err(|_| Gone)
    }
}

/// The answer whose events a task writes, until the gateway ends: it would wait for the client else.
pub(super) fn respond<F>(ending: CancellationToken, task: impl FnOnce(Feed) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let gone = sender.clone();
    let task = task(Feed { events: sender });
    tokio::spawn(async move {
        tokio::select! {
            // All may be dropped anywhere: nothing outlives them but what the client has not read.
            () = task => {}
            () = gone.closed() => {}
            () = ending.cancelled() => {}
        }
    });
    let heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let events = ReceiverStream::new(receiver).timeout_repeating(heartbeat);
    let events = events.map(|event| {
        Ok::<_, Infallible>(event.unwrap_or_else(|_silence| Event::default().comment("")))
    });
    ([UNBUFFERED], Sse::new(events)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_filled_with_comments() {
        let response = respond(CancellationToken::new(), |feed| async move {
            tokio::time::sleep(HEARTBEAT * 3 / 2).await;
            let sent = feed.send_with_id("news", "7".to_owned(), [1]).await;
            sent.expect("the client is there");
        });
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, ": \n\nevent: news\nid: 7\ndata: [1]\n\n"[..]);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_task() {
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let response = respond(CancellationToken::new(), |_feed| async move {
            let _ended = ended;
            std::future::pending::<()>().await;
        });
        drop(response);
        assert!(end.await.is_err());
    }
    #[tokio::test]
    async fn the_end_of_the_gateway_ends_the_stream() {
        let ending = CancellationToken::new();
        let response = respond(ending.clone(), |_feed| std::future::pending());
        ending.cancel();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty());
    }
}
