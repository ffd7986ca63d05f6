//! The one source of time of the shell.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::moment::Moment;

/// Gives moments to the pure core, and turns them into what timers and people need.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::new(self.origin.elapsed())
    }

    /// When a timer for `moment` is due.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.since_origin()
    }

    /// The moment at which the wall clock showed `at`: now if that is yet to come.
    pub fn moment(&self, at: Timestamp) -> Moment {
        let now = self.now().since_origin();
        let ago = Timestamp::now().duration_since(at);
        let ago = Duration::try_from(ago).unwrap_or_default();
        Moment::new(now.saturating_sub(ago))
    }

    /// What the wall clock shows, or will show, at `moment`.
    pub fn wall(&self, moment: Moment) -> Timestamp {
        let now = self.now();
        let shift = |duration: Duration| jiff::SignedDuration::try_from(duration).ok();
        let present = Timestamp::now();
        let shifted = if moment >= now {
            shift(moment.since(now)).and_then(|ahead| present.checked_add(ahead).ok())
        } else {
            shift(now.since(moment)).and_then(|ago| present.checked_sub(ago).ok())
        };
        shifted.unwrap_or(present)
    }
}
