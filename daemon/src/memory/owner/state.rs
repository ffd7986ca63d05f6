//! What all handles share. Pure: what is to be asked or written is done by whoever has the lock, after
//! giving it back.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::{Row, Snapshot};
use crate::config::MemoryConfig;
use crate::memory::breakdown::Breakdown;
use crate::memory::budget::{Budget, Machine};
use crate::memory::demand::{Demand, Source};
use crate::memory::devices::Device;
use crate::memory::estimates::Estimates;
use crate::memory::inputs::{Assessed, Key};
use crate::memory::ledger::{Account, Decision, Ledger};

/// The most builds of llama-server, and the most settings without a figure, that are remembered.
const MOST: usize = 1024;

/// A peak that grew by less than this part of it is not worth writing.
const GROWTH: u64 = 32;

/// Which reservation of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serial(u64);

/// How a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// By the best figure that there will be; or it is not the account's reservation any more.
    Finally,
    /// By an estimate, and it was granted.
    GrantedByEstimate,
    /// By an estimate, and it was not: with the exact figure it may be.
    ByEstimate,
}

#[derive(Debug)]
pub(super) struct State {
    config: MemoryConfig,
    machine: Machine,
    ledger: Ledger,
    /// The ledger's budget, for those who wait for another one.
    budget: watch::Sender<Budget>,
    changes: watch::Sender<()>,
    estimates: Estimates,
    /// What builds of llama-server told of their devices; None for one that did not tell.
    engines: BTreeMap<Key, Option<Vec<Device>>>,
    /// Settings for which llama-fit-params told nothing.
    unfit: BTreeSet<Key>,
    reservations: BTreeMap<Account, Reservation>,
    serial: u64,
}

/// A reservation that is made or being made.
#[derive(Debug)]
struct Reservation {
    serial: Serial,
    /// The settings that it is for, once they are known.
    key: Option<Key>,
    /// Where the decision is told while it is waited for.
    decision: watch::Sender<Option<Decision>>,
    /// The most main memory that was observed, in bytes.
    peak: Option<u64>,
}

