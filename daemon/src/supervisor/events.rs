//! What happened: a bounded history that every reader follows at his own pace.
//!
//! Recording never waits and never fails. A reader who falls behind by more than the history holds
//! is told how many events he missed. Each event is also a structured line of magid's own log, with
//! a MESSAGE_ID for the journal.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::lifecycle::PublicState;
use crate::name::ServerName;

/// How many events are kept.
const KEPT: usize = 1000;

/// The kinds of events. Their codes and ids are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// magid has read its configuration and answers on its socket.
    DaemonReady,
    /// magid is on its way down.
    DaemonStopping,
    /// A configuration was applied.
    ConfigApplied,
    /// A configuration was refused.
    ConfigRefused,
    /// A configuration was taken back, since a server did not get ready with it.
    ConfigVetoed,
    /// A server changed its public state, or the reason of it.
    ServerState,
    /// An incarnation that serves no more, or not yet, changed its state: a server is being replaced.
    ReplacementState,
    /// A new incarnation took the place of the one that served.
    ServerReplaced,
    /// A server is stopped to make room for another, if it is idle.
    MakingRoom,
    /// The process of a server ended.
    ServerExited,
    /// A survivor of an earlier magid was found.
    SurvivorFound,
}

impl Kind {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::DaemonReady => "daemon-ready",
            Self::DaemonStopping => "daemon-stopping",
            Self::ConfigApplied => "config-applied",
            Self::ConfigRefused => "config-refused",
            Self::ConfigVetoed => "config-vetoed",
            Self::ServerState => "server-state",
            Self::ReplacementState => "replacement-state",
            Self::ServerReplaced => "server-replaced",
            Self::MakingRoom => "making-room",
            Self::ServerExited => "server-exited",
            Self::SurvivorFound => "survivor-found",
        }
    }

    /// The MESSAGE_ID of its line in the journal: a random id that never changes.
    pub fn message_id(self) -> &'static str {
        match self {
            Self::DaemonReady => "5d1f8e3f6b1c4d8a9a3b0d6d3c0d7a11",
            Self::DaemonStopping => "0b7f0f6a3f5e4a0fb0a5c1e8f1a9c612",
            Self::ConfigApplied => "9c6e1a0d8d0e4b63a2d7f2b5b7c4e913",
            Self::ConfigVetoed => "f08e2b6d4c9a4e7db1f3a5c8d0e7b620",
            Self::ConfigRefused => "e2a4c7b19f3d4f0c8e5a6b7c8d9e0f14",
            Self::ServerState => "3f9b2d7e5c1a4e8fb6d0a9c8e7f6d515",
            Self::ReplacementState => "c41b8e0a7d2f4f6e9b3a5c7d8e1f2a18",
            Self::ServerReplaced => "d7a90c3e5b8f4a1c8e6d2f4b7a9c0e19",
            Self::MakingRoom => "4be81c6f0d2a4c7e9a5b3f8d1e6c7a21",
            Self::ServerExited => "a8d5e6f7c2b14d3e9f0a1b2c3d4e5f16",
            Self::SurvivorFound => "6e0c9d8b7a5f4e3d2c1b0a9f8e7d6c17",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: Kind,
    /// The server and incarnation it is about.
    pub server: Option<(ServerName, Option<u64>)>,
    /// The states before and after.
    pub states: Option<(PublicState, PublicState)>,
    /// A stable reason code. May be empty.
    pub reason: String,
    /// One line for people.
    pub message: String,
}

/// What to record; the rest is filled in.
#[derive(Clone, Debug)]
pub struct Happening {
    /// What kind of thing.
    pub kind: Kind,
    /// The server and incarnation it is about.
    pub server: Option<(ServerName, Option<u64>)>,
    /// The states before and after.
    pub states: Option<(PublicState, PublicState)>,
    /// A stable reason code. May be empty.
    pub reason: String,
    /// One line for people.
    pub message: String,
}

