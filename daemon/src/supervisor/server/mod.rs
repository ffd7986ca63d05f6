//! The task of one server.
//!
//! It owns the state of the lifecycle and the incarnation, and nothing in its loop waits for
//! anything but the next message. What takes time runs as an effect beside it: a task that reports
//! back and, where the phase it served is over, is dropped.

mod demand;
mod drain;
mod end;
mod explain;
mod heal;
mod idle;
mod model;
mod output;
mod readiness;
mod spawn;
mod turn;
mod watch;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch::Receiver as Watched;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::board::Row;
use super::context::Context;
use super::events::{Happening, Kind};
use super::gateways::Conversation;
use super::key::ApiKey;
use super::record::Record;
use super::seat::{Numbers, Seat};
use crate::eviction::Want;
use crate::files::Fingerprint;
use crate::lifecycle::{
    self, Action, Desired, Event, Exit, ExitStatus, LastExit, Policy, Process as Pid, PublicState,
    State, StopReason, View,
};
use crate::memory::{Budget, Reservation};
use crate::moment::Moment;
use crate::name::ServerName;
use crate::plan::{ApiKeys, Definition, Launch, Model, Traffic};
use crate::process::{Process, Scope, Tree};

pub use demand::{Answer, NotReady, Serving};
pub use explain::Explanation;
use output::Dropped;
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
    /// Room is to be made for it if it lacks memory when it starts next: somebody asks for it.
    WantRoom(Want),
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

/// What of the published row is not in the state.
struct Published {
    view: View,
    state_since: Timestamp,
    ready_since: Option<Timestamp>,
    last_exit: Option<(Timestamp, LastExit)>,
    load_percent: Option<u8>,
    note: Option<String>,
    dropped: Dropped,
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
    let published = Published {
        view: state.view(),
        state_since: Timestamp::now(),
        ready_since: None,
        last_exit: None,
        load_percent: None,
        note: None,
        dropped: Dropped::default(),
    };
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
            Command::WantRoom(want) => self.want_room(want),
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

    /// Takes one step of the lifecycle, and does what it asks for.
    fn apply(&mut self, event: Event) {
        let now = self.context.clock.now();
        let (state, actions) = lifecycle::step(&self.state, event, now);
        self.state = state;
        self.drop_what_is_over();
        self.announce();
        self.publish();
        // Only now: gateways are told of the state before they are told what to do about it.
        if !matches!(self.state.phase, lifecycle::Phase::Draining { .. }) {
            self.conversation = None;
        }
        for action in actions {
            self.perform(action);
        }
        // Only now: who starts next is told of after this one.
        if !self.state.is_starting() {
            self.turn = None;
        }
        if self.state.is_at_rest() {
            self.reserved = None;
        }
        self.answer_demands();
        if self.state.is_settled() {
            self.waiting.clear();
        }
    }

    /// Drops the effects whose phase is over; that ends them.
    fn drop_what_is_over(&mut self) {
        use lifecycle::Phase;
        let phase = &self.state.phase;
        if !self.state.is_starting() {
            self.published.load_percent = None;
        }
        if !matches!(phase, Phase::Queued { .. }) && self.effects.turn.take().is_some() {
            // It may not have got as far as asking.
            self.context.memory.withdraw(&account(&self.seat));
        }
        if !matches!(phase, Phase::Loading { .. }) {
            self.effects.readiness = None;
        }
        if !matches!(phase, Phase::Ready { .. }) {
            self.effects.watch = None;
            self.effects.idle = None;
            self.published.note = None;
        }
        if !matches!(phase, Phase::Draining { .. }) {
            self.effects.drain = None;
        }
        if !matches!(
            phase,
            Phase::Loading { .. } | Phase::Ready { .. } | Phase::Draining { .. }
        ) {
            self.effects.model = None;
        }
        let heals = matches!(
            phase,
            Phase::Failed {
                cause: lifecycle::FailedCause::Prospect,
                ..
            }
        );
        if !heals {
            self.effects.heal = None;
        } else if self.effects.heal.is_none() {
            self.await_healing();
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::AwaitTurn => self.await_turn(),
            Action::Spawn(incarnation) => self.begin_spawn(incarnation),
            Action::AwaitReady(process) => self.with(process, Self::await_ready),
            Action::Watch(process) => self.with(process, |server, live| {
                server.watch(live.clone());
                server.await_idleness(live, server.context.clock.now());
            }),
            Action::Drain {
                process,
                only_if_idle,
            } => self.with(process, |server, live| server.drain(live, only_if_idle)),
            Action::Terminate(process) => self.with(process, Self::terminate),
            Action::KillTree(process) => self.with(process, Self::kill_tree),
        }
    }

