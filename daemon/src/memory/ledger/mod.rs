//! Who may have how much memory.
//!
//! A server reserves what it needs before its process is started, so two that start at the same time
//! cannot both take the last of it. What does not fit waits, and is decided again each time that
//! something changes.
//!
//! # In which order
//!
//! By priority, the higher first, then by name. Room is filled by what fits: a server that waits for
//! more room than there is does not keep a smaller one of lower priority from what is left, else a
//! single large server would keep a machine empty. As soon as room appears, the order counts anew from
//! the top. So a large server waits until enough of the others were stopped: nothing is held back for
//! it.
//!
//! Servers that start together ask at slightly different times, each when it has found out what it
//! needs. Whoever starts them says with [`Ledger::expect`] that they are about to ask, and until they
//! did, nothing of lower order is decided.
//!
//! Those for whom room is being made come before all others ([`Ledger::favour`]), and until they have it,
//! what gets free is kept for them: else whoever waits would take what was freed for another.
//!
//! # What may exceed the budget
//!
//! Servers that already run when they are met ([`Ledger::adopt`]), and figures that turn out to be
//! higher than was thought ([`Ledger::correct`]): they are shown, and nothing is stopped for them. A
//! lower budget stops nothing either.

mod shortage;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::budget::Budget;
use super::demand::Demand;
pub use shortage::{Never, Resource, Shortage};

/// Who reserves memory: a server, or the incarnation that is to take its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(String);

impl Account {
    /// An account of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The memory is reserved.
    Granted,
    /// It waits for room, of which there is too little; absent: for others that are decided first.
    Waiting(Option<Shortage>),
    /// It does not fit even alone. It is not kept.
    Never(Never),
}

/// Who has what, and who waits.
#[derive(Clone, Debug)]
pub struct Ledger {
    budget: Budget,
    granted: BTreeMap<Account, Demand>,
    /// In the order in which they are decided. Without a demand: expected to ask.
    pending: BTreeMap<Rank, Option<Demand>>,
    /// Of those that wait, the ones for which room is being made.
    favoured: BTreeSet<Account>,
}

type Rank = (Reverse<i32>, Account);

/// What a number of accounts have together.
#[derive(Clone, Debug, Default)]
struct Total {
    ram: u64,
    devices: BTreeMap<String, u64>,
    accounts: u32,
    /// One of them uses a device of which the memory is not known.
    uses_unknown: bool,
}

