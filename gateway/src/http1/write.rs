//! Heads as they are sent.

use bytes::BufMut;
use http::{HeaderMap, Method, StatusCode, Version};

/// What a chunked body ends with.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a client is told that waits to be told to send its body.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Begins the head of a request.
pub(crate) fn request_line(head: &mut Vec<u8>, method: &Method, path: &str) {
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

/// Begins the head of an answer.
pub(crate) fn status_line(head: &mut Vec<u8>, version: Version, status: StatusCode) {
    let version = match version {
        Version::HTTP_10 => "HTTP/1.0 ",
        _ => "HTTP/1.1 ",
    };
    let reason = status.canonical_reason().unwrap_or_default();
    for part in [version, status.as_str(), " ", reason, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

/// Writes a header.
pub(crate) fn header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Writes headers.
pub(crate) fn headers(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        header(head, name.as_str(), value.as_bytes());
    }
}

/// Writes the line before a chunk of so many bytes.
pub(crate) fn chunk_line(out: &mut Vec<u8>, length: usize) {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = (length >> (4 * digit)) & 15;
        out.put_u8(b"0123456789abcdef"[nibble]);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_chunk_is_hexadecimal() {
        for length in [1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 65_536, 1 << 31] {
            let mut line = Vec::new();
            chunk_line(&mut line, length);
            assert_eq!(line, format!("{length:x}\r\n").into_bytes());
        }
    }
}
