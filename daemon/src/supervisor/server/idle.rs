//! Stopping a server that nobody uses.
//!
//! What comes through gateways is known: they tell when a request began or ended last. Clients that
//! talk to the port directly are known to llama-server only. So its own counters are looked at twice:
//! when the last request of a gateway is over, and before it is stopped. If they differ, somebody else
//! has used it meanwhile, and the time begins anew. In between it is left alone, since it may fall asleep,
//! and looking at counters would wake it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::{Incarnation, Report, Server, effect};
use crate::lifecycle::{Event, Phase, StopReason};
use crate::moment::Moment;
use crate::process::probe;
use crate::supervisor::context::Context;
use crate::supervisor::gateways::Use;
use crate::supervisor::seat::Seat;

/// How long after a request the counters are looked at, at most: they are to have taken it in, and
/// requests in a row are not to cost a look each. A short `idle_timeout` has a part of it.
const SETTLE: Duration = Duration::from_secs(10);

/// That part.
const PART: u32 = 10;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What llama-server says about what it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It sleeps, so it has had nothing to do.
    Asleep,
    /// As many tokens.
    Counted(u64),
    /// It does not say.
    Unknown,
}

impl Done {
    /// Whether anything was done before `after`.
    fn is_less_than(self, after: Self) -> bool {
        match (self, after) {
            (Self::Counted(before), Self::Counted(after)) => before != after,
            (Self::Asleep, Self::Counted(_)) => true,
            (Self::Asleep | Self::Counted(_), Self::Asleep)
            | (Self::Unknown, _)
            | (_, Self::Unknown) => false,
        }
    }
}

struct Idleness {
    live: Incarnation,
    seat: Seat,
    context: Arc<Context>,
    reports: mpsc::Sender<Report>,
    timeout: Duration,
    /// Nobody is known to have used it since.
    from: Moment,
    /// The last use by a gateway that is known.
    last_used: Option<Timestamp>,
}

impl Server {
    /// Has a ready server stopped when nobody has used it for its `idle_timeout`, which begins at `from`
    /// at the earliest.
    pub(super) fn await_idleness(&mut self, live: Incarnation, from: Moment) {
        self.idle_from = from;
        self.effects.idle = self.definition.traffic.idle_timeout.and_then(|timeout| {
            let idleness = Idleness {
                live,
                seat: self.seat.clone(),
                context: self.context.clone(),
                reports: self.reports.clone(),
                timeout,
                from,
                last_used: None,
            };
            effect(idleness.run())
        });
    }

    /// Takes another `idle_timeout`.
    pub(super) fn redefine_idleness(&mut self, before: Option<Duration>) {
        if before != self.definition.traffic.idle_timeout
            && matches!(self.state.phase, Phase::Ready { .. })
            && let Some(live) = self.incarnation.clone()
        {
            self.await_idleness(live, self.idle_from);
        }
    }

    /// When it will be stopped if no request comes.
    pub(super) fn idle_stop_at(&self) -> Option<Moment> {
        let timeout = self.definition.traffic.idle_timeout?;
        let used = self.context.gateways.use_of(&self.seat.server);
        let is_idle = matches!(self.state.phase, Phase::Ready { .. }) && !is_in_use(&used);
        let last = used.last_used.map(|at| self.context.clock.moment(at));
        is_idle.then(|| last.unwrap_or_default().max(self.idle_from) + timeout)
    }
}

impl Idleness {
    async fn run(mut self) {
        loop {
            self.settle().await;
            let before = self.done().await;
            if self.is_used_before(self.from + self.timeout).await {
                continue;
            }
            if before.is_less_than(self.done().await) || !self.serves() {
                self.begin_anew().await;
                continue;
            }
            let event = Event::Stop(StopReason::Idle);
            let _ = self.reports.send(Report::Event(event)).await;
            return;
        }
    }

    /// A successor that gets ready beside the one that serves has had no chance yet.
    fn serves(&self) -> bool {
        self.context.board.serves(&self.seat)
    }

    /// Waits until no gateway has used it for a little while.
    async fn settle(&mut self) {
        let settle = (self.timeout / PART).min(SETTLE);
        loop {
            let now = self.context.clock.now();
            let used = self.context.gateways.use_of(&self.seat.server);
            self.last_used = used.last_used;
            if is_in_use(&used) {
                self.from = now;
            } else if let Some(at) = used.last_used {
                self.from = self.from.max(self.context.clock.moment(at));
            }
            let due = self.from + settle;
            if due <= now {
                return;
            }
            sleep_until(self.context.clock.instant(due)).await;
        }
    }

    /// Waits for the first use by a gateway, or for `due`.
    async fn is_used_before(&self, due: Moment) -> bool {
        let mut uses = self.context.gateways.uses();
        let server = &self.seat.server;
        let is_used = |used: &Use| is_in_use(used) || used.last_used != self.last_used;
        // Both arms are cancel-safe: they only wait.
        tokio::select! {
            _ = uses.wait_for(|uses| is_used(&uses.of(server))) => true,
            () = sleep_until(self.context.clock.instant(due)) => false,
        }
    }

    /// Somebody has used it whom no gateway knows.
    async fn begin_anew(&mut self) {
        self.from = self.context.clock.now();
        let report = Report::Used {
            incarnation: self.live.number,
            at: self.from,
        };
        let _ = self.reports.send(report).await;
    }

    async fn done(&self) -> Done {
        let endpoint = self.live.endpoint;
        match probe::props(endpoint, TIMEOUT, self.live.key()).await {
            Ok(props) if props.is_sleeping => return Done::Asleep,
            Ok(_) | Err(_) => {}
        }
        match probe::tokens(endpoint, TIMEOUT, self.live.key()).await {
            Ok(tokens) => Done::Counted(tokens),
            Err(_) => Done::Unknown,
        }
    }
}

fn is_in_use(used: &Use) -> bool {
    used.in_flight > 0 || used.waiting > 0
}
