//! The task of one server.
//!
//! It owns the state of the lifecycle and the incarnation, and nothing in its loop waits for
//! anything but the next message. What takes time runs as an effect beside it: a task that reports
//! back and, where the phase it served is over, is dropped.

mod apply;
mod demand;
mod drain;
mod end;
mod explain;
mod heal;
mod idle;
mod model;
mod output;
mod publish;
mod readiness;
mod spawn;
mod turn;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch::Receiver as Watched;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::Context;
use super::gateways::Conversation;
use super::key::ApiKey;
use super::record::Record;
use super::room::Want;
use super::seat::{Numbers, Seat};
use crate::files::Fingerprint;
use crate::lifecycle::{self, Event, Exit, ExitStatus, Policy, State};
use crate::memory::{Budget, Reservation};
use crate::moment::Moment;
use crate::name::ServerName;
use crate::plan::{ApiKeys, Definition, Launch, Model, Traffic};
use crate::process::{Process, Scope, Tree};

pub use demand::{Answer, NotReady, Serving};
pub use explain::Explanation;
use output::Dropped;
use publish::Published;
pub use turn::{account, inputs};

/// Commands that may wait for a server's task. It handles each at once, so more mean a flood.
const COMMANDS: usize = 64;

/// The most commands that one request makes for one server.
const COMMANDS_PER_REQUEST: usize = 4;

/// Reports of effects that may wait. There are only a few effects at a time, each with few reports.
const REPORTS: usize = 64;

/// What a server's task is told.
#[derive(Debug)]
pub enum Command {
    /// Something is asked of the server. The sender is dropped when it has been done, or has failed.
    Ask(Event, Option<oneshot::Sender<()>>),
    /// A request wants it.
    Demand {
        /// Told what came of it.
        answer: Answer,
        /// Who sent the request, for people.
        who: String,
    },
    /// Room is to be made for it if it lacks memory when it starts next: somebody asks for it, and for
    /// these beside it.
    WantRoom(BTreeSet<ServerName>),
    /// It is defined anew.
    Define {
        /// The definition.
        definition: Arc<Definition>,
        /// Whether a running incarnation is to be replaced.
        replace: bool,
    },
    /// The sender is to be dropped when what is under way has been done, or has failed. A server that
    /// only waits for its next try is not waited for.
    Notify(oneshot::Sender<()>),
    /// Everything that is known of it is asked for.
    Explain(oneshot::Sender<Explanation>),
}

/// What an effect tells the task.
#[derive(Debug)]
enum Report {
    /// Something for the lifecycle.
    Event(Event),
    /// Something came of waiting for memory and a turn.
    Waited { wait: u64, news: turn::News },
    /// The process was made, or not.
    Spawned {
        incarnation: u64,
        record: Record,
        evidence: heal::Evidence,
        result: Result<Box<Incarnation>, Box<Exit>>,
    },
    /// The process ended.
    Ended {
        incarnation: u64,
        status: ExitStatus,
    },
    /// The process tree is gone, and the record says so.
    Gone { incarnation: u64, record: Record },
    /// So much of the model is loaded.
    Loaded { incarnation: u64, percent: u8 },
    /// Somebody has used it, and no gateway knows who.
    Used { incarnation: u64, at: Moment },
    /// What is worth telling of a ready server; none if nothing is any more.
    Note {
        incarnation: u64,
        note: Option<String>,
    },
    /// So much of its output was dropped so far.
    Dropped { incarnation: u64, dropped: Dropped },
}

/// An incarnation with a process.
#[derive(Clone, Debug)]
struct Incarnation {
    number: u64,
    process: Process,
    tree: Tree,
    scope: Scope,
    endpoint: SocketAddr,
    /// What it asks for. Unknown of one that another magid started.
    api_key: Option<ApiKey>,
    program: PathBuf,
    engine: Option<Fingerprint>,
    arguments: Vec<String>,
    model: PathBuf,
    log: PathBuf,
    /// The files that it maps, as they were before it was started.
    mapped: heal::Evidence,
    /// The kernel's count of out-of-memory kills before it was started.
    oom_kills: u64,
    /// Cancelled once the lifecycle knows of the end of the process.
    end_told: CancellationToken,
}

