//! HTTP/1.1 as the gateway speaks it (RFC 9112), without any I/O.
//!
//! A proxy needs a small part of the protocol, and needs it on each request: where a head ends and what it
//! says, and where a body ends. Lines are parsed by httparse. What can be read in two ways is refused, on
//! either side. ADRs 19 and 20 have the reasons and the figures.

pub(crate) mod answer;
mod framing;
pub(crate) mod request;
pub(crate) mod write;

pub(crate) use framing::{Malformed, Rest, tokens};

/// The largest head, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The most headers.
pub(crate) const MAX_HEADERS: usize = 100;

/// Whether a head of which `before` bytes were looked at already may have come to its end, or to the bound. Who
/// sends it a byte at a time does not have all of it parsed for each.
pub(crate) fn may_end(received: &[u8], before: usize) -> bool {
    let new = &received[before.saturating_sub(3).min(received.len())..];
    received.len() >= MAX_HEAD || new.windows(2).any(|two| matches!(two, b"\n\r" | b"\n\n"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What `may_end` passes over is no end, wherever the pieces are cut.
        #[test]
        fn no_end_of_a_head_is_passed_over(
            lines in prop::collection::vec("[a-z]{1,3}: [a-z]{0,3}\r?\n", 0..4),
            end in "\r?\n",
            cut in any::<prop::sample::Index>(),
        ) {
            let text = format!("GET / HTTP/1.1\r\n{}{end}", lines.concat());
            let before = cut.index(text.len());
            let received = Bytes::copy_from_slice(text.as_bytes());
            prop_assert!(request::head(&received).unwrap().is_some());
            prop_assert!(may_end(text.as_bytes(), before));
        }
    }
}
