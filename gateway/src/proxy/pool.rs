//! Connections to servers that no request uses.
//!
//! llama-server gives each connection a thread for as long as it is open, and closes one that is idle
//! for five seconds. So idle ones are kept for less than that, and never more than the server has places.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use std::net::SocketAddr;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::exchange::Upstream;
use crate::table::Incarnation;

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(4);

/// Idle connections to one incarnation, if it has no limit of its own.
const MAX_IDLE: usize = 64;

/// Connections to servers that no request of this thread uses.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<BTreeMap<(SocketAddr, u64), Vec<Idle>>>,
    /// There is something to sweep.
    filled: Notify,
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

impl Pool {
    /// A connection that is still good: the one that was used last.
    pub(super) fn take(&self, to: &Incarnation, cx: &mut Context<'_>) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&(to.address, to.number))?;
        loop {
            let mut newest = connections.pop()?;
            if newest.upstream.is_usable(cx) {
                return Some(newest.upstream);
            }
        }
    }

    /// Keeps a connection for the next request. `places`: how many requests the server takes at a time;
    /// 0: any number.
    pub(super) fn put(&self, to: &Arc<Incarnation>, places: u32, mut upstream: Upstream) {
        // One that was answered before it had sent its whole request would keep the rest of that.
        if !upstream.is_usable(&mut Context::from_waker(Waker::noop())) {
            return;
        }
        let limit = match places {
            0 => MAX_IDLE,
            places => MAX_IDLE.min(places as usize),
        };
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            self.filled.notify_one();
        }
        let connections = idle.entry((to.address, to.number)).or_default();
        if connections.len() < limit && to.is_open() {
            let since = Instant::now();
            connections.push(Idle { upstream, since });
        }
    }

    /// Closes what was not used for long, again and again.
    pub(crate) async fn sweep(&self) {
        loop {
            if self.idle.borrow().is_empty() {
                self.filled.notified().await;
            }
            sleep(IDLE / 4).await;
            self.idle.borrow_mut().retain(|_, connections| {
                connections.retain(|idle| idle.since.elapsed() < IDLE * 3 / 4);
                !connections.is_empty()
            });
        }
    }
}
