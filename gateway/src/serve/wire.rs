//! The bytes of a connection, below hyper.
//!
//! Three things that clients are to see are decided where nobody else can: hyper answers a head that it
//! cannot read by itself and without a word, has one limit for the time of a head and the time between
//! two, and closes a connection whose answer broke off as it closes any other. So what it reads and
//! writes passes through here, and [`Talk`] is what the two sides know of each other.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderName, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Worker;
use crate::proxy::{self, REQUEST_ID};

/// Of a head that is refused so much more is taken, so that its client gets to read why, in bytes.
const DISCARD: usize = 4 << 20;

/// hyper's own answers are shorter, in bytes.
const LONGEST_BARE: usize = 256;

/// What is waited for on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The rest of a head, or the first one.
    Head,
    /// A request.
    Idle,
    /// An answer.
    Answer,
}

/// How far the talk on a connection is.
pub(super) struct Talk {
    /// Bytes of a head came, and the head is not whole. True at first: that one is waited for.
    is_head_begun: Cell<bool>,
    /// Requests whose answers have not been handed over to their ends.
    answering: Cell<u32>,
    /// Something of this has changed since that was last asked, or something was written: who takes an
    /// answer slowly is not idle.
    has_moved: Cell<bool>,
    /// An answer broke off whose client takes the end of the connection for its end.
    is_misleading: Cell<bool>,
}

/// A connection of a client, as hyper has it.
pub(super) struct Wire<S: AsFd> {
    stream: S,
    talk: Rc<Talk>,
    worker: Rc<Worker>,
    /// What is written in place of hyper's own answer.
    told: Option<Bytes>,
    /// So much may still come, and is thrown away. None: all went well.
    discard: Option<usize>,
}

/// The body of an answer. Dropped, it is handed over.
pub(super) struct Answered<B> {
    body: B,
    talk: Rc<Talk>,
    /// The client knows no other end than that of the connection.
    ends_with_connection: bool,
}

impl Talk {
    /// Nothing has been said.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            is_head_begun: Cell::new(true),
            answering: Cell::new(0),
            has_moved: Cell::new(false),
            is_misleading: Cell::new(false),
        })
    }

    /// What is waited for, if that is another thing than when this was last asked, or the same anew.
    pub(super) fn take_phase(&self) -> Option<Phase> {
        let phase = match (self.is_head_begun.get(), self.answering.get()) {
            (true, _) => Phase::Head,
            (false, 0) => Phase::Idle,
            (false, _) => Phase::Answer,
        };
        self.has_moved.take().then_some(phase)
    }

    /// A request has come, whose head is whole.
    pub(super) fn request(&self) {
        self.is_head_begun.set(false);
        self.answering.set(self.answering.get() + 1);
        self.has_moved.set(true);
    }

    /// Its answer.
    pub(super) fn answer<B>(
        self: Rc<Self>,
        answer: Response<B>,
        version: http::Version,
    ) -> Response<Answered<B>> {
        answer.map(|body| Answered {
            body,
            talk: self,
            ends_with_connection: version < http::Version::HTTP_11,
        })
    }
}

impl<S: AsFd> Wire<S> {
    pub(super) fn new(stream: S, talk: Rc<Talk>, worker: Rc<Worker>) -> Self {
        Self {
            stream,
            talk,
            worker,
            told: None,
            discard: None,
        }
    }

    /// What to write in place of this. None: it is to be written.
    fn in_place_of(&self, bytes: &[u8]) -> Option<Bytes> {
        if self.talk.answering.get() > 0 {
            return None;
        }
        let status = bare_status(bytes)?;
        let answer = proxy::unreadable(&self.worker, status);
        Some(serialize(&answer))
    }
}

