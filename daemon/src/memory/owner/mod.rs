//! The handle on the ledger, and what keeps its figures right.
//!
//! A start reserves by the best figure that is known at once. Does the estimate fit, the server is
//! started, and llama-fit-params is asked beside that, to correct what is reserved. Only if it does not
//! fit is the exact figure waited for before that is decided.
//!
//! What all share is behind one lock, which is held while maps are looked up and sums are made, never
//! over anything that waits: files are looked at, and programs are run, before and after. The lock is
//! what makes a reservation safe to abandon: whoever drops it, or the future of
//! [`MemoryHandle::reserve`], withdraws it at that moment, and no message about it can be lost or come
//! late.

mod asking;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Machine};
use super::demand::{Demand, Source};
use super::estimates::{Estimates, EstimatesFile};
use super::inputs::{Assessed, Inputs};
use super::ledger::{Account, Decision, Ledger, Never, Shortage};
use crate::blocking::blocking;
use crate::config::MemoryConfig;
use state::{Asked, Serial, State};

/// The file under the state directory.
const FILE: &str = "memory_estimates.json";

/// How long others are kept waiting for one that is expected to ask. It takes as long as looking at its
/// files; it is a bound for the case that it never does.
const EXPECTED: Duration = Duration::from_secs(30);

/// How often the machine is looked at: limits of cgroups can be changed while we run.
const LOOK: Duration = Duration::from_secs(60);

/// A handle on the memory of all servers.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    file: EstimatesFile,
    /// Programs beside llama-server run one at a time.
    turn: Semaphore,
    /// Of those for which nobody waits, one is in that line at a time.
    quiet_turn: Semaphore,
    /// Cancelled when magid ends.
    ending: CancellationToken,
}

/// Memory that is reserved, or being reserved, for an account. Dropped, it is given back, unless a newer
/// reservation of the account took its place. To be kept until the whole tree of the server is gone, and
/// its memory with it.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    account: Account,
    serial: Serial,
}

/// A request for memory.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub account: Account,
    /// The higher is decided first.
    pub priority: i32,
    /// What the demand depends on.
    pub inputs: Inputs,
}

/// Who has what, and who waits.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What there is for all.
    pub budget: Budget,
    /// One row for each account.
    pub rows: Vec<Row>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub account: Account,
    /// What it has, or waits for.
    pub demand: Demand,
    /// Whether it has it.
    pub decision: Decision,
}