impl State {
    pub(super) fn new(config: MemoryConfig, machine: Machine, estimates: Estimates) -> Self {
        let budget = Budget::new(&config, machine, []);
        Self {
            config,
            machine,
            ledger: Ledger::new(budget.clone()),
            budget: watch::Sender::new(budget),
            changes: watch::Sender::new(()),
            estimates,
            engines: BTreeMap::new(),
            unfit: BTreeSet::new(),
            reservations: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn budget(&self) -> watch::Receiver<Budget> {
        self.budget.subscribe()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Changes the ledger, and tells those who wait what became of it.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let changed = change(&mut self.ledger);
        self.tell();
        changed
    }

    fn tell(&self) {
        self.changes.send_replace(());
        let waiting: BTreeMap<_, _> = self
            .ledger
            .waiting()
            .map(|(account, _, decision)| (account, decision))
            .collect();
        // What an account has that did not ask yet is an earlier incarnation's.
        let asked = self.reservations.iter();
        for (account, reservation) in asked.filter(|(_, reservation)| reservation.key.is_some()) {
            let decision = match waiting.get(account) {
                Some(decision) => decision.clone(),
                None if self.ledger.granted().contains_key(account) => Decision::Granted,
                // It was told already that it never fits.
                None => continue,
            };
            reservation.tell(decision);
        }
    }

    pub(super) fn configure(&mut self, config: MemoryConfig) {
        self.config = config;
        self.budget_changed();
    }

    pub(super) fn look_at(&mut self, machine: Machine) {
        self.machine = machine;
        self.budget_changed();
    }

    fn budget_changed(&mut self) {
        let told = self.engines.values().map(Option::as_ref);
        let budget = Budget::new(&self.config, self.machine, told);
        if budget != *self.ledger.budget() {
            self.change(|ledger| ledger.set_budget(budget.clone()));
            self.budget.send_replace(budget);
        }
    }

    pub(super) fn knows_engine(&self, engine: &Key) -> bool {
        self.engines.contains_key(engine)
    }

    pub(super) fn engine_told(&mut self, engine: Key, devices: Option<Vec<Device>>) {
        if self.engines.len() >= MOST {
            self.engines.clear();
        }
        self.engines.insert(engine, devices);
        self.budget_changed();
    }

    /// Whether llama-fit-params is to be asked for these settings: it is there, and did not answer yet.
    pub(super) fn wants_fit(&mut self, assessed: &Assessed) -> bool {
        let known = self.estimates.get(&assessed.key);
        let has_fit = known.is_some_and(|known| known.fit.is_some());
        assessed.fit.is_some() && !has_fit && !self.unfit.contains(&assessed.key)
    }

    /// Takes what llama-fit-params told; None if nothing. What is to be written, if it did.
    pub(super) fn fit_told(&mut self, key: &Key, fit: Option<Breakdown>) -> Option<Estimates> {
        match fit {
            Some(breakdown) => {
                self.estimates.fit(key, breakdown);
                Some(self.estimates.clone())
            }
            None => {
                if self.unfit.len() >= MOST {
                    self.unfit.clear();
                }
                self.unfit.insert(key.clone());
                None
            }
        }
    }

    /// What a server needs, by the best that is known.
    pub(super) fn best(&mut self, assessed: &Assessed) -> Demand {
        let known = self.estimates.get(&assessed.key).unwrap_or_default();
        let (breakdown, source) = match &known.fit {
            Some(fit) => (fit.clone(), Source::Fit),
            None => {
                let devices = self.engines.get(&assessed.engine).and_then(Option::as_ref);
                let devices = devices.map_or(&[][..], Vec::as_slice);
                (assessed.estimate(devices), Source::Estimate)
            }
        };
        let demand = breakdown.demand(source, &assessed.beside, known.observed());
        match assessed.model_use.places_itself() {
            true => demand.placed_within(&self.ledger.budget().devices),
            false => demand,
        }
    }

    /// Begins a reservation. An earlier one of the account is told nothing any more.
    pub(super) fn claim(
        &mut self,
        account: &Account,
    ) -> (Serial, watch::Receiver<Option<Decision>>) {
        self.serial += 1;
        let serial = Serial(self.serial);
        let (decision, told) = watch::channel(None);
        let reservation = Reservation {
            serial,
            key: None,
            decision,
            peak: None,
        };
        self.reservations.insert(account.clone(), reservation);
        (serial, told)
    }

    fn reservation(&mut self, account: &Account, serial: Serial) -> Option<&mut Reservation> {
        let reservation = self.reservations.get_mut(account)?;
        (reservation.serial == serial).then_some(reservation)
    }

    /// Asks the ledger by the best that is known. What can never fit by an estimate is kept in line until
    /// the exact figure is known.
    pub(super) fn ask(
        &mut self,
        account: &Account,
        serial: Serial,
        assessed: &Assessed,
        priority: i32,
    ) -> Asked {
        let Some(reservation) = self.reservation(account, serial) else {
            return Asked::Finally;
        };
        reservation.key = Some(assessed.key.clone());
        let demand = self.best(assessed);
        let is_final = demand.source != Source::Estimate || !self.wants_fit(assessed);
        let decision = self.change(|ledger| {
            let decision = ledger.request(account.clone(), demand, priority);
            if !is_final && matches!(decision, Decision::Never(_)) {
                ledger.expect(&[(account.clone(), priority)]);
            }
            decision
        });
        match (is_final, &decision) {
            (false, Decision::Granted) => Asked::GrantedByEstimate,
            (false, Decision::Waiting(_) | Decision::Never(_)) => Asked::ByEstimate,
            (true, _) => {
                self.reservations[account].tell(decision);
                Asked::Finally
            }
        }
    }

    /// Replaces what is reserved by the best that is known by now.
    pub(super) fn refine(&mut self, account: &Account, serial: Serial, assessed: &Assessed) {
        if self.reservation(account, serial).is_some() {
            let demand = self.best(assessed);
            self.change(|ledger| ledger.correct(account, demand));
        }
    }

    /// Withdraws a reservation, and gives back what was granted.
    pub(super) fn abandon(&mut self, account: &Account, serial: Serial) {
        if self.reservation(account, serial).is_some() {
            self.reservations.remove(account);
            self.change(|ledger| ledger.release(account));
        }
    }

    /// Takes what a server has now. What is to be written, if it is worth it.
    pub(super) fn observe(&mut self, account: &Account, resident: u64) -> Option<Estimates> {
        let reservation = self.reservations.get_mut(account)?;
        let key = reservation.key.clone()?;
        let before = reservation.peak;
        let is_news = before.is_none_or(|peak| resident > peak.saturating_add(peak / GROWTH));
        if !is_news {
            return None;
        }
        reservation.peak = Some(resident);
        self.estimates.observe(&key, resident, before.is_some());
        self.correct_upwards(account, resident);
        Some(self.estimates.clone())
    }

    /// What a server has now it may still outgrow, so a lower figure is for the next incarnation.
    fn correct_upwards(&mut self, account: &Account, resident: u64) {
        let Some(granted) = self.ledger.granted().get(account) else {
            return;
        };
        if granted.ram < resident {
            let demand = Demand {
                ram: resident,
                source: Source::Observed,
                ..granted.clone()
            };
            self.change(|ledger| ledger.correct(account, demand));
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let granted = self.ledger.granted().iter().map(|(account, demand)| Row {
            account: account.clone(),
            demand: demand.clone(),
            decision: Decision::Granted,
        });
        let waiting = self
            .ledger
            .waiting()
            .map(|(account, demand, decision)| Row {
                account: account.clone(),
                demand: demand.clone(),
                decision,
            });
        Snapshot {
            budget: self.ledger.budget().clone(),
            rows: granted.chain(waiting).collect(),
        }
    }
}

impl Reservation {
    fn tell(&self, decision: Decision) {
        self.decision.send_if_modified(|told| {
            let decision = Some(decision);
            let differs = *told != decision;
            *told = decision;
            differs
        });
    }
}
