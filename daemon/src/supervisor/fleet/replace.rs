//! Replacing a server without a gap.
//!
//! The successor gets ready in a seat of its own, with its own port, while its predecessor goes on
//! serving. Only when the whole change holds does it take over; until then it can be dropped as if it
//! had never been.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::owner::{Fleet, Successor, tell};
use super::{Mode, Request};
use crate::lifecycle::{Event, PublicState, StopReason};
use crate::name::ServerName;
use crate::plan::{Definition, Difference, Method, Replace, compare};
use crate::supervisor::events::{Happening, Kind};
use crate::supervisor::record::Record;
use crate::supervisor::seat::Seat;
use crate::supervisor::server::{self, Command, Place, ServerHandle, Survivor};

/// Incarnations that one server may have beside the one that serves: a successor, and predecessors that
/// drain.
const MOST_BESIDE: usize = 4;

impl Fleet {
    /// How a server gets a new definition: beside the incarnation that serves, if there is room for both.
    /// Nobody judges a way back, so nothing could take over at the end of it.
    pub(super) fn method(&self, definition: &Definition, mode: Mode) -> Method {
        match mode {
            Mode::Rollback => Method::DrainRestart,
            Mode::Plan | Mode::Start | Mode::Reload if self.can_be_beside(definition) => {
                Method::BlueGreen
            }
            Mode::Plan | Mode::Start | Mode::Reload => Method::DrainRestart,
        }
    }

    fn can_be_beside(&self, definition: &Definition) -> bool {
        let wanted = match definition.replace {
            Replace::Auto | Replace::BlueGreen => definition.launch.port.is_none(),
            Replace::DrainRestart => false,
        };
        let serves = self
            .context
            .board
            .row(&definition.name)
            .is_some_and(|row| row.view.state == PublicState::Ready);
        let has_successor = self
            .members
            .get(&definition.name)
            .is_some_and(|member| member.successor.is_some());
        let need = definition.need.as_ref();
        // What a successor has reserved is its own.
        let fits =
            has_successor || need.is_none_or(|need| self.context.memory.would_fit(need).is_ok());
        wanted && serves && fits && self.seats_beside(&definition.name) < MOST_BESIDE
    }

    fn seats_beside(&self, name: &ServerName) -> usize {
        let retired = self.retired.keys().filter(|seat| seat.server == *name);
        retired.count()
    }

    /// Starts a successor. One that has this definition already is kept.
    pub(super) fn prepare(&mut self, definition: Arc<Definition>) -> Option<oneshot::Receiver<()>> {
        let name = definition.name.clone();
        let (done, finished) = oneshot::channel();
        let member = self.members.get_mut(&name)?;
        if let Some(successor) = &mut member.successor
            && !needs_launch(&successor.definition, &definition)
        {
            successor.definition = definition.clone();
            // A queue that is full is told of the next time, and answers by dropping the sender.
            let _ = successor.handle.tell(Command::Define {
                definition,
                replace: false,
            });
            let _ = successor.handle.tell(Command::Notify(done));
            return Some(finished);
        }
        self.drop_successor(&name);
        let member = self.members.get(&name)?;
        let is_taken = |seat: &Seat| *seat == member.seat || self.retired.contains_key(seat);
        let seat = Seat::free(&name, is_taken)?;
        let place = Place {
            seat: seat.clone(),
            numbers: member.numbers.clone(),
            record: Record::new(&seat),
            survivor: None,
        };
        let handle = server::spawn(self.context.clone(), definition.clone(), place);
        let _ = handle.tell(Command::Ask(Event::Start, Some(done)));
        self.members.get_mut(&name)?.successor = Some(Successor {
            handle,
            seat,
            definition,
        });
        Some(finished)
    }

    /// Lets a successor take over.
    pub(super) fn promote(&mut self, name: &ServerName) {
        let Some(member) = self.members.get_mut(name) else {
            return;
        };
        let Some(successor) = member.successor.take() else {
            return;
        };
        let old = std::mem::replace(&mut member.handle, successor.handle);
        let old_seat = std::mem::replace(&mut member.seat, successor.seat);
        member.definition = successor.definition;
        self.context.board.promote(&member.seat);
        self.tell_of_promotion(name);
        self.retire(old_seat, old);
    }

    fn tell_of_promotion(&self, name: &ServerName) {
        let Some(row) = self.context.board.row(name) else {
            return;
        };
        let incarnation = row.incarnation.unwrap_or_default();
        let place = row
            .endpoint
            .map(|endpoint| format!(" at http://{endpoint}"));
        self.context.events.record(Happening {
            kind: Kind::ServerReplaced,
            server: Some((name.clone(), row.incarnation)),
            states: None,
            reason: "replaced".to_owned(),
            message: format!(
                "incarnation {incarnation} of {name} took over{}",
                place.unwrap_or_default()
            ),
        });
    }

    /// Ends a successor that is not wanted any more.
    pub(super) fn drop_successor(&mut self, name: &ServerName) {
        let member = self.members.get_mut(name);
        if let Some(successor) = member.and_then(|member| member.successor.take()) {
            self.retire(successor.seat, successor.handle);
        }
    }

    /// Gives the definition of a successor to the server itself, which takes it with its next
    /// incarnation.
    pub(super) fn settle_for_drain_restart(&mut self, name: &ServerName) {
        let Some(member) = self.members.get_mut(name) else {
            return;
        };
        let Some(successor) = member.successor.take() else {
            return;
        };
        member.definition = successor.definition.clone();
        let definition = successor.definition;
        tell(
            member,
            Command::Define {
                definition,
                replace: true,
            },
        );
        self.retire(successor.seat, successor.handle);
    }

    /// Ends what sits in a seat that does not serve, and forgets the seat once it is empty.
    fn retire(&mut self, seat: Seat, handle: ServerHandle) {
        let (done, finished) = oneshot::channel();
        let stop = Event::Stop(StopReason::Replaced);
        if let Err(error) = handle.tell(Command::Ask(stop, Some(done))) {
            tracing::error!(server = %seat, "{error}");
        }
        self.retired.insert(seat.clone(), handle);
        let requests = self.requests.clone();
        tokio::spawn(async move {
            let _ = finished.await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Left(seat)).await;
            }
        });
    }

    /// Ends what an earlier magid left in a seat that serves nobody now.
    pub(super) fn end_survivor(&mut self, seat: Seat, survivor: Survivor) {
        let Some(member) = self.members.get(&seat.server) else {
            return;
        };
        if member.seat == seat {
            return;
        }
        let record = self.records.get(&seat).cloned();
        let place = Place {
            seat: seat.clone(),
            numbers: member.numbers.clone(),
            record: record.unwrap_or_else(|| Record::new(&seat)),
            survivor: Some(survivor),
        };
        let definition = Arc::new(server::undefined(&seat.server));
        let handle = server::spawn(self.context.clone(), definition, place);
        self.retire(seat, handle);
    }

    /// A seat is empty. Its record stays, for the number of its last incarnation.
    pub(super) fn left(&mut self, seat: &Seat) {
        self.retired.remove(seat);
        self.context.board.leave(seat);
    }
}

/// Whether a successor with the one definition is none with the other.
fn needs_launch(old: &Definition, new: &Definition) -> bool {
    match compare(old, new, None) {
        Difference::Launch(_) => true,
        Difference::None | Difference::Live(_) => false,
    }
}
