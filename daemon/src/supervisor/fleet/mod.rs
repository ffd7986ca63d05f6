//! The owner of the fleet.
//!
//! It never waits for a server: each is told what to do through its own queue, and whoever asked is
//! given the receivers that tell when it is done.

mod apply;
mod conclude;
mod demand;
mod owner;
mod replace;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::record::Record;
use super::seat::Seat;
use super::server::{Explanation, Survivor};
use super::stopped::StoppedServers;
use crate::lifecycle::{LastExit, StopReason};
use crate::name::ServerName;
use crate::plan::{Definition, Step};

pub use demand::DemandError;
pub use owner::spawn;

/// Commands that may wait. Each takes the fleet microseconds.
const QUEUE: usize = 256;

/// What can be asked of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To run.
    Start,
    /// To stop.
    Stop,
    /// To stop, and to refuse requests until a start.
    Hold,
    /// To run as a new incarnation.
    Restart,
}

/// Which servers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All of them; for a restart, those that should run.
    All,
    /// These, by name or alias.
    Names(Vec<String>),
}

/// A server that was asked for something.
#[derive(Debug)]
pub struct Pending {
    /// The server.
    pub server: ServerName,
    /// Ends when it has been done, or has failed.
    pub done: oneshot::Receiver<()>,
    /// Whether this request touched it. If not, something that was asked before is under way.
    pub touched: bool,
}

/// Why nothing was asked of any server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// One of the names is no server's.
    #[error("cannot find a server named {name:?}{}", near_text(.near))]
    NoSuchServer {
        /// The name.
        name: String,
        /// A name like it.
        near: Option<String>,
    },
    /// Another generation is in force than the one that the command is meant for.
    #[error("cannot apply to generation {expected}: {}", in_force(.current))]
    GenerationChanged {
        /// The one that it is meant for.
        expected: u64,
        /// The one in force.
        current: Option<u64>,
    },
    /// magid ends.
    #[error("cannot take commands: magid is shutting down")]
    ShuttingDown,
    /// Too much was asked.
    #[error("cannot take more commands for {what} now: try again")]
    Busy {
        /// What is too busy.
        what: String,
    },
}

fn in_force(current: &Option<u64>) -> String {
    match current {
        Some(current) => format!("generation {current} is in force"),
        None => "none is in force".to_owned(),
    }
}

fn near_text(near: &Option<String>) -> String {
    match near {
        Some(near) => format!("; did you mean {near:?}?"),
        None => "; `magictl status` lists them".to_owned(),
    }
}

/// How a configuration is to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: only the steps are wanted.
    Plan,
    /// As far as it goes: a server without its model fails, and the others come up.
    Start,
    /// As a whole or not at all: a new or changed server needs its model, and what does not get ready
    /// is told by [`FleetHandle::conclude`].
    Reload,
    /// Back to what was applied before.
    Rollback,
}

/// What becomes of the stops that operators asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// They are remembered.
    Kept,
    /// They are forgotten: somebody activated a profile.
    Forgotten,
}

/// A server that did not get ready with a new definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Veto {
    /// The server.
    pub server: ServerName,
    /// Why: a stable code, such as the exit class.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// How its incarnation ended, and when that was noticed, if it did.
    pub exit: Option<(Timestamp, LastExit)>,
}

/// What came of a change, once everything that it touched has settled.
#[derive(Debug)]
pub enum Conclusion {
    /// It holds: successors have taken over.
    Holds,
    /// It holds unless one of these servers does not get ready: there was no room for them beside their
    /// predecessors, which are gone now.
    NotYet(Vec<Pending>),
    /// These servers did not get ready.
    Vetoed(Vec<Veto>),
}

/// What came of a configuration.
#[derive(Debug)]
pub struct Outcome {
    /// The steps.
    pub steps: Vec<Step>,
    /// New or changed servers without a model, and why. Unless it is the start, nothing is applied if
    /// there are any.
    pub missing: Vec<(ServerName, String)>,
    /// The servers that were touched.
    pub pending: Vec<Pending>,
}