impl MemoryHandle {
    /// Reads what is known from `state_dir`, looks at the machine, and starts to keep the budget.
    pub async fn spawn(config: MemoryConfig, state_dir: &Path) -> Self {
        let (file, known) = EstimatesFile::open(state_dir.join(FILE)).await;
        let machine = look().await;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config, machine, known)),
            file,
            turn: Semaphore::new(1),
            quiet_turn: Semaphore::new(1),
            ending: CancellationToken::new(),
        });
        tokio::spawn(keep_looking(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Ends the program that is asked now; no more are asked.
    pub async fn close(&self) {
        self.shared.ending.cancel();
        let _ = self.shared.turn.acquire().await;
    }

    /// What there is for all, whenever that changes.
    pub fn budget(&self) -> watch::Receiver<Budget> {
        self.state().budget()
    }

    /// Changes `[memory]`. Nothing is stopped for it.
    pub fn configure(&self, config: MemoryConfig) {
        self.state().configure(config);
    }

    /// Says that servers are about to reserve, with their priorities: until each of them did, or was
    /// withdrawn, or half a minute has passed, nothing of lower order is decided.
    pub fn expect(&self, accounts: Vec<(Account, i32)>) {
        self.state().change(|ledger| ledger.expect(&accounts));
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            sleep(EXPECTED).await;
            if let Some(shared) = shared.upgrade() {
                shared.state().change(|ledger| {
                    for (account, _) in &accounts {
                        ledger.expect_no_more(account);
                    }
                });
            }
        });
    }

    /// Says that a server that was expected will not reserve.
    pub fn withdraw(&self, account: &Account) {
        self.state().change(|ledger| ledger.expect_no_more(account));
    }

    /// Reserves memory for a server that is about to be started, waiting until there is room. Meanwhile
    /// `on_wait` has what there is too little of; it has nothing when the wait is over, or if it is for
    /// others that are decided first.
    ///
    /// What the account has is kept until its new request is decided, and given back in the same step.
    /// Dropping the future withdraws the request, and gives back what the account had. A newer request of
    /// the same account takes the place of this one, which then waits for ever.
    ///
    /// # Errors
    ///
    /// It does not fit even alone.
    pub async fn reserve(
        &self,
        request: Request,
        on_wait: &watch::Sender<Option<Shortage>>,
    ) -> Result<Reservation, Never> {
        let Request {
            account,
            priority,
            inputs,
        } = request;
        let (reservation, decision) = self.claim(account);
        let assessed = self.shared.assess(inputs).await;
        match reservation.ask(&assessed, priority) {
            Asked::Finally => {}
            Asked::GrantedByEstimate => self.refine_later(&reservation, assessed),
            Asked::ByEstimate => {
                self.shared.ask_for_fit(&assessed).await;
                reservation.ask(&assessed, priority);
            }
        }
        let granted = decided(decision, on_wait).await;
        on_wait.send_replace(None);
        granted.map(|()| reservation)
    }

    fn claim(&self, account: Account) -> (Reservation, watch::Receiver<Option<Decision>>) {
        let (serial, decision) = self.state().claim(&account);
        let reservation = Reservation {
            shared: self.shared.clone(),
            account,
            serial,
        };
        (reservation, decision)
    }

    /// Has the figure of a reservation corrected as soon as llama-fit-params has told.
    fn refine_later(&self, reservation: &Reservation, assessed: Assessed) {
        let (serial, account) = (reservation.serial, reservation.account.clone());
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let _turn = shared.quiet_turn.acquire().await;
            shared.ask_for_fit(&assessed).await;
            shared.state().refine(&account, serial, &assessed);
        });
    }

    /// Gives an account what it has already, whatever there is: a server that was met running.
    pub fn adopt(&self, account: Account, demand: Demand) -> Reservation {
        let (reservation, _decision) = self.claim(account);
        let mut state = self.state();
        state.change(|ledger| ledger.adopt(reservation.account.clone(), demand));
        drop(state);
        reservation
    }

    /// Tells how much main memory the server of an account has now, all of it, with what is mapped from
    /// files. Only of a server that is ready: while it loads, it has less or more than it needs. The most
    /// that was told of an incarnation is remembered for those that come; if it is more than is reserved,
    /// that is corrected.
    pub fn observe(&self, account: &Account, resident: u64) {
        let news = self.state().observe(account, resident);
        if let Some(estimates) = news {
            self.shared.file.write(&estimates);
        }
    }

    /// What servers need, by what is known at once: what was observed, what llama-fit-params said before,
    /// or an estimate. It looks at files, and runs nothing.
    pub async fn needs(&self, inputs: Vec<Inputs>) -> Vec<Demand> {
        let assess = move || inputs.into_iter().map(Assessed::of).collect::<Vec<_>>();
        // It fails only while the runtime shuts down.
        let assessed = blocking(assess).await.unwrap_or_default();
        let mut state = self.state();
        assessed
            .iter()
            .map(|assessed| state.best(assessed))
            .collect()
    }

    /// What a server needs, by what the programs beside its llama-server tell, if they do so in time.
    pub async fn exact_needs(&self, inputs: Inputs) -> Demand {
        let assessed = self.shared.assess(inputs).await;
        if self.state().best(&assessed).source == Source::Estimate {
            self.shared.ask_for_fit(&assessed).await;
        }
        self.state().best(&assessed)
    }

    /// Whether a demand would be granted now, beside all that is reserved.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn would_fit(&self, demand: &Demand) -> Result<(), Shortage> {
        self.state().ledger().would_fit(demand)
    }

    /// Whether a demand would be granted if nobody had anything.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn could_fit(&self, demand: &Demand) -> Result<(), Never> {
        self.state().ledger().could_fit(demand)
    }

    /// Who has what now, and who waits, to try things out with.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger().clone()
    }

    /// Changes whenever the ledger may have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.state().changes()
    }

    /// Says whether room is being made for an account that waits: then it comes before all others.
    pub fn favour(&self, account: &Account, is_favoured: bool) {
        let mut state = self.state();
        if state.ledger().favours(account) != is_favoured {
            state.change(|ledger| match is_favoured {
                true => ledger.favour(account),
                false => ledger.favour_no_more(account),
            });
        }
    }

    /// Who has what now, and who waits.
    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    /// Nothing that is done under this lock can leave the state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Asks by the best figure that is known now.
    fn ask(&self, assessed: &Assessed, priority: i32) -> Asked {
        let mut state = self.shared.state();
        state.ask(&self.account, self.serial, assessed, priority)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.state().abandon(&self.account, self.serial);
    }
}

/// Waits until a request is decided for good.
async fn decided(
    mut decision: watch::Receiver<Option<Decision>>,
    on_wait: &watch::Sender<Option<Shortage>>,
) -> Result<(), Never> {
    loop {
        match decision.borrow_and_update().clone() {
            Some(Decision::Granted) => return Ok(()),
            Some(Decision::Never(never)) => return Err(never),
            Some(Decision::Waiting(shortage)) => {
                on_wait.send_if_modified(|told| {
                    let differs = *told != shortage;
                    *told = shortage;
                    differs
                });
            }
            None => {}
        }
        if decision.changed().await.is_err() {
            // A newer request took the place of this one.
            std::future::pending::<()>().await;
        }
    }
}

async fn look() -> Machine {
    // It fails only while the runtime shuts down.
    let seen = blocking(Machine::read).await;
    seen.unwrap_or_else(|_| Machine::read())
}

async fn keep_looking(shared: Weak<Shared>) {
    loop {
        sleep(LOOK).await;
        let machine = look().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.state().look_at(machine);
    }
}

/// What there is for all servers, and what these need by what can be told without running anything: for
/// those who only look. Blocks.
pub fn survey(config: &MemoryConfig, inputs: Vec<Inputs>) -> (Budget, Vec<Demand>) {
    let mut state = State::new(config.clone(), Machine::read(), Estimates::default());
    let assessed = inputs.into_iter().map(Assessed::of);
    let needs = assessed.map(|assessed| state.best(&assessed)).collect();
    (state.snapshot().budget, needs)
}
