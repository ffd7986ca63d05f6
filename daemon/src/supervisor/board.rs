//! The published state of the fleet.
//!
//! Each task of a server writes its own row, and nobody else's. Readers hold a `watch::Receiver`: they
//! see the newest state of each row, are never waited for, and never see a backlog. What they see of a
//! server is the seat that serves; rows of its other seats are kept aside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::key::ApiKey;
use super::seat::Seat;
use crate::files::Fingerprint;
use crate::lifecycle::{LastExit, View};
use crate::name::ServerName;
use crate::plan::Definition;

/// One server, as it is published.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it sits.
    pub seat: Seat,
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
    /// What its incarnation asks for. For gateways only.
    pub api_key: Option<ApiKey>,
    /// Automatic restarts since the last requested start or replace.
    pub restarts: u32,
    /// Whether what there is of it is on its way out, and nothing follows it.
    pub is_leaving: bool,
    /// Whether requests for it are refused, since an operator holds it stopped.
    pub is_held: bool,
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
    /// Which seat of each server serves: the first that published, or the last that was promoted.
    serving: BTreeMap<ServerName, Seat>,
    /// The rows of all other seats.
    aside: BTreeMap<Seat, Arc<Row>>,
}

impl Fleet {
    fn show(&mut self, row: Arc<Row>) {
        self.revision += 1;
        let name = row.seat.server.clone();
        self.rows.insert(name, (self.revision, row));
    }

    /// Takes a server off the board. True: it was on it.
    fn forget(&mut self, name: &ServerName) -> bool {
        self.serving.remove(name);
        let removed = self.rows.remove(name).is_some();
        self.revision += u64::from(removed);
        removed
    }

    /// Whether there is another incarnation of a server beside the one that serves.
    pub fn is_being_replaced(&self, name: &ServerName) -> bool {
        self.aside.keys().any(|seat| seat.server == *name)
    }

    /// The servers of which a seat has a process.
    pub fn alive(&self) -> BTreeSet<ServerName> {
        let shown = self.rows.values().map(|(_, row)| row);
        let alive = shown
            .chain(self.aside.values())
            .filter(|row| row.pid.is_some());
        alive.map(|row| row.seat.server.clone()).collect()
    }
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
        self.fleet.send_if_modified(|fleet| {
            let (seat, row) = (row.seat.clone(), Arc::new(row));
            let serving = fleet.serving.entry(seat.server.clone());
            let serves = *serving.or_insert_with(|| seat.clone()) == seat;
            if serves {
                fleet.show(row);
            } else {
                fleet.aside.insert(seat, row);
            }
            serves
        });
    }

    /// Shows the row of this seat from now on, if need be once there is one.
    pub fn promote(&self, seat: &Seat) {
        self.fleet.send_modify(|fleet| {
            let former = fleet.serving.insert(seat.server.clone(), seat.clone());
            let shown = fleet.rows.get(&seat.server).map(|(_, row)| row.clone());
            if let (Some(former), Some(shown)) = (former, shown) {
                fleet.aside.insert(former, shown);
            }
            if let Some(row) = fleet.aside.remove(seat) {
                fleet.show(row);
            }
        });
    }

    /// Whether the row of this seat is shown.
    pub fn serves(&self, seat: &Seat) -> bool {
        self.fleet.borrow().serving.get(&seat.server) == Some(seat)
    }

    /// The row of a seat that does not serve.
    pub fn aside(&self, seat: &Seat) -> Option<Arc<Row>> {
        self.fleet.borrow().aside.get(seat).cloned()
    }

    /// Forgets a seat in which nothing runs any more. One that serves is the last that was left of a
    /// server that is no longer defined.
    pub fn leave(&self, seat: &Seat) {
        self.fleet.send_if_modified(|fleet| {
            fleet.aside.remove(seat);
            fleet.serving.get(&seat.server) == Some(seat) && fleet.forget(&seat.server)
        });
    }

    /// Takes the row of a server that is gone off the board.
    pub fn remove(&self, name: &ServerName) {
        self.fleet.send_if_modified(|fleet| fleet.forget(name));
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

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::lifecycle::{Policy, State};
    use crate::supervisor::server::undefined;

    /// A row of a server that is stopped.
    pub(crate) fn row(seat: &str, incarnation: u64) -> Row {
        let seat = Seat::parse(seat).unwrap();
        Row {
            definition: Arc::new(undefined(&seat.server)),
            seat,
            view: State::new(Policy::default(), incarnation, 0).view(),
            state_since: Timestamp::UNIX_EPOCH,
            pid: None,
            incarnation: Some(incarnation),
            endpoint: None,
            api_key: None,
            restarts: 0,
            is_leaving: false,
            is_held: false,
            ready_since: None,
            next_try: None,
            last_exit: None,
            load_percent: None,
            engine: None,
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::row;
    use super::*;

    fn shown(board: &Board) -> Option<u64> {
        board.row(&ServerName::new("a").unwrap())?.incarnation
    }

    #[test]
    fn a_server_is_shown_by_the_seat_that_serves() {
        let board = Board::new();
        let [first, second] = ["a", "a~1"].map(|seat| Seat::parse(seat).unwrap());
        board.publish(row("a", 1));
        board.publish(row("a~1", 2));
        assert_eq!(shown(&board), Some(1));
        board.promote(&second);
        board.publish(row("a", 1));
        assert_eq!(shown(&board), Some(2));
        board.leave(&first);
        assert!(board.aside(&first).is_none());
        assert_eq!(shown(&board), Some(2));
    }

    #[test]
    fn what_is_left_of_a_server_that_is_gone_leaves_the_board_with_it() {
        let board = Board::new();
        let [first, second] = ["a", "a~1"].map(|seat| Seat::parse(seat).unwrap());
        board.publish(row("a", 1));
        board.publish(row("a~1", 2));
        board.promote(&second);
        board.remove(&second.server);
        assert_eq!(shown(&board), None);
        // The predecessor is still on its way out.
        board.publish(row("a", 1));
        assert_eq!(shown(&board), Some(1));
        // And the server comes back meanwhile, in a seat that is free.
        board.promote(&second);
        board.publish(row("a~1", 3));
        assert_eq!(shown(&board), Some(3));
        board.publish(row("a", 1));
        assert_eq!(shown(&board), Some(3));
        board.leave(&first);
        board.remove(&second.server);
        board.publish(row("a", 1));
        board.leave(&first);
        assert_eq!(shown(&board), None);
        assert!(board.read().alive().is_empty());
    }
}
