//! The bytes of a client's connection, and how far the talk on it is.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncWrite;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::io::poll_read_buf;

use super::out::Out;
use crate::http1::request::{self, Head, Unreadable};
use crate::http1::write::CONTINUE;
use crate::http1::{Malformed, Rest, may_end};
use crate::receive::poll_receive;

/// So much is read at once but into a body, in bytes: more than most requests have. What comes of a large
/// body with its head is copied to the rest of it.
const AT_ONCE: usize = 16 * 1024;

/// So much of a large body is read at once, in bytes. It is looked at before it has left the caches.
const PIECE: usize = 128 * 1024;

/// Of what a client still sends when its connection is closed, so much is taken, in bytes.
const DISCARD: usize = 4 << 20;

/// And for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client is connected by.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// The connection of a client. It never leaves its thread, and nothing waits while it is borrowed.
pub(super) struct Wire(RefCell<Talk>);

struct Talk {
    socket: Socket,
    /// What has come, and was not taken yet.
    received: Bytes,
    /// In so many bytes of that there is no end of a head.
    looked_at: usize,
    /// What is still to come of the last request.
    body: Rest,
    /// Its client waits to be told to send it.
    expects_continue: bool,
}

/// The body of a request, as it comes.
pub(crate) struct Incoming(Rc<Wire>);

