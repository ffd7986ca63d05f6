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