impl<S: AsyncWrite + AsFd + Unpin> Wire<S> {
    /// Writes what is told in place of hyper's own answer. True: there is something, and it is written.
    fn poll_told(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<bool>> {
        if self.told.is_none() && self.discard.is_none() {
            self.told = self.in_place_of(bytes);
        }
        let Some(told) = &mut self.told else {
            return Poll::Ready(Ok(false));
        };
        while told.has_remaining() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, told))?;
            told.advance(count);
        }
        self.told = None;
        self.discard = Some(DISCARD);
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + AsFd + Unpin> Wire<S> {
    /// Takes what a client whose head was refused still sends. Whoever closes while something comes in
    /// makes the system throw away what it has not delivered.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(more) = self.discard.filter(|more| *more > 0) {
            let mut room = [0; 8192];
            let mut buffer = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let count = buffer.filled().len();
            if count == 0 {
                break;
            }
            self.discard = Some(more.saturating_sub(count));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut wire.stream).poll_read(cx, buffer))?;
        let has_come = buffer.filled().len() > before;
        if has_come && wire.talk.answering.get() == 0 && !wire.talk.is_head_begun.replace(true) {
            wire.talk.has_moved.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        match ready!(wire.poll_told(cx, bytes))? {
            true => Poll::Ready(Ok(bytes.len())),
            false => {
                let written = ready!(Pin::new(&mut wire.stream).poll_write(cx, bytes));
                wire.talk.has_moved.set(true);
                Poll::Ready(written)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        match pieces {
            // hyper's own answers are in one piece.
            [bytes] => Pin::new(wire).poll_write(cx, bytes),
            pieces => {
                let written = ready!(Pin::new(&mut wire.stream).poll_write_vectored(cx, pieces));
                wire.talk.has_moved.set(true);
                Poll::Ready(written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        ready!(Pin::new(&mut wire.stream).poll_shutdown(cx))?;
        wire.poll_discard(cx)
    }
}

impl<S: AsFd> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.talk.is_misleading.get() {
            // A reset. On a Unix socket there is none, and the client cannot be told.
            let reset = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            if let Err(error) = reset {
                tracing::debug!(name: "not_reset", "cannot reset a connection: {error}");
            }
        }
    }
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let answered = self.get_mut();
        let frame = Pin::new(&mut answered.body).poll_frame(cx);
        if answered.ends_with_connection && matches!(frame, Poll::Ready(Some(Err(_)))) {
            answered.talk.is_misleading.set(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answered<B> {
    fn drop(&mut self) {
        let answering = self.talk.answering.get();
        self.talk.answering.set(answering.saturating_sub(1));
        self.talk.has_moved.set(true);
    }
}

/// The status of an answer that is not the gateway's: it has no id, as each of ours has. What hyper says
/// by itself is such a one, and nothing else.
fn bare_status(bytes: &[u8]) -> Option<StatusCode> {
    if bytes.len() > LONGEST_BARE {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?;
    let lines = head.strip_prefix("HTTP/1.")?.strip_suffix("\r\n\r\n")?;
    let status = lines.split(' ').nth(1)?.parse().ok()?;
    let has_id = lines.lines().any(|line| {
        let name = line.split(':').next();
        name.is_some_and(|name| name.eq_ignore_ascii_case(REQUEST_ID.as_str()))
    });
    let status: Option<StatusCode> = Some(status).filter(StatusCode::is_client_error);
    status.filter(|_| !has_id)
}

/// An answer behind which the connection is closed, as it is sent.
fn serialize(answer: &Response<Bytes>) -> Bytes {
    let body = answer.body();
    let head = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        answer.status(),
        body.len()
    );
    let mut whole = head.into_bytes();
    for (name, value) in answer.headers() {
        let name: &HeaderName = name;
        let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        whole.extend(line.concat());
    }
    whole.extend_from_slice(b"\r\n");
    whole.extend_from_slice(body);
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_hypers_own_is_known_by_what_it_lacks() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                     date: Sat, 21 Nov 2026 14:55:58 GMT\r\n\r\n";
        assert_eq!(bare_status(bare), Some(StatusCode::BAD_REQUEST));
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\nX-Request-Id: 1\r\n\r\n"[..],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1",
            b"\xff\r\n\r\n",
            b"",
        ] {
            assert_eq!(bare_status(other), None);
        }
    }
}
