//! HTTP/1.1 as it is spoken with servers (RFC 9112), without any I/O.
//!
//! Clients are hyper's. With a server only the half of the protocol is spoken that a proxy needs, and
//! each piece of an answer is passed on where it lies: `docs/adr/0019-upstream-client.md` has the
//! reasons and the figures. What a server says is believed no more than what a client says.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use httparse::Status;
use thiserror::Error;

use super::headers;

/// The largest head of an answer, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The most headers of an answer.
const MAX_HEADERS: usize = 100;

/// The longest line before a chunk, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// Why what a server says is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    /// The head cannot be read.
    #[error("its head has an {0}")]
    Head(httparse::Error),
    /// The head has no end.
    #[error("its head has more than {MAX_HEAD} bytes")]
    HeadTooLarge,
    /// The length of the body is no number, or two of them.
    #[error("its content-length is not one number")]
    Length,
    /// The body is encoded in a way that was not asked for.
    #[error("its transfer-encoding is not chunked")]
    Encoding,
    /// A chunk does not begin or end as chunks do.
    #[error("a chunk of its body is broken")]
    Chunk,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Without those that stay at the gateway.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Rest,
    /// Whether another request may be sent on this connection.
    pub(crate) is_kept: bool,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks(Chunk),
    /// Whatever comes before the connection is closed.
    UntilClose,
}

/// What comes next of a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// The line before a chunk.
    Size,
    /// So many bytes of one.
    Data(u64),
    /// The end of its line.
    DataEnd,
    /// What is behind the last one.
    Trailers,
}

/// Begins the head of a request.
pub(super) fn request_line(head: &mut Vec<u8>, method: &Method, path: &str) {
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

/// Writes a header of a request.
pub(super) fn header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Reads the head of an answer to a request of that method, and says how many bytes it has. None: there
/// has to come more.
pub(crate) fn head(received: &Bytes, method: &Method) -> Result<Option<(Head, usize)>, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        received,
        &mut lines,
    );
    let length = match parsed.map_err(Malformed::Head)? {
        Status::Complete(length) if length <= MAX_HEAD => length,
        Status::Partial if received.len() < MAX_HEAD => return Ok(None),
        Status::Complete(_) | Status::Partial => return Err(Malformed::HeadTooLarge),
    };
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(Malformed::Head(httparse::Error::Status));
    };
    let status =
        StatusCode::from_u16(code).map_err(|_| Malformed::Head(httparse::Error::Status))?;
    let connection = Connection::of(response.headers, minor)?;
    let headers = connection.forwarded(response.headers, received)?;
    let body = connection.body(status, method);
    let head = Head {
        status,
        headers,
        body,
        is_kept: connection.is_kept && body != Rest::UntilClose,
    };
    Ok(Some((head, length)))
}

/// What the headers say of the connection, and of the body's end.
struct Connection<'a> {
    is_kept: bool,
    is_chunked: bool,
    length: Option<u64>,
    /// Headers that are about this connection only.
    named: Vec<&'a str>,
}