impl Incarnation {
    /// What it is asked with.
    fn key(&self) -> Option<&str> {
        self.api_key.as_ref().map(ApiKey::as_str)
    }
}

/// What an earlier magid left of an incarnation.
#[derive(Debug)]
pub struct Survivor {
    /// Its main process.
    pub process: Process,
    /// All of it.
    pub tree: Tree,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// The main memory that it had when it was found, in bytes.
    pub resident: u64,
    /// What is reserved for it.
    pub reserved: Option<Reservation>,
}

/// A handle on a server's task.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    commands: mpsc::Sender<Command>,
}

/// The queue of a server's task is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot take more commands now")]
pub struct Busy;

impl ServerHandle {
    /// Tells the task something, without waiting.
    ///
    /// # Errors
    ///
    /// [`Busy`] if its queue is full.
    pub fn tell(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)
    }

    /// Whether the queue has room for all that one request can make of it.
    pub fn has_room(&self) -> bool {
        self.commands.capacity() >= COMMANDS_PER_REQUEST
    }
}

/// Effects that are dropped when the phase they serve is over.
#[derive(Default)]
struct Effects {
    turn: Option<AbortOnDropHandle<()>>,
    readiness: Option<AbortOnDropHandle<()>>,
    watch: Option<AbortOnDropHandle<()>>,
    idle: Option<AbortOnDropHandle<()>>,
    drain: Option<AbortOnDropHandle<()>>,
    /// Watches the files of the model.
    model: Option<AbortOnDropHandle<()>>,
    heal: Option<AbortOnDropHandle<()>>,
    /// Follows the output of the newest incarnation, over its end.
    output: Option<AbortOnDropHandle<()>>,
}

struct Server {
    context: Arc<Context>,
    definition: Arc<Definition>,
    seat: Seat,
    numbers: Numbers,
    state: State,
    record: Record,
    evidence: heal::Evidence,
    incarnation: Option<Incarnation>,
    effects: Effects,
    /// What gateways are asked while it drains.
    conversation: Option<Conversation>,
    turn: Option<OwnedSemaphorePermit>,
    /// The memory of the incarnation. While another one is to follow it, that one's.
    reserved: Option<Reservation>,
    /// Set while it is asked for and has not got memory yet.
    want: Option<Want>,
    /// How often it has waited for memory and a turn.
    waits: u64,
    /// What there is of memory: changed if it is not any more what it was before the last wait.
    budget: Watched<Budget>,
    reports: mpsc::Sender<Report>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Nobody but gateways is known to have used it since, while it is ready.
    idle_from: Moment,
    /// The requests that wait for it.
    demands: Vec<Answer>,
    published: Published,
}

/// Where a server's task begins.
#[derive(Debug)]
pub struct Place {
    /// Where it sits.
    pub seat: Seat,
    /// The numbers of its incarnations.
    pub numbers: Numbers,
    /// What is on disk about that seat.
    pub record: Record,
    /// What an earlier magid left in that seat.
    pub survivor: Option<Survivor>,
}

/// Starts the task of a server that is defined, and not running.
pub fn spawn(context: Arc<Context>, definition: Arc<Definition>, place: Place) -> ServerHandle {
    let Place {
        seat,
        numbers,
        record,
        survivor,
    } = place;
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (reports, reported) = mpsc::channel(REPORTS);
    let seed = u64::from(std::process::id()) ^ hash(definition.name.as_str());
    let state = State::new(definition.policy.clone(), numbers.last(), seed);
    let published = Published::new(state.view());
    let budget = context.memory.budget();
    let mut server = Server {
        context,
        definition,
        seat,
        numbers,
        state,
        record,
        evidence: heal::Evidence::new(),
        incarnation: None,
        effects: Effects::default(),
        conversation: None,
        turn: None,
        reserved: None,
        want: None,
        waits: 0,
        budget,
        reports,
        waiting: Vec::new(),
        idle_from: Moment::default(),
        demands: Vec::new(),
        published,
    };
    if let Some(survivor) = survivor {
        server.adopt(survivor);
    }
    server.publish();
    tokio::spawn(server.run(inbox, reported));
    ServerHandle { commands }
}

