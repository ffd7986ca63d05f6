//! Reading what has come on a connection.
//!
//! A connection that waits has no buffer: what comes is read into one of its thread, and only what has
//! come is kept.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// The most that is read at once, in bytes.
pub(crate) const AT_ONCE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<[u8; AT_ONCE]> = const { RefCell::new([0; AT_ONCE]) };
}

/// Adds what has come to what was received, at most so many bytes of it, and says how many those are.
/// 0: the connection was closed.
pub(crate) fn poll_receive(
    socket: &mut (impl AsyncRead + Unpin),
    received: &mut Bytes,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(&mut buffer[..most.min(AT_ONCE)]);
        ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
        let new = buffer.filled();
        *received = match received.is_empty() {
            true => Bytes::copy_from_slice(new),
            false => Bytes::from([received, new].concat()),
        };
        Poll::Ready(Ok(new.len()))
    })
}
