//! Room for servers that are asked for and lack memory.
//!
//! Who is stopped for whom is decided by [`crate::eviction`]; here that is carried out. A server that
//! lacks memory and was asked for puts that here, and takes it away when it has memory or does not want it
//! any more. As long as anything is here, the task looks at it whenever something changed: who wants room,
//! what state a server is in, what gateways have in flight, who has memory. There is no polling, and while
//! nobody wants room it sleeps.
//!
//! What it looks at may be out of date, so it only asks: a server that is told to make room asks the
//! gateways and its own llama-server, and goes on serving if it is not idle. Then it is left alone until
//! it was used, or for a few seconds, and the choice is made again among the others. One that is to make
//! room although it is in use is not asked: gateways let go of it, what is in flight is finished, and
//! requests that come meanwhile wait until it is there again.

mod look;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::memory::Account;
use crate::name::ServerName;

pub use task::spawn;

/// With what a server wants room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The servers that were asked for in the same breath: they do not make room for each other.
    pub beside: BTreeSet<ServerName>,
    /// Since when somebody asks for it.
    pub since: Instant,
}

/// How far it is with the room for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// That was not decided yet.
    #[default]
    Undecided,
    /// Room is being made: by stopping whom, and why.
    Making(Arc<str>),
    /// None can be made now, and why.
    Nobody(Arc<str>),
}

/// Who wants room, and what was decided.
#[derive(Clone, Debug, Default)]
pub struct Room {
    wanted: Arc<watch::Sender<BTreeMap<Serial, Wanted>>>,
    told: Arc<watch::Sender<BTreeMap<ServerName, Told>>>,
}

/// Numbers those who want room: a newer one of the same account takes the place of an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Serial(u64);

/// A server that wants room.
#[derive(Clone, Debug)]
struct Wanted {
    server: ServerName,
    account: Account,
    want: Want,
    progress: watch::Sender<Progress>,
}

/// What was decided last about a server, for people.
#[derive(Clone, Debug, Default)]
struct Told {
    /// About room for it.
    for_it: Vec<String>,
    /// About it making room.
    by_it: Option<String>,
}

/// A server wants room for as long as this is kept.
#[derive(Debug)]
pub struct Wish {
    room: Room,
    serial: Serial,
    progress: watch::Receiver<Progress>,
}

impl Room {
    /// Wants room for a server that waits for memory.
    pub fn wish(&self, server: ServerName, account: Account, want: Want) -> Wish {
        let (progress, told) = watch::channel(Progress::Undecided);
        let wanted = Wanted {
            server,
            account,
            want,
            progress,
        };
        let mut serial = Serial(0);
        self.wanted.send_modify(|all| {
            let last = all.last_key_value().map_or(0, |(last, _)| last.0);
            serial = Serial(last + 1);
            all.insert(serial, wanted);
        });
        Wish {
            room: self.clone(),
            serial,
            progress: told,
        }
    }

    /// What was decided last about making room for a server, and about it making room.
    pub fn told(&self, server: &ServerName) -> Vec<String> {
        let told = self.told.borrow().get(server).cloned().unwrap_or_default();
        told.for_it.into_iter().chain(told.by_it).collect()
    }
}

impl Wish {
    /// Waits until there is something new about it, and gives that.
    pub async fn progress(&mut self) -> Progress {
        // Its sender is kept for as long as this is.
        let _ = self.progress.changed().await;
        self.progress.borrow_and_update().clone()
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.room.wanted.send_modify(|all| {
            all.remove(&self.serial);
        });
    }
}
