//! The task that owns the fleet: its loop, its commands, its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Ask, AskError, FleetHandle, Inheritance, Pending, Request, Selector};
use crate::lifecycle::{Event, PublicState, StopReason};
use crate::name::ServerName;
use crate::plan::Definition;
use crate::supervisor::context::Context;
use crate::supervisor::events::{Happening, Kind};
use crate::supervisor::record::Record;
use crate::supervisor::seat::{Numbers, Seat};
use crate::supervisor::server::{Command, Explanation, ServerHandle, Survivor, account};
use crate::supervisor::stopped::{Stop, StoppedFile, StoppedServers};

/// What a shutdown may take beyond the longest drain and stop, before it gets impatient.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(1);

/// How long killed processes may take to be gone, when magid wants to end.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What the fleet knows of a server.
pub(super) struct Member {
    pub(super) handle: ServerHandle,
    pub(super) seat: Seat,
    pub(super) numbers: Numbers,
    pub(super) definition: Arc<Definition>,
    /// The incarnation that is to take its place.
    pub(super) successor: Option<Successor>,
    /// Whether it should run.
    pub(super) wanted: bool,
    /// It is no longer defined, and forgotten once it is stopped: the number of that removal.
    pub(super) removed: Option<u64>,
}

impl Member {
    /// Whether it, and what is to take its place, can be told all that one request has for them.
    fn has_room(&self) -> bool {
        let successor = self.successor.as_ref();
        self.handle.has_room() && successor.is_none_or(|successor| successor.handle.has_room())
    }
}

/// An incarnation with a newer definition that gets ready beside the one that serves.
pub(super) struct Successor {
    pub(super) handle: ServerHandle,
    pub(super) seat: Seat,
    pub(super) definition: Arc<Definition>,
}

/// What is expected of a server that a change touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    /// It is new: it should get ready, or wait for memory.
    New,
    /// It served, or was about to: it should get ready again.
    Served,
    /// It did not serve before either: nothing is lost if it does not get ready.
    Nothing,
}

/// What was wanted of a server before a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Whether it should run.
    pub(super) wanted: bool,
    /// How an operator stopped it, if one did.
    pub(super) stopped: Option<Stop>,
}

/// What [`super`] is a handle on. How configurations are applied is in `apply`.
pub(super) struct Fleet {
    pub(super) context: Arc<Context>,
    pub(super) requests: mpsc::WeakSender<Request>,
    pub(super) members: BTreeMap<ServerName, Member>,
    /// Incarnations whose place was taken, or that never got to take one, on their way out.
    pub(super) retired: BTreeMap<Seat, ServerHandle>,
    /// What the change that was applied last expects.
    pub(super) expected: BTreeMap<ServerName, Expectation>,
    /// What was wanted of the servers that it started or removed.
    pub(super) before: BTreeMap<ServerName, Before>,
    pub(super) records: BTreeMap<Seat, Record>,
    pub(super) survivors: BTreeMap<Seat, Survivor>,
    /// Servers that an operator stopped, defined or not.
    pub(super) stopped: StoppedServers,
    pub(super) stopped_file: StoppedFile,
    pub(super) removals: u64,
    /// The generation that is in force.
    generation: Option<u64>,
    pub(super) shutdown: Option<oneshot::Sender<BTreeSet<ServerName>>>,
}

/// Starts the owner of the fleet. `watchdog` is the time between two signs of life to systemd.
pub fn spawn(
    context: Arc<Context>,
    inheritance: Inheritance,
    stopped_file: StoppedFile,
    watchdog: Option<Duration>,
) -> FleetHandle {
    let (requests, inbox) = mpsc::channel(super::QUEUE);
    let fleet = Fleet {
        context,
        requests: requests.downgrade(),
        members: BTreeMap::new(),
        retired: BTreeMap::new(),
        expected: BTreeMap::new(),
        before: BTreeMap::new(),
        records: inheritance.records,
        survivors: inheritance.survivors,
        stopped: inheritance.stopped,
        stopped_file,
        removals: 0,
        generation: None,
        shutdown: None,
    };
    tokio::spawn(fleet.run(inbox, watchdog));
    FleetHandle { requests }
}

