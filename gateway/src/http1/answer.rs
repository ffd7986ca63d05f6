//! The head of an answer, as a server sends it.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use httparse::Status;

use super::framing::{Chunk, Connection, Malformed, Rest};
use super::{MAX_HEAD, MAX_HEADERS};

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

/// Reads the head of an answer to a request of that method, and says how many bytes it has. Headers that
/// `stays` is true of are left out. None: there has to come more.
pub(crate) fn head(
    received: &Bytes,
    method: &Method,
    stays: fn(&str) -> bool,
) -> Result<Option<(Head, usize)>, Malformed> {
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
    let headers = connection.forwarded(response.headers, received, stays)?;
    let body = connection.body(status, method);
    let head = Head {
        status,
        headers,
        body,
        is_kept: connection.is_kept && body != Rest::UntilClose,
    };
    Ok(Some((head, length)))
}

impl Connection<'_> {
    /// The headers that are passed on.
    fn forwarded(
        &self,
        headers: &[httparse::Header<'_>],
        received: &Bytes,
        stays: fn(&str) -> bool,
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
            if stays(name.as_str()) || is_length_of_chunks || is_named {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Option<(Head, usize)>, Malformed> {
        head(&Bytes::from_static(text.as_bytes()), &Method::POST, |_| {
            false
        })
    }

    fn body_of(text: &'static str) -> (Rest, bool) {
        let (head, _) = read(text).unwrap().unwrap();
        (head.body, head.is_kept)
    }

    #[test]
    fn the_end_of_a_body_is_where_its_head_says() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(body_of(length), (Rest::Length(12), true));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(body_of(chunks), (Rest::Chunks(Chunk::Size), true));
        let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(body_of(both), (Rest::Chunks(Chunk::Size), false));
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
    fn what_stays_or_is_named_by_the_connection_is_left_out() {
        let text = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\n\
                    x-mine: 1\r\nAccess-Control-Allow-Origin: *\r\nX-Other: 2\r\ncontent-length: 0\r\n\r\n";
        let stays = |name: &str| {
            matches!(
                name,
                "connection" | "keep-alive" | "access-control-allow-origin"
            )
        };
        let received = Bytes::from_static(text.as_bytes());
        let (head, length) = head(&received, &Method::POST, stays).unwrap().unwrap();
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
        let read = head(&Bytes::from(text), &Method::POST, |_| false);
        assert_eq!(read.unwrap_err(), Malformed::HeadTooLarge);
        let text = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "x: y\r\n".repeat(MAX_HEADERS + 1)
        );
        let read = head(&Bytes::from(text), &Method::POST, |_| false);
        assert_eq!(
            read.unwrap_err(),
            Malformed::Head(httparse::Error::TooManyHeaders)
        );
    }
}
