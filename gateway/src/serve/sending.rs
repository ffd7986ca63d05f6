//! An answer on its way to its client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_LENGTH, DATE};
use http::{Method, Response, StatusCode, Version, response};
use http_body::Body;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::out::Out;
use super::wire::Wire;
use crate::http1::write::{self, LAST_CHUNK};
use crate::proxy::Reply;

/// More than most heads have, in bytes.
const HEAD: usize = 512;

/// What an answer has to be like.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    /// Whether another request may come behind this one.
    pub(super) is_kept: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was sent.
    Complete,
    /// Only a part of it came.
    BrokenOff,
    /// The same, and its client takes the end of the connection for that of the answer.
    Misleading,
    /// Its client has left.
    Gone,
}

/// How a client knows where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunks,
    UntilClose,
}

/// An answer on its way to its client.
pub(super) struct Sending {
    wire: Rc<Wire>,
    body: Reply,
    framing: Framing,
    out: Out,
    /// It ends here, once what is to be sent is sent.
    end: Option<End>,
}

impl Sending {
    /// Begins an answer, and says whether another request may come behind it.
    pub(super) fn new(wire: Rc<Wire>, answer: Response<Reply>, asked: &Asked) -> (Self, bool) {
        let (parts, body) = answer.into_parts();
        let framing = Framing::of(&parts, &body, asked);
        let is_kept = asked.is_kept && framing != Framing::UntilClose;
        let sending = Self {
            wire,
            out: Out::new(head(&parts, framing, asked, is_kept)),
            end: framing.is_over(&parts, asked).then_some(End::Complete),
            body,
            framing,
        };
        (sending, is_kept)
    }

    /// Sends it.
    pub(super) async fn end(mut self) -> End {
        poll_fn(|cx| self.poll_end(cx)).await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if (self.end.is_some() || self.out.is_enough()) && ready!(self.poll_send(cx)).is_err() {
                return Poll::Ready(End::Gone);
            }
            if let Some(end) = self.end {
                return Poll::Ready(end);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Nobody is told of trailers.
                    if let Ok(piece) = frame.into_data() {
                        self.end = self.framing.add(piece, &mut self.out);
                    }
                }
                Poll::Ready(Some(Err(_broken))) => self.end = Some(self.framing.break_off()),
                Poll::Ready(None) => self.end = Some(self.framing.finish(&mut self.out)),
                Poll::Pending => {
                    // What has come so far is not kept waiting for what has not.
                    if ready!(self.poll_send(cx)).is_err() {
                        return Poll::Ready(End::Gone);
                    }
                    return self.wire.poll_gone(cx).map(|()| End::Gone);
                }
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.wire.poll_send(&mut self.out, cx)
    }
}

impl Framing {
    fn of(parts: &response::Parts, body: &Reply, asked: &Asked) -> Self {
        let told = parts.headers.get(CONTENT_LENGTH);
        let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
        match told.or_else(|| body.size_hint().exact()) {
            Some(length) => Self::Length(length),
            None if asked.version == Version::HTTP_10 => Self::UntilClose,
            None => Self::Chunks,
        }
    }

    /// Whether there is nothing behind the head.
    fn is_over(self, parts: &response::Parts, asked: &Asked) -> bool {
        has_no_body(parts.status) || asked.method == Method::HEAD || self == Self::Length(0)
    }

    /// Adds a piece of the body. Some: that was the end.
    fn add(&mut self, piece: bytes::Bytes, out: &mut Out) -> Option<End> {
        match self {
            // That would be the end of the body.
            _ if piece.is_empty() => {}
            Self::Length(left) => {
                let Some(rest) = left.checked_sub(piece.len() as u64) else {
                    return Some(End::BrokenOff);
                };
                *left = rest;
                out.push(piece, b"");
            }
            Self::Chunks => {
                write::chunk_line(out.small(), piece.len());
                out.push(piece, b"\r\n");
            }
            Self::UntilClose => out.push(piece, b""),
        }
        // One of known length is not asked for its end.
        (*self == Self::Length(0)).then_some(End::Complete)
    }

    fn finish(self, out: &mut Out) -> End {
        match self {
            Self::Length(0) | Self::UntilClose => End::Complete,
            Self::Length(_) => End::BrokenOff,
            Self::Chunks => {
                out.small().extend_from_slice(LAST_CHUNK);
                End::Complete
            }
        }
    }

    fn break_off(self) -> End {
        match self {
            Self::UntilClose => End::Misleading,
            Self::Length(_) | Self::Chunks => End::BrokenOff,
        }
    }
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn head(parts: &response::Parts, framing: Framing, asked: &Asked, is_kept: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    write::status_line(&mut head, asked.version, parts.status);
    write::headers(&mut head, &parts.headers);
    match framing {
        _ if has_no_body(parts.status) || parts.headers.contains_key(CONTENT_LENGTH) => {}
        Framing::Length(length) => {
            write::header(&mut head, "content-length", length.to_string().as_bytes());
        }
        Framing::Chunks => write::header(&mut head, "transfer-encoding", b"chunked"),
        Framing::UntilClose => {}
    }
    match (is_kept, asked.version) {
        (false, _) => write::header(&mut head, "connection", b"close"),
        (true, Version::HTTP_10) => write::header(&mut head, "connection", b"keep-alive"),
        (true, _) => {}
    }
    if !parts.headers.contains_key(DATE) {
        date(|date| write::header(&mut head, "date", date.as_bytes()));
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Passes on the time as HTTP writes it, which is made once a second.
fn date(write: impl FnOnce(&str)) {
    thread_local! {
        static NOW: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    NOW.with_borrow_mut(|(second, text)| {
        let now = Timestamp::now();
        if *second != now.as_second() {
            *second = now.as_second();
            let printed = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
            *text = printed.unwrap_or_default();
        }
        write(text);
    });
}
