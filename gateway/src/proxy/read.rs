//! Reading the body of a request: once, whole, and not more than there may be of one or of all.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use magid::config::GatewayConfig;
use tokio::time::timeout;

use super::exchange::now;
use crate::bodies::{Bodies, Room};
use crate::refusal::{RETRY_SOON, Reason, Refusal};
use crate::serve::Incoming;

/// How long what is too large is still taken, so that its client gets to read why.
const DISCARD: Duration = Duration::from_secs(10);

/// Reads a body of at most `max_body` bytes, once there is room for it. Who has to `look` at it does so
/// as it comes, if that is in pieces: at all that has come so far.
///
/// # Errors
///
/// It is larger, or does not come, or there was no room for too long.
pub(super) async fn body(
    body: &mut Incoming,
    config: &GatewayConfig,
    bodies: &Arc<Bodies>,
    look: impl FnMut(&[u8]),
) -> Result<Bytes, Refusal> {
    let limit = config.max_body;
    let told = body.length();
    let most = told.unwrap_or(limit);
    if most == 0 {
        return Ok(Bytes::new());
    }
    let room = match most > limit {
        true => Err(too_large(limit, told)),
        false => room(bodies, most, config).await,
    };
    match room {
        Ok(room) => whole(body, room, config, look).await,
        Err(refusal) => {
            // Who waits to be told to go on has not sent it.
            if !body.expects_continue() {
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
    room: Room,
    config: &GatewayConfig,
    mut look: impl FnMut(&[u8]),
) -> Result<Bytes, Refusal> {
    if let Some(body) = body.at_once() {
        return Ok(room.keep(body));
    }
    let size = body.length().and_then(|size| usize::try_from(size).ok());
    let mut whole = BytesMut::with_capacity(size.unwrap_or_default());
    while more(body, &mut whole, config.body_timeout).await? {
        if whole.len() as u64 > config.max_body {
            drop((whole, room));
            discard(body).await;
            return Err(too_large(config.max_body, None));
        }
        look(&whole);
    }
    Ok(room.keep(whole.freeze()))
}

/// Adds what comes next. False: that was all.
async fn more(
    body: &mut Incoming,
    whole: &mut BytesMut,
    patience: Duration,
) -> Result<bool, Refusal> {
    let more = patiently(poll_fn(|cx| body.poll_more(whole, cx)), patience).await?;
    more.map_err(|broken| {
        let message = format!("the body broke off: {broken}");
        Refusal::new(Reason::InvalidJson, message)
    })
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
    let _ = timeout(DISCARD, poll_fn(|cx| body.poll_skip(cx))).await;
}

fn too_large(limit: u64, size: Option<u64>) -> Refusal {
    let size = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    let message = format!("the body has {size}, and `max_body` is {limit} bytes");
    Refusal::new(Reason::BodyTooLarge, message)
}
