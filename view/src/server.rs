//! Servers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::word::words;
use crate::{non_empty, seconds, timestamp};

words! {
    /// The public state of a server.
    pub enum State of ServerState {
        /// It has no process.
        Stopped => Stopped "stopped",
        /// It loads its model.
        Starting => Starting "starting",
        /// It answers.
        Ready => Ready "ready",
        /// It takes no new work and finishes what it has.
        Draining => Draining "draining",
        /// It was told to end.
        Stopping => Stopping "stopping",
        /// It failed and will be started again by a timer.
        Backoff => Backoff "backoff",
        /// It failed for good, or too often.
        Failed => Failed "failed",
        /// One that a newer magid has.
        Unspecified => Unknown "unknown",
    }
}

impl State {
    /// Whether it ends by itself, so that there is something to wait for.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Starting | Self::Draining | Self::Stopping | Self::Backoff => true,
            Self::Stopped | Self::Ready | Self::Failed | Self::Unknown => false,
        }
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The key of its table in the profile.
    pub name: String,
    /// Other names that it is known by.
    pub aliases: Vec<String>,
    /// `model` as the profile has it.
    pub model: String,
    /// The file that was found for `model`.
    pub model_path: Option<String>,
    /// Its state.
    pub state: State,
    /// Why it is in that state: a stable code.
    pub reason: String,
    /// The same for people.
    pub detail: Option<String>,
    /// Since when.
    pub state_since: Option<Timestamp>,
    /// When the next automatic try is due.
    pub next_try: Option<Timestamp>,
    /// How much of the model is loaded, while starting.
    pub load_percent: Option<u32>,
    /// Its process.
    pub pid: Option<u32>,
    /// The number of its newest incarnation.
    pub incarnation: Option<u64>,
    /// Where it listens.
    pub endpoint: Option<String>,
    /// The port of that.
    pub port: Option<u32>,
    /// Automatic restarts since the last requested start.
    pub restarts: u32,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
    /// Resident bytes.
    pub memory: Option<u64>,
    /// How the last incarnation ended.
    pub last_exit: Option<Exit>,
    /// What is no state, and deserves a look.
    pub notes: Vec<String>,
    /// Bytes of main memory that are, or would be, reserved for it.
    pub memory_needed: Option<u64>,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub memory_source: Option<String>,
    /// The model of the registry that it serves.
    pub model_id: Option<String>,
    /// Requests of gateways that it is answering.
    pub in_flight: Option<u32>,
    /// Requests of gateways that wait for it.
    pub waiting: Option<u32>,
    /// Tokens per second of the answer that ended last.
    pub tokens_per_second: Option<f64>,
    /// When a request of a gateway was last begun or ended.
    pub last_used: Option<Timestamp>,
    /// An operator stopped it, and requests for it are refused.
    pub held: bool,
}

impl Server {
    /// Whether `name` is its name or one of its aliases.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether it should run, and is started when there is room for it.
    pub fn waits_for_memory(&self) -> bool {
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
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The exit class: a stable code.
    pub class: String,
    /// Its exit status, if it exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: Option<Timestamp>,
    /// The number of the incarnation.
    pub incarnation: u64,
    /// What stands behind the class.
    pub detail: Option<String>,
    /// The step of starting it that failed, if it never ran.
    pub exec_stage: Option<String>,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
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
pub struct Explanation<S = Server> {
    /// Its state.
    pub server: S,
    /// The file and line that define it.
    pub defined_at: Option<String>,
    /// The command line, without secrets.
    pub argv: Vec<String>,
    /// What the profile adds to its environment, without secrets.
    pub env: BTreeMap<String, String>,
    /// Whether it should run.
    pub should_run: bool,
    /// Who decided that.
    pub should_run_because: String,
    /// `always`, `on-failure` or `never`.
    pub restart_policy: String,
    /// Failures that count now.
    pub failures: u32,
    /// Failures at which it is given up; 0: never.
    pub max_failures: u32,
    /// The wait before the next automatic restart.
    pub next_delay_seconds: Option<f64>,
    /// The file of its output.
    pub log_path: Option<String>,
    /// Its processes.
    pub tree: Vec<u32>,
    /// Bytes that are, or would be, reserved of each device's memory.
    pub device_memory: BTreeMap<String, u64>,
    /// Bytes of main memory that magid may give to servers.
    pub memory_budget: u64,
    /// What all servers have reserved of it.
    pub memory_reserved: u64,
    /// The higher is started first, and the lower makes room first.
    pub priority: i32,
    /// How long it may be without a request. Absent: for ever.
    pub idle_timeout_seconds: Option<f64>,
    /// When it will be stopped for that.
    pub idle_stop_at: Option<Timestamp>,
    /// Whether it never makes room for another.
    pub pin: bool,
    /// What was decided last about making room.
    pub making_room: Vec<String>,
}

impl<S: From<v1::Server>> Explanation<S> {
    /// From the answer; `None` if it has no server, which magid never sends.
    pub fn from_wire(answer: v1::ExplainServerResponse) -> Option<Self> {
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
