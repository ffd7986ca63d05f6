//! Servers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{non_empty, seconds, timestamp};

/// The public state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Stopped,
    Starting,
    Ready,
    Draining,
    Stopping,
    Backoff,
    Failed,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl State {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it ends by itself, so that there is something to wait for.
    pub(crate) fn is_passing(self) -> bool {
        match self {
            Self::Starting | Self::Draining | Self::Stopping | Self::Backoff => true,
            Self::Stopped | Self::Ready | Self::Failed | Self::Unknown => false,
        }
    }

    /// From the number on the wire.
    pub(crate) fn from_wire(state: i32) -> Self {
        v1::ServerState::try_from(state).map_or(Self::Unknown, Self::from)
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

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) model: String,
    pub(crate) model_path: Option<String>,
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
    pub(crate) state_since: Option<Timestamp>,
    pub(crate) next_try: Option<Timestamp>,
    pub(crate) load_percent: Option<u32>,
    pub(crate) pid: Option<u32>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) endpoint: Option<String>,
    pub(crate) port: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) ready_since: Option<Timestamp>,
    /// Resident bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) notes: Vec<String>,
    /// Bytes of main memory that are, or would be, reserved.
    pub(crate) memory_needed: Option<u64>,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub(crate) memory_source: Option<String>,
    pub(crate) model_id: Option<String>,
    /// Requests of gateways that it is answering.
    pub(crate) in_flight: Option<u32>,
    /// Requests of gateways that wait for it.
    pub(crate) waiting: Option<u32>,
    /// Of the answer that ended last.
    pub(crate) tokens_per_second: Option<f64>,
    pub(crate) last_used: Option<Timestamp>,
    /// Whether requests for it are refused until a start.
    pub(crate) held: bool,
}

impl Server {
    /// Whether `name` is its name or one of its aliases.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether it should run, and is started when there is room for it.
    pub(crate) fn waits_for_memory(&self) -> bool {
        self.reason == "waiting-for-memory"
    }
}

impl From<v1::Server> for Server {
    fn from(server: v1::Server) -> Self {
        Self {
            name: server.name,
            aliases: server.aliases,
            model: server.model,
            model_path: server.model_path,
            state: State::from_wire(server.state),
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
            last_exit: server.last_exit.map(Exit::from),
            notes: server.notes,
            memory_needed: server.memory_needed,
            memory_source: non_empty(server.memory_source),
            model_id: server.model_id,
            in_flight: server.in_flight,
            waiting: server.waiting,
            tokens_per_second: server.tokens_per_second,
            last_used: timestamp(server.last_used),
            held: server.held,
        }
    }
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    pub(crate) class: String,
    pub(crate) code: Option<i32>,
    /// The signal's number.
    pub(crate) signal: Option<i32>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) incarnation: u64,
    pub(crate) detail: Option<String>,
    pub(crate) exec_stage: Option<String>,
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

/// What `explain` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) server: Server,
    pub(crate) defined_at: Option<String>,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) should_run: bool,
    pub(crate) should_run_because: String,
    pub(crate) restart_policy: String,
    pub(crate) failures: u32,
    pub(crate) max_failures: u32,
    /// The wait before the next automatic restart.
    pub(crate) next_delay_seconds: Option<f64>,
    pub(crate) log_path: Option<String>,
    pub(crate) tree: Vec<u32>,
    /// Bytes that are, or would be, reserved of each device's memory.
    pub(crate) device_memory: BTreeMap<String, u64>,
    /// Bytes of main memory that magid may give to servers.
    pub(crate) memory_budget: u64,
    /// What all servers have reserved of it.
    pub(crate) memory_reserved: u64,
    pub(crate) priority: i32,
    /// How long it may be without a request before it is stopped.
    pub(crate) idle_timeout_seconds: Option<f64>,
    pub(crate) idle_stop_at: Option<Timestamp>,
    /// Whether it never makes room for another.
    pub(crate) pin: bool,
    /// What was decided last about room for it, or by it.
    pub(crate) making_room: Vec<String>,
}

impl Explanation {
    /// From the answer; `None` if it has no server, which magid never sends.
    pub(crate) fn from_wire(answer: v1::ExplainServerResponse) -> Option<Self> {
        Some(Self {
            server: answer.server?.into(),
            defined_at: non_empty(answer.defined_at),
            argv: answer.argv,
            env: answer.env.into_iter().collect(),
            should_run: answer.should_run,
            should_run_because: answer.should_run_because,
            restart_policy: answer.restart_policy,
            failures: answer.failures,
            max_failures: answer.max_failures,
            next_delay_seconds: answer.next_delay.map(seconds),
            log_path: non_empty(answer.log_path),
            tree: answer.tree,
            device_memory: answer.device_memory.into_iter().collect(),
            memory_budget: answer.memory_budget,
            memory_reserved: answer.memory_reserved,
            priority: answer.priority,
            idle_timeout_seconds: answer.idle_timeout.map(seconds),
            idle_stop_at: timestamp(answer.idle_stop_at),
            pin: answer.pin,
            making_room: answer.making_room,
        })
    }
}
