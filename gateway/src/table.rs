//! The names of all servers, and the way to each.
//!
//! The table is a value: each change of the routes makes a new one, and requests read whichever is the
//! newest when they come. What is in flight, and who waits, is counted in the places that tables share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use magi_proto::v1;

/// Whether magid is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It tells of every change.
    Up,
    /// It is away: what was ready is still served, and nothing can be loaded.
    Lost,
}

/// All servers at one revision.
#[derive(Debug)]
pub struct Table {
    /// Whether magid is there.
    pub link: Link,
    /// The servers by their names.
    pub servers: BTreeMap<String, Arc<Server>>,
    /// The servers by their names, aliases and models.
    names: HashMap<String, Arc<Server>>,
}

/// The way to one server.
#[derive(Debug)]
pub struct Server {
    /// What magid says of it.
    pub route: v1::Route,
    /// The incarnation that serves. Absent unless it is ready.
    pub current: Option<Arc<Incarnation>>,
}

/// One process that answers requests.
#[derive(Debug)]
pub struct Incarnation {
    /// The server.
    pub server: String,
    /// Its number.
    pub number: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that it asks for.
    pub api_key: Option<String>,
    /// How many requests are in flight, and whether more may be begun.
    gate: AtomicU32,
}

/// Set in the gate of an incarnation that takes no more requests.
const CLOSED: u32 = 1 << 31;

/// A request that is in flight. Dropped, it is not any more.
#[derive(Debug)]
pub struct InFlight {
    incarnation: Arc<Incarnation>,
}

impl Incarnation {
    /// Begins a request. None: the incarnation takes no more.
    pub fn begin(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.gate.fetch_add(1, Ordering::AcqRel);
        // Made before the look, so that every addition is taken back.
        let begun = InFlight {
            incarnation: self.clone(),
        };
        (before & CLOSED == 0).then_some(begun)
    }

    /// Takes no more requests. True: none is in flight.
    pub fn close(&self) -> bool {
        self.gate.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED == 0
    }

    /// Takes no more requests if none is in flight. True: that is so.
    pub fn close_if_idle(&self) -> bool {
        let closed = self
            .gate
            .compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        closed.is_ok() || closed == Err(CLOSED)
    }

    /// Takes requests again.
    pub fn open(&self) {
        self.gate.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u32 {
        self.gate.load(Ordering::Acquire) & !CLOSED
    }
}

impl InFlight {
    /// The incarnation that it is at.
    pub fn incarnation(&self) -> &Arc<Incarnation> {
        &self.incarnation
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.incarnation.gate.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Table {
    /// Before magid has told of any.
    pub fn empty() -> Self {
        Self {
            link: Link::Lost,
            servers: BTreeMap::new(),
            names: HashMap::new(),
        }
    }

    /// The server of this name, alias or model.
    pub fn find(&self, name: &str) -> Option<&Arc<Server>> {
        self.names.get(name)
    }
}