impl Happening {
    /// Something about the daemon itself.
    pub fn of_daemon(kind: Kind, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            server: None,
            states: None,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

#[derive(Debug, Default)]
struct History {
    events: VecDeque<Arc<Event>>,
    newest: u64,
}

/// The history of events.
#[derive(Clone, Debug)]
pub struct EventLog {
    history: Arc<watch::Sender<History>>,
}

impl EventLog {
    /// An empty history.
    pub fn new() -> Self {
        Self {
            history: Arc::new(watch::Sender::new(History::default())),
        }
    }

    /// Records what happened, and logs it.
    pub fn record(&self, happening: Happening) {
        log(&happening);
        self.history.send_modify(|history| {
            history.newest += 1;
            if history.events.len() == KEPT {
                history.events.pop_front();
            }
            history.events.push_back(Arc::new(Event {
                sequence: history.newest,
                at: Timestamp::now(),
                kind: happening.kind,
                server: happening.server,
                states: happening.states,
                reason: happening.reason,
                message: happening.message,
            }));
        });
    }

    /// A reader that begins with the `last` events.
    pub fn read(&self, last: usize) -> EventReader {
        let history = self.history.subscribe();
        let newest = history.borrow().newest;
        let last = u64::try_from(last).unwrap_or(u64::MAX);
        EventReader {
            seen: newest.saturating_sub(last.min(KEPT as u64)),
            history,
        }
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

/// One reader's place in the history.
#[derive(Debug)]
pub struct EventReader {
    history: watch::Receiver<History>,
    seen: u64,
}

impl EventReader {
    /// The events after those already read, and how many before them were missed.
    pub fn take(&mut self) -> (Vec<Arc<Event>>, u64) {
        let history = self.history.borrow_and_update();
        let oldest = history.events.front().map_or(1, |event| event.sequence);
        let missed = oldest.saturating_sub(self.seen + 1);
        let fresh = history.events.iter().filter(|e| e.sequence > self.seen);
        let events = fresh.cloned().collect();
        self.seen = history.newest;
        (events, missed)
    }

    /// Waits until there is something to take. False: there never will be.
    pub async fn changed(&mut self) -> bool {
        self.history.changed().await.is_ok()
    }
}

/// The journal's fields are upper case there; on a terminal only the message is for people.
fn log(happening: &Happening) {
    let (server, incarnation) = match &happening.server {
        Some((name, incarnation)) => (Some(name.as_str()), *incarnation),
        None => (None, None),
    };
    let worrying = match happening.kind {
        Kind::ConfigRefused | Kind::ConfigVetoed | Kind::SurvivorFound => true,
        Kind::ServerExited => happening.reason != "requested",
        Kind::ServerState => happening
            .states
            .is_some_and(|(_, to)| matches!(to, PublicState::Backoff | PublicState::Failed)),
        Kind::DaemonReady
        | Kind::DaemonStopping
        | Kind::ConfigApplied
        | Kind::ReplacementState
        | Kind::MakingRoom
        | Kind::ServerReplaced => false,
    };
    let kind = happening.kind.code();
    let message_id = happening.kind.message_id();
    let reason = happening.reason.as_str();
    let message = happening.message.as_str();
    if worrying {
        tracing::warn!(target: "magid::event", message_id, magi_event = kind, magi_server = server, magi_incarnation = incarnation, magi_reason = reason, "{message}");
    } else {
        tracing::info!(target: "magid::event", message_id, magi_event = kind, magi_server = server, magi_incarnation = incarnation, magi_reason = reason, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(log: &EventLog, n: usize) {
        for i in 0..n {
            log.record(Happening::of_daemon(Kind::ConfigApplied, "", i.to_string()));
        }
    }

    #[test]
    fn a_reader_begins_with_the_last_events_and_goes_on() {
        let log = EventLog::new();
        record(&log, 5);
        let mut reader = log.read(2);
        let (events, missed) = reader.take();
        assert_eq!((events.len(), events[0].sequence, missed), (2, 4, 0));
        record(&log, 1);
        assert_eq!(reader.take().0[0].sequence, 6);
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_what_he_missed() {
        let log = EventLog::new();
        let mut reader = log.read(10);
        record(&log, KEPT + 7);
        let (events, missed) = reader.take();
        assert_eq!((events.len(), missed), (KEPT, 7));
    }
}