/// A body does not come to its end.
#[derive(Debug, Error)]
pub(crate) enum BrokenBody {
    /// The connection ended.
    #[error("the connection ended")]
    Closed,
    /// What came is not HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Talk {
            socket,
            received: Bytes::new(),
            looked_at: 0,
            body: Rest::Length(0),
            expects_continue: false,
        })))
    }

    /// The head of the next request. None: the client has left.
    pub(super) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Unreadable>> {
        let talk = &mut *self.0.borrow_mut();
        loop {
            if let Some(head) = talk.head()? {
                return Poll::Ready(Ok(Some(head)));
            }
            match ready!(talk.poll_receive(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
                Ok(_) => {}
            }
        }
    }

    /// Whether something of the next request has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.0.borrow().received.is_empty()
    }

    /// Throws away what has come of the body, and says whether that was the last of it.
    pub(super) fn skip_body(&self) -> bool {
        matches!(self.0.borrow_mut().skip_body(), Ok(true))
    }

    /// Waits until the client has left. One that sends its next request early has not, and one that still
    /// sends a body is not asked.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let talk = &mut *self.0.borrow_mut();
        if !talk.received.is_empty() || !talk.body.is_over() {
            return Poll::Pending;
        }
        match ready!(talk.poll_receive(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    /// Sends all there is to send.
    pub(super) fn poll_send(&self, out: &mut Out, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let talk = &mut *self.0.borrow_mut();
        while out.has_remaining() {
            let mut pieces = [IoSlice::new(&[]); 3];
            let count = out.pieces(&mut pieces);
            let socket = Pin::new(&mut talk.socket);
            match ready!(socket.poll_write_vectored(cx, &pieces[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => out.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the connection, so that its client gets to read all that it was sent: whoever closes while
    /// something comes in makes the system throw away what it has not delivered.
    pub(super) async fn close(&self) {
        let closing = async {
            self.shutdown().await?;
            let mut left = if self.has_more() { DISCARD } else { 0 };
            while left > 0 {
                let count = poll_fn(|cx| self.poll_discard(cx)).await?;
                if count == 0 {
                    break;
                }
                left = left.saturating_sub(count);
            }
            io::Result::Ok(())
        };
        // Whether it was in vain does not matter any more.
        let _ = timeout(PATIENCE, closing).await;
    }

    async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let talk = &mut *self.0.borrow_mut();
            Pin::new(&mut talk.socket).poll_shutdown(cx)
        })
        .await
    }

    /// Whether something comes that is not answered.
    fn has_more(&self) -> bool {
        let talk = self.0.borrow();
        !talk.received.is_empty() || !talk.body.is_over()
    }

    fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let talk = &mut *self.0.borrow_mut();
        talk.received.clear();
        talk.poll_receive(cx)
    }

    /// Has the client get a reset in place of a good end. On a Unix socket there is none, and it cannot be
    /// told.
    pub(super) fn reset(&self) {
        if let Either::Left(tcp) = &self.0.borrow().socket {
            let reset = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
            if let Err(error) = reset {
                tracing::debug!(name: "not_reset", "cannot reset a connection: {error}");
            }
        }
    }

    /// The body of the request whose head came last.
    pub(super) fn body(self: &Rc<Self>) -> Incoming {
        Incoming(self.clone())
    }
}

impl Talk {
    /// The next head, if it is there. Who sends it a byte at a time does not have all of it read for each.
    fn head(&mut self) -> Result<Option<Head>, Unreadable> {
        let before = std::mem::replace(&mut self.looked_at, self.received.len());
        let is_new = self.received.len() > before;
        if !is_new || (before > 0 && !may_end(&self.received, before)) {
            return Ok(None);
        }
        let Some((head, length)) = request::head(&self.received)? else {
            return Ok(None);
        };
        self.received.advance(length);
        self.looked_at = 0;
        self.body = head.body;
        self.expects_continue = head.expects_continue;
        Ok(Some(head))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_receive(&mut self.socket, &mut self.received, AT_ONCE, cx)
    }

    /// Throws away what has come of the body. True: that was all.
    fn skip_body(&mut self) -> Result<bool, Malformed> {
        while self.body.take(&mut self.received)?.is_some() {}
        Ok(self.body.is_over())
    }

    /// Adds what comes of the body. False: that was all.
    fn poll_body(
        &mut self,
        whole: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, BrokenBody>> {
        loop {
            if let Some(piece) = self.body.take(&mut self.received)? {
                whole.extend_from_slice(&piece);
                return Poll::Ready(Ok(true));
            }
            if self.body.is_over() {
                return Poll::Ready(Ok(false));
            }
            let count = match &mut self.body {
                Rest::Length(left) => {
                    // To where it stays, and nothing of the next request.
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let mut room = whole.limit(most.min(PIECE));
                    let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut room);
                    let count = ready!(read).unwrap_or(0);
                    *left -= count as u64;
                    if count > 0 {
                        return Poll::Ready(Ok(true));
                    }
                    count
                }
                Rest::Chunks(_) | Rest::UntilClose => ready!(self.poll_receive(cx)).unwrap_or(0),
            };
            if count == 0 {
                return Poll::Ready(Err(BrokenBody::Closed));
            }
        }
    }
}

impl Incoming {
    /// How many bytes are still to come. None: the client does not tell.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.0.0.borrow().body {
            Rest::Length(left) => Some(left),
            Rest::Chunks(_) | Rest::UntilClose => None,
        }
    }

    /// Whether its client waits to be told to send it.
    pub(crate) fn expects_continue(&self) -> bool {
        self.0.0.borrow().expects_continue
    }

    /// All of it, if it is there and its length is known.
    pub(crate) fn at_once(&mut self) -> Option<Bytes> {
        let talk = &mut *self.0.0.borrow_mut();
        match talk.body {
            Rest::Length(left) if left <= talk.received.len() as u64 => {
                talk.body.take(&mut talk.received).ok().flatten()
            }
            Rest::Length(_) | Rest::Chunks(_) | Rest::UntilClose => None,
        }
    }

    /// Throws it away as it comes, until that is over.
    pub(crate) fn poll_skip(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let talk = &mut *self.0.0.borrow_mut();
        while let Ok(false) = talk.skip_body() {
            if !matches!(ready!(talk.poll_receive(cx)), Ok(count) if count > 0) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Adds what comes of it next to `whole`. False: that was all.
    ///
    /// # Errors
    ///
    /// It does not come to its end.
    pub(crate) fn poll_more(
        &mut self,
        whole: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, BrokenBody>> {
        let talk = &mut *self.0.0.borrow_mut();
        if talk.expects_continue {
            match ready!(Pin::new(&mut talk.socket).poll_write(cx, CONTINUE)) {
                Ok(count) if count == CONTINUE.len() => talk.expects_continue = false,
                // There is room for so few bytes, or for none.
                Ok(_) | Err(_) => return Poll::Ready(Err(BrokenBody::Closed)),
            }
        }
        talk.poll_body(whole, cx)
    }
}
