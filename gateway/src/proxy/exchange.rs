//! One request to a server, and the head of its answer.
//!
//! A connection is not a task of its own: whoever waits for the answer drives it. So there is no switch
//! between tasks for each piece, and a request that is dropped takes its connection with it, which is
//! how llama-server notices that nobody wants the answer any more.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::refusal::{Reason, Refusal};

/// Servers are on this machine, or as good as.
const CONNECT: Duration = Duration::from_secs(5);

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A connection to a server.
pub(super) struct Upstream {
    sender: SendRequest<Full<Bytes>>,
    /// None: it has ended.
    connection: Option<Driven>,
}

/// What moves bytes while it is polled.
type Driven = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

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
    NotHttp(hyper::Error),
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
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::NotHttp)?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
        })
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let answered = poll_fn(|cx| {
            if let Some(driven) = connection
                && driven.as_mut().poll(cx).is_ready()
            {
                *connection = None;
            }
            answer.as_mut().poll(cx)
        });
        answered.await.map_err(|mut error| {
            if error.take_message().is_some() {
                return Failure::NotSent;
            }
            let error = error.into_error();
            match error.is_parse() {
                true => Failure::NotHttp(error),
                false => Failure::Broken,
            }
        })
    }
}

/// Takes what is ready, without waiting.
pub(super) async fn now<T>(mut look: impl FnMut(&mut Context<'_>) -> T) -> T {
    poll_fn(|cx| Poll::Ready(look(cx))).await
}
