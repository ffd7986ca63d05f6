//! Gateways that are attached: what is in flight at them, and what they let go of.
//!
//! A gateway counts its requests itself, so magid has to ask before it ends an incarnation: nothing may
//! be in flight at any gateway, and nothing may get there any more. That is a conversation, but not one
//! of messages, which could be lost or hold somebody up: a server that wants to be let go of puts that
//! here, and takes it away when it is over; the stream of each gateway tells its gateway of whatever is
//! here, and puts the answer beside it. So a gateway that attaches in the middle of a drain is asked as
//! well, and one that is gone is waited for by nobody.
//!
//! As on the board, each row has one writer: the stream of a gateway writes what that gateway says, the
//! task of a server what it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::board::Board;
use crate::lifecycle::PublicState;
use crate::name::ServerName;

/// How long those that were attached to the magid before this one are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Unique for the life of its process.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// When it attached.
    pub attached_at: Timestamp,
}

/// What is in flight at a server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// Requests that were forwarded and are not answered to their end.
    pub in_flight: u32,
    /// Requests that wait for a place, or for the server to get ready.
    pub waiting: u32,
    /// When a request was last begun or ended.
    pub last_used: Option<Timestamp>,
    /// Tokens per second of the answer that ended last.
    pub tokens_per_second: Option<f64>,
}

/// An incarnation of a server.
pub type Drained = (ServerName, u64);

/// What gateways say to a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All that are attached have let go.
    LetGo,
    /// Something is in flight at one of them, which was only to let go if it is idle.
    Busy,
}

/// A stream of a gateway, as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

/// Who is attached, and what they are asked for.
#[derive(Debug, Default)]
pub struct Talk {
    gateways: BTreeMap<Key, Arc<Gateway>>,
    drains: BTreeMap<Drained, Drain>,
    /// Numbers of streams and drains.
    drawn: u64,
}

/// A drain that is not over.
#[derive(Debug)]
struct Drain {
    number: u64,
    only_if_idle: bool,
    /// Who was asked. Whatever comes before that is the answer to an earlier drain.
    asked: BTreeSet<Key>,
    let_go: BTreeSet<Key>,
    is_busy: bool,
}

/// What is in flight, by server.
#[derive(Debug, Default)]
pub struct Uses(BTreeMap<ServerName, Shares>);

/// What is in flight at one server.
#[derive(Debug, Default)]
struct Shares {
    /// Requests in flight and waiting, by gateway.
    counts: BTreeMap<Key, (u32, u32)>,
    last_used: Option<Timestamp>,
    tokens_per_second: Option<f64>,
}

/// The gateways that are attached.
#[derive(Clone, Debug)]
pub struct Gateways {
    board: Board,
    /// Those that were attached to the magid before this one, by their ids.
    former: Arc<BTreeSet<String>>,
    /// Until when they are waited for, once somebody waits for them.
    patience: Arc<OnceLock<Instant>>,
    talk: Arc<watch::Sender<Talk>>,
    uses: Arc<watch::Sender<Uses>>,
}

impl Gateways {
    /// None is attached. What they say of servers that are not on the `board` is not listened to.
    ///
    /// The `former` ones were attached to the magid before this one, which was killed.
    pub fn new(board: Board, former: BTreeSet<String>) -> Self {
        Self {
            board,
            former: Arc::new(former),
            patience: Arc::default(),
            talk: Arc::new(watch::Sender::new(Talk::default())),
            uses: Arc::new(watch::Sender::new(Uses::default())),
        }
    }

    /// Attaches a gateway, in the place of an earlier stream of the same one.
    pub fn attach(&self, gateway: Gateway) -> Attachment {
        let mut key = Key(0);
        self.talk.send_modify(|talk| {
            key = Key(talk.draw());
            talk.gateways.retain(|_, other| other.id != gateway.id);
            talk.gateways.insert(key, Arc::new(gateway));
        });
        Attachment {
            gateways: self.clone(),
            key,
            told: BTreeSet::new(),
        }
    }

    /// Those that are attached.
    pub fn list(&self) -> Vec<Arc<Gateway>> {
        self.talk.borrow().gateways.values().cloned().collect()
    }

