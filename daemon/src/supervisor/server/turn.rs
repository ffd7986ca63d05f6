//! Waiting until a server may start: first for memory, then for its turn.

use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::{Report, Server, effect};
use crate::lifecycle::{Event, Exit, ExitClass, Phase, Wait};
use crate::memory::{Account, Inputs, Never, Request, Reservation, Shortage};
use crate::name::ServerName;
use crate::plan::Definition;
use crate::supervisor::context::Turns;
use crate::supervisor::room::{Progress, Room, Want, Wish};
use crate::supervisor::seat::Seat;

/// What came of waiting.
#[derive(Debug)]
pub(super) enum News {
    /// What it waits for.
    Waits(Wait),
    /// There will never be memory for it.
    DoesNotFit(Arc<Exit>),
    /// It may start, for as long as it holds these.
    Turn {
        permit: Option<OwnedSemaphorePermit>,
        reserved: Option<Reservation>,
    },
}

/// Who waits for news.
struct Waiter {
    reports: mpsc::Sender<Report>,
    /// Which wait of the server it is.
    wait: u64,
    /// Where room is asked for, and what is wanted there. Absent if nobody asks for the server.
    room: Option<(Room, Account, ServerName, Want)>,
}

/// The account of a seat.
pub fn account(seat: &Seat) -> Account {
    Account::new(seat.to_string())
}

/// What the memory of a server depends on.
pub fn inputs(definition: &Definition) -> Inputs {
    let launch = &definition.launch;
    let model = &launch.model;
    let files = model.file.iter().chain(&model.shards);
    Inputs {
        engine: launch.engine.clone(),
        model: files.cloned().collect(),
        facts: model.facts.clone(),
        projector: launch.settings.get("mmproj").map(PathBuf::from),
        arguments: launch.arguments.clone(),
        env: launch.env.clone(),
    }
}

impl Server {
    /// Reserves memory, telling of what there is too little of, and then waits for a turn. An earlier
    /// wait is over.
    pub(super) fn await_turn(&mut self) {
        self.waits += 1;
        let account = account(&self.seat);
        let room = self.want.clone().map(|want| {
            let server = self.seat.server.clone();
            (self.context.room.clone(), account.clone(), server, want)
        });
        let waiter = Waiter {
            reports: self.reports.clone(),
            wait: self.waits,
            room,
        };
        let memory = self.context.memory.clone();
        let turns = self.context.rules.borrow().turns.clone();
        self.budget = memory.budget();
        if self.definition.launch.model.file.is_err() {
            // It will not get as far as using any.
            memory.withdraw(&account);
            self.effects.turn = effect(async move { waiter.take_turn(turns, None, false).await });
            return;
        }
        let request = Request {
            account,
            priority: self.definition.priority,
            inputs: inputs(&self.definition),
        };
        self.effects.turn = effect(async move {
            let (on_wait, shortage) = watch::channel(None);
            let reservation = memory.reserve(request, &on_wait);
            match waiter.granted(reservation, shortage).await {
                Ok((reserved, waited)) => waiter.take_turn(turns, Some(reserved), waited).await,
                Err(never) => {
                    let exit = Exit::without_process(ExitClass::DoesNotFit, never.to_string());
                    waiter.tell(News::DoesNotFit(Arc::new(exit))).await;
                }
            }
        });
    }

    /// Has room made when it lacks memory, but not by those `beside` it. What runs, or is about to, lacks
    /// none.
    pub(super) fn want_room(&mut self, beside: BTreeSet<ServerName>) {
        let has_it = matches!(
            self.state.phase,
            Phase::Spawning { .. } | Phase::Loading { .. } | Phase::Ready { .. }
        );
        let known = self.want.as_ref();
        if has_it || known.is_some_and(|want| want.beside == beside) {
            return;
        }
        let since = known.map_or_else(Instant::now, |want| want.since);
        self.want = Some(Want { beside, since });
        if self.is_queued() {
            self.await_turn();
        }
    }

    /// Takes the news of a wait, if it is not over.
    pub(super) fn take_news(&mut self, wait: u64, news: News) {
        if wait != self.waits || !self.is_queued() {
            return;
        }
        match news {
            News::Waits(wait) => self.apply(Event::Waits(wait)),
            News::DoesNotFit(exit) => self.apply(Event::DoesNotFit(exit)),
            News::Turn { permit, reserved } => {
                self.turn = permit;
                self.reserved = reserved;
                self.want = None;
                self.apply(Event::Turn(self.numbers.draw()));
            }
        }
    }
}

impl Waiter {
    async fn tell(&self, news: News) {
        let wait = self.wait;
        let _ = self.reports.send(Report::Waited { wait, news }).await;
    }

    /// Waits for memory. With it, whether there was too little at first.
    async fn granted(
        &self,
        reservation: impl Future<Output = Result<Reservation, Never>>,
        mut shortage: watch::Receiver<Option<Shortage>>,
    ) -> Result<(Reservation, bool), Never> {
        tokio::pin!(reservation);
        let mut waited = false;
        let mut wish: Option<Wish> = None;
        loop {
            let progress = async {
                match &mut wish {
                    Some(wish) => wish.progress().await,
                    None => pending().await,
                }
            };
            // Cancel-safe: the reservation is kept, and the newest shortage and progress stay to be seen.
            let wait = tokio::select! {
                granted = &mut reservation => return granted.map(|reserved| (reserved, waited)),
                Ok(()) = shortage.changed() => match (&*shortage.borrow_and_update(), &self.room) {
                    (Some(_), Some((room, account, server, want))) => {
                        if wish.is_none() {
                            wish = Some(room.wish(server.clone(), account.clone(), want.clone()));
                        }
                        None
                    }
                    (Some(shortage), None) => Some(Wait::Memory(shortage.to_string().into())),
                    (None, _) => None,
                },
                progress = progress => match progress {
                    Progress::Undecided => None,
                    Progress::Making(sentence) => Some(Wait::Room(sentence)),
                    Progress::Nobody(sentence) => Some(Wait::Memory(sentence)),
                },
            };
            if let Some(wait) = wait {
                waited = true;
                self.tell(News::Waits(wait)).await;
            }
        }
    }

    /// Waits for a turn. Whoever was told of a shortage is told if that is not what is waited for now.
    async fn take_turn(&self, turns: Turns, reserved: Option<Reservation>, waited: bool) {
        let turn = turns.next();
        tokio::pin!(turn);
        // Cancel-safe: the turn is kept.
        let permit = tokio::select! {
            biased;
            permit = &mut turn => permit,
            () = ready(()), if waited => {
                self.tell(News::Waits(Wait::Turn)).await;
                turn.await
            }
        };
        self.tell(News::Turn { permit, reserved }).await;
    }
}
