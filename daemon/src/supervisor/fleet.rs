//! The owner of the fleet.
//!
//! It never waits for a server: each is told what to do through its own queue, and whoever asked is
//! given the receivers that tell when it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::events::{Happening, Kind};
use super::memory::Memory;
use super::record::Record;
use super::server::{self, Command, Explanation, ServerHandle, Survivor};
use crate::lifecycle::{Event, StopReason};
use crate::name::ServerName;
use crate::plan::{self, Current, Definition, Step, StepAction};

/// Commands that may wait. Each takes the fleet microseconds.
const QUEUE: usize = 256;

/// What a shutdown may take beyond the longest drain and stop, before it gets impatient.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(1);

/// How long killed processes may take to be gone, when magid wants to end.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To run.
    Start,
    /// To stop.
    Stop,
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
    /// As a whole or not at all: a new or changed server needs its model.
    Reload,
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
        oneshot::Sender<Result<Vec<Pending>, AskError>>,
    ),
    Apply(
        BTreeMap<ServerName, Definition>,
        Mode,
        oneshot::Sender<Result<Outcome, AskError>>,
    ),
    Explain(
        String,
        oneshot::Sender<Result<(ServerName, oneshot::Receiver<Explanation>), AskError>>,
    ),
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
    /// Asks something of servers.
    ///
    /// # Errors
    ///
    /// Then nothing was asked of any.
    pub async fn ask(&self, ask: Ask, selector: Selector) -> Result<Vec<Pending>, AskError> {
        self.request(|reply| Request::Ask(ask, selector, reply))
            .await?
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
    ) -> Result<Outcome, AskError> {
        self.request(|reply| Request::Apply(definitions, mode, reply))
            .await?
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

/// What the fleet knows of a server.
struct Member {
    handle: ServerHandle,
    definition: Arc<Definition>,
    /// Whether it should run.
    wanted: bool,
    /// It is no longer defined, and forgotten once it is stopped: the number of that removal.
    removed: Option<u64>,
}

/// What an earlier magid left behind.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// The records of all servers that ever ran.
    pub records: BTreeMap<ServerName, Record>,
    /// What still runs, by server.
    pub survivors: BTreeMap<ServerName, Survivor>,
    /// The servers that an operator stopped.
    pub stopped: BTreeSet<ServerName>,
}

struct Fleet {
    context: Arc<Context>,
    requests: mpsc::WeakSender<Request>,
    members: BTreeMap<ServerName, Member>,
    records: BTreeMap<ServerName, Record>,
    survivors: BTreeMap<ServerName, Survivor>,
    /// Servers that an operator stopped, defined or not.
    stopped: BTreeSet<ServerName>,
    memory: Memory,
    removals: u64,
    shutdown: Option<oneshot::Sender<BTreeSet<ServerName>>>,
}

