//! What goes on at one server.
//!
//! It outlives the tables: requests of all threads count here, and whoever tells magid reads it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::metrics::Counts;
use crate::queue::Queue;

/// The counters of one server, and the queue before it.
#[derive(Debug)]
pub struct Traffic {
    /// Where requests wait for their turn.
    pub queue: Queue,
    /// What is counted of its requests, for `/metrics`.
    pub counts: Counts,
    /// Notified when the way to the server has changed.
    pub moved: Notify,
    /// Requests that are not forwarded yet.
    waiting: AtomicU32,
    /// When a request was last begun or ended, in milliseconds of the epoch. 0: never.
    last_used: AtomicI64,
    /// The bits of the last answer's tokens per second. 0: unknown.
    tokens_per_second: AtomicU64,
    /// Something of this has changed since it was last told.
    changed: AtomicBool,
    /// How long the last requests took, in microseconds: a moving average.
    took: AtomicU64,
}

/// A request that waits. Dropped, it does not any more.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Traffic);

impl Traffic {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            queue: Queue::new(),
            counts: Counts::default(),
            moved: Notify::new(),
            waiting: AtomicU32::new(0),
            last_used: AtomicI64::new(0),
            tokens_per_second: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            took: AtomicU64::new(0),
        }
    }

    /// Counts a request that begins to wait. None: `limit` wait already.
    pub fn wait(&self, limit: u32) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(self);
        (before < limit).then_some(waiting)
    }

    /// How many requests wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Notes that a request was begun or ended. True: nothing had changed before, since that was last told.
    pub fn touch(&self) -> bool {
        let now = Timestamp::now().as_millisecond();
        self.last_used.store(now, Ordering::Relaxed);
        !self.changed.load(Ordering::Relaxed) && !self.changed.swap(true, Ordering::AcqRel)
    }

    /// Notes what an answer cost. `tokens_per_second` is absent if the server did not tell.
    pub fn answered(&self, took: Duration, tokens_per_second: Option<f64>) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.took.load(Ordering::Relaxed);
        let average = match before {
            0 => took,
            before => before - before / 8 + took / 8,
        };
        self.took.store(average, Ordering::Relaxed);
        if let Some(speed) = tokens_per_second {
            let bits = speed.to_bits();
            self.tokens_per_second.store(bits, Ordering::Relaxed);
        }
    }

    /// How long a request takes, by the last ones. Zero: unknown.
    pub fn takes(&self) -> Duration {
        Duration::from_micros(self.took.load(Ordering::Relaxed))
    }

    /// When a request was last begun or ended.
    pub fn last_used(&self) -> Option<Timestamp> {
        match self.last_used.load(Ordering::Relaxed) {
            0 => None,
            millis => Timestamp::from_millisecond(millis).ok(),
        }
    }

    /// Tokens per second of the answer that ended last.
    pub fn tokens_per_second(&self) -> Option<f64> {
        match self.tokens_per_second.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }

    /// Whether anything has changed since this was last asked.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