enum Request {
    Ask(
        Ask,
        Selector,
        Option<u64>,
        oneshot::Sender<Result<Vec<Pending>, AskError>>,
    ),
    Apply(
        BTreeMap<ServerName, Definition>,
        Mode,
        Stops,
        oneshot::Sender<Result<Outcome, AskError>>,
    ),
    Explain(
        String,
        oneshot::Sender<Result<(ServerName, oneshot::Receiver<Explanation>), AskError>>,
    ),
    Demand {
        name: String,
        who: String,
        reply: oneshot::Sender<Result<(ServerName, demand::Answer), DemandError>>,
    },
    Conclude {
        may_veto: bool,
        reply: oneshot::Sender<Conclusion>,
    },
    MakeRoom {
        server: ServerName,
        reason: StopReason,
        reply: oneshot::Sender<Result<oneshot::Receiver<()>, AskError>>,
    },
    Generation(Option<u64>),
    Transitions(oneshot::Sender<Vec<Pending>>),
    Left(Seat),
    Forget(ServerName, u64),
    Shutdown(oneshot::Sender<BTreeSet<ServerName>>),
    Hurry,
    Stopped,
}

/// A handle on the owner of the fleet.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    requests: mpsc::Sender<Request>,
}

impl FleetHandle {
    /// Asks something of servers; with `expected`, only if that is the generation in force.
    ///
    /// # Errors
    ///
    /// Then nothing was asked of any.
    pub async fn ask(
        &self,
        ask: Ask,
        selector: Selector,
        expected: Option<u64>,
    ) -> Result<Vec<Pending>, AskError> {
        self.request(|reply| Request::Ask(ask, selector, expected, reply))
            .await?
    }

    /// Has a server stopped to make room: [`StopReason::Evicted`] if it is idle, [`StopReason::Swapped`] if
    /// it serves at all. Gives what ends when it has stopped, or goes on.
    ///
    /// # Errors
    ///
    /// If it is too busy, or magid ends.
    pub async fn make_room(
        &self,
        server: ServerName,
        reason: StopReason,
    ) -> Result<oneshot::Receiver<()>, AskError> {
        let request = |reply| Request::MakeRoom {
            server,
            reason,
            reply,
        };
        self.request(request).await?
    }

    /// Says which generation is in force.
    pub async fn set_generation(&self, number: Option<u64>) {
        let _ = self.requests.send(Request::Generation(number)).await;
    }

    /// Plans or applies a configuration.
    ///
    /// # Errors
    ///
    /// Then nothing was applied.
    pub async fn apply(
        &self,
        definitions: BTreeMap<ServerName, Definition>,
        mode: Mode,
        stops: Stops,
    ) -> Result<Outcome, AskError> {
        self.request(|reply| Request::Apply(definitions, mode, stops, reply))
            .await?
    }

    /// Judges the change that was applied last, once all that it touched has settled. Unless it is
    /// vetoed, successors take over. With `may_veto` false nothing can be vetoed: what did not get ready
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// If magid ends.
    pub async fn conclude(&self, may_veto: bool) -> Result<Conclusion, AskError> {
        self.request(|reply| Request::Conclude { may_veto, reply })
            .await
    }

    /// What is under way now: ends, for each server, when it is settled. None of them counts as touched.
    pub async fn transitions(&self) -> Vec<Pending> {
        let pending = self.request(Request::Transitions).await;
        pending.unwrap_or_default()
    }

    /// Everything that is known of a server.
    ///
    /// # Errors
    ///
    /// If there is no such server, or it is too busy.
    pub async fn explain(&self, name: String) -> Result<(ServerName, Explanation), AskError> {
        let (name, explanation) = self
            .request(|reply| Request::Explain(name, reply))
            .await??;
        match explanation.await {
            Ok(explanation) => Ok((name, explanation)),
            Err(_) => Err(AskError::NoSuchServer {
                name: name.to_string(),
                near: None,
            }),
        }
    }

    /// Stops all servers and ends the fleet. Gives the servers of which something is left.
    pub async fn shut_down(&self) -> BTreeSet<ServerName> {
        let (reply, answer) = oneshot::channel();
        // Waits for its turn rather than be refused: there is no second try.
        let _ = self.requests.send(Request::Shutdown(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Shortens a shutdown that is under way.
    pub async fn hurry(&self) {
        let _ = self.requests.send(Request::Hurry).await;
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(request(reply))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Busy {
                    what: "the fleet".to_owned(),
                },
                mpsc::error::TrySendError::Closed(_) => AskError::ShuttingDown,
            })?;
        answer.await.map_err(|_| AskError::ShuttingDown)
    }
}

/// What an earlier magid left behind.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// The records of all seats in which something ever ran.
    pub records: BTreeMap<Seat, Record>,
    /// What still runs, by seat.
    pub survivors: BTreeMap<Seat, Survivor>,
    /// The servers that an operator stopped.
    pub stopped: StoppedServers,
}
