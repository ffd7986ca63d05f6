//! Reading the body of a request: once, whole, and not more than there may be.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use magid::config::GatewayConfig;
use tokio::time::timeout;

use super::exchange::now;
use crate::refusal::{Reason, Refusal};

/// How long what is too large is still taken, so that its client gets to read why.
const DISCARD: Duration = Duration::from_secs(10);

/// Of this size a body is copied sooner than a buffer is made, in bytes.
const SMALL: usize = 4096;

/// Reads a body of at most `max_body` bytes.
///
/// # Errors
///
/// It is larger, or does not come.
pub(super) async fn body(
    headers: &HeaderMap,
    body: &mut Incoming,
    config: &GatewayConfig,
) -> Result<Bytes, Refusal> {
    let limit = config.max_body;
    let patience = config.body_timeout;
    let told = body.size_hint();
    if told.lower() > limit {
        // Who waits to be told to go on has not sent it.
        if !headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(too_large(limit, Some(told.lower())));
    }
    let Some(first) = next(body, patience).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() {
        // A small one would keep a whole buffer of its connection.
        return Ok(match first.len() <= SMALL {
            true => Bytes::copy_from_slice(&first),
            false => first,
        });
    }
    let size = told.exact().and_then(|size| usize::try_from(size).ok());
    let mut whole = BytesMut::with_capacity(size.unwrap_or(2 * first.len()));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(more) = next(body, patience).await? {
        if (whole.len() + more.len()) as u64 > limit {
            discard(body).await;
            return Err(too_large(limit, None));
        }
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

async fn next(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = patiently(body.frame(), patience).await?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers say nothing that is asked for.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                let message = format!("the body broke off: {error}");
                return Err(Refusal::new(Reason::InvalidJson, message));
            }
        }
    }
}

async fn patiently<T>(coming: impl Future<Output = T>, patience: Duration) -> Result<T, Refusal> {
    let mut coming = pin!(coming);
    // What is there already needs no timer.
    if let Poll::Ready(come) = now(|cx| coming.as_mut().poll(cx)).await {
        return Ok(come);
    }
    timeout(patience, coming).await.map_err(|_elapsed| {
        let message = format!("nothing more of the body came for {patience:?}");
        Refusal::new(Reason::BodyTimeout, message)
    })
}

async fn discard(body: &mut Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(DISCARD, all).await;
}

fn too_large(limit: u64, size: Option<u64>) -> Refusal {
    let size = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    let message = format!("the body has {size}, and `max_body` is {limit} bytes");
    Refusal::new(Reason::BodyTooLarge, message)
}