impl Ledger {
    /// A ledger in which nobody has anything.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            granted: BTreeMap::new(),
            pending: BTreeMap::new(),
            favoured: BTreeSet::new(),
        }
    }

    /// What there is for all.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Changes what there is for all.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        self.settle();
    }

    /// Says that accounts are about to ask, with their priorities. Those that wait or have something
    /// already are not touched. Each must ask, or be withdrawn: others are kept waiting for it.
    pub fn expect(&mut self, accounts: &[(Account, i32)]) {
        for (account, priority) in accounts {
            if !self.granted.contains_key(account) && self.rank_of(account).is_none() {
                let rank = (Reverse(*priority), account.clone());
                self.pending.insert(rank, None);
            }
        }
    }

    /// Takes back an expectation of an account that did not ask.
    pub fn expect_no_more(&mut self, account: &Account) {
        if let Some(rank) = self.rank_of(account)
            && self.pending.get(&rank).is_some_and(Option::is_none)
        {
            self.withdraw(account);
        }
    }

    /// Takes back an expectation or a request. What was granted stays.
    pub fn withdraw(&mut self, account: &Account) {
        if let Some(rank) = self.rank_of(account) {
            self.pending.remove(&rank);
            self.settle();
        }
    }

    /// Asks for memory. What the account has is given back first.
    pub fn request(&mut self, account: Account, demand: Demand, priority: i32) -> Decision {
        self.granted.remove(&account);
        if let Some(rank) = self.rank_of(&account) {
            self.pending.remove(&rank);
        }
        let rank = (Reverse(priority), account.clone());
        self.pending.insert(rank, Some(demand));
        self.settle();
        let decision = self.decision(&account).expect("it was just inserted");
        if matches!(decision, Decision::Never(_)) {
            self.withdraw(&account);
        }
        decision
    }

    /// What became of the request of an account. None: it asked for nothing.
    pub fn decision(&self, account: &Account) -> Option<Decision> {
        if self.granted.contains_key(account) {
            return Some(Decision::Granted);
        }
        let demand = self.pending.get(&self.rank_of(account)?)?.as_ref()?;
        Some(self.undecided(demand, &self.total()))
    }

    /// What became of the requests that are not granted.
    pub fn waiting(&self) -> impl Iterator<Item = (&Account, &Demand, Decision)> {
        let total = self.total();
        self.pending
            .iter()
            .filter_map(move |((_, account), demand)| {
                let demand = demand.as_ref()?;
                Some((account, demand, self.undecided(demand, &total)))
            })
    }

    fn undecided(&self, demand: &Demand, total: &Total) -> Decision {
        match self.could_fit(demand) {
            Ok(()) => Decision::Waiting(self.budget.room(demand, total).err()),
            Err(never) => Decision::Never(never),
        }
    }

    /// Gives back what an account has, and withdraws what it asked for.
    pub fn release(&mut self, account: &Account) {
        self.granted.remove(account);
        if let Some(rank) = self.rank_of(account) {
            self.pending.remove(&rank);
        }
        self.settle();
    }

    /// Gives back what all of these have, before anybody is given any of it.
    pub fn release_all<'a>(&mut self, accounts: impl IntoIterator<Item = &'a Account>) {
        for account in accounts {
            self.granted.remove(account);
        }
        self.settle();
    }

    /// Says that room is being made for an account that waits. It ends when it is granted or withdrawn.
    pub fn favour(&mut self, account: &Account) {
        if self.rank_of(account).is_some() && self.favoured.insert(account.clone()) {
            self.settle();
        }
    }

    /// Whether room is being made for an account.
    pub fn favours(&self, account: &Account) -> bool {
        self.favoured.contains(account)
    }

    /// Says that no room is being made for an account any more.
    pub fn favour_no_more(&mut self, account: &Account) {
        if self.favoured.remove(account) {
            self.settle();
        }
    }

    /// Replaces what an account has or waits for by a better figure. An account that has and asked for
    /// nothing is not touched.
    pub fn correct(&mut self, account: &Account, demand: Demand) {
        if let Some(granted) = self.granted.get_mut(account) {
            *granted = demand;
        } else if let Some(rank) = self.rank_of(account)
            && let Some(Some(waiting)) = self.pending.get_mut(&rank)
        {
            *waiting = demand;
        }
        self.settle();
    }

    /// Gives an account what it uses already.
    pub fn adopt(&mut self, account: Account, demand: Demand) {
        self.release(&account);
        self.granted.insert(account, demand);
    }

    /// Whether a demand would be granted now.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn would_fit(&self, demand: &Demand) -> Result<(), Shortage> {
        self.budget.room(demand, &self.total())
    }

    /// Whether a demand would be granted if nobody had anything.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn could_fit(&self, demand: &Demand) -> Result<(), Never> {
        self.budget.room(demand, &Total::default()).map_err(Never)
    }

    /// Who has what.
    pub fn granted(&self) -> &BTreeMap<Account, Demand> {
        &self.granted
    }

    /// Grants what can be granted, in order, up to the first that is expected and did not ask; but
    /// nothing beside those for whom room is being made, until they have it.
    fn settle(&mut self) {
        let mut total = self.total();
        let favoured = std::mem::take(&mut self.favoured);
        let is_favoured = |(_, account): &&Rank| favoured.contains(account);
        let first: Vec<_> = self.pending.keys().filter(is_favoured).cloned().collect();
        for rank in first {
            if !self.grant(&rank, &mut total) {
                self.favoured.insert(rank.1);
            }
        }
        if self.favoured.is_empty() {
            let asked = self
                .pending
                .iter()
                .take_while(|(_, demand)| demand.is_some());
            let asked: Vec<_> = asked.map(|(rank, _)| rank.clone()).collect();
            for rank in asked {
                self.grant(&rank, &mut total);
            }
        }
    }

    /// Grants what this one asks for, if there is room for it beside `total`.
    fn grant(&mut self, rank: &Rank, total: &mut Total) -> bool {
        let Some(Some(demand)) = self.pending.get(rank) else {
            return false;
        };
        if self.budget.room(demand, total).is_err() {
            return false;
        }
        total.add(demand, &self.budget);
        if let Some(Some(demand)) = self.pending.remove(rank) {
            self.granted.insert(rank.1.clone(), demand);
        }
        true
    }

    fn total(&self) -> Total {
        let mut total = Total::default();
        for demand in self.granted.values() {
            total.add(demand, &self.budget);
        }
        total
    }

    fn rank_of(&self, account: &Account) -> Option<Rank> {
        let mut ranks = self.pending.keys();
        ranks.find(|(_, pending)| pending == account).cloned()
    }
}

impl Total {
    fn add(&mut self, demand: &Demand, budget: &Budget) {
        self.ram = self.ram.saturating_add(demand.ram);
        self.accounts += 1;
        for (device, &bytes) in &demand.devices {
            self.uses_unknown |= !budget.devices.contains_key(device);
            let sum = self.devices.entry(device.clone()).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }
}

impl Budget {
    /// Whether `demand` fits beside what others have.
    fn room(&self, demand: &Demand, others: &Total) -> Result<(), Shortage> {
        let short = |resource, needs, reserved, budget| Shortage {
            resource,
            needs,
            reserved,
            budget,
        };
        let fits = |needs: u64, reserved: u64, budget: u64| {
            reserved.checked_add(needs).is_some_and(|sum| sum <= budget)
        };
        if self.max_loaded > 0 && others.accounts >= self.max_loaded {
            let (loaded, most) = (others.accounts.into(), self.max_loaded.into());
            return Err(short(Resource::Places, 1, loaded, most));
        }
        if !fits(demand.ram, others.ram, self.ram) {
            return Err(short(Resource::Ram, demand.ram, others.ram, self.ram));
        }
        for (device, &needs) in &demand.devices {
            let reserved = others.devices.get(device).copied().unwrap_or(0);
            match self.devices.get(device) {
                Some(&budget) if !fits(needs, reserved, budget) => {
                    let resource = Resource::Device(device.clone());
                    return Err(short(resource, needs, reserved, budget));
                }
                None if others.uses_unknown => {
                    let resource = Resource::UnknownDevice(device.clone());
                    return Err(short(resource, needs, reserved, 0));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}
