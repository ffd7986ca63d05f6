//! What every server's task is given.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::board::Board;
use super::clock::Clock;
use super::events::EventLog;
use super::gateways::Gateways;
use super::ports::Ports;
use super::room::Room;
use crate::config::GatewayRights;
use crate::files::Hints;
use crate::lifecycle::LivenessRules;
use crate::logs::LogStore;
use crate::memory::MemoryHandle;
use crate::process::Scanner;

/// The surroundings of the server tasks: handles on the other owners, and the common rules.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time.
    pub clock: Clock,
    /// Where states are published.
    pub board: Board,
    /// Where happenings are recorded.
    pub events: EventLog,
    /// Who carries requests to servers.
    pub gateways: Gateways,
    /// Who gives out ports.
    pub ports: Ports,
    /// Who has which memory.
    pub memory: MemoryHandle,
    /// Who wants room in it.
    pub room: Room,
    /// Who looks at all processes.
    pub scanner: Scanner,
    /// Who watches folders.
    pub hints: Hints,
    /// Whether the output of servers is passed on to the journal.
    pub journal: bool,
    /// The folder of the records of incarnations.
    pub records: PathBuf,
    /// The common rules, as they are now.
    pub rules: watch::Receiver<Rules>,
}

/// What `magid.toml` says for all servers, and can change while they run.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How a ready server is watched.
    pub liveness: LivenessRules,
    /// The longest time between two looks at a starting server.
    pub readiness_check_interval: Duration,
    /// Where ports are looked for.
    pub port_range: RangeInclusive<u16>,
    /// Where logs are, and how many.
    pub logs: LogStore,
    /// How many bytes of a log are kept.
    pub log_size: u64,
    /// Who may start.
    pub turns: Turns,
    /// What may be done over gateway.sock.
    pub gateway: GatewayRights,
}

/// How many servers may be starting at a time.
#[derive(Clone, Debug)]
pub enum Turns {
    /// Any number.
    Unlimited,
    /// So many as the semaphore has permits.
    Limited(Arc<Semaphore>),
}

impl Turns {
    /// At most `limit` at a time.
    pub fn limited(limit: u32) -> Self {
        let permits = usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS);
        Self::Limited(Arc::new(Semaphore::new(
            permits.min(Semaphore::MAX_PERMITS),
        )))
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub async fn next(&self) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::Unlimited => None,
            // The semaphore is never closed.
            Self::Limited(semaphore) => semaphore.clone().acquire_owned().await.ok(),
        }
    }
}
