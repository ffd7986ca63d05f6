//! One request to a server, and its answer.
//!
//! A connection is not a task of its own: whoever waits for the answer drives it. So there is no switch
//! between tasks for each piece, and a request that is dropped takes its connection with it, which is
//! how llama-server notices that nobody wants the answer any more.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, Response};
use http_body::SizeHint;
use thiserror::Error;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::headers;
use crate::http1::answer::{self, Head};
use crate::http1::{Malformed, Rest, may_end};
use crate::receive::{self, AT_ONCE};
use crate::refusal::{Reason, Refusal};

/// Servers are on this machine, or as good as.
const CONNECT: Duration = Duration::from_secs(5);

/// A server may say so often that it has not forgotten a request.
const MAX_INTERIM: usize = 16;

/// A connection to a server.
pub(super) struct Upstream {
    stream: TcpStream,
    /// What has come, and was not taken yet.
    received: Bytes,
    /// What is still to come of the last answer.
    rest: Rest,
    /// Whether another request may be sent when the last answer is over.
    is_kept: bool,
}

/// A request, ready to be written.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The connection had ended before the request was sent.
    #[error("the connection had ended")]
    NotSent,
    /// The connection ended after some of the request was sent.
    #[error("it closed the connection before it answered")]
    Broken,
    /// What came is not HTTP.
    #[error("its answer is not HTTP: {0}")]
    NotHttp(#[from] Malformed),
}

/// Why an answer ends before its end.
#[derive(Debug, Error)]
pub(super) enum Cut {
    /// The connection ended.
    #[error("the connection ended")]
    Closed,
    /// What came is not HTTP.
    #[error(transparent)]
    NotHttp(#[from] Malformed),
}

impl Failure {
    /// What the client is told.
    pub(super) fn refusal(&self, server: &str) -> Refusal {
        let reason = match self {
            Self::Unreachable(_) | Self::NotSent | Self::Broken => Reason::UpstreamBroken,
            Self::NotHttp(_) => Reason::UpstreamNotHttp,
        };
        Refusal::new(reason, format!("cannot get an answer of {server}: {self}"))
    }
}

impl Upstream {
    /// Connects to a server.
    pub(super) async fn connect(to: SocketAddr) -> Result<Self, Failure> {
        let stream = timeout(CONNECT, TcpStream::connect(to)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(Failure::Unreachable)?;
        stream.set_nodelay(true).map_err(Failure::Unreachable)?;
        Ok(Self {
            stream,
            received: Bytes::new(),
            rest: Rest::Length(0),
            is_kept: true,
        })
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        // A server has nothing to say of its own but that it leaves.
        self.is_kept
            && self.rest.is_over()
            && self.received.is_empty()
            && self.poll_receive(cx).is_pending()
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(&mut self, request: &Outgoing) -> Result<Response<()>, Failure> {
        let mut written = 0;
        poll_fn(|cx| self.poll_write(&mut written, request, cx)).await?;
        for _ in 0..=MAX_INTERIM {
            let head = self.head(&request.method).await?;
            if head.status.is_informational() {
                continue;
            }
            self.rest = head.body;
            self.is_kept &= head.is_kept;
            let mut response = Response::new(());
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            return Ok(response);
        }
        Err(Malformed::Interim.into())
    }

    async fn head(&mut self, method: &Method) -> Result<Head, Failure> {
        let mut looked_at = 0;
        loop {
            if looked_at == 0 || may_end(&self.received, looked_at) {
                let head = answer::head(&self.received, method, headers::stays)?;
                if let Some((head, length)) = head {
                    self.received.advance(length);
                    return Ok(head);
                }
            }
            looked_at = self.received.len();
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match poll_fn(|cx| self.poll_receive(cx)).await {
            Ok(0) | Err(_) => Err(Failure::Broken),
            Ok(_) => Ok(()),
        }
    }

    /// The next piece of the body. None: that was all.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            match self.rest.take(&mut self.received) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.rest.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            match ready!(self.poll_receive(cx)) {
                Ok(0) if self.rest.close() => return Poll::Ready(None),
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Cut::Closed))),
                Ok(_) => {}
            }
        }
    }

    /// Whether the whole body has come.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_over()
    }

    /// How much of the body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunks(_) | Rest::UntilClose => SizeHint::default(),
        }
    }

    fn poll_write(
        &mut self,
        written: &mut usize,
        request: &Outgoing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let (head, body) = (&request.head[..], &request.body[..]);
        while *written < head.len() + body.len() {
            let rest_of_head = head.get(*written..).unwrap_or_default();
            let rest_of_body = &body[written.saturating_sub(head.len())..];
            let rest = [IoSlice::new(rest_of_head), IoSlice::new(rest_of_body)];
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &rest) {
                Poll::Ready(Ok(count)) if count > 0 => *written += count,
                Poll::Ready(_) if *written == 0 => return Poll::Ready(Err(Failure::NotSent)),
                // It may have said why before it left.
                Poll::Ready(_) => {
                    return match self.poll_early_answer(cx) {
                        Poll::Pending => Poll::Ready(Err(Failure::Broken)),
                        answered => answered,
                    };
                }
                Poll::Pending => return self.poll_early_answer(cx),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for an answer to a request of which a part was sent. The rest is not sent any more then.
    fn poll_early_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match ready!(self.poll_receive(cx)) {
            Ok(count) if count > 0 => {
                self.is_kept = false;
                Poll::Ready(Ok(()))
            }
            Ok(_) | Err(_) => Poll::Ready(Err(Failure::Broken)),
        }
    }

    /// Reads what has come. 0: the connection was closed.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        receive::poll_receive(&mut self.stream, &mut self.received, AT_ONCE, cx)
    }
}

/// Takes what is ready, without waiting.
pub(super) async fn now<T>(mut look: impl FnMut(&mut Context<'_>) -> T) -> T {
    poll_fn(|cx| Poll::Ready(look(cx))).await
}