    /// Follows who is attached, and what they are asked for.
    pub fn talk(&self) -> watch::Receiver<Talk> {
        self.talk.subscribe()
    }

    /// Whether any were attached to the magid before this one.
    pub fn were_attached(&self) -> bool {
        !self.former.is_empty()
    }

    /// Waits until those that were attached to the magid before this one are attached again: what is in
    /// flight at them is not known before. Those that do not come in time are not waited for again.
    pub async fn former_are_back(&self) {
        let mut talk = self.talk();
        let all_back = talk.wait_for(|talk| {
            let attached: BTreeSet<&String> = talk.gateways.values().map(|g| &g.id).collect();
            self.former.iter().all(|id| attached.contains(id))
        });
        let patience = self.patience.get_or_init(|| Instant::now() + PATIENCE);
        let _ = timeout_at(*patience, all_back).await;
    }

    /// What is in flight at a server.
    pub fn use_of(&self, server: &ServerName) -> Use {
        self.uses.borrow().of(server)
    }

    /// Follows what is in flight.
    pub fn uses(&self) -> watch::Receiver<Uses> {
        self.uses.subscribe()
    }

    /// Asks all gateways to let go of an incarnation, until what is returned is dropped.
    #[must_use]
    pub fn drain(&self, server: ServerName, incarnation: u64, only_if_idle: bool) -> Conversation {
        let about = (server, incarnation);
        let mut number = 0;
        self.talk.send_modify(|talk| {
            number = talk.draw();
            let drain = Drain {
                number,
                only_if_idle,
                asked: BTreeSet::new(),
                let_go: BTreeSet::new(),
                is_busy: false,
            };
            talk.drains.insert(about.clone(), drain);
        });
        Conversation {
            gateways: self.clone(),
            about,
            number,
        }
    }
}

impl Talk {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Whether any gateway is attached.
    pub fn is_attached(&self) -> bool {
        !self.gateways.is_empty()
    }

    fn answer(&self, about: &Drained, number: u64) -> Option<Answer> {
        let drain = self.drains.get(about).filter(|d| d.number == number)?;
        let all = || self.gateways.keys().all(|key| drain.let_go.contains(key));
        if drain.is_busy {
            Some(Answer::Busy)
        } else {
            all().then_some(Answer::LetGo)
        }
    }
}

impl Uses {
    /// What is in flight at a server.
    pub fn of(&self, server: &ServerName) -> Use {
        self.0.get(server).map(Shares::sum).unwrap_or_default()
    }
}

impl Shares {
    fn sum(&self) -> Use {
        let counts = self.counts.values();
        let add =
            |(a, b): (u32, u32), (c, d): &(u32, u32)| (a.saturating_add(*c), b.saturating_add(*d));
        let (in_flight, waiting) = counts.fold((0, 0), add);
        Use {
            in_flight,
            waiting,
            last_used: self.last_used,
            tokens_per_second: self.tokens_per_second,
        }
    }
}

/// An incarnation that gateways are asked to let go of. Dropped, the drain is over: if it still serves,
/// they are told that it goes on.
#[derive(Debug)]
pub struct Conversation {
    gateways: Gateways,
    about: Drained,
    number: u64,
}

impl Conversation {
    /// Waits for the answer. A gateway that attaches later is asked too, and not waited for.
    pub fn answer(&self) -> impl Future<Output = Answer> + Send + use<> {
        let (mut talk, about, number) = (self.gateways.talk(), self.about.clone(), self.number);
        async move {
            let mut answer = Answer::LetGo;
            let answered = talk.wait_for(|talk| {
                let given = talk.answer(&about, number);
                answer = given.unwrap_or(answer);
                given.is_some()
            });
            // The sender is gone only with everything else.
            let _ = answered.await;
            answer
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.gateways.talk.send_if_modified(|talk| {
            let drain = talk.drains.get(&self.about);
            let is_ours = drain.is_some_and(|drain| drain.number == self.number);
            if is_ours {
                talk.drains.remove(&self.about);
            }
            is_ours
        });
    }
}

/// What a gateway is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To let go of an incarnation.
    Drain {
        /// The incarnation.
        about: Drained,
        /// Only if nothing is in flight, and nothing waits for it.
        only_if_idle: bool,
    },
    /// That an incarnation goes on serving.
    Over(Drained),
}

