//! Room for the bodies of requests: so many bytes of all of them are held at a time.
//!
//! A body gets all the room that it can need before anything of it is read, and in one go: who waits for
//! room holds none, so those who have some always come to their end, or are refused if they are slow while
//! others wait; and nobody waits for ever. A body whose length its client does not tell gets room for the
//! largest there may be, and gives back what it did not need once it is read.
//!
//! While there is room and nobody waits, taking some is one addition, and so is giving it back. Who finds
//! none stands in line: first come, first served, so that a large body is not overtaken for ever by small
//! ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

/// The bodies that are held, as the bytes of all of them.
#[derive(Debug)]
pub struct Bodies {
    held: AtomicU64,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// Told to those who have room when somebody waits for some.
    wanted: Notify,
    /// Whose turn it is of those who wait.
    turn: Semaphore,
    /// Told to that one when room was given back.
    given_back: Notify,
}

/// Room for a body. Dropped, it is given back.
#[derive(Debug)]
pub struct Room {
    bodies: Arc<Bodies>,
    bytes: u64,
}

/// A body, and the room that it takes.
struct Kept {
    body: Bytes,
    /// Held only to be given back.
    _room: Room,
}

/// One who waits for room.
struct Waiting<'b>(&'b Bodies);

impl Bodies {
    /// Room for so many bytes, if there is that much of `limit` and nobody waits for some.
    pub fn try_take(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Room> {
        match self.is_wanted() {
            false => self.take(bytes, limit),
            true => None,
        }
    }

    /// Waits for it. Dropped, it leaves the line. More than `limit` is never there.
    pub async fn wait(self: &Arc<Self>, bytes: u64, limit: u64) -> Room {
        // Told before the look, so that whoever gives room back from now on says so.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.wanted.notify_waiters();
        let _waiting = Waiting(self);
        let turn = self.turn.acquire().await;
        let _turn = turn.expect("the semaphore is never closed");
        loop {
            if let Some(room) = self.take(bytes, limit) {
                return room;
            }
            // What was given back since the look is remembered.
            self.given_back.notified().await;
        }
    }

    /// Whether somebody waits for room.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Somebody waits for room from now on.
    pub fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// How many bytes are held.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Room> {
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= limit);
        let taken = self
            .held
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, more);
        taken.ok().map(|_before| Room {
            bodies: self.clone(),
            bytes,
        })
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::SeqCst);
        if self.is_wanted() {
            self.given_back.notify_one();
        }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            held: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            turn: Semaphore::new(1),
            given_back: Notify::new(),
        }
    }
}

impl Room {
    /// Binds it to the body that it is for, of which it gives back what that does not need. It lasts
    /// until the last copy of the body is gone.
    pub fn keep(mut self, body: Bytes) -> Bytes {
        let spare = self.bytes.saturating_sub(body.len() as u64);
        if spare > 0 {
            self.bytes -= spare;
            self.bodies.give_back(spare);
        }
        Bytes::from_owner(Kept { body, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.give_back(self.bytes);
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::task::JoinSet;

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn room_lasts_as_long_as_the_last_copy_of_the_body() {
        let bodies = Arc::new(Bodies::default());
        let body = bodies.try_take(100, 100).unwrap();
        let body = body.keep(Bytes::from_static(b"0123456789"));
        assert_eq!(bodies.held(), 10);
        let copy = body.slice(3..4);
        drop(body);
        assert_eq!((bodies.held(), &copy[..]), (10, &b"3"[..]));
        drop(copy);
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn a_small_body_does_not_overtake_a_large_one_that_waits() {
        let bodies = Arc::new(Bodies::default());
        let first = bodies.try_take(60, 100).unwrap();
        let mut large = pin!(bodies.wait(100, 100));
        assert!(poll(large.as_mut()).is_pending());
        assert!(bodies.try_take(1, 100).is_none());
        let mut small = pin!(bodies.wait(1, 100));
        assert!(poll(small.as_mut()).is_pending());
        drop(first);
        assert!(poll(small.as_mut()).is_pending());
        let Poll::Ready(large) = poll(large.as_mut()) else {
            panic!("there is room for it");
        };
        assert!(poll(small.as_mut()).is_pending());
        drop(large);
        assert!(poll(small.as_mut()).is_ready());
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn who_leaves_the_line_is_not_waited_for() {
        let bodies = Arc::new(Bodies::default());
        let first = bodies.try_take(60, 100).unwrap();
        {
            let mut large = pin!(bodies.wait(100, 100));
            assert!(poll(large.as_mut()).is_pending());
            // It leaves with the news that there is room.
            drop(first);
        }
        assert!(bodies.try_take(100, 100).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_is_forgotten_and_there_is_never_too_much() {
        let bodies = Arc::new(Bodies::default());
        let mut all = JoinSet::new();
        for n in 0..64_u64 {
            let bodies = bodies.clone();
            all.spawn(async move {
                for round in 0..200 {
                    let bytes = 1 + (n * 31 + round * 7) % 100;
                    let room = match bodies.try_take(bytes, 100) {
                        Some(room) => room,
                        None => bodies.wait(bytes, 100).await,
                    };
                    assert!(bodies.held() <= 100);
                    tokio::task::yield_now().await;
                    drop(room);
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        assert_eq!(bodies.held(), 0);
    }
}
