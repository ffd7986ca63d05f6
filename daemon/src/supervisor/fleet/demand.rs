//! Servers that requests want.

use std::time::Duration;

use tokio::sync::oneshot;

use super::owner::{Fleet, tell};
use super::{AskError, FleetHandle, Request};
use crate::lifecycle::{ExitClass, PublicState, StopReason};
use crate::name::ServerName;
use crate::supervisor::server::{Command, NotReady, Serving};
use crate::supervisor::stopped::Stop;

/// How often a server may move to another seat while one request waits for it.
const SEATS: u32 = 8;

/// Why a server is not made ready for a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DemandError {
    /// It was not even asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// An operator stopped it, and has not let go of it.
    #[error(
        "cannot start {server}: an operator holds it stopped; `magictl start {server}` lets go of it"
    )]
    Held {
        /// The server.
        server: ServerName,
    },
    /// It was stopped while the request waited.
    #[error("cannot get {server} ready: it was stopped meanwhile ({})", .reason.code())]
    Stopped {
        /// The server.
        server: ServerName,
        /// Why.
        reason: StopReason,
    },
    /// It failed.
    #[error("cannot get {server} ready: {class}{}", detail_text(.detail))]
    Failed {
        /// The server.
        server: ServerName,
        /// What kind of failure it was.
        class: ExitClass,
        /// The same for people, with the numbers behind it. Empty if the class says it all.
        detail: String,
        /// The last lines of its output.
        last_lines: Vec<String>,
        /// How long it is until it is tried again. Absent if it will not be.
        retry_in: Option<Duration>,
    },
}

fn detail_text(detail: &str) -> String {
    match detail {
        "" => String::new(),
        detail => format!(" ({detail})"),
    }
}

/// What a server's task will tell the request.
pub(super) type Answer = oneshot::Receiver<Result<Serving, NotReady>>;

impl FleetHandle {
    /// Has a server ready for a request of `who`, and waits for that. `name` is that of a server, an
    /// alias, or the id of a model: of several servers of a model it is the first that is ready, else the
    /// first. To stop waiting stops nothing else.
    ///
    /// # Errors
    ///
    /// If the server will not get ready by itself.
    pub async fn ensure_ready(
        &self,
        name: String,
        who: String,
    ) -> Result<(ServerName, Serving), DemandError> {
        for _ in 0..SEATS {
            let (name, who) = (name.clone(), who.clone());
            let demanded = self.request(|reply| Request::Demand { name, who, reply });
            let (server, answer) = demanded.await??;
            match answer.await {
                Ok(Ok(serving)) => return Ok((server, serving)),
                Ok(Err(why)) => return Err(not_ready(server, why)),
                // It sits elsewhere now, or is on its way out: the fleet knows.
                Err(_) => {}
            }
        }
        Err(busy(name).into())
    }
}

fn busy(what: impl ToString) -> AskError {
    AskError::Busy {
        what: what.to_string(),
    }
}

fn not_ready(server: ServerName, why: NotReady) -> DemandError {
    match why {
        NotReady::TooMany => busy(server).into(),
        NotReady::Stopped(StopReason::Held) => DemandError::Held { server },
        NotReady::Stopped(reason) => DemandError::Stopped { server, reason },
        NotReady::Failed { exit, retry_in } => DemandError::Failed {
            server,
            class: exit.class,
            detail: exit.detail,
            last_lines: exit.last_lines,
            retry_in,
        },
    }
}

impl Fleet {
    /// Has a server run because a request of `who` wants it. That an operator stopped it is forgotten, unless it
    /// is held.
    pub(super) fn demand(
        &mut self,
        name: &str,
        who: String,
    ) -> Result<(ServerName, Answer), DemandError> {
        self.check_open()?;
        let server = self.resolve_model(name)?;
        self.check_room([&server])?;
        let (answer, answered) = oneshot::channel();
        match self.stopped.get(&server) {
            Some(Stop::Held) => return Err(DemandError::Held { server }),
            Some(Stop::Plain) => {
                self.stopped.remove(&server);
                self.stopped_file.remember(self.stopped.clone());
            }
            None => {}
        }
        self.before.remove(&server);
        if let Some(member) = self.members.get_mut(&server) {
            member.wanted = true;
            tell(member, Command::Demand { answer, who });
        }
        Ok((server, answered))
    }

    /// The server of that name or alias; else one that serves the model of that id: the first that is
    /// ready, or the first. Gateways choose by the same rule, from the routes that they are told.
    fn resolve_model(&self, name: &str) -> Result<ServerName, AskError> {
        self.resolve(name).or_else(|unknown| {
            let serves = self.defined().filter(|(_, member)| {
                let id = member.definition.launch.model.id.as_deref();
                id == Some(name)
            });
            // Of equals the first is the least, and they come in the order of their names.
            let chosen = serves.min_by_key(|(server, _)| !self.is_ready(server));
            chosen.map(|(server, _)| server.clone()).ok_or(unknown)
        })
    }

    fn is_ready(&self, server: &ServerName) -> bool {
        let row = self.context.board.row(server);
        row.is_some_and(|row| row.view.state == PublicState::Ready)
    }
}
