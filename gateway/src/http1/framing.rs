//! Where a body ends, whichever side it is of (RFC 9112, 6).

use bytes::{Buf, Bytes};
use httparse::Status;
use thiserror::Error;

use super::{MAX_HEAD, MAX_HEADERS};

/// The longest line before a chunk, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// Why what the other side says is not HTTP.
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
    /// It says again and again that it is about to answer.
    #[error("it sends interim answers without end")]
    Interim,
    /// A chunk does not begin or end as chunks do.
    #[error("a chunk of its body is broken")]
    Chunk,
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

/// What the headers say of the connection, and of the body's end.
pub(super) struct Connection<'a> {
    /// Whether another request may come behind this one.
    pub(super) is_kept: bool,
    pub(super) is_chunked: bool,
    pub(super) length: Option<u64>,
    /// Headers that are about this connection only.
    pub(super) named: Vec<&'a str>,
}

impl<'a> Connection<'a> {
    pub(super) fn of(headers: &[httparse::Header<'a>], minor: u8) -> Result<Self, Malformed> {
        let mut is_closed = false;
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
                is_closed |= told.connection(header.value);
            }
        }
        told.is_kept &= !is_closed;
        // Somebody between the two may have taken it for another body.
        told.is_kept &= told.length.is_none() || !told.is_chunked;
        Ok(told)
    }

    /// Whether it says that the connection is closed.
    fn connection(&mut self, value: &'a [u8]) -> bool {
        let mut is_closed = false;
        for token in tokens(value) {
            if token.eq_ignore_ascii_case("close") {
                is_closed = true;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                self.is_kept = true;
            } else {
                self.named.push(token);
            }
        }
        is_closed
    }
}

/// What a header lists. Nothing, if it is no text.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split(',').map(str::trim)
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