    /// Does something with the incarnation that an action is about.
    fn with(&mut self, process: Pid, act: impl FnOnce(&mut Self, Incarnation)) {
        match self.incarnation.clone() {
            Some(incarnation) if incarnation.number == process.incarnation => {
                act(self, incarnation)
            }
            Some(_) | None => {
                tracing::error!(server = %self.definition.name, ?process, "an action without its incarnation");
            }
        }
    }

    /// Records a change of the public state, and a new end of an incarnation.
    fn announce(&mut self) {
        let last = self.state.last_exit.clone();
        if let Some(last) = &last
            && self.published.last_exit.as_ref().map(|(_, exit)| exit) != Some(last)
        {
            self.published.last_exit = Some((Timestamp::now(), last.clone()));
            self.record_event(
                Kind::ServerExited,
                Some(last.incarnation),
                None,
                last.exit.class.code(),
                end::sentence(&self.definition.name, last),
            );
        }
        let view = self.state.view();
        let before = std::mem::replace(&mut self.published.view, view);
        let view = &self.published.view;
        if (before.state, before.reason, &before.detail) == (view.state, view.reason, &view.detail)
        {
            return;
        }
        if before.state != view.state {
            self.published.state_since = Timestamp::now();
        }
        self.published.ready_since = match (self.state.ready_since(), self.published.ready_since) {
            (None, _) => None,
            (Some(_), Some(known)) => Some(known),
            (Some(since), None) => Some(self.context.clock.wall(since)),
        };
        let (states, reason) = ((before.state, view.state), view.reason);
        let message = self.sentence(view);
        let kind = match self.context.board.serves(&self.seat) {
            true => Kind::ServerState,
            false => Kind::ReplacementState,
        };
        self.record_event(kind, None, Some(states), reason, message);
    }

    /// The change of state in one line.
    fn sentence(&self, view: &View) -> String {
        let mut line = match self.context.board.serves(&self.seat) {
            true => format!("{} is {}: {}", self.seat.server, view.state, view.reason),
            false => format!(
                "incarnation {} of {}, beside the one that serves, is {}: {}",
                self.state.incarnation, self.seat.server, view.state, view.reason
            ),
        };
        if !view.detail.is_empty() {
            line.push_str(&format!(" ({})", view.detail));
        }
        if view.state == PublicState::Draining
            && view.reason == StopReason::Idle.code()
            && let Some(timeout) = self.definition.traffic.idle_timeout
        {
            line.push_str(&format!(" (no request for {timeout:?})"));
        }
        if let Some(due) = view.next_try {
            let wait = due.since(self.context.clock.now());
            line.push_str(&format!("; next try in {:.1} s", wait.as_secs_f64()));
        }
        line
    }

    fn record_event(
        &self,
        kind: Kind,
        incarnation: Option<u64>,
        states: Option<(lifecycle::PublicState, lifecycle::PublicState)>,
        reason: &str,
        message: String,
    ) {
        let newest = (self.state.incarnation > 0).then_some(self.state.incarnation);
        self.context.events.record(Happening {
            kind,
            server: Some((self.definition.name.clone(), incarnation.or(newest))),
            states,
            reason: reason.to_owned(),
            message,
        });
    }

    fn publish(&self) {
        self.context.board.publish(self.row());
    }

    fn row(&self) -> Row {
        let published = &self.published;
        let live = self.incarnation.as_ref();
        Row {
            seat: self.seat.clone(),
            definition: self.definition.clone(),
            view: published.view.clone(),
            state_since: published.state_since,
            pid: self.state.pid(),
            incarnation: (self.state.incarnation > 0).then_some(self.state.incarnation),
            endpoint: live.map(|incarnation| incarnation.endpoint),
            api_key: live.and_then(|incarnation| incarnation.api_key.clone()),
            restarts: self.state.history.restarts(),
            is_leaving: self.state.is_leaving(),
            is_held: self.state.desired == Desired::Stopped(StopReason::Held),
            ready_since: published.ready_since,
            next_try: published
                .view
                .next_try
                .map(|due| self.context.clock.wall(due)),
            last_exit: published.last_exit.clone(),
            load_percent: published.load_percent,
            engine: live.and_then(|i| i.engine.map(|engine| (i.program.clone(), engine))),
            notes: self.notes(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.published.note.iter().cloned().collect();
        notes.extend(self.published.dropped.notes());
        notes
    }
}

fn effect(work: impl Future<Output = ()> + Send + 'static) -> Option<AbortOnDropHandle<()>> {
    Some(AbortOnDropHandle::new(tokio::spawn(work)))
}
