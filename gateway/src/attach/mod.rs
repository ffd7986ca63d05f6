//! The stream to magid.
//!
//! One task owns it, and all that is decided by it: which incarnations there are, which of them take
//! requests, and the table that the other threads read. Requests that need a server to be made ready
//! ask here too, so that there is one call for all who wait for the same one.
//!
//! While magid is away the table stays as it was, marked as such: what was ready is served, and what
//! would have to be loaded is refused at once. Drains of a stream that has broken are void: whoever
//! wants an incarnation ended asks again.

mod incarnations;
mod report;
mod session;
mod wanted;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use magi_proto::v1;
use tokio::time::sleep;

use crate::gateway::{Gateway, Inbox};
use crate::refusal::Refusal;
use crate::table::{Link, Server, Table};
use crate::traffic::Traffic;

use incarnations::Incarnations;

/// Between two tries to reach magid.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known by the stream.
#[derive(Debug)]
pub struct Attach {
    gateway: Arc<Gateway>,
    inbox: Inbox,
    /// Where magid is looked for. None: in the usual places.
    socket: Option<PathBuf>,
    hello: v1::Hello,
    routes: BTreeMap<String, Arc<Server>>,
    incarnations: Incarnations,
}

impl Attach {
    /// Knows of nothing yet.
    pub fn new(
        gateway: Arc<Gateway>,
        inbox: Inbox,
        socket: Option<PathBuf>,
        hello: v1::Hello,
    ) -> Self {
        Self {
            gateway,
            inbox,
            socket,
            hello,
            routes: BTreeMap::new(),
            incarnations: Incarnations::default(),
        }
    }

    /// Attaches, and attaches again whenever the stream breaks. Cancel-safe at every point: what is
    /// lost with it is lost to magid as well.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let was_up = self.session().await;
            if was_up {
                pause = FIRST_PAUSE;
            }
            self.lose();
            self.refuse_for(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// magid is away.
    fn lose(&mut self) {
        self.incarnations.open_all();
        self.publish(Link::Lost);
        for server in self.routes.values() {
            server.traffic.moved.notify_waiters();
        }
    }

    /// Refuses what would have to be loaded, for as long as magid is away.
    async fn refuse_for(&mut self, pause: Duration) {
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                // Cancel-safe: nothing is taken before it is refused.
                wanted = self.inbox.wanted.recv() => match wanted {
                    Some(wanted) => { let _ = wanted.answer.send(Err(Refusal::magid_away())); }
                    None => return,
                },
                () = &mut over => return,
            }
        }
    }

    fn publish(&self, link: Link) {
        let table = Table::new(link, self.routes.clone());
        self.gateway.table.store(Arc::new(table));
    }

    /// Takes in a change of the routes.
    fn reroute(&mut self, change: v1::Routes) {
        if change.snapshot {
            let there: Vec<_> = change.routes.iter().map(|route| &route.server).collect();
            let gone = self.routes.keys().filter(|name| !there.contains(name));
            for name in gone.cloned().collect::<Vec<_>>() {
                self.remove(&name);
            }
        }
        for name in &change.removed {
            self.remove(name);
        }
        let mut moved = Vec::with_capacity(change.routes.len());
        for route in change.routes {
            let server = self.server(route);
            moved.push(server.traffic.clone());
            self.routes.insert(server.route.server.clone(), server);
        }
        self.publish(Link::Up);
        if !self.routes.is_empty() {
            // Also set before, unless this is the first time.
            let _ = self.gateway.told.set(());
        }
        // Only now, so that who is woken sees the new table.
        for traffic in moved {
            traffic.moved.notify_waiters();
        }
    }

    fn remove(&mut self, name: &str) {
        self.incarnations.forget(name);
        if let Some(server) = self.routes.remove(name) {
            server.traffic.moved.notify_waiters();
        }
    }

    fn server(&mut self, route: v1::Route) -> Arc<Server> {
        let traffic = match self.routes.get(&route.server) {
            Some(server) => server.traffic.clone(),
            None => Arc::new(Traffic::new()),
        };
        traffic.queue.set_limit(route.max_in_flight);
        let current = self.incarnations.current(&route);
        Arc::new(Server {
            route,
            current,
            traffic,
        })
    }
}