/// Starts the owner of the fleet. `watchdog` is the time between two signs of life to systemd.
pub fn spawn(
    context: Arc<Context>,
    inheritance: Inheritance,
    memory: Memory,
    watchdog: Option<Duration>,
) -> FleetHandle {
    let (requests, inbox) = mpsc::channel(QUEUE);
    let fleet = Fleet {
        context,
        requests: requests.downgrade(),
        members: BTreeMap::new(),
        records: inheritance.records,
        survivors: inheritance.survivors,
        stopped: inheritance.stopped,
        memory,
        removals: 0,
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
            Request::Ask(ask, selector, reply) => {
                let _ = reply.send(self.ask(ask, &selector));
            }
            Request::Apply(definitions, mode, reply) => {
                let _ = reply.send(self.apply(definitions, mode));
            }
            Request::Explain(name, reply) => {
                let _ = reply.send(self.explain(&name));
            }
            Request::Forget(name, removal) => self.forget(&name, removal),
            Request::Shutdown(reply) => self.begin_shutdown(reply),
            Request::Hurry => self.tell_all(|| Event::Hurry),
            // Ends the loop.
            Request::Stopped => {}
        }
    }

    // Commands.

    fn ask(&mut self, ask: Ask, selector: &Selector) -> Result<Vec<Pending>, AskError> {
        self.check_open()?;
        let names = self.select(ask, selector)?;
        self.check_room(&names)?;
        let pending = names
            .into_iter()
            .map(|server| {
                let done = self.ask_one(ask, &server);
                Pending {
                    server,
                    done,
                    touched: true,
                }
            })
            .collect();
        self.memory.remember(self.stopped.clone());
        Ok(pending)
    }

    fn ask_one(&mut self, ask: Ask, server: &ServerName) -> oneshot::Receiver<()> {
        let (event, wanted) = match ask {
            Ask::Start => (Event::Start, true),
            Ask::Restart => (Event::Restart, true),
            Ask::Stop => (Event::Stop(StopReason::Requested), false),
        };
        if wanted {
            self.stopped.remove(server);
        } else {
            self.stopped.insert(server.clone());
        }
        let (done, finished) = oneshot::channel();
        if let Some(member) = self.members.get_mut(server) {
            member.wanted = wanted;
            tell(member, Command::Ask(event, Some(done)));
        }
        finished
    }

    fn select(&self, ask: Ask, selector: &Selector) -> Result<BTreeSet<ServerName>, AskError> {
        match selector {
            Selector::All => {
                let defined = self.defined();
                let meant = defined.filter(|(_, member)| ask != Ask::Restart || member.wanted);
                Ok(meant.map(|(name, _)| name.clone()).collect())
            }
            Selector::Names(names) => names.iter().map(|name| self.resolve(name)).collect(),
        }
    }

    /// The servers of the active profile, without those that are on their way out.
    fn defined(&self) -> impl Iterator<Item = (&ServerName, &Member)> {
        self.members
            .iter()
            .filter(|(_, member)| member.removed.is_none())
    }

    fn resolve(&self, name: &str) -> Result<ServerName, AskError> {
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

    fn check_open(&self) -> Result<(), AskError> {
        match self.shutdown {
            Some(_) => Err(AskError::ShuttingDown),
            None => Ok(()),
        }
    }

    /// Only the fleet writes to the servers' queues, so room that is there now is there when it is
    /// used: a command reaches all the servers it names, or none.
    fn check_room<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ServerName>,
    ) -> Result<(), AskError> {
        let members = names
            .into_iter()
            .filter_map(|name| self.members.get_key_value(name));
        let busy = members
            .into_iter()
            .find(|(_, member)| !member.handle.has_room());
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

    // Configurations.

    fn apply(
        &mut self,
        mut definitions: BTreeMap<ServerName, Definition>,
        mode: Mode,
    ) -> Result<Outcome, AskError> {
        self.check_open()?;
        self.check_room(self.members.keys())?;
        self.keep_found_models(&mut definitions);
        let steps = self.plan(&definitions);
        let missing = missing_models(&steps, &definitions);
        let refused = mode == Mode::Reload && !missing.is_empty();
        if mode == Mode::Plan || refused {
            return Ok(Outcome {
                steps,
                missing,
                pending: Vec::new(),
            });
        }
        self.reserve_ports(&definitions);
        let mut pending = Vec::new();
        for step in &steps {
            let definition = definitions.remove(&step.server).map(Arc::new);
            if let Some(done) = self.carry_out(step, definition) {
                pending.push(Pending {
                    server: step.server.clone(),
                    done,
                    touched: step.action.touches_a_process(),
                });
            }
        }
        if mode == Mode::Start {
            self.end_strangers();
        }
        self.memory.remember(self.stopped.clone());
        Ok(Outcome {
            steps,
            missing,
            pending,
        })
    }

    /// A model that was found, and cannot be found now, is no edit: what runs goes on running.
    fn keep_found_models(&self, definitions: &mut BTreeMap<ServerName, Definition>) {
        for (name, definition) in definitions {
            let Some(member) = self.members.get(name) else {
                continue;
            };
            let (old, new) = (
                &member.definition.launch.model,
                &mut definition.launch.model,
            );
            if new.file.is_err() && old.file.is_ok() && old.written == new.written {
                new.file.clone_from(&old.file);
            }
        }
    }

    fn plan(&self, definitions: &BTreeMap<ServerName, Definition>) -> Vec<Step> {
        let current = self
            .defined()
            .map(|(name, member)| {
                let row = self.context.board.row(name);
                let endpoint = row.and_then(|row| row.endpoint);
                let current = Current {
                    definition: &member.definition,
                    wanted: member.wanted,
                    held_back: self.stopped.contains(name),
                    port: endpoint.map(|endpoint| endpoint.port()),
                };
                (name.clone(), current)
            })
            .collect();
        plan::plan(&current, definitions, |name| self.stopped.contains(name))
    }

    fn reserve_ports(&self, definitions: &BTreeMap<ServerName, Definition>) {
        let fixed = definitions
            .iter()
            .filter_map(|(name, definition)| Some((definition.launch.port?, name.clone())))
            .collect();
        self.context.ports.reserve(fixed);
    }

    fn carry_out(
        &mut self,
        step: &Step,
        definition: Option<Arc<Definition>>,
    ) -> Option<oneshot::Receiver<()>> {
        let Some(definition) = definition else {
            return self.remove(&step.server);
        };
        let starts = step.action == StepAction::Start;
        let replaces = match step.action {
            StepAction::Replace | StepAction::Define | StepAction::Start => true,
            StepAction::Keep | StepAction::Live | StepAction::Stop => false,
        };
        let (done, finished) = oneshot::channel();
        self.define(definition, replaces);
        let member = self.members.get_mut(&step.server)?;
        if starts {
            member.wanted = true;
            tell(member, Command::Ask(Event::Start, Some(done)));
        } else {
            // Asks nothing: it has only to tell when the replacement is there, or what an earlier
            // configuration began.
            tell(member, Command::Notify(done));
        }
        Some(finished)
    }

    fn define(&mut self, definition: Arc<Definition>, replace: bool) {
        if let Some(member) = self.members.get_mut(&definition.name) {
            let came_back = member.removed.take().is_some();
            if came_back {
                member.wanted = false;
            }
            if *member.definition != *definition || came_back {
                let same_launch = member.definition.launch == definition.launch;
                let replace = replace && !(came_back && same_launch);
                member.definition = definition.clone();
                tell(
                    member,
                    Command::Define {
                        definition,
                        replace,
                    },
                );
            }
            return;
        }
        let name = definition.name.clone();
        let record = self.records.get(&name).cloned();
        let record = record.unwrap_or_else(|| Record::new(&name));
        let survivor = self.survivors.remove(&name);
        let handle = server::spawn(self.context.clone(), definition.clone(), record, survivor);
        let member = Member {
            handle,
            definition,
            wanted: false,
            removed: None,
        };
        if self.stopped.contains(&name) {
            // So that its state says who stopped it.
            tell(
                &member,
                Command::Ask(Event::Stop(StopReason::Requested), None),
            );
        }
        self.members.insert(name, member);
    }

    fn remove(&mut self, name: &ServerName) -> Option<oneshot::Receiver<()>> {
        self.removals += 1;
        let removal = self.removals;
        let member = self.members.get_mut(name)?;
        member.removed = Some(removal);
        member.wanted = false;
        self.stopped.remove(name);
        let (done, finished) = oneshot::channel();
        tell(
            member,
            Command::Ask(Event::Stop(StopReason::Removed), Some(done)),
        );
        let (forgotten, told) = oneshot::channel();
        let (requests, name) = (self.requests.clone(), name.clone());
        tokio::spawn(async move {
            let _ = finished.await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Forget(name, removal)).await;
            }
            drop(forgotten);
        });
        Some(told)
    }

    /// Lets go of a server that was removed and is stopped, unless it came back meanwhile.
    fn forget(&mut self, name: &ServerName, removal: u64) {
        if self
            .members
            .get(name)
            .is_some_and(|member| member.removed == Some(removal))
        {
            self.members.remove(name);
            self.context.board.remove(name);
        }
    }

    /// Ends survivors of servers that are no longer defined.
    fn end_strangers(&mut self) {
        for (name, survivor) in std::mem::take(&mut self.survivors) {
            let definition = Arc::new(server::undefined(&name));
            self.survivors.insert(name.clone(), survivor);
            self.define(definition, false);
            self.remove(&name);
        }
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
        let policies = self
            .members
            .values()
            .map(|member| &member.definition.policy);
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
    }

    async fn end(self) {
        self.memory.close().await;
        let board = self.context.board.read();
        let left = board.rows.iter().filter(|(_, (_, row))| row.pid.is_some());
        let left = left.map(|(name, _)| name.clone()).collect();
        if let Some(reply) = self.shutdown {
            let _ = reply.send(left);
        }
    }
}

fn missing_models(
    steps: &[Step],
    definitions: &BTreeMap<ServerName, Definition>,
) -> Vec<(ServerName, String)> {
    steps
        .iter()
        .filter(|step| match step.action {
            StepAction::Start | StepAction::Replace | StepAction::Define => true,
            StepAction::Keep | StepAction::Live | StepAction::Stop => false,
        })
        .filter_map(|step| {
            let definition = definitions.get(&step.server)?;
            let why = definition.launch.model.file.as_ref().err()?;
            Some((step.server.clone(), why.clone()))
        })
        .collect()
}

/// Tells a server something. There is room: see [`Fleet::check_room`]; a shutdown that finds none has
/// found a server that does not take its messages, and goes on to its deadline.
fn tell(member: &Member, command: Command) {
    if let Err(error) = member.handle.tell(command) {
        tracing::error!(server = %member.definition.name, "{error}");
    }
}
