//! The head of a request, as a client sends it.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};
use httparse::Status;

use super::framing::{Chunk, Connection, Rest};
use super::{MAX_HEAD, MAX_HEADERS};

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request<()>,
    pub(crate) body: Rest,
    /// Whether the client may send another request on this connection.
    pub(crate) is_kept: bool,
    /// Whether it waits to be told to send the body.
    pub(crate) expects_continue: bool,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is no request of HTTP/1, or one that can be read in two ways.
    NotHttp,
    /// Its first line has no end.
    PathTooLong,
    /// There are too many headers, or too large ones.
    TooLarge,
}

/// Reads the head of a request, and says how many bytes it has. None: there has to come more.
pub(crate) fn head(received: &Bytes) -> Result<Option<(Head, usize)>, Unreadable> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut request,
        received,
        &mut lines,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Partial) if received.len() < MAX_HEAD => return Ok(None),
        Ok(Status::Partial) if request.path.is_none() => return Err(Unreadable::PathTooLong),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Unreadable::TooLarge),
        Err(_) => return Err(Unreadable::NotHttp),
    };
    let head = Head::of(&request, received).ok_or(Unreadable::NotHttp)?;
    Ok(Some((head, length)))
}

impl Head {
    fn of(parsed: &httparse::Request<'_, '_>, received: &Bytes) -> Option<Self> {
        let minor = parsed.version?;
        let connection = Connection::of(parsed.headers, minor).ok()?;
        let body = match (connection.is_chunked, connection.length) {
            // Somebody before the gateway may have taken it for the other body.
            (true, Some(_)) => return None,
            (true, None) => Rest::Chunks(Chunk::Size),
            (false, length) => Rest::Length(length.unwrap_or(0)),
        };
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        let path = received.slice_ref(parsed.path?.as_bytes());
        *request.uri_mut() = Uri::from_maybe_shared(path).ok()?;
        *request.version_mut() = match minor {
            0 => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        *request.headers_mut() = headers(parsed.headers, received)?;
        let expected = request.headers().get(EXPECT).map(HeaderValue::as_bytes);
        let expects_continue =
            minor == 1 && expected.is_some_and(|told| told.eq_ignore_ascii_case(b"100-continue"));
        Some(Self {
            request,
            body,
            is_kept: connection.is_kept,
            expects_continue,
        })
    }
}

/// The headers, in place. None: they can be read in two ways.
fn headers(parsed: &[httparse::Header<'_>], received: &Bytes) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = received.slice_ref(header.value);
        let value = HeaderValue::from_maybe_shared(value).ok()?;
        if name == HOST && headers.contains_key(HOST) {
            return None;
        }
        headers.append(name, value);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(Head, usize)>, Unreadable> {
        head(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn whole(text: &str) -> Head {
        let (head, length) = read(text).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn a_head_says_what_is_asked_and_where_the_body_ends() {
        let head = whole(
            "POST /v1/messages?beta=true HTTP/1.1\r\nHost: localhost\r\nX-Mine: 1\r\n\
             Content-Length: 12\r\n\r\n",
        );
        assert_eq!(head.request.method(), Method::POST);
        assert_eq!(head.request.uri(), "/v1/messages?beta=true");
        assert_eq!(head.request.headers()["x-mine"], "1");
        assert_eq!((head.body, head.is_kept), (Rest::Length(12), true));
        assert!(!head.expects_continue);
        let head = whole("POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n");
        assert_eq!(head.body, Rest::Chunks(Chunk::Size));
        assert_eq!(whole("GET / HTTP/1.1\r\n\r\n").body, Rest::Length(0));
    }

    #[test]
    fn a_client_says_whether_another_request_comes() {
        for (lines, is_kept) in [
            ("1.1\r\n", true),
            ("1.1\r\nconnection: close\r\n", false),
            ("1.1\r\nconnection: keep-alive, CLOSE\r\n", false),
            ("1.1\r\nconnection: close, keep-alive\r\n", false),
            ("1.0\r\n", false),
            ("1.0\r\nconnection: Keep-Alive\r\n", true),
        ] {
            let head = whole(&format!("GET / HTTP/{lines}\r\n"));
            assert_eq!(head.is_kept, is_kept, "{lines}");
        }
    }

    #[test]
    fn only_a_new_client_waits_to_be_told_to_go_on() {
        let expect = |version| {
            let text = format!("POST / HTTP/{version}\r\nexpect: 100-Continue\r\n\r\n");
            whole(&text).expects_continue
        };
        assert!(expect("1.1"));
        assert!(!expect("1.0"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for lines in [
            "content-length: 1\r\ncontent-length: 2\r\n",
            "content-length: 1, 1\r\n",
            "content-length: +1\r\n",
            "content-length: 1\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding : chunked\r\n",
            "host: a\r\nhost: a\r\n",
            " x: y\r\n",
            "x: y\r\n z\r\n",
            "x\0: y\r\n",
            "x: \0\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{lines}\r\n");
            assert_eq!(read(&text).unwrap_err(), Unreadable::NotHttp, "{text:?}");
        }
        let old = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(read(old).unwrap_err(), Unreadable::NotHttp);
    }

    #[test]
    fn what_is_no_request_of_http_1_is_refused() {
        for text in [
            "hello\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
        ] {
            assert_eq!(read(text).unwrap_err(), Unreadable::NotHttp, "{text:?}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        let path = format!("GET /{}", "a".repeat(MAX_HEAD));
        assert_eq!(read(&path).unwrap_err(), Unreadable::PathTooLong);
        let line = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(MAX_HEAD));
        assert_eq!(read(&line).unwrap_err(), Unreadable::TooLarge);
        let lines = "x: y\r\n".repeat(MAX_HEADERS + 1);
        let many = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(read(&many).unwrap_err(), Unreadable::TooLarge);
        assert!(read("GET / HTTP/1.1\r\nx: y\r\n").unwrap().is_none());
    }
}
