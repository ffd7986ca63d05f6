//! The published state of the fleet.
//!
//! Each server's task writes its own row, and nobody else's. Readers hold a `watch::Receiver`: they
//! see the newest state of each row, are never waited for, and never see a backlog.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::files::Fingerprint;
use crate::lifecycle::{LastExit, View};
use crate::name::ServerName;
use crate::plan::Definition;

/// One server, as it is published.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is defined as.
    pub definition: Arc<Definition>,
    /// Its state.
    pub view: View,
    /// Since when it is in that state.
    pub state_since: Timestamp,
    /// Process id of its incarnation.
    pub pid: Option<u32>,
    /// Number of its newest incarnation. Absent before the first.
    pub incarnation: Option<u64>,
    /// Where its incarnation listens.
    pub endpoint: Option<SocketAddr>,
    /// Automatic restarts since the last requested start or replace.
    pub restarts: u32,
    /// When its incarnation got ready.
    pub ready_since: Option<Timestamp>,
    /// When the next automatic try is due.
    pub next_try: Option<Timestamp>,
    /// How its last incarnation ended, and when that was noticed.
    pub last_exit: Option<(Timestamp, LastExit)>,
    /// Share of the model that is loaded, in percent.
    pub load_percent: Option<u8>,
    /// The binary that its incarnation runs, as it was when it was started.
    pub engine: Option<(PathBuf, Fingerprint)>,
    /// What is worth telling and is not a state.
    pub notes: Vec<String>,
}

/// The fleet at one revision.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Grows with every change.
    pub revision: u64,
    /// The rows, each with the revision of its last change.
    pub rows: BTreeMap<ServerName, (u64, Arc<Row>)>,
}

/// Where rows are published.
#[derive(Clone, Debug)]
pub struct Board {
    fleet: Arc<watch::Sender<Fleet>>,
}

impl Board {
    /// An empty board.
    pub fn new() -> Self {
        Self {
            fleet: Arc::new(watch::Sender::new(Fleet::default())),
        }
    }

    /// Publishes a row.
    pub fn publish(&self, row: Row) {
        self.fleet.send_modify(|fleet| {
            fleet.revision += 1;
            let revision = fleet.revision;
            let name = row.definition.name.clone();
            fleet.rows.insert(name, (revision, Arc::new(row)));
        });
    }

    /// Takes the row of a server that is gone off the board.
    pub fn remove(&self, name: &ServerName) {
        self.fleet.send_if_modified(|fleet| {
            let removed = fleet.rows.remove(name).is_some();
            fleet.revision += u64::from(removed);
            removed
        });
    }

    /// The fleet as it is now.
    pub fn read(&self) -> Fleet {
        self.fleet.borrow().clone()
    }

    /// The row of a server.
    pub fn row(&self, name: &ServerName) -> Option<Arc<Row>> {
        self.fleet
            .borrow()
            .rows
            .get(name)
            .map(|(_, row)| row.clone())
    }

    /// Follows the changes.
    pub fn subscribe(&self) -> watch::Receiver<Fleet> {
        self.fleet.subscribe()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}
