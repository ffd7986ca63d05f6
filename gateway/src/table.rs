//! The names of all servers, and the way to each.
//!
//! The table is a value: each change of the routes makes a new one, and requests read whichever is the
//! newest when they come. What is in flight, and who waits, is counted in the places that tables share.

mod names;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderValue;
use magi_proto::v1;
use tokio::sync::Notify;

use crate::traffic::Traffic;

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
    /// What goes on there. Shared by all tables.
    pub traffic: Arc<Traffic>,
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
    /// Its address as requests name it.
    pub host: HeaderValue,
    /// What a request needs to be let in. A secret; not shown by `Debug`.
    pub authorization: Option<HeaderValue>,
    /// How many requests are in flight, and whether more may be begun.
    gate: AtomicU32,
    /// Notified when none is in flight at a gate that is closed.
    released: Notify,
}

/// Where an incarnation listens is not an address, or its key cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach incarnation {number} of {server} at {endpoint:?}")]
pub struct BadEndpoint {
    /// The server.
    pub server: String,
    /// The number of the incarnation.
    pub number: u64,
    /// What magid told.
    pub endpoint: String,
}

/// Set in the gate of an incarnation that takes no more requests.
const CLOSED: u32 = 1 << 31;

/// A request that is in flight. Dropped, it is not any more.
#[derive(Debug)]
pub struct InFlight {
    incarnation: Arc<Incarnation>,
}

impl Incarnation {
    /// An incarnation that takes requests, where magid says.
    ///
    /// # Errors
    ///
    /// It cannot be reached there.
    pub fn new(
        server: &str,
        number: u64,
        endpoint: &str,
        api_key: Option<&str>,
    ) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint {
            server: server.to_owned(),
            number,
            endpoint: endpoint.to_owned(),
        };
        let host = endpoint.strip_prefix("http://").ok_or_else(bad)?;
        let address = host.parse().map_err(|_| bad())?;
        let authorization = match api_key {
            None => None,
            Some(key) => {
                let bearer = HeaderValue::try_from(format!("Bearer {key}"));
                let mut bearer = bearer.map_err(|_| bad())?;
                bearer.set_sensitive(true);
                Some(bearer)
            }
        };
        Ok(Self {
            server: server.to_owned(),
            number,
            address,
            host: HeaderValue::try_from(host).map_err(|_| bad())?,
            authorization,
            gate: AtomicU32::new(0),
            released: Notify::new(),
        })
    }

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

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        self.gate.load(Ordering::Acquire) & CLOSED == 0
    }

    /// Waits until none is in flight. Only of use when it is closed.
    pub async fn released(&self) {
        loop {
            // Made before the look, so that the last one is not missed.
            let released = self.released.notified();
            if self.in_flight() == 0 {
                return;
            }
            released.await;
        }
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
        if self.incarnation.gate.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            self.incarnation.released.notify_waiters();
        }
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

    /// All servers at one revision. A name of a server comes before an alias, and an alias before a model.
    pub fn new(link: Link, servers: BTreeMap<String, Arc<Server>>) -> Self {
        let mut names = HashMap::new();
        for server in servers.values() {
            names.insert(server.route.server.clone(), server.clone());
        }
        for server in servers.values() {
            for alias in &server.route.aliases {
                names.entry(alias.clone()).or_insert_with(|| server.clone());
            }
        }
        // Of several servers of one model, those that are ready come first.
        let (ready, others): (Vec<_>, Vec<_>) = servers
            .values()
            .partition(|server| server.current.is_some());
        for server in ready.into_iter().chain(others) {
            if let Some(model) = &server.route.model_id {
                names.entry(model.clone()).or_insert_with(|| server.clone());
            }
        }
        Self {
            link,
            servers,
            names,
        }
    }

    /// The server of this name, alias or model.
    pub fn find(&self, name: &str) -> Option<&Arc<Server>> {
        self.names.get(name)
    }
}
