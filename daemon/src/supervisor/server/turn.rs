//! Waiting until a server may start: first for memory, then for its turn.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Report, Server, effect};
use crate::lifecycle::{Event, Exit, ExitClass};
use crate::memory::{Account, Inputs, MemoryHandle, Request};
use crate::plan::Definition;
use crate::supervisor::seat::Seat;

/// Memory that is reserved for a seat, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    memory: MemoryHandle,
    account: Account,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.release(&self.account);
    }
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
        facts: model.facts.as_deref().cloned(),
        projector: launch.settings.get("mmproj").map(PathBuf::from),
        arguments: launch.arguments.clone(),
        env: launch.env.clone(),
    }
}

impl Server {
    /// Reserves memory, telling of what there is too little of, and then waits for a turn.
    pub(super) fn await_turn(&mut self) {
        let memory = self.context.memory.clone();
        let turns = self.context.rules.borrow().turns.clone();
        let reports = self.reports.clone();
        let account = account(&self.seat);
        if self.definition.launch.model.file.is_err() {
            // It will not get as far as using any.
            memory.withdraw(&account);
            self.effects.turn = effect(async move {
                let permit = turns.next().await;
                let report = Report::Turn {
                    permit,
                    reserved: None,
                };
                let _ = reports.send(report).await;
            });
            return;
        }
        let request = Request {
            account: account.clone(),
            priority: self.definition.priority,
            inputs: inputs(&self.definition),
        };
        self.effects.turn = effect(async move {
            let (on_wait, mut shortage) = watch::channel(None);
            let reservation = memory.reserve(request, &on_wait);
            tokio::pin!(reservation);
            let granted = loop {
                // Cancel-safe: the reservation is kept, and the newest shortage stays to be seen.
                tokio::select! {
                    granted = &mut reservation => break granted,
                    Ok(()) = shortage.changed() => {
                        let told = shortage.borrow_and_update().clone();
                        if let Some(told) = told {
                            let event = Event::Shortage(Arc::from(told.to_string()));
                            let _ = reports.send(Report::Event(event)).await;
                        }
                    }
                }
            };
            if let Err(never) = granted {
                let exit = Exit::without_process(ExitClass::DoesNotFit, never.to_string());
                let event = Event::DoesNotFit(Arc::new(exit));
                let _ = reports.send(Report::Event(event)).await;
                return;
            }
            let reserved = Some(Reserved {
                memory: memory.clone(),
                account,
            });
            let permit = turns.next().await;
            let _ = reports.send(Report::Turn { permit, reserved }).await;
        });
    }
}
