//! Requests that wait for the server to get ready.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Server;
use crate::lifecycle::{Event, Exit, Phase, StopReason};
use crate::supervisor::key::ApiKey;

/// Requests that may wait. A gateway asks once for all of its own.
const DEMANDS: usize = 256;

/// What a request is told: the incarnation that is ready, or why none will be. Dropped if this seat
/// has not the last word on that, since the server sits elsewhere now, or is on its way out.
pub type Answer = oneshot::Sender<Result<Serving, NotReady>>;

/// An incarnation that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its number.
    pub incarnation: u64,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// What it asks its clients for.
    pub api_key: Option<ApiKey>,
}

/// Why a server will not get ready by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum NotReady {
    /// Too many requests wait for it.
    TooMany,
    /// It was stopped while the request waited.
    Stopped(StopReason),
    /// It failed.
    Failed {
        /// How.
        exit: Box<Exit>,
        /// How long it is until another request has it tried once more, or a timer does. Absent if that
        /// will not be.
        retry_in: Option<Duration>,
    },
}

impl Server {
    /// Has the server run for a request of `who`, which is told what came of it. Who joins what is under
    /// way changes nothing, and is not worth a line in the log.
    pub(super) fn demand(&mut self, answer: Answer, who: &str) {
        self.demands.retain(|waiting| !waiting.is_closed());
        if self.demands.len() >= DEMANDS {
            let _ = answer.send(Err(NotReady::TooMany));
            return;
        }
        self.demands.push(answer);
        self.want_room(BTreeSet::new());
        let before = (self.state.desired, self.state.is_at_rest());
        self.apply(Event::Demand);
        if before != (self.state.desired, self.state.is_at_rest()) {
            let server = &self.definition.name;
            tracing::info!("{server} is wanted by a request of {who}");
        }
    }

    /// Answers the requests that wait, if there is an answer.
    pub(super) fn answer_demands(&mut self) {
        let answer = match &self.state.phase {
            Phase::Ready { process, .. } => {
                let live = self.incarnation.as_ref();
                let live = live.filter(|live| live.number == process.incarnation);
                let Some(live) = live else { return };
                Ok(Serving {
                    incarnation: live.number,
                    endpoint: live.endpoint,
                    api_key: live.api_key.clone(),
                })
            }
            Phase::Failed { exit, retry_at, .. } => Err(NotReady::Failed {
                exit: Box::new(Exit::clone(exit)),
                retry_in: retry_at.map(|due| due.since(self.context.clock.now())),
            }),
            Phase::Stopped(StopReason::Removed | StopReason::Shutdown | StopReason::Replaced) => {
                return self.demands.clear();
            }
            Phase::Stopped(
                reason @ (StopReason::Requested
                | StopReason::Held
                | StopReason::NotAutostarted
                | StopReason::Exited
                | StopReason::Idle
                | StopReason::Evicted
                | StopReason::Swapped),
            ) => Err(NotReady::Stopped(*reason)),
            Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. } => return,
        };
        for waiting in self.demands.drain(..) {
            let _ = waiting.send(answer.clone());
        }
    }
}
