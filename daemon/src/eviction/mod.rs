//! Who is stopped to make room for a server that somebody asked for.
//!
//! Asked for is a server for which a request waits, or which an operator started. One that starts because
//! its profile says so, or again after a crash, waits for room and makes none.
//!
//! # The rules
//!
//! * Who is **idle** is stopped: it serves, and nothing is in flight or waits for it. One that just got
//!   ready may not have answered yet what it was started for: if it is its turn, that is waited for.
//! * **Lowest priority** first, of those the one that was **idle for longest**. The priority of who asks does
//!   not matter: an idle server keeps nobody waiting.
//! * Who is **in use** is stopped only where that is not enough, only for one that somebody waits for, of the
//!   same or a higher priority, and only when two times are over: who asks has waited for its `swap_after`, and whoever is to
//!   go has served for his own. So those that do not fit beside each other take turns, and not by the
//!   request. Of those with the same priority that have waited for so long, the one that has waited for
//!   longest comes first.
//! * Who is **pinned** never makes room, and nobody does for one that he was started together with.
//! * **As few as needed**: of those that come first, whoever is not needed in the end is spared. What is on
//!   its way out already counts as gone.
//! * **Never in vain**: if it is not enough even with all of them gone, none is stopped.
//!
//! What it looks like from outside may be out of date when a server is told to stop. So whoever carries
//! this out lets the server itself, and those who send requests to it, say no; then [`decide`] is asked
//! again, with that server [`Standing::InUse`].
//!
//! The question what fits is put to a copy of the [`Ledger`]: the same rules that will grant the memory say
//! what stopping is good for.

mod sentences;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::memory::{Account, Decision, Ledger, Shortage};
use crate::name::ServerName;

pub use sentences::{kept, made_by, making, patience, waiting, waiting_for_turn};

/// A server that has memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub server: ServerName,
    /// Of two, the lower one makes room first.
    pub priority: i32,
    /// Whether it could be stopped.
    pub standing: Standing,
    /// How long it has been ready.
    pub served: Duration,
    /// How long it serves at least before it is stopped although it is in use. None: that is never done.
    pub swap_after: Option<Duration>,
}

/// Whether a server could be stopped to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves, and nobody has used it for so long.
    Idle(Duration),
    /// It got ready just now; it is idle if nobody uses it for so long.
    Fresh(Duration),
    /// Requests are at it, or wait for it.
    Busy {
        /// Requests that it is answering.
        in_flight: u32,
        /// Requests that wait.
        waiting: u32,
    },
    /// It was to be stopped if idle, and turned out to be in use.
    InUse,
    /// It was to be stopped although it is in use, and somebody had it go on: it is left alone for a while.
    Recalled,
    /// Its profile says that it never makes room.
    Pinned,
    /// It is about to serve, or is being replaced.
    Underway,
    /// It is on its way out, and gives back what it has.
    Leaving,
}

/// The servers that have memory, by their accounts. What the ledger has beyond them stays.
pub type Holders = BTreeMap<Account, Holder>;

/// Who asks for room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The servers that were asked for in the same breath: they do not make room for each other.
    pub beside: BTreeSet<ServerName>,
    /// Those of a higher one make room only while they are idle.
    pub priority: i32,
    /// How long ago it was asked for.
    pub waited: Duration,
    /// Whether whoever asked for it still waits. If not, those that are in use are left alone.
    pub is_awaited: bool,
    /// How long it waits before those that are in use make room. None: they never do.
    pub swap_after: Option<Duration>,
}

impl Holder {
    /// Whether it serves, and somebody uses it.
    pub fn is_in_use(&self) -> bool {
        match self.standing {
            Standing::Busy { .. } | Standing::InUse => true,
            Standing::Idle(_)
            | Standing::Fresh(_)
            | Standing::Recalled
            | Standing::Pinned
            | Standing::Underway
            | Standing::Leaving => false,
        }
    }

