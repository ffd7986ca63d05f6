//! Questions of the gateway's own to a server.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::Method;

use super::exchange::{Outgoing, Upstream};
use super::headers;
use crate::http1::write;
use crate::table::Incarnation;

/// What an incarnation says at a path, if that has at most so many bytes. None: it says nothing, or nothing
/// good.
pub(crate) async fn ask(incarnation: &Incarnation, path: &str, most: usize) -> Option<Bytes> {
    let mut head = Vec::new();
    write::request_line(&mut head, &Method::GET, path);
    headers::address(&mut head, incarnation);
    let request = Outgoing {
        method: Method::GET,
        head,
        body: Bytes::new(),
    };
    let mut upstream = Upstream::connect(incarnation.address).await.ok()?;
    let response = upstream.send(&request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut whole = BytesMut::new();
    while let Some(piece) = poll_fn(|cx| upstream.poll_piece(cx)).await {
        whole.extend_from_slice(&piece.ok()?);
        if whole.len() > most {
            return None;
        }
    }
    Some(whole.freeze())
}
