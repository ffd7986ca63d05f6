//! Reading the body of a request: once, whole, and not more than there may be of one or of all.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use magid::config::GatewayConfig;
use tokio::time::{Instant, sleep_until, timeout};

use super::exchange::now;
use crate::bodies::{Bodies, Room};
use crate::refusal::{RETRY_SOON, Reason, Refusal};
use crate::serve::{BrokenBody, Incoming};

/// How long what is too large is still taken, so that its client gets to read why.
const DISCARD: Duration = Duration::from_secs(10);

/// How long a body may be slow, also while others wait for room.
const GRACE: Duration = Duration::from_secs(5);

/// How fast it has to have come from then on while they do, in bytes per second.
const PACE: u64 = 256 * 1024;

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
        Ok(room) => {
            let mut reading = Reading {
                body,
                config,
                bodies,
            };
            reading.whole(room, look).await
        }
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

/// A body that has room.
struct Reading<'r> {
    body: &'r mut Incoming,
    config: &'r GatewayConfig,
    bodies: &'r Bodies,
}

impl Reading<'_> {
    async fn whole(&mut self, room: Room, mut look: impl FnMut(&[u8])) -> Result<Bytes, Refusal> {
        if let Some(body) = self.body.at_once() {
            return Ok(room.keep(body));
        }
        let begun = Instant::now();
        let size = self.body.length();
        let size = size.and_then(|size| usize::try_from(size).ok());
        let mut whole = BytesMut::with_capacity(size.unwrap_or_default());
        while self.more(&mut whole, begun).await? {
            if whole.len() as u64 > self.config.max_body {
                drop((whole, room));
                discard(self.body).await;
                return Err(too_large(self.config.max_body, None));
            }
            look(&whole);
        }
        Ok(room.keep(whole.freeze()))
    }

    /// Adds what comes next. False: that was all.
    async fn more(&mut self, whole: &mut BytesMut, begun: Instant) -> Result<bool, Refusal> {
        // What is there already needs no timer.
        let more = match now(|cx| self.body.poll_more(whole, cx)).await {
            Poll::Ready(more) => more,
            // On the heap, so that those whose bodies come at once keep no room for this.
            Poll::Pending => Box::pin(self.wait(whole, begun)).await?,
        };
        more.map_err(|broken| {
            let message = format!("the body broke off: {broken}");
            Refusal::new(Reason::InvalidJson, message)
        })
    }

    /// Waits for what comes next, for as long as it may take.
    async fn wait(
        &mut self,
        whole: &mut BytesMut,
        begun: Instant,
    ) -> Result<Result<bool, BrokenBody>, Refusal> {
        let patience = self.config.body_timeout;
        let silent = Instant::now() + patience;
        let slow = slow(begun, whole.len());
        loop {
            let mut wanted = pin!(self.bodies.wanted());
            // Before the look, so that whoever waits from now on is heard.
            wanted.as_mut().enable();
            let is_wanted = self.bodies.is_wanted();
            let until = if is_wanted { silent.min(slow) } else { silent };
            tokio::select! {
                biased;
                more = poll_fn(|cx| self.body.poll_more(whole, cx)) => return Ok(more),
                () = sleep_until(until) => {}
                () = wanted => continue,
            }
            let message = match until == silent {
                true => format!("nothing more of the body came for {patience:?}"),
                false if !self.bodies.is_wanted() => continue,
                false => format!(
                    "others wait for the room that the body has, of which {} bytes came in {:?}",
                    whole.len(),
                    begun.elapsed()
                ),
            };
            return Err(Refusal::new(Reason::BodyTimeout, message));
        }
    }
}

/// From when on a body is slow of which no more than so many bytes have come.
fn slow(begun: Instant, bytes: usize) -> Instant {
    begun + GRACE + Duration::from_secs(1).mul_f64(bytes as f64 / PACE as f64)
}

async fn discard(body: &mut Incoming) {
    let _ = timeout(DISCARD, poll_fn(|cx| body.poll_skip(cx))).await;
}

fn too_large(limit: u64, size: Option<u64>) -> Refusal {
    let size = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    let message = format!("the body has {size}, and `max_body` is {limit} bytes");
    Refusal::new(Reason::BodyTooLarge, message)
}