impl<'a> Connection<'a> {
    fn of(headers: &[httparse::Header<'a>], minor: u8) -> Result<Self, Malformed> {
        let mut told = Self {
            is_kept: minor == 1,
            is_chunked: false,
            length: None,
            named: Vec::new(),
        };
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = number(header.value).ok_or(Malformed::Length)?;
                if told.length.is_some_and(|before| before != length) {
                    return Err(Malformed::Length);
                }
                told.length = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                let is_chunked = header.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if !is_chunked || told.is_chunked || minor == 0 {
                    return Err(Malformed::Encoding);
                }
                told.is_chunked = true;
            } else if header.name.eq_ignore_ascii_case("connection") {
                told.connection(header.value);
            }
        }
        // Somebody between the two may have taken it for another body.
        told.is_kept &= told.length.is_none() || !told.is_chunked;
        Ok(told)
    }

    fn connection(&mut self, value: &'a [u8]) {
        for token in headers::tokens(value) {
            if token.eq_ignore_ascii_case("close") {
                self.is_kept = false;
            } else if !token.eq_ignore_ascii_case("keep-alive") {
                self.named.push(token);
            }
        }
    }

    /// The headers that are passed on.
    fn forwarded(
        &self,
        headers: &[httparse::Header<'a>],
        received: &Bytes,
    ) -> Result<HeaderMap, Malformed> {
        let mut forwarded = HeaderMap::with_capacity(headers.len());
        for header in headers {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.map_err(|_| Malformed::Head(httparse::Error::HeaderName))?;
            let is_length_of_chunks = self.is_chunked && name == CONTENT_LENGTH;
            let is_named = self
                .named
                .iter()
                .any(|named| name.as_str().eq_ignore_ascii_case(named));
            if headers::stays(name.as_str()) || is_length_of_chunks || is_named {
                continue;
            }
            let value = HeaderValue::from_maybe_shared(received.slice_ref(header.value));
            let value = value.map_err(|_| Malformed::Head(httparse::Error::HeaderValue))?;
            forwarded.append(name, value);
        }
        Ok(forwarded)
    }

    fn body(&self, status: StatusCode, method: &Method) -> Rest {
        let has_none = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || method == Method::HEAD;
        match self.length {
            _ if has_none => Rest::Length(0),
            _ if self.is_chunked => Rest::Chunks(Chunk::Size),
            Some(length) => Rest::Length(length),
            None => Rest::UntilClose,
        }
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

impl Rest {
    /// Whether all of it has come.
    pub(crate) fn is_over(self) -> bool {
        self == Self::Length(0)
    }

    /// Takes the next piece out of what was received. None: more has to come, or it is over.
    pub(crate) fn take(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        loop {
            match self {
                Self::Length(left) => return Ok(cut(received, left)),
                Self::UntilClose => {
                    let mut any = u64::MAX;
                    return Ok(cut(received, &mut any));
                }
                Self::Chunks(Chunk::Data(left)) => {
                    let piece = cut(received, left);
                    if *left == 0 {
                        *self = Self::Chunks(Chunk::DataEnd);
                    }
                    return Ok(piece);
                }
                Self::Chunks(chunk @ (Chunk::Size | Chunk::DataEnd | Chunk::Trailers)) => {
                    let Some((length, next)) = chunk.line(received)? else {
                        return Ok(None);
                    };
                    received.advance(length);
                    *self = next;
                }
            }
        }
    }

    /// The connection was closed. True: what came was all.
    pub(crate) fn close(&mut self) -> bool {
        if *self == Self::UntilClose {
            *self = Self::Length(0);
        }
        self.is_over()
    }
}

impl Chunk {
    /// How long that is which is no data, and what comes next. None: more has to come.
    fn line(self, received: &[u8]) -> Result<Option<(usize, Rest)>, Malformed> {
        let (parsed, longest) = match self {
            Self::Size => (size_line(received)?, MAX_CHUNK_LINE),
            Self::DataEnd => (data_end(received)?, 2),
            Self::Trailers => (trailers(received)?, MAX_HEAD),
            Self::Data(_) => return Ok(None),
        };
        match parsed {
            Status::Complete((length, next)) if length <= longest => Ok(Some((length, next))),
            Status::Partial if received.len() < longest => Ok(None),
            Status::Complete(_) | Status::Partial => Err(Malformed::Chunk),
        }
    }
}

fn size_line(received: &[u8]) -> Result<Status<(usize, Rest)>, Malformed> {
    // The parser takes no digit at all for zero.
    if received
        .first()
        .is_some_and(|first| !first.is_ascii_hexdigit())
    {
        return Err(Malformed::Chunk);
    }
    let parsed = httparse::parse_chunk_size(received).map_err(|_| Malformed::Chunk)?;
    Ok(match parsed {
        Status::Complete((length, 0)) => Status::Complete((length, Rest::Chunks(Chunk::Trailers))),
        Status::Complete((length, size)) => {
            Status::Complete((length, Rest::Chunks(Chunk::Data(size))))
        }
        Status::Partial => Status::Partial,
    })
}

fn data_end(received: &[u8]) -> Result<Status<(usize, Rest)>, Malformed> {
    match received {
        [b'\r', b'\n', ..] => Ok(Status::Complete((2, Rest::Chunks(Chunk::Size)))),
        [] | [b'\r'] => Ok(Status::Partial),
        [..] => Err(Malformed::Chunk),
    }
}

fn trailers(received: &[u8]) -> Result<Status<(usize, Rest)>, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parsed = httparse::parse_headers(received, &mut lines).map_err(|_| Malformed::Chunk)?;
    Ok(match parsed {
        Status::Complete((length, _)) => Status::Complete((length, Rest::Length(0))),
        Status::Partial => Status::Partial,
    })
}

/// Cuts off at most `left` bytes. None: there is nothing.
fn cut(received: &mut Bytes, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).map_or(received.len(), |left| left.min(received.len()));
    *left -= length as u64;
    (length > 0).then(|| received.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &'static str) -> Result<Option<(Head, usize)>, Malformed> {
        head(&Bytes::from_static(text.as_bytes()), &Method::POST)
    }

    fn body_of(text: &'static str) -> (Rest, bool) {
        let (head, _) = read(text).unwrap().unwrap();
        (head.body, head.is_kept)
    }

    /// Reads a body that comes in pieces which end at these places.
    fn body(mut rest: Rest, text: &[u8], ends: &[usize]) -> Result<Vec<u8>, Malformed> {
        let mut received = Bytes::new();
        let mut whole = Vec::new();
        let mut before = 0;
        for &end in ends.iter().chain([&text.len()]) {
            let end = end.clamp(before, text.len());
            received = Bytes::from([&received, &text[before..end]].concat());
            before = end;
            while let Some(piece) = rest.take(&mut received)? {
                whole.extend_from_slice(&piece);
            }
        }
        assert!(rest.is_over(), "{rest:?}");
        Ok(whole)
    }

    const CHUNKS: Rest = Rest::Chunks(Chunk::Size);

    #[test]
    fn the_end_of_a_body_is_where_its_head_says() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(body_of(length), (Rest::Length(12), true));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(body_of(chunks), (CHUNKS, true));
        let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(body_of(both), (CHUNKS, false));
        assert_eq!(
            body_of("HTTP/1.1 200 OK\r\n\r\n"),
            (Rest::UntilClose, false)
        );
        assert_eq!(body_of("HTTP/1.1 204 X\r\n\r\n"), (Rest::Length(0), true));
        let old = "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(body_of(old), (Rest::Length(1), false));
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n";
        assert_eq!(body_of(last), (Rest::Length(1), false));
    }

    #[test]
    fn what_is_about_the_connection_or_opens_an_answer_to_pages_stays_here() {
        let text = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\n\
                    x-mine: 1\r\nAccess-Control-Allow-Origin: *\r\nX-Other: 2\r\ncontent-length: 0\r\n\r\n";
        let (head, length) = read(text).unwrap().unwrap();
        assert_eq!(length, text.len());
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-other"]);
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_none() {
        for (text, expected) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
                Malformed::Encoding,
            ),
            (
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                Malformed::Encoding,
            ),
            (
                "SSH-2.0-OpenSSH_9.2\r\n",
                Malformed::Head(httparse::Error::Version),
            ),
            (
                "HTTP/1.1 099 OK\r\n\r\n",
                Malformed::Head(httparse::Error::Status),
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        assert!(read("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
        let mut text = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        text.resize(MAX_HEAD, b'x');
        let read = head(&Bytes::from(text), &Method::POST);
        assert_eq!(read.unwrap_err(), Malformed::HeadTooLarge);
        let text = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "x: y\r\n".repeat(MAX_HEADERS + 1)
        );
        let read = head(&Bytes::from(text), &Method::POST);
        assert_eq!(
            read.unwrap_err(),
            Malformed::Head(httparse::Error::TooManyHeaders)
        );
    }

    #[test]
    fn broken_chunks_are_told() {
        for text in [
            "\r\n",
            "x\r\n",
            "1\r\nabc",
            "fffffffffffffffff\r\n",
            "0\r\n:\r\n\r\n",
            " 1\r\na\r\n",
        ] {
            let read = body(CHUNKS, text.as_bytes(), &[]);
            assert_eq!(read, Err(Malformed::Chunk), "{text:?}");
        }
        let long = format!("1;{}", "x".repeat(MAX_CHUNK_LINE));
        assert_eq!(body(CHUNKS, long.as_bytes(), &[]), Err(Malformed::Chunk));
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_comes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            mut ends in prop::collection::vec(0_usize..300, 0..20),
        ) {
            ends.sort_unstable();
            let whole = chunks.concat();
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X};a=b\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nx-trailer: 1\r\n\r\n");
            prop_assert_eq!(&body(CHUNKS, &text, &ends).unwrap(), &whole);
            let length = Rest::Length(whole.len() as u64);
            prop_assert_eq!(&body(length, &whole, &ends).unwrap(), &whole);
        }
    }
}