    /// How long it is until it may be stopped for one that wants room, although it is in use. None: it never
    /// may.
    fn respite(&self, want: &Want) -> Option<Duration> {
        if !self.is_in_use() || self.priority > want.priority {
            return None;
        }
        let waits = want.patience()?.saturating_sub(want.waited);
        let serves = self.swap_after?.saturating_sub(self.served);
        Some(waits.max(serves))
    }
}

impl Want {
    /// For how long it has waited, if that is long enough.
    fn overdue(&self) -> Option<Duration> {
        self.patience()
            .filter(|patience| self.waited >= *patience)
            .map(|_| self.waited)
    }

    /// How long it waits before those that are in use make room for it. None: they never do, or not for now.
    fn patience(&self) -> Option<Duration> {
        self.swap_after.filter(|_| self.is_awaited)
    }
}

/// What is done for who asks for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: there is room, or there will be once those are gone that are on their way out.
    Coming,
    /// These are stopped, in this order.
    Stop {
        /// What there is too little of without that.
        shortage: Shortage,
        /// Whose memory it will have.
        victims: Vec<Account>,
    },
    /// Nothing yet: it is the turn of one that just got ready, and counts as idle after so long.
    Soon {
        /// What there is too little of.
        shortage: Shortage,
        /// When to decide again.
        after: Duration,
    },
    /// Nothing yet: nobody is idle, and those that are in use may be stopped after so long.
    Later {
        /// What there is too little of.
        shortage: Shortage,
        /// When to decide again.
        after: Duration,
    },
    /// Nothing can be done: it waits until more are idle.
    Nobody {
        /// What there is too little of.
        shortage: Shortage,
    },
}

/// Decides for all who ask for room, in the order in which the ledger serves them, but the first of equals
/// is who has waited for too long. Those that do not wait for memory are left out.
pub fn decide(
    ledger: &Ledger,
    wants: &BTreeMap<Account, Want>,
    holders: &Holders,
) -> Vec<(Account, Room)> {
    let mut after = ledger.clone();
    let leaving = holders
        .iter()
        .filter(|(_, holder)| holder.standing == Standing::Leaving);
    after.release_all(leaving.map(|(account, _)| account));
    let asking = ledger.waiting().map(|(account, ..)| account);
    let mut asking: Vec<_> = asking
        .filter_map(|account| Some((account, wants.get(account)?)))
        .collect();
    asking.sort_by_key(|(_, want)| (Reverse(want.priority), Reverse(want.overdue())));
    let mut decided = Vec::new();
    let mut taken = BTreeSet::new();
    for (account, want) in asking {
        let room = choose(&after, account, want, holders, &taken);
        if let Room::Stop { victims, .. } = &room {
            after.favour(account);
            after.release_all(victims);
            taken.extend(victims.iter().cloned());
        }
        decided.push((account.clone(), room));
    }
    decided
}

/// Decides for one of them. Those that are `taken` are stopped already.
fn choose(
    ledger: &Ledger,
    account: &Account,
    want: &Want,
    holders: &Holders,
    taken: &BTreeSet<Account>,
) -> Room {
    let mut favoured = ledger.clone();
    favoured.favour(account);
    let shortage = match favoured.decision(account) {
        Some(Decision::Waiting(Some(shortage))) => shortage,
        Some(Decision::Granted | Decision::Waiting(None) | Decision::Never(_)) | None => {
            return Room::Coming;
        }
    };
    let may_go: Vec<_> = holders
        .iter()
        .filter(|(other, holder)| {
            *other != account && !want.beside.contains(&holder.server) && !taken.contains(*other)
        })
        .collect();
    let mut in_order = idle_in_order(&may_go);
    if let Some(victims) = fewest(&favoured, account, &in_order) {
        return stop(shortage, victims, holders);
    }
    let in_use = in_use_in_order(&may_go, want);
    let Some(after) = soonest(&favoured, account, &in_order, &in_use) else {
        return Room::Nobody { shortage };
    };
    if !after.is_zero() {
        return Room::Later { shortage, after };
    }
    let may_go_now = in_use.iter().filter(|(respite, _)| respite.is_zero());
    in_order.extend(may_go_now.map(|(_, victim)| *victim));
    match fewest(&favoured, account, &in_order) {
        Some(victims) => stop(shortage, victims, holders),
        None => Room::Nobody { shortage },
    }
}