/// Stands for a server that is no longer defined while what is left of it is ended.
pub fn undefined(name: &ServerName) -> Definition {
    Definition {
        name: name.clone(),
        aliases: Vec::new(),
        autostart: false,
        need: None,
        priority: 0,
        traffic: Traffic::default(),
        replace: crate::plan::Replace::DrainRestart,
        launch: Launch {
            engine: PathBuf::new(),
            model: Model::missing("", "it is no longer defined"),
            host: Ipv4Addr::LOCALHOST.into(),
            port: None,
            settings: BTreeMap::new(),
            arguments: Vec::new(),
            env: BTreeMap::new(),
            api_key: ApiKeys::None,
        },
        policy: Policy::default(),
        defined_at: String::new(),
    }
}

/// Spreads the jitter of servers that are started together.
fn hash(name: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Server {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        loop {
            let deadline = self.state.deadline();
            let timer = async {
                match deadline {
                    Some(moment) => {
                        tokio::time::sleep_until(self.context.clock.instant(moment)).await
                    }
                    None => std::future::pending().await,
                }
            };
            // Each arm may be dropped at any time: receiving loses no message, and the timer is made
            // anew from the state.
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    // The fleet has let go: the server is stopped and no longer defined.
                    None => break,
                },
                Some(report) = reports.recv() => self.report(report),
                () = timer => self.apply(Event::Timer),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ask(event, done) => {
                if let Event::Stop(_) = event {
                    self.want = None;
                }
                self.waiting.extend(done);
                self.apply(event);
            }
            Command::WantRoom(beside) => self.want_room(beside),
            Command::Demand { answer, who } => self.demand(answer, &who),
            Command::Define {
                definition,
                replace,
            } => self.define(definition, replace),
            Command::Notify(done) => {
                if self.state.is_in_transition() {
                    self.waiting.push(done);
                }
            }
            Command::Explain(reply) => {
                let _ = reply.send(self.explain());
            }
        }
    }

    fn define(&mut self, definition: Arc<Definition>, replace: bool) {
        let policy = definition.policy.clone();
        let waits = self.waits;
        let idle_timeout = self.definition.traffic.idle_timeout;
        self.definition = definition;
        self.redefine_idleness(idle_timeout);
        self.apply(Event::SetPolicy(policy));
        if replace {
            self.apply(Event::Replace);
        }
        if self.is_queued() && self.waits == waits {
            // What it asked for is by the old definition.
            self.await_turn();
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Event(event) => self.apply(event),
            Report::Waited { wait, news } => self.take_news(wait, news),
            Report::Spawned {
                incarnation,
                record,
                evidence,
                result,
            } => {
                self.evidence = evidence;
                self.spawned(incarnation, record, result);
            }
            Report::Ended {
                incarnation,
                status,
            } => self.explain_end(incarnation, status),
            Report::Gone {
                incarnation,
                record,
            } => {
                self.record = record;
                self.incarnation = None;
                self.apply(Event::Gone { incarnation });
            }
            Report::Loaded {
                incarnation,
                percent,
            } if self.is_current(incarnation) => {
                self.published.load_percent = Some(percent);
                self.publish();
            }
            Report::Used { incarnation, at } if self.is_current(incarnation) => {
                self.idle_from = at;
            }
            Report::Note { incarnation, note } if self.is_current(incarnation) => {
                self.published.note = note;
                self.publish();
            }
            Report::Dropped {
                incarnation,
                dropped,
            } if self.state.incarnation == incarnation => {
                self.published.dropped = dropped;
                self.publish();
            }
            // Of an incarnation that is over.
            Report::Loaded { .. }
            | Report::Used { .. }
            | Report::Note { .. }
            | Report::Dropped { .. } => {}
        }
    }

    fn is_queued(&self) -> bool {
        matches!(self.state.phase, lifecycle::Phase::Queued { .. })
    }

    fn is_current(&self, incarnation: u64) -> bool {
        self.state.live_incarnation() == Some(incarnation)
    }
}

fn effect(work: impl Future<Output = ()> + Send + 'static) -> Option<AbortOnDropHandle<()>> {
    Some(AbortOnDropHandle::new(tokio::spawn(work)))
}