impl Fleet {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>, watchdog: Option<Duration>) {
        let mut sign_of_life = watchdog.map(tokio::time::interval);
        loop {
            let tick = async {
                match &mut sign_of_life {
                    Some(interval) => {
                        interval.tick().await;
                    }
                    None => std::future::pending().await,
                }
            };
            // Both arms are cancel-safe: a message or a tick that was not taken is still there.
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(Request::Stopped) | None => break,
                    Some(request) => self.take(request),
                },
                () = tick => crate::notify::watchdog(),
            }
        }
        self.end().await;
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Ask(ask, selector, expected, reply) => {
                let _ = reply.send(self.ask(ask, &selector, expected));
            }
            Request::Demand { name, who, reply } => {
                let _ = reply.send(self.demand(&name, who));
            }
            Request::Apply(definitions, mode, stops, reply) => {
                let _ = reply.send(self.apply(definitions, mode, stops));
            }
            Request::Explain(name, reply) => {
                let _ = reply.send(self.explain(&name));
            }
            Request::Conclude { may_veto, reply } => {
                // Servers that end with magid say nothing about a change: it stays unjudged.
                if self.check_open().is_ok() {
                    let _ = reply.send(self.conclude(may_veto));
                }
            }
            Request::MakeRoom {
                server,
                reason,
                reply,
            } => {
                let _ = reply.send(self.make_room(&server, reason));
            }
            Request::Generation(number) => self.generation = number,
            Request::Left(seat) => self.left(&seat),
            Request::Transitions(reply) => {
                let _ = reply.send(self.transitions());
            }
            Request::Forget(name, removal) => self.forget(&name, removal),
            Request::Shutdown(reply) => self.begin_shutdown(reply),
            Request::Hurry => self.tell_all(|| Event::Hurry),
            // Ends the loop.
            Request::Stopped => {}
        }
    }

    // Commands.

    fn ask(
        &mut self,
        ask: Ask,
        selector: &Selector,
        expected: Option<u64>,
    ) -> Result<Vec<Pending>, AskError> {
        self.check_open()?;
        if let Some(expected) = expected
            && self.generation != Some(expected)
        {
            let current = self.generation;
            return Err(AskError::GenerationChanged { expected, current });
        }
        let names = self.select(ask, selector)?;
        self.check_room(&names)?;
        if ask == Ask::Start {
            self.expect_starts(&names);
        }
        let pending = names
            .iter()
            .map(|server| {
                if ask == Ask::Start {
                    self.want_room(server, &names);
                }
                let done = self.ask_one(ask, server);
                let server = server.clone();
                Pending {
                    server,
                    done,
                    touched: true,
                }
            })
            .collect();
        self.stopped_file.remember(self.stopped.clone());
        Ok(pending)
    }

    /// Servers that are started together are given memory by their priority, whichever asks first.
    fn expect_starts(&self, names: &BTreeSet<ServerName>) {
        let board = &self.context.board;
        let rests = |name: &ServerName| board.row(name).is_some_and(|row| row.pid.is_none());
        let starting = names.iter().filter(|name| rests(name));
        let accounts = starting.filter_map(|name| {
            let member = self.members.get(name)?;
            Some((account(&member.seat), member.definition.priority))
        });
        self.context.memory.expect(accounts.collect());
    }

    fn ask_one(&mut self, ask: Ask, server: &ServerName) -> oneshot::Receiver<()> {
        let (event, wanted) = match ask {
            Ask::Start => (Event::Start, true),
            Ask::Restart => (Event::Restart, true),
            // What is held stays so: nobody has let go of it.
            Ask::Stop => (self.note_stop(server, Stop::Plain), false),
            Ask::Hold => (self.note_stop(server, Stop::Held), false),
        };
        if wanted {
            self.stopped.remove(server);
        }
        // An operator's word is newer than what was wanted before the change.
        self.before.remove(server);
        match ask {
            Ask::Start => {}
            // What it would become is asked for anew, or not any more.
            Ask::Stop | Ask::Hold | Ask::Restart => self.settle_for_drain_restart(server),
        }
        let (done, finished) = oneshot::channel();
        if let Some(member) = self.members.get_mut(server) {
            member.wanted = wanted;
            tell(member, Command::Ask(event, Some(done)));
        }
        finished
    }

    /// Takes note of an operator's stop.
    fn note_stop(&mut self, server: &ServerName, stop: Stop) -> Event {
        let noted = self.stopped.entry(server.clone()).or_insert(stop);
        if stop == Stop::Held {
            *noted = stop;
        }
        Event::Stop(noted.reason())
    }

    /// Room is made for a server that is asked for, but not by those that are asked for with it.
    fn want_room(&self, server: &ServerName, beside: &BTreeSet<ServerName>) {
        if let Some(member) = self.members.get(server) {
            tell(member, Command::WantRoom(beside.clone()));
        }
    }

    /// Stops a server to make room, if the reason allows it.
    fn make_room(
        &mut self,
        name: &ServerName,
        reason: StopReason,
    ) -> Result<oneshot::Receiver<()>, AskError> {
        self.check_open()?;
        self.check_room([name])?;
        let (done, finished) = oneshot::channel();
        if let Some(member) = self.members.get(name) {
            tell(member, Command::Ask(Event::Stop(reason), Some(done)));
        }
        Ok(finished)
    }

    fn select(&self, ask: Ask, selector: &Selector) -> Result<BTreeSet<ServerName>, AskError> {
        match selector {
            Selector::All => {
                let defined = self.defined();
                let meant = defined
                    .filter(|(name, member)| ask != Ask::Restart || self.is_wanted(name, member));
                Ok(meant.map(|(name, _)| name.clone()).collect())
            }
            Selector::Names(names) => names.iter().map(|name| self.resolve(name)).collect(),
        }
    }

    /// The servers of the active profile, without those that are on their way out.
    pub(super) fn defined(&self) -> impl Iterator<Item = (&ServerName, &Member)> {
        self.members
            .iter()
            .filter(|(_, member)| member.removed.is_none())
    }

    /// Whether a server should run. One that was stopped since nobody used it runs when it is asked for.
    pub(super) fn is_wanted(&self, name: &ServerName, member: &Member) -> bool {
        let rests = self.context.board.row(name).is_some_and(|row| {
            let reasons = [StopReason::Idle, StopReason::Evicted, StopReason::Swapped];
            let reasons = reasons.map(StopReason::code);
            row.view.state == PublicState::Stopped && reasons.contains(&row.view.reason)
        });
        member.wanted && !rests
    }

    pub(super) fn resolve(&self, name: &str) -> Result<ServerName, AskError> {
        let is_meant = |server: &ServerName, member: &Member| {
            let mut aliases = member.definition.aliases.iter();
            server.as_str() == name || aliases.any(|alias| alias.as_str() == name)
        };
        let found = self
            .defined()
            .find(|(server, member)| is_meant(server, member));
        found.map(|(server, _)| server.clone()).ok_or_else(|| {
            let likeness = |known: &str| strsim::jaro_winkler(name, known);
            let near = self
                .defined()
                .map(|(server, _)| (likeness(server.as_str()), server))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|(a, _), (b, _)| a.total_cmp(b));
            AskError::NoSuchServer {
                name: name.to_owned(),
                near: near.map(|(_, server)| server.to_string()),
            }
        })
    }

    fn transitions(&self) -> Vec<Pending> {
        let members = self.members.iter().filter(|(_, member)| member.has_room());
        members
            .map(|(server, member)| {
                let (done, finished) = oneshot::channel();
                tell(member, Command::Notify(done));
                Pending {
                    server: server.clone(),
                    done: finished,
                    touched: false,
                }
            })
            .collect()
    }

    pub(super) fn check_open(&self) -> Result<(), AskError> {
        match self.shutdown {
            Some(_) => Err(AskError::ShuttingDown),
            None => Ok(()),
        }
    }

    /// Only the fleet writes to the servers' queues, so room that is there now is there when it is
    /// used: a command reaches all the servers it names, or none.
    pub(super) fn check_room<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ServerName>,
    ) -> Result<(), AskError> {
        let members = names
            .into_iter()
            .filter_map(|name| self.members.get_key_value(name));
        let busy = members.into_iter().find(|(_, member)| !member.has_room());
        match busy {
            Some((name, _)) => Err(AskError::Busy {
                what: name.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn explain(
        &self,
        name: &str,
    ) -> Result<(ServerName, oneshot::Receiver<Explanation>), AskError> {
        let name = self.resolve(name)?;
        self.check_room([&name])?;
        let (reply, explanation) = oneshot::channel();
        if let Some(member) = self.members.get(&name) {
            tell(member, Command::Explain(reply));
        }
        Ok((name, explanation))
    }

    // The end.

    fn begin_shutdown(&mut self, reply: oneshot::Sender<BTreeSet<ServerName>>) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(reply);
        let event =
            Happening::of_daemon(Kind::DaemonStopping, "shutdown", "magid is shutting down");
        self.context.events.record(event);
        let successors = self.members.values().filter_map(|m| m.successor.as_ref());
        let successors = successors.map(|successor| &successor.definition);
        let definitions = self.members.values().map(|member| &member.definition);
        let policies = definitions.chain(successors).map(|d| &d.policy);
        let longest = policies
            .map(|policy| policy.drain_timeout + policy.stop_timeout)
            .max();
        let mut all = Vec::new();
        for member in self.members.values() {
            let (done, finished) = oneshot::channel();
            tell(
                member,
                Command::Ask(Event::Stop(StopReason::Shutdown), Some(done)),
            );
            all.push(finished);
        }
        for handle in self.others() {
            let (done, finished) = oneshot::channel();
            let stop = Command::Ask(Event::Stop(StopReason::Shutdown), Some(done));
            if handle.tell(stop).is_ok() {
                all.push(finished);
            }
        }
        let requests = self.requests.clone();
        let patience = longest.unwrap_or_default() + SHUTDOWN_SLACK;
        tokio::spawn(async move {
            let stopped = async {
                for finished in all {
                    let _ = finished.await;
                }
            };
            tokio::pin!(stopped);
            if tokio::time::timeout(patience, &mut stopped).await.is_err() {
                if let Some(requests) = requests.upgrade() {
                    let _ = requests.send(Request::Hurry).await;
                }
                let _ = tokio::time::timeout(LAST_PATIENCE, stopped).await;
            }
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Stopped).await;
            }
        });
    }

    fn tell_all(&mut self, event: impl Fn() -> Event) {
        for member in self.members.values() {
            tell(member, Command::Ask(event(), None));
        }
        for handle in self.others() {
            let _ = handle.tell(Command::Ask(event(), None));
        }
    }

    /// The incarnations beside those that serve.
    fn others(&self) -> impl Iterator<Item = &ServerHandle> {
        let successors = self
            .members
            .values()
            .filter_map(|member| member.successor.as_ref());
        successors
            .map(|successor| &successor.handle)
            .chain(self.retired.values())
    }

    async fn end(self) {
        self.stopped_file.close().await;
        let board = self.context.board.read();
        if let Some(reply) = self.shutdown {
            let _ = reply.send(board.alive());
        }
    }
}

/// Tells a server something. There is room: see [`Fleet::check_room`]; a shutdown that finds none has
/// found a server that does not take its messages, and goes on to its deadline.
pub(super) fn tell(member: &Member, command: Command) {
    if let Err(error) = member.handle.tell(command) {
        tracing::error!(server = %member.definition.name, "{error}");
    }
}
