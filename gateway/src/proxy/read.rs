//! Reading the body of a request: once, whole, and not more than there may be of one or of all.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
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
use crate::bodies::{Bodies, Room};
use crate::refusal::{RETRY_SOON, Reason, Refusal};

/// How long what is too large is still taken, so that its client gets to read why.
const DISCARD: Duration = Duration::from_secs(10);

/// Of this size a body is copied sooner than a buffer is made, in bytes.
const SMALL: usize = 4096;

/// Reads a body of at most `max_body` bytes, once there is room for it.
///
/// # Errors
///
/// It is larger, or does not come, or there was no room for too long.
pub(super) async fn body(
    headers: &HeaderMap,
    body: &mut Incoming,
    config: &GatewayConfig,
    bodies: &Arc<Bodies>,
) -> Result<Bytes, Refusal> {
    let limit = config.max_body;
    let told = body.size_hint().exact();
    let most = told.unwrap_or(limit);
    if most == 0 {
        return Ok(Bytes::new());
    }
    let room = match most > limit {
        true => Err(too_large(limit, told)),
        false => room(bodies, most, config).await,
    };
    match room {
        Ok(room) => whole(body, told, room, config).await,
        Err(refusal) => {
            // Who waits to be told to go on has not sent it.
            if !headers.contains_key(EXPECT) {
                discard(body).await;
            }
            Err(refusal)
        }
    }
}

/// Room for so many bytes. Until there is some, a client's bytes stay in its socket.
async fn room(bodies: &Arc<Bodies>, bytes: u64, config: &GatewayConfig) -> Result<Room, Refusal> {
    let (limit, patience) = (config.max_bodies, config.body_timeout);
    if let Some(room) = bodies.try_take(bytes, limit) {
        return Ok(room);
    }
    // On the heap, so that those who find room keep none for this.
    let waited = Box::pin(timeout(patience, bodies.wait(bytes, limit)));
    waited.await.map_err(|_elapsed| {
        let message = format!(
            "the requests under way hold {} of {limit} bytes, which is `max_bodies`, and for {patience:?} \
             there was no room for {bytes} more",
            bodies.held()
        );
        Refusal::new(Reason::BodiesFull, message).retry_after(RETRY_SOON)
    })
}

async fn whole(
    body: &mut Incoming,
    told: Option<u64>,
    room: Room,
    config: &GatewayConfig,
) -> Result<Bytes, Refusal> {
    let (limit, patience) = (config.max_body, config.body_timeout);
    let Some(first) = next(body, patience).await? else {
        return Ok(Bytes::new());
    };
    if told.is_some() && body.is_end_stream() {
        // A small one would keep a whole buffer of its connection.
        return Ok(room.keep(match first.len() <= SMALL {
            true => Bytes::copy_from_slice(&first),
            false => first,
        }));
    }
    let size = told.and_then(|size| usize::try_from(size).ok());
    let mut whole = BytesMut::with_capacity(size.unwrap_or(2 * first.len()));
    let mut piece = Some(first);
    while let Some(more) = piece {
        if (whole.len() + more.len()) as u64 > limit {
            drop((whole, more, room));
            discard(body).await;
            return Err(too_large(limit, None));
        }
        whole.extend_from_slice(&more);
        drop(more);
        piece = next(body, patience).await?;
    }
    Ok(room.keep(whole.freeze()))
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