/// One gateway that is attached, until it is dropped.
#[derive(Debug)]
pub struct Attachment {
    gateways: Gateways,
    key: Key,
    /// The drains that the gateway was told of.
    told: BTreeSet<Drained>,
}

impl Attachment {
    /// What writes down what the gateway says.
    pub fn ear(&self) -> Ear {
        Ear {
            gateways: self.gateways.clone(),
            key: self.key,
        }
    }

    /// What the gateway is to be told since the last time. None: another stream of it took the place of
    /// this one.
    pub fn orders(&mut self) -> Option<Vec<Order>> {
        let (mut orders, talk) = (None, self.gateways.talk.clone());
        talk.send_if_modified(|talk| {
            let is_attached = talk.gateways.contains_key(&self.key);
            orders = is_attached.then(|| self.orders_of(talk));
            // Nobody waits for a question.
            false
        });
        orders
    }

    fn orders_of(&mut self, talk: &mut Talk) -> Vec<Order> {
        let mut orders = Vec::new();
        for (about, drain) in &mut talk.drains {
            if drain.asked.insert(self.key) {
                self.told.insert(about.clone());
                orders.push(Order::Drain {
                    about: about.clone(),
                    only_if_idle: drain.only_if_idle,
                });
            }
        }
        let board = &self.gateways.board;
        self.told.retain(|about| {
            let drains = talk.drains.contains_key(about);
            // Of one that is being ended there is nothing more to say.
            if !drains && serves(board, about) {
                orders.push(Order::Over(about.clone()));
            }
            drains
        });
        orders
    }
}

fn serves(board: &Board, (server, incarnation): &Drained) -> bool {
    board.row(server).is_some_and(|row| {
        row.incarnation == Some(*incarnation) && row.view.state == PublicState::Ready
    })
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.gateways.talk.send_modify(|talk| {
            talk.gateways.remove(&self.key);
        });
        // What it had in flight counts as gone.
        self.gateways.uses.send_modify(|uses| {
            for shares in uses.0.values_mut() {
                shares.counts.remove(&self.key);
            }
        });
    }
}

/// Writes down what a gateway says.
#[derive(Clone, Debug)]
pub struct Ear {
    gateways: Gateways,
    key: Key,
}

impl Ear {
    /// So much is in flight at a server.
    pub fn activity(&self, server: &ServerName, told: Use) {
        if self.gateways.board.row(server).is_none() {
            return;
        }
        self.gateways.uses.send_modify(|uses| {
            if !uses.0.contains_key(server) {
                // Servers that are gone are forgotten when there is a new one.
                let board = &self.gateways.board;
                uses.0.retain(|server, _| board.row(server).is_some());
            }
            let shares = uses.0.entry(server.clone()).or_default();
            let counts = (told.in_flight, told.waiting);
            shares.counts.insert(self.key, counts);
            // A clock that is ahead must not keep a server from ever being idle.
            let told_used = told.last_used.map(|used| used.min(Timestamp::now()));
            shares.last_used = shares.last_used.max(told_used);
            shares.tokens_per_second = told.tokens_per_second.or(shares.tokens_per_second);
        });
    }

    /// It has let go of an incarnation.
    pub fn drained(&self, about: &Drained) {
        self.answered(about, |drain, key| {
            drain.let_go.insert(key);
        });
    }

    /// It has not let go of an incarnation, since something is in flight.
    pub fn busy(&self, about: &Drained) {
        self.answered(about, |drain, _| drain.is_busy = drain.only_if_idle);
    }

    fn answered(&self, about: &Drained, note: impl FnOnce(&mut Drain, Key)) {
        self.gateways.talk.send_if_modified(|talk| {
            let drain = talk.drains.get_mut(about);
            let asked = drain.filter(|drain| drain.asked.contains(&self.key));
            asked.map(|drain| note(drain, self.key)).is_some()
        });
    }
}

#[cfg(test)]
mod tests;