/// These are stopped, when those of them that just got ready have had their chance.
fn stop(shortage: Shortage, victims: Vec<Account>, holders: &Holders) -> Room {
    let standings = victims.iter().filter_map(|victim| holders.get(victim));
    let fresh = standings.filter_map(|holder| match holder.standing {
        Standing::Fresh(after) => Some(after),
        Standing::Idle(_)
        | Standing::Busy { .. }
        | Standing::InUse
        | Standing::Recalled
        | Standing::Pinned
        | Standing::Underway
        | Standing::Leaving => None,
    });
    match fresh.max() {
        Some(after) => Room::Soon { shortage, after },
        None => Room::Stop { shortage, victims },
    }
}

/// Those of them that are idle, in the order in which they make room.
fn idle_in_order<'a>(may_go: &[(&'a Account, &'a Holder)]) -> Vec<&'a Account> {
    let idle = may_go.iter().filter_map(|(other, holder)| {
        let idle = match holder.standing {
            Standing::Idle(since) => since,
            Standing::Fresh(_) => Duration::ZERO,
            Standing::Busy { .. }
            | Standing::InUse
            | Standing::Recalled
            | Standing::Pinned
            | Standing::Underway
            | Standing::Leaving => return None,
        };
        Some((holder.priority, Reverse(idle), *other))
    });
    let mut in_order: Vec<_> = idle.collect();
    in_order.sort();
    in_order.into_iter().map(|(.., other)| other).collect()
}

/// Those of them that may be stopped although they are in use, each with how long it is until then, in the
/// order in which they make room: the lowest priority first, of those the one that has served for longest.
fn in_use_in_order<'a>(
    may_go: &[(&'a Account, &'a Holder)],
    want: &Want,
) -> Vec<(Duration, &'a Account)> {
    let in_use = may_go.iter().filter_map(|(other, holder)| {
        let respite = holder.respite(want)?;
        Some((holder.priority, Reverse(holder.served), *other, respite))
    });
    let mut in_order: Vec<_> = in_use.collect();
    in_order.sort();
    let in_order = in_order.into_iter();
    in_order
        .map(|(.., other, respite)| (respite, other))
        .collect()
}

/// How long it is until enough of those that are in use may be stopped, with all that are `idle`. None:
/// there are not enough.
fn soonest(
    ledger: &Ledger,
    account: &Account,
    idle: &[&Account],
    in_use: &[(Duration, &Account)],
) -> Option<Duration> {
    let times: BTreeSet<_> = in_use.iter().map(|(respite, _)| *respite).collect();
    times.into_iter().find(|time| {
        let by_then = in_use.iter().filter(|(respite, _)| respite <= time);
        let in_use = by_then.map(|(_, other)| *other);
        is_enough(ledger, account, idle.iter().copied().chain(in_use))
    })
}

/// The first of these that are enough, without those of them that are not needed; those that come last
/// are spared first.
fn fewest(ledger: &Ledger, account: &Account, in_order: &[&Account]) -> Option<Vec<Account>> {
    let mut gone = ledger.clone();
    let is_granted = |ledger: &Ledger| ledger.decision(account) == Some(Decision::Granted);
    let enough = in_order.iter().position(|victim| {
        gone.release_all([*victim]);
        is_granted(&gone)
    })?;
    let mut victims = in_order[..=enough].to_vec();
    for place in (0..victims.len()).rev() {
        let spared = victims.remove(place);
        if !is_enough(ledger, account, victims.iter().copied()) {
            victims.insert(place, spared);
        }
    }
    Some(victims.into_iter().cloned().collect())
}

/// Whether `account` has what it asks for when these are gone.
fn is_enough<'a>(
    ledger: &Ledger,
    account: &Account,
    gone: impl IntoIterator<Item = &'a Account>,
) -> bool {
    let mut after = ledger.clone();
    after.release_all(gone);
    after.decision(account) == Some(Decision::Granted)
}
