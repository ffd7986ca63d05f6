//! Servers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::{non_empty, seconds, timestamp};

/// The public state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It has no process.
    Stopped,
    /// It loads its model.
    Starting,
    /// It answers.
    Ready,
    /// It takes no new work and finishes what it has.
    Draining,
    /// It was told to end.
    Stopping,
    /// It failed and will be started again by a timer.
    Backoff,
    /// It failed for good, or too often.
    Failed,
    /// One that a newer magid has.
    Unknown,
}

impl State {
    /// From the number on the wire.
    pub(crate) fn from_wire(state: i32) -> Self {
        v1::ServerState::try_from(state).map_or(Self::Unknown, Self::from)
    }

    /// The word that the earlier systems had for it.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Stopped => Status::Stopped,
            Self::Starting => Status::Starting,
            Self::Ready => Status::Running,
            Self::Draining | Self::Stopping => Status::Stopping,
            Self::Backoff | Self::Failed => Status::Failed,
            Self::Unknown => Status::Unknown,
        }
    }
}

impl From<v1::ServerState> for State {
    fn from(state: v1::ServerState) -> Self {
        match state {
            v1::ServerState::Unspecified => Self::Unknown,
            v1::ServerState::Stopped => Self::Stopped,
            v1::ServerState::Starting => Self::Starting,
            v1::ServerState::Ready => Self::Ready,
            v1::ServerState::Draining => Self::Draining,
            v1::ServerState::Stopping => Self::Stopping,
            v1::ServerState::Backoff => Self::Backoff,
            v1::ServerState::Failed => Self::Failed,
        }
    }
}

/// The state of a server in the words of the earlier systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It has no process.
    Stopped,
    /// It loads its model.
    Starting,
    /// It answers.
    Running,
    /// It ends.
    Stopping,
    /// It failed. It may be started again by a timer.
    Failed,
    /// One that a newer magid has.
    Unknown,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Server {
    /// The key of its table in the profile.
    pub(crate) name: String,
    /// Other names that it is known by.
    pub(crate) aliases: Vec<String>,
    /// `model` as the profile has it.
    pub(crate) model: String,
    /// The model of the registry that it serves.
    pub(crate) model_id: Option<String>,
    /// The file that was found for `model`.
    pub(crate) model_path: Option<String>,
    /// Its state.
    pub(crate) state: State,
    /// The same in the words of the earlier systems: `running` is `ready`.
    pub(crate) status: Status,
    /// Why it is in that state: a stable code.
    pub(crate) reason: String,
    /// The same for people.
    pub(crate) detail: Option<String>,
    /// Since when.
    pub(crate) state_since: Option<Timestamp>,
    /// When the next automatic try is due.
    pub(crate) next_try: Option<Timestamp>,
    /// How much of the model is loaded, while starting.
    pub(crate) load_percent: Option<u32>,
    /// Its process.
    pub(crate) pid: Option<u32>,
    /// The number of its newest incarnation.
    pub(crate) incarnation: Option<u64>,
    /// Where it listens.
    pub(crate) endpoint: Option<String>,
    /// The port of that.
    pub(crate) port: Option<u32>,
    /// Automatic restarts since the last requested start.
    pub(crate) restarts: u32,
    /// Since when it is ready.
    pub(crate) ready_since: Option<Timestamp>,
    /// Resident bytes.
    pub(crate) memory: Option<u64>,
    /// Bytes of main memory that are, or would be, reserved for it.
    pub(crate) memory_needed: Option<u64>,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub(crate) memory_source: Option<String>,
    /// How the last incarnation ended.
    pub(crate) last_exit: Option<Exit>,
    /// What is no state, and deserves a look.
    pub(crate) notes: Vec<String>,
    /// Requests of gateways that it is answering.
    pub(crate) in_flight: Option<u32>,
    /// Requests of gateways that wait for it.
    pub(crate) waiting: Option<u32>,
    /// Tokens per second of the answer that ended last.
    pub(crate) tokens_per_second: Option<f64>,
    /// When a request of a gateway was last begun or ended.
    pub(crate) last_used: Option<Timestamp>,
    /// An operator stopped it, and requests for it are refused.
    pub(crate) held: bool,
}

