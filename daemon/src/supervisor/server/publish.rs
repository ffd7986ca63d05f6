//! What is told of a server: its row on the board, and the events of its life.

use jiff::Timestamp;

use super::output::Dropped;
use super::{Server, end};
use crate::lifecycle::{Desired, LastExit, PublicState, StopReason, View};
use crate::supervisor::board::Row;
use crate::supervisor::events::{Happening, Kind};

/// What of the published row is not in the state.
pub(super) struct Published {
    view: View,
    state_since: Timestamp,
    ready_since: Option<Timestamp>,
    last_exit: Option<(Timestamp, LastExit)>,
    pub(super) load_percent: Option<u8>,
    pub(super) note: Option<String>,
    pub(super) dropped: Dropped,
}

impl Published {
    /// Of a server that has just been defined.
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            state_since: Timestamp::now(),
            ready_since: None,
            last_exit: None,
            load_percent: None,
            note: None,
            dropped: Dropped::default(),
        }
    }
}

impl Server {
    /// Records a change of the public state, and a new end of an incarnation.
    pub(super) fn announce(&mut self) {
        let last = self.state.last_exit.clone();
        if let Some(last) = &last
            && self.published.last_exit.as_ref().map(|(_, exit)| exit) != Some(last)
        {
            self.published.last_exit = Some((Timestamp::now(), last.clone()));
            self.record_event(
                Kind::ServerExited,
                Some(last.incarnation),
                None,
                last.exit.class.code(),
                end::sentence(&self.definition.name, last),
            );
        }
        let view = self.state.view();
        let before = std::mem::replace(&mut self.published.view, view);
        let view = &self.published.view;
        if (before.state, before.reason, &before.detail) == (view.state, view.reason, &view.detail)
        {
            return;
        }
        if before.state != view.state {
            self.published.state_since = Timestamp::now();
        }
        self.published.ready_since = match (self.state.ready_since(), self.published.ready_since) {
            (None, _) => None,
            (Some(_), Some(known)) => Some(known),
            (Some(since), None) => Some(self.context.clock.wall(since)),
        };
        let (states, reason) = ((before.state, view.state), view.reason);
        let message = self.sentence(view);
        let kind = match self.context.board.serves(&self.seat) {
            true => Kind::ServerState,
            false => Kind::ReplacementState,
        };
        self.record_event(kind, None, Some(states), reason, message);
    }

    /// The change of state in one line.
    fn sentence(&self, view: &View) -> String {
        let mut line = match self.context.board.serves(&self.seat) {
            true => format!("{} is {}: {}", self.seat.server, view.state, view.reason),
            false => format!(
                "incarnation {} of {}, beside the one that serves, is {}: {}",
                self.state.incarnation, self.seat.server, view.state, view.reason
            ),
        };
        if !view.detail.is_empty() {
            line.push_str(&format!(" ({})", view.detail));
        }
        if view.state == PublicState::Draining
            && view.reason == StopReason::Idle.code()
            && let Some(timeout) = self.definition.traffic.idle_timeout
        {
            line.push_str(&format!(" (no request for {timeout:?})"));
        }
        if let Some(due) = view.next_try {
            let wait = due.since(self.context.clock.now());
            line.push_str(&format!("; next try in {:.1} s", wait.as_secs_f64()));
        }
        line
    }

    pub(super) fn record_event(
        &self,
        kind: Kind,
        incarnation: Option<u64>,
        states: Option<(PublicState, PublicState)>,
        reason: &str,
        message: String,
    ) {
        let newest = (self.state.incarnation > 0).then_some(self.state.incarnation);
        self.context.events.record(Happening {
            kind,
            server: Some((self.definition.name.clone(), incarnation.or(newest))),
            states,
            reason: reason.to_owned(),
            message,
        });
    }

    pub(super) fn publish(&self) {
        self.context.board.publish(self.row());
    }

    fn row(&self) -> Row {
        let published = &self.published;
        let live = self.incarnation.as_ref();
        Row {
            seat: self.seat.clone(),
            definition: self.definition.clone(),
            view: published.view.clone(),
            state_since: published.state_since,
            pid: self.state.pid(),
            incarnation: (self.state.incarnation > 0).then_some(self.state.incarnation),
            endpoint: live.map(|incarnation| incarnation.endpoint),
            api_key: live.and_then(|incarnation| incarnation.api_key.clone()),
            restarts: self.state.history.restarts(),
            is_leaving: self.state.is_leaving(),
            is_held: self.state.desired == Desired::Stopped(StopReason::Held),
            ready_since: published.ready_since,
            next_try: published
                .view
                .next_try
                .map(|due| self.context.clock.wall(due)),
            last_exit: published.last_exit.clone(),
            load_percent: published.load_percent,
            engine: live.and_then(|i| i.engine.map(|engine| (i.program.clone(), engine))),
            notes: self.notes(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.published.note.iter().cloned().collect();
        notes.extend(self.published.dropped.notes());
        notes
    }
}