impl From<v1::Server> for Server {
    fn from(server: v1::Server) -> Self {
        let state = State::from_wire(server.state);
        Self {
            name: server.name,
            aliases: server.aliases,
            model: server.model,
            model_id: server.model_id,
            model_path: server.model_path,
            state,
            status: state.status(),
            reason: server.reason,
            detail: non_empty(server.detail),
            state_since: timestamp(server.state_since),
            next_try: timestamp(server.next_try),
            load_percent: server.load_percent,
            pid: server.pid,
            incarnation: server.incarnation,
            endpoint: server.endpoint,
            port: server.port,
            restarts: server.restarts,
            ready_since: timestamp(server.ready_since),
            memory: server.memory,
            memory_needed: server.memory_needed,
            memory_source: non_empty(server.memory_source),
            last_exit: server.last_exit.map(Exit::from),
            notes: server.notes,
            in_flight: server.in_flight,
            waiting: server.waiting,
            tokens_per_second: server.tokens_per_second,
            last_used: timestamp(server.last_used),
            held: server.held,
        }
    }
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    /// The exit class: a stable code.
    pub(crate) class: String,
    /// Its exit status, if it exited by itself.
    pub(crate) code: Option<i32>,
    /// The number of the signal that ended it.
    pub(crate) signal: Option<i32>,
    /// When.
    pub(crate) at: Option<Timestamp>,
    /// The number of the incarnation.
    pub(crate) incarnation: u64,
    /// What stands behind the class.
    pub(crate) detail: Option<String>,
    /// The step of starting it that failed, if it never ran.
    pub(crate) exec_stage: Option<String>,
    /// The last lines of its output.
    pub(crate) last_lines: Vec<String>,
}

impl From<v1::Exit> for Exit {
    fn from(exit: v1::Exit) -> Self {
        Self {
            class: exit.class,
            code: exit.code,
            signal: exit.signal,
            at: timestamp(exit.at),
            incarnation: exit.incarnation,
            detail: non_empty(exit.detail),
            exec_stage: exit.exec_stage,
            last_lines: exit.last_lines,
        }
    }
}

/// Everything that is known of a server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    /// Its state.
    pub(crate) server: Option<Server>,
    /// The file and line that define it.
    pub(crate) defined_at: Option<String>,
    /// The command line, without secrets.
    pub(crate) argv: Vec<String>,
    /// What the profile adds to its environment, without secrets.
    pub(crate) env: BTreeMap<String, String>,
    /// Whether it should run.
    pub(crate) should_run: bool,
    /// Who decided that.
    pub(crate) should_run_because: String,
    /// `always`, `on-failure` or `never`.
    pub(crate) restart_policy: String,
    /// Failures that count now.
    pub(crate) failures: u32,
    /// Failures at which it is given up; 0: never.
    pub(crate) max_failures: u32,
    /// The wait before the next automatic restart.
    pub(crate) next_delay_seconds: Option<f64>,
    /// The file of its output.
    pub(crate) log_path: Option<String>,
    /// Its processes.
    pub(crate) tree: Vec<u32>,
    /// Bytes that are, or would be, reserved of each device's memory.
    pub(crate) device_memory: BTreeMap<String, u64>,
    /// Bytes of main memory that magid may give to servers.
    pub(crate) memory_budget: u64,
    /// What all servers have reserved of it.
    pub(crate) memory_reserved: u64,
    /// The higher is started first, and the lower makes room first.
    pub(crate) priority: i32,
    /// How long it may be without a request. Absent: for ever.
    pub(crate) idle_timeout_seconds: Option<f64>,
    /// When it will be stopped for that.
    pub(crate) idle_stop_at: Option<Timestamp>,
    /// Whether it never makes room for another.
    pub(crate) pin: bool,
    /// What was decided last about making room.
    pub(crate) making_room: Vec<String>,
}

impl From<v1::ExplainServerResponse> for Explanation {
    fn from(answer: v1::ExplainServerResponse) -> Self {
        Self {
            server: answer.server.map(Server::from),
            defined_at: non_empty(answer.defined_at),
            argv: answer.argv,
            env: answer.env.into_iter().collect(),
            should_run: answer.should_run,
            should_run_because: answer.should_run_because,
            restart_policy: answer.restart_policy,
            failures: answer.failures,
            max_failures: answer.max_failures,
            next_delay_seconds: seconds(answer.next_delay),
            log_path: non_empty(answer.log_path),
            tree: answer.tree,
            device_memory: answer.device_memory.into_iter().collect(),
            memory_budget: answer.memory_budget,
            memory_reserved: answer.memory_reserved,
            priority: answer.priority,
            idle_timeout_seconds: seconds(answer.idle_timeout),
            idle_stop_at: timestamp(answer.idle_stop_at),
            pin: answer.pin,
            making_room: answer.making_room,
        }
    }
}
